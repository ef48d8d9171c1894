"""The worker with a real Prefect server, and the small fake of Batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import CrashedRun
from prefect.states import AwaitingRetry, Crashed, Paused, Pending, Running, State
from prefect.testing.utilities import prefect_test_harness

from examples import POOL
from fake_batch import FakeBatch
from prefect_aws_batch import BatchWorker, reconcile
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.definitions import POOL_TAG, RUN_ID_TAG
from prefect_aws_batch.diagnosis import ending_of
from prefect_aws_batch.errors import MachineLostError
from prefect_aws_batch.reconciler import Sweeper
from prefect_aws_batch.reporting import report

pytestmark = [pytest.mark.anyio, pytest.mark.system]


@flow
def steps() -> None:
    """Do nothing."""


@pytest.fixture(scope="module")
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
async def worker(_server: None, api: BatchApi, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BatchWorker]:
    monkeypatch.setattr(BatchWorker, "connect", staticmethod(lambda credentials: api))
    monkeypatch.setattr(reconcile, "SETTLING_SECONDS", 0.0)
    monkeypatch.setattr(api, "close", lambda: None)
    async with BatchWorker(POOL, name="w1") as worker:
        template = BatchWorker.get_default_base_job_template()
        template["variables"]["properties"]["job_queue"]["default"] = "gpu"
        template["variables"]["properties"]["image"]["default"] = "trainer:1"
        pool = WorkPoolCreate(name=POOL, type="aws-batch", base_job_template=template)
        await worker.client.create_work_pool(pool, overwrite=True)
        await worker.sync_with_backend()
        yield worker


@pytest.fixture
def client(worker: BatchWorker) -> PrefectClient:
    return worker.client


async def deployment_of(client: PrefectClient, **variables: Any) -> UUID:
    flow_id = await client.create_flow(steps)
    return await client.create_deployment(
        flow_id, name=f"d-{uuid4()}", work_pool_name=POOL, job_variables=variables, entrypoint="x.py:steps"
    )


async def run_in(client: PrefectClient, deployment: UUID, *states: State[Any]) -> FlowRun:
    """Create a run that went through these states."""
    run = await client.create_flow_run_from_deployment(deployment)
    for state in states:
        await client.set_flow_run_state(run.id, state, force=True)
    return await client.read_flow_run(run.id)


def job_of(batch: FakeBatch, run: FlowRun, queue: str = "gpu") -> str:
    return batch.add(f"steps-{run.id}-1", queue, status="RUNNING", tags={RUN_ID_TAG: str(run.id), POOL_TAG: POOL})


async def sweep(worker: BatchWorker, times: int = 1) -> Sweeper:
    sweeper = Sweeper(worker, POOL, worker._logger, every=30, cancelled_every=10)
    for _ in range(times):
        await sweeper.sweep()
    return sweeper


async def test_one_run_that_cannot_be_configured_stops_no_sweep(
    worker: BatchWorker, client: PrefectClient, batch: FakeBatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone, kept = await deployment_of(client), await deployment_of(client)
    await run_in(client, gone, Pending(), Running())
    ended = await run_in(client, kept, Running(), Crashed())
    job = job_of(batch, ended)
    configure = worker.configure

    async def deployment_is_gone(run: FlowRun) -> Any:
        if run.deployment_id == gone:
            raise TypeError(None)
        return await configure(run)

    worker.configure = deployment_is_gone  # type: ignore[method-assign]
    sweeper = await sweep(worker, times=2)
    assert [ended_job for ended_job, _ in batch.terminated] == [job]
    assert sweeper.is_well
    told = [record.message for record in caplog.records if "cannot be configured" in record.message]
    assert len(told) == 1, "told once, with what went wrong"
    assert "TypeError" in told[0]


@pytest.mark.parametrize("known_by", ["deployment", "account", "form"])
async def test_a_job_in_another_queue_whose_run_was_deleted_is_ended(
    worker: BatchWorker, client: PrefectClient, batch: FakeBatch, known_by: str
) -> None:
    variables = {"job_queue": "four-gpus"} if known_by == "deployment" else {}
    run = await run_in(client, await deployment_of(client, **variables), Running())
    job = job_of(batch, run, "four-gpus")
    await client.delete_flow_run(run.id)
    batch.queues = ["gpu", "four-gpus"] if known_by == "account" else ["gpu"]
    if known_by == "form":
        worker.work_pool.base_job_template["variables"]["properties"]["other_queues"]["default"] = ["four-gpus"]
    await sweep(worker)
    assert [ended for ended, _ in batch.terminated] == [job]


async def test_a_paused_run_keeps_its_container(worker: BatchWorker, client: PrefectClient, batch: FakeBatch) -> None:
    deployment = await deployment_of(client)
    run = await run_in(client, deployment, Running(), Paused(timeout_seconds=3_600))
    job_of(batch, run)
    adopted: list[UUID] = []
    worker.adopt = lambda found, job_id: adopted.append(found.id)  # type: ignore[method-assign]
    await sweep(worker)
    assert not batch.terminated
    assert run.id in adopted


async def test_a_paused_run_whose_machine_was_lost_can_be_resumed(worker: BatchWorker, client: PrefectClient) -> None:
    run = await run_in(client, await deployment_of(client), Running(), Paused(timeout_seconds=3_600))
    state = await report(client, run.id, ending_of(MachineLostError("The machine was taken away")), [])
    assert state is not None
    assert state.name == "Suspended"
    await client.resume_flow_run(run.id)
    resumed = (await client.read_flow_run(run.id)).state
    assert resumed is not None
    assert resumed.is_scheduled(), "and the worker submits a new job"


async def test_a_run_that_was_scheduled_again_keeps_its_state(worker: BatchWorker, client: PrefectClient) -> None:
    run = await run_in(client, await deployment_of(client), Running(), AwaitingRetry())
    assert await report(client, run.id, ending_of(MachineLostError("lost")), []) is None


async def test_the_errors_kind_travels_in_the_states_data(worker: BatchWorker, client: PrefectClient) -> None:
    run = await run_in(client, await deployment_of(client), Running())
    await report(client, run.id, ending_of(MachineLostError("The machine was taken away")), ["last line"])
    state = (await client.read_flow_run(run.id)).state
    assert state is not None
    assert state.is_crashed()
    assert state.data == "machine_lost: The machine was taken away."
    assert (state.message or "").endswith("last line")
    with pytest.raises(CrashedRun, match="taken away"):
        await state.aresult()


async def test_what_batch_refuses_is_failed_with_its_kind(
    worker: BatchWorker, client: PrefectClient, batch: FakeBatch
) -> None:
    run = await run_in(client, await deployment_of(client, image=None), Pending())
    await worker._submit_run_and_capture_errors(run)
    state = (await client.read_flow_run(run.id)).state
    assert state is not None
    assert state.is_failed()
    assert str(state.data).startswith("configuration: Neither an image")
    assert not batch.jobs


async def test_a_program_that_only_submits_sweeps_nothing(worker: BatchWorker, batch: FakeBatch) -> None:
    assert worker._sweeping is None
    assert not batch.calls["list_jobs"]


async def test_the_health_check_tells_of_sweeps_that_fail(worker: BatchWorker, batch: FakeBatch) -> None:
    sweeper = worker._sweeper = Sweeper(worker, POOL, worker._logger, every=0, cancelled_every=0)
    assert worker.is_worker_still_polling(10)
    sweeper._failures = 5
    assert not worker.is_worker_still_polling(10)
