"""docs/costs.md is what the price file and the stacks say."""

from __future__ import annotations

import pytest

from infrastructure.costs import ALARMS, ENDPOINTS, FILE, SERVER, SERVER_ALARMS, WORKERS, ZONES, idle, page, sums
from isaaclab_flows.schemas.instances import prices
from tests.infrastructure.conftest import Deployment


def test_the_page_is_current() -> None:
    assert FILE.read_text() == page(prices()), "run `python -m infrastructure.costs`"


def test_the_page_carries_the_prices_date_and_every_machine() -> None:
    text = page(prices())
    assert prices().as_of in text
    assert all(machine.name in text for machine in prices().instances)


def test_more_costs_more() -> None:
    dollars = list(sums(idle(prices())).values())
    assert dollars == sorted(dollars)
    assert dollars[0] > 0


def test_what_is_counted_is_what_is_deployed(cloud: Deployment, own: Deployment) -> None:
    endpoints = [
        e
        for e in cloud.resources("AWS::EC2::VPCEndpoint").values()
        if e["Properties"]["VpcEndpointType"] == "Interface"
    ]
    assert len(endpoints) == ENDPOINTS
    assert {len(e["Properties"]["SubnetIds"]) for e in endpoints} == {ZONES}
    assert len(cloud.resources("AWS::CloudWatch::Alarm")) == ALARMS
    assert len(own.resources("AWS::CloudWatch::Alarm")) == ALARMS + SERVER_ALARMS
    tasks = {
        t["Properties"]["Family"].rpartition("-")[2]: (
            int(t["Properties"]["Cpu"]) / 1024,
            int(t["Properties"]["Memory"]) / 1024,
        )
        for t in own.resources("AWS::ECS::TaskDefinition").values()
    }
    assert (tasks["orchestrator"], tasks["worker"]) == WORKERS
    assert tasks["server"] == SERVER


def test_a_warm_machine_is_most_of_the_bill() -> None:
    warm = sum(item.dollars for item in idle(prices()) if item.setting == "keepWarmInstance: true")
    # The machine, its disk, what makes the disk fast (3,000 operations and 375 MB a second more), seven metrics.
    assert warm == pytest.approx(0.9776 * 730 + 8 + 15 + 15 + 2.1, abs=0.01)
