"""Which queue and which share of a machine a job gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.schemas.config import ComputeConfig
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.placement import Queues, QueueSet, place

QUEUES = Queues(
    sets=(
        QueueSet(gpus=4, resumable="four", on_demand="four-od", multi_node="four-mn"),
        QueueSet(gpus=1, resumable="one", on_demand="one-od", spot="one-spot", multi_node="one-mn"),
    )
)


@pytest.mark.parametrize(
    ("gpus", "nodes", "queue", "machine"),
    [
        (1, 1, "one", "g6.2xlarge"),
        (1, 2, "one-mn", "g6.2xlarge"),
        (2, 1, "four", "g6.12xlarge"),
        (4, 1, "four", "g6.12xlarge"),
        (4, 3, "four-mn", "g6.12xlarge"),
    ],
)
def test_a_job_goes_to_the_queue_of_the_smallest_machine_that_has_its_gpus(
    gpus: int, nodes: int, queue: str, machine: str
) -> None:
    placement = place(ComputeConfig(num_nodes=nodes, gpus_per_node=gpus), QUEUES)
    assert (placement.job_queue, placement.machine.name, placement.nodes) == (queue, machine, nodes)
    assert placement.requirements.gpus == gpus
    assert placement.machine.fits(placement.requirements)


@pytest.mark.parametrize(
    ("capacity", "nodes", "queue"),
    [
        ("auto", 1, "one"),
        ("spot", 1, "one-spot"),
        ("on-demand", 1, "one-od"),
        ("auto", 2, "one-mn"),
        ("on-demand", 2, "one-mn"),
    ],
)
def test_a_job_may_ask_for_its_capacity(capacity: Any, nodes: int, queue: str) -> None:
    assert place(ComputeConfig(num_nodes=nodes, capacity=capacity), QUEUES).job_queue == queue


@pytest.mark.parametrize(
    ("nodes", "queues", "said"),
    [
        (2, QUEUES, r"capacity is 'spot' for 2 nodes, which are never Spot.*'on-demand' or 'auto'"),
        (1, Queues(sets=(QueueSet(gpus=1, resumable="a", on_demand="b"),)), r"has no Spot machines.*enable spot"),
    ],
)
def test_spot_that_there_is_not_is_refused(nodes: int, queues: Queues, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        place(ComputeConfig(num_nodes=nodes, capacity="spot"), queues)


@given(gpus=st.integers(1, 4), nodes=st.integers(1, 64))
def test_whatever_is_placed_fits_its_machine(gpus: int, nodes: int) -> None:
    placement = place(ComputeConfig(num_nodes=nodes, gpus_per_node=gpus), QUEUES)
    assert placement.machine.fits(placement.requirements)


def test_more_gpus_than_any_machine_has_are_refused_before_anything_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"gpusPerNode is 8.*up to 4"):
        place(ComputeConfig(num_nodes=1, gpus_per_node=8), QUEUES)


def test_several_nodes_need_a_deployment_that_has_them() -> None:
    without = Queues(sets=(QueueSet(gpus=1, resumable="one", on_demand="one-od"),))
    with pytest.raises(ConfigError, match=r"numNodes is 2.*multiNode"):
        place(ComputeConfig(num_nodes=2), without)
