"""What execute asks of its work pool when it runs on another machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.flows.remote import BACKSTOP_SECONDS, job_variables
from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.placement import Queues, QueueSet

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUEUES = Queues(
    sets=(
        QueueSet(gpus=1, resumable="one-spot", on_demand="one", multi_node="one-multi"),
        QueueSet(gpus=4, resumable="four-spot", on_demand="four"),
    )
)


def job(**compute: Any) -> Job:
    data = json.loads((EXAMPLES / "ant/training/ant-training-config.json").read_text())
    data["computeConfig"] |= compute
    return Job(
        job_id="j",
        kind="training",
        source="cli",
        config=check_config(data, source="x"),
        task="Isaac-Ant-Direct",
        library="rsl_rl",
        output_uri="/out",
        staging_uri="/staging",
        device="auto",
    )


@pytest.mark.parametrize(
    ("compute", "queue", "nodes", "gpus"),
    [
        ({}, "one-spot", 1, 1),
        ({"numNodes": 2}, "one-multi", 2, 1),
        ({"gpusPerNode": 4}, "four-spot", 1, 4),
    ],
)
def test_a_job_is_sent_to_the_queue_of_machines_that_it_fits(
    compute: dict[str, int], queue: str, nodes: int, gpus: int
) -> None:
    variables = job_variables(job(**compute), QUEUES)
    assert variables is not None
    assert (variables["job_queue"], variables["num_nodes"], variables["gpus"]) == (queue, nodes, gpus)


def test_batch_ends_what_outlives_its_own_time_limit() -> None:
    variables = job_variables(job(timeoutMinutes=10), QUEUES)
    assert variables is not None
    assert variables["timeout_seconds"] == 600 + BACKSTOP_SECONDS


def test_a_size_that_the_deployment_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="gpusPerNode is 8"):
        job_variables(job(gpusPerNode=8), QUEUES)


def test_without_queues_the_pools_own_values_count() -> None:
    assert job_variables(job(), None) is None
