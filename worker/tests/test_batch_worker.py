from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import InfrastructureNotFound
from prefect.flows import InfrastructureBoundFlow

from examples import RUN_ID
from fake_batch import FakeBatch
from prefect_aws_batch import BatchJobConfiguration, BatchWorker, aws_batch, presence
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.causes import CANCEL_REASON
from prefect_aws_batch.main import clean_up
from prefect_aws_batch.presence import WORKER_LABEL, Mark, take_over
from prefect_aws_batch.registrar import Registrar

pytestmark = pytest.mark.anyio

Configure = Callable[..., BatchJobConfiguration]


@pytest.fixture
def worker(api: BatchApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchWorker]:
    monkeypatch.setattr(BatchWorker, "connect", staticmethod(lambda credentials: api))
    return BatchWorker("gpu", name="w1")


@pytest.mark.parametrize("status", ["SUBMITTED", "RUNNABLE", "STARTING", "RUNNING"])
async def test_killing_ends_a_job_whatever_it_waits_for(
    batch: FakeBatch, worker: BatchWorker, configure: Configure, status: str
) -> None:
    job_id = batch.add("train", status=status)
    await worker.kill_infrastructure(job_id, configure(), grace_seconds=30)
    ((ended, reason),) = batch.terminated
    assert ended == job_id
    assert reason.startswith(CANCEL_REASON)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", None])
async def test_killing_what_is_gone_says_so(
    batch: FakeBatch, worker: BatchWorker, configure: Configure, status: str | None
) -> None:
    job_id = batch.add("train", status=status) if status else "job-of-last-year"
    with pytest.raises(InfrastructureNotFound, match=job_id):
        await worker.kill_infrastructure(job_id, configure())
    assert not batch.terminated


async def test_runs_with_the_same_credentials_share_one_connection_and_one_poller(
    worker: BatchWorker, configure: Configure
) -> None:
    assert worker.aws_for(configure()) is worker.aws_for(configure(job_queue="another"))


async def test_clean_up_says_what_it_took(
    api: BatchApi, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    for memory in (1_000, 2_000):
        await Registrar(api).definition_for(configure(memory=memory))
    assert await clean_up(api, "prefect", keep=1) == 1
    assert capsys.readouterr().out.count("deregistered arn:prefect-") == 1


def test_a_flow_is_bound_to_batch_by_a_decorator() -> None:
    @aws_batch("cpu", memory=8_000)
    @flow
    def steps(n: int) -> int:
        return n

    assert isinstance(steps, InfrastructureBoundFlow)
    assert (steps.work_pool, steps.job_variables, steps.worker_cls) == ("cpu", {"memory": 8_000}, BatchWorker)


def test_prefect_gives_the_worker_runs_to_end_that_do_not_end_themselves(worker: BatchWorker) -> None:
    assert worker.cleanup_handler_registry.handled_cleanup_kinds


class LabelsOnly:
    """A Prefect server that knows one run's labels, and takes its time."""

    def __init__(self, latency: float) -> None:
        self.run = FlowRun(id=RUN_ID, flow_id=RUN_ID, labels={WORKER_LABEL: "w1"})
        self.latency = latency

    async def read_flow_run(self, run_id: UUID) -> FlowRun:
        await asyncio.sleep(random.uniform(0, self.latency))
        return self.run.model_copy(deep=True)

    async def update_flow_run_labels(self, run_id: UUID, labels: dict[str, Any]) -> None:
        await asyncio.sleep(random.uniform(0, self.latency))
        self.run.labels.update(labels)


@pytest.mark.parametrize("latency", [0.0, 0.1])
async def test_of_several_workers_with_one_name_one_adopts(monkeypatch: pytest.MonkeyPatch, latency: float) -> None:
    monkeypatch.setattr(presence, "_TAKE_OVER_WITHIN", 0.2)
    monkeypatch.setattr(presence, "_MARK_SETTLES", 0.2)
    server: Any = LabelsOnly(latency)
    seen = server.run.model_copy(deep=True)
    marks = [Mark("w1", f"w1 ({number})") for number in range(3)]
    took = await asyncio.gather(*(take_over(server, seen, mark) for mark in marks))
    assert sorted(took) == [False, False, True]
