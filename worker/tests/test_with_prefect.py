"""The worker with a real Prefect server, and the small fake of Batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from moto import mock_aws
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import CrashedRun
from prefect.states import AwaitingRetry, Crashed, Paused, Pending, Running, State
from prefect.testing.utilities import prefect_test_harness

from examples import POOL
from fake_batch import FakeBatch
from prefect_aws_batch import BatchWorker, events, presence, reconcile
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.definitions import POOL_TAG, RUN_ID_TAG
from prefect_aws_batch.diagnosis import ending_of
from prefect_aws_batch.errors import MachineLostError
from prefect_aws_batch.logs import LOGGER
from prefect_aws_batch.presence import Mark
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


class Twins:
    """Two workers of one name, of which the first follows a run's job."""

    def __init__(self, batch: FakeBatch, client: PrefectClient, first: BatchWorker, second: BatchWorker) -> None:
        self.batch, self.client, self.first, self.second = batch, client, first, second

    async def lines_of(self, run: FlowRun) -> list[str]:
        logs = await self.client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
        return [log.message for log in logs if log.name == LOGGER]

    async def until(self, check: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while not await check():
                await asyncio.sleep(0.1)


@pytest.fixture
async def twins(
    worker: BatchWorker, batch: FakeBatch, client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Twins]:
    monkeypatch.setattr(presence, "_TAKE_OVER_WITHIN", 0.1)
    monkeypatch.setattr(presence, "_MARK_SETTLES", 0.1)
    async with BatchWorker(POOL, name=worker.name) as second:
        await second.sync_with_backend()
        yield Twins(batch, client, worker, second)


async def followed_by_the_first(twins: Twins) -> tuple[FlowRun, str]:
    run = await run_in(twins.client, await deployment_of(twins.client, poll_interval=0.2), Pending())
    assert twins.first._runs_task_group is not None
    await twins.first._runs_task_group.start(twins.first._submit_run_and_capture_errors, run)
    (job,) = twins.batch.jobs
    await twins.client.set_flow_run_state(run.id, Running(), force=True)
    twins.batch.move(job, "RUNNING", container={"logStreamName": "s"}, tags={RUN_ID_TAG: str(run.id), POOL_TAG: POOL})
    twins.batch.log("s", "one")
    return run, job


async def test_of_two_living_workers_of_one_name_one_follows_and_each_line_arrives_once(twins: Twins) -> None:
    run, job = await followed_by_the_first(twins)

    async def has_come() -> bool:
        return "one" in await twins.lines_of(run)

    await twins.until(has_come)
    await sweep(twins.second, times=2)
    await sweep(twins.first)
    await asyncio.sleep(1)
    assert not twins.second._following.runs
    assert run.id in twins.first._following.runs
    twins.batch.log("s", "two", at=2_000)
    twins.batch.move(job, "FAILED", statusReason="Host EC2 (instance i-1) terminated.", attempts=[{}] * 3)

    async def has_ended() -> bool:
        state = (await twins.client.read_flow_run(run.id)).state
        return state is not None and state.is_crashed()

    await twins.until(has_ended)
    assert sorted(await twins.lines_of(run)) == ["one", "two"]
    assert len(twins.batch.jobs) == 1


async def test_a_twin_that_was_silent_for_long_lets_go_of_what_the_other_took_over(twins: Twins) -> None:
    run, job = await followed_by_the_first(twins)
    silent = twins.first._presence
    assert twins.first._present is not None
    twins.first._present.cancel()  # as if it were frozen; its record is deleted, as the sweeps do once it is offline
    await asyncio.sleep(0.5)
    silent._seen_at -= 1_000
    await sweep(twins.second)

    async def is_adopted() -> bool:
        return twins.second.mark == Mark.of(await twins.client.read_flow_run(run.id))

    await twins.until(is_adopted)
    twins.batch.log("s", "two", at=2_000)

    async def has_let_go() -> bool:
        return run.id not in twins.first._following.runs

    await twins.until(has_let_go)
    assert run.id in twins.second._following.runs

    async def has_come() -> bool:
        return "two" in await twins.lines_of(run)

    await twins.until(has_come)
    await sweep(twins.first)
    await asyncio.sleep(0.5)
    assert sorted(await twins.lines_of(run)) == ["one", "two"]
    twins.batch.move(job, "FAILED", attempts=[{}] * 3)


async def test_the_worker_hears_of_a_jobs_end_by_its_pools_event_queue(
    worker: BatchWorker, batch: FakeBatch, client: PrefectClient, api: BatchApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_WAIT", 1)
    with mock_aws():
        sqs = api.sqs = boto3.client("sqs", region_name="eu-central-1")
        url = sqs.create_queue(QueueName="events")["QueueUrl"]
        variables = {"event_queue_url": url, "event_poll_interval": 3_000, "poll_interval": 0.2}
        run = await run_in(client, await deployment_of(client, **variables), Pending())
        assert worker._runs_task_group is not None
        await worker._runs_task_group.start(worker._submit_run_and_capture_errors, run)
        (job,) = batch.jobs
        await client.set_flow_run_state(run.id, Running(), force=True)
        await asyncio.sleep(2)
        looks = batch.calls["describe_jobs"]
        await asyncio.sleep(1)
        assert batch.calls["describe_jobs"] == looks, "no polling while events are read"
        batch.move(job, "FAILED", statusReason="Job attempt duration exceeded timeout")
        detail = {"jobId": job, "status": "FAILED"}
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"source": "aws.batch", "detail": detail}))
        async with asyncio.timeout(20):
            while (state := (await client.read_flow_run(run.id)).state) and not state.is_failed():
                await asyncio.sleep(0.1)
        assert str(state and state.data).startswith("time_limit")
        for aws in worker._aws.values():
            await aws.close()


async def test_processes_that_are_gone_leave_no_record(worker: BatchWorker, client: PrefectClient) -> None:
    async with BatchWorker(POOL, name="w1") as short:
        await worker._presence._show(client)
        await short._presence._show(client)
        names = {found.name for found in await client.read_workers_for_work_pool(POOL)}
        assert {worker.mark.process, short.mark.process} <= names
    names = {found.name for found in await client.read_workers_for_work_pool(POOL)}
    assert short.mark.process not in names


async def test_a_program_that_only_submits_sweeps_nothing(worker: BatchWorker, batch: FakeBatch) -> None:
    assert worker._sweeping is None
    assert not batch.calls["list_jobs"]


async def test_the_health_check_tells_of_sweeps_that_fail(worker: BatchWorker, batch: FakeBatch) -> None:
    sweeper = worker._sweeper = Sweeper(worker, POOL, worker._logger, every=0, cancelled_every=0)
    assert worker.is_worker_still_polling(10)
    sweeper._failures = 5
    assert not worker.is_worker_still_polling(10)
