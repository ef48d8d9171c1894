"""What execute asks of its work pool when it runs on another machine."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Pending

from isaaclab_flows.flows import remote
from isaaclab_flows.flows.remote import BACKSTOP_SECONDS, WORKERS_KINDS, execute_remotely, job_variables
from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.errors import (
    CannotBePlacedError,
    ConfigError,
    FlowsError,
    InfrastructureLostError,
    OutOfMemoryError,
)
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.placement import Queues, QueueSet
from prefect_aws_batch import errors
from prefect_aws_batch.errors import BatchError
from prefect_aws_batch.reporting import data_of

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


def tree(cls: type[BatchError]) -> set[str]:
    return {cls.kind}.union(*(tree(child) for child in cls.__subclasses__()))


def test_every_end_that_the_worker_knows_is_an_error_of_ours() -> None:
    assert tree(BatchError) - {"error"} == set(WORKERS_KINDS)
    ours = {kind for kind, (error, _) in WORKERS_KINDS.items() if error.retryable}
    assert ours == {"machine_lost"}, "what the worker would try again, and nothing else"


@pytest.mark.parametrize(
    ("error", "state", "ours", "children"),
    [
        (errors.ConfigurationError("Batch refuses the job: no such queue"), "Failed", ConfigError, 1),
        (errors.CannotBePlacedError("No machine could be had in time"), "Crashed", CannotBePlacedError, 1),
        (errors.OutOfMemoryError("The container used more"), "Failed", OutOfMemoryError, 1),
        (errors.MachineLostError("The machine was taken away"), "Crashed", InfrastructureLostError, 3),
        (None, "Crashed", InfrastructureLostError, 3),
    ],
)
def test_what_another_try_cannot_mend_is_tried_once(
    monkeypatch: pytest.MonkeyPatch, error: BatchError | None, state: str, ours: type[FlowsError], children: int
) -> None:
    made: list[int] = []

    def started(job: Job, deployment: str, number: int) -> FlowRun:
        made.append(number)
        return FlowRun(flow_id=uuid4(), state=Pending())

    def ended(job: Job, deployment: str, number: int) -> FlowRun:
        message, data = (error.sentence, data_of(error)) if error else ("It reported nothing", None)
        return FlowRun(flow_id=uuid4(), state=State(type=StateType[state.upper()], message=message, data=data))

    monkeypatch.setattr(remote, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(remote, "_start", started)
    monkeypatch.setattr(remote, "_wait", ended)
    monkeypatch.setattr(remote, "load_outcome", lambda job: None)
    monkeypatch.setenv("ISAACLAB_FLOWS_SIMULATOR_RESTARTS", "2")
    with pytest.raises(ours) as caught:
        execute_remotely(job(), "execute/isaaclab-execute")
    assert type(caught.value) is ours
    assert error is None or error.what in caught.value.sentence
    assert len(made) == children
