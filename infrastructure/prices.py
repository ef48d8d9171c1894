"""Refreshes schemas/prices.json from AWS's public offer files: ``python -m infrastructure.prices [REGION]``.

The offer files need no account: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-ppslong.html
Machines' prices come from them, and which regions have a family; what other services cost is edited by hand.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from isaaclab_flows.schemas.instances import PriceFile, prices

FILE = Path(__file__).resolve().parents[1] / "schemas" / "prices.json"
_OFFER = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonEC2/current/{region}/index.csv"
STALE_DAYS: Final = 180
_PREAMBLE_LINES: Final = 5
_WANTED: Final = {
    "TermType": "OnDemand",
    "Operating System": "Linux",
    "Tenancy": "Shared",
    "CapacityStatus": "Used",
    "Pre Installed S/W": "NA",
    "Unit": "Hrs",
    "Currency": "USD",
}


def warnings(found: PriceFile, region: str, today: datetime.date) -> list[str]:
    """Return what is to be said of prices that are old, of another region, or not known."""
    said = []
    age = (today - datetime.date.fromisoformat(found.as_of)).days
    again = f"refresh them with `python -m infrastructure.prices {region}`"
    if age > STALE_DAYS:
        said.append(f"The prices of {found.as_of} are {age} days old: {again}.")
    if found.region != region:
        said.append(f"The prices are those of {found.region}, not of {region}: {again}.")
    return said


def on_demand(lines: Iterable[str], wanted: Iterable[str]) -> dict[str, float]:
    """Return the dollars an hour of instance types in an EC2 offer file.

    Args:
        lines: The CSV file's lines; five of them come before the header.
        wanted: Names of instance types.

    Raises:
        ValueError: It is no offer file.
    """
    rows: Iterator[str] = iter(lines)
    for _ in range(_PREAMBLE_LINES):
        next(rows, None)
    names = set(wanted)
    reader = csv.DictReader(rows)
    missing = {*_WANTED, "Instance Type", "PricePerUnit"} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"not an EC2 offer file: it has no column {sorted(missing)[0]!r}")
    found = {}
    for row in reader:
        if row["Instance Type"] in names and all(row[key] == value for key, value in _WANTED.items()):
            dollars = float(row["PricePerUnit"])
            if dollars > 0:
                found[row["Instance Type"]] = dollars
    return found


def refreshed(data: Mapping[str, Any], found: Mapping[str, float], region: str, today: datetime.date) -> dict[str, Any]:
    """Return the price file with a region's prices; types that it does not sell are not known any more."""
    families = [dict(family) for family in data["families"]]
    sold = {name.partition(".")[0] for name in found}
    for family in families:
        there = set(family["regions"]) - {region} | ({region} if family["name"] in sold else set())
        family["regions"] = sorted(there)
    return {
        **data,
        "asOf": today.isoformat(),
        "region": region,
        "families": families,
        "instances": [{**each, "dollarsPerHour": found.get(each["name"])} for each in data["instances"]],
    }


def as_text(data: Mapping[str, Any]) -> str:
    """Return the price file's text, one entry a line."""
    parts = []
    for key, value in data.items():
        if isinstance(value, list):
            entries = ",\n".join(f"    {json.dumps(entry)}" for entry in value)
            parts.append(f"  {json.dumps(key)}: [\n{entries}\n  ]")
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments: list[str]) -> int:
    """Refresh the file; return the process's exit code."""
    region = arguments[0] if arguments else prices().region
    address = _OFFER.format(region=region)
    print(f"Reading {address} (hundreds of MB)")  # noqa: T201
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310
            found = on_demand(io.TextIOWrapper(answer, "utf-8"), [each.name for each in prices().instances])
    except (OSError, ValueError) as error:
        print(f"The prices stay as they are: {error}", file=sys.stderr)  # noqa: T201
        return 1
    if not found:
        print(f"The prices stay as they are: {region} sells none of the machines", file=sys.stderr)  # noqa: T201
        return 1
    data = refreshed(json.loads(FILE.read_text()), found, region, datetime.datetime.now(datetime.UTC).date())
    FILE.write_text(as_text(data))
    unknown = [each["name"] for each in data["instances"] if each["dollarsPerHour"] is None]
    print(f"{len(found)} prices of {region}; not sold there: {', '.join(unknown) or 'none'}")  # noqa: T201
    print("Prices of other services are edited by hand. Then: python -m infrastructure.costs")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
