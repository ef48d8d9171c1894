"""Prices are refreshed from AWS's offer files, and say when they are old or of elsewhere."""

from __future__ import annotations

import datetime
import json

import pytest

from infrastructure import prices as refreshing
from isaaclab_flows.schemas.instances import PriceFile, prices

TODAY = datetime.date(2026, 3, 1)
HEADER = '"SKU","TermType","Unit","PricePerUnit","Currency","Instance Type","Tenancy","Operating System","CapacityStatus","Pre Installed S/W"'  # noqa: E501
ROWS = [
    '"A","OnDemand","Hrs","0.9776000000","USD","g6.2xlarge","Shared","Linux","Used","NA"',
    '"B","OnDemand","Hrs","1.5000000000","USD","g6.2xlarge","Shared","Windows","Used","NA"',
    '"C","OnDemand","Hrs","2.0000000000","USD","g6.2xlarge","Dedicated","Linux","Used","NA"',
    '"D","OnDemand","Hrs","0.0000000000","USD","g6.2xlarge","Shared","Linux","AllocatedCapacityReservation","NA"',
    '"E","Reserved","Hrs","0.5000000000","USD","g6.2xlarge","Shared","Linux","Used","NA"',
    '"F","OnDemand","Hrs","0.0100000000","USD","t3.nano","Shared","Linux","Used","NA"',
]
OFFER = [*('"FormatVersion","v1.0"' for _ in range(5)), HEADER, *ROWS]


@pytest.mark.parametrize(
    ("as_of", "region", "said"),
    [
        ("2026-02-01", "us-east-1", []),
        ("2025-09-02", "us-east-1", []),
        ("2025-09-01", "us-east-1", ["181 days old"]),
        ("2026-02-01", "eu-west-1", ["those of us-east-1, not of eu-west-1"]),
        ("2024-01-01", "eu-west-1", ["days old", "not of eu-west-1"]),
    ],
)
def test_old_prices_and_those_of_elsewhere_are_said_to_be(as_of: str, region: str, said: list[str]) -> None:
    found = refreshing.warnings(prices().model_copy(update={"as_of": as_of}), region, TODAY)
    assert len(found) == len(said)
    for line, part in zip(found, said, strict=True):
        assert part in line
        assert f"python -m infrastructure.prices {region}" in line


def test_an_offer_files_plain_linux_price_on_demand_is_taken() -> None:
    assert refreshing.on_demand(OFFER, ["g6.2xlarge", "g5.xlarge"]) == {"g6.2xlarge": 0.9776}


@pytest.mark.parametrize("lines", [[], ["<html>"], OFFER[:3], OFFER[4:]])
def test_what_is_no_offer_file_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="not an EC2 offer file"):
        refreshing.on_demand(lines, ["g6.2xlarge"])


def test_a_refreshed_file_is_a_price_file_that_knows_what_the_region_sells() -> None:
    before = json.loads(refreshing.FILE.read_text())
    after = refreshing.refreshed(before, {"g6.2xlarge": 1.1}, "eu-west-1", TODAY)
    read = PriceFile.model_validate_json(refreshing.as_text(after))
    assert (read.as_of, read.region) == ("2026-03-01", "eu-west-1")
    assert {i.name: i.dollars_per_hour for i in read.instances}["g6.2xlarge"] == 1.1
    assert {i.name: i.dollars_per_hour for i in read.instances}["g5.xlarge"] is None
    regions = {family.name: family.regions for family in read.families}
    assert "eu-west-1" in regions["g6"]
    assert "eu-west-1" not in regions["g5"]


def test_the_file_is_written_as_it_lies_there() -> None:
    text = refreshing.FILE.read_text()
    assert refreshing.as_text(json.loads(text)) == text


def test_where_there_is_no_internet_the_file_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = refreshing.FILE.read_bytes()
    monkeypatch.setattr(refreshing, "_OFFER", "http://127.0.0.1:9/{region}")
    assert refreshing.main(["us-east-1"]) == 1
    assert "stay as they are" in capsys.readouterr().err
    assert refreshing.FILE.read_bytes() == before
