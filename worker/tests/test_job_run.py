from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prefect.states import Cancelling, Pending, Running

from examples import RUN_ID
from fake_batch import FakeBatch, refused
from prefect_aws_batch.aws import Aws
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.causes import CHILD_NODE_REASON, PLACEMENT_REASON
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.diagnosis import Ending, ending_of
from prefect_aws_batch.errors import (
    CannotBePlacedError,
    ConfigurationError,
    ContainerError,
    MachineLostError,
    OutOfMemoryError,
)
from prefect_aws_batch.job_run import JobRun
from prefect_aws_batch.logs import JobLogs
from prefect_aws_batch.reporting import end_state
from prefect_aws_batch.states import BatchJob

pytestmark = pytest.mark.anyio

SPOT = "Host EC2 (instance i-0abc) terminated."
Start = Callable[..., JobRun]


class Notes:
    """What Prefect would be told and asked."""

    def __init__(self) -> None:
        self.job_ids: list[str] = []
        self.wanted = True
        self.statuses: list[str] = []
        self.looks: list[tuple[str, bool]] = []

    async def submitted(self, job_id: str) -> None:
        self.job_ids.append(job_id)

    async def may_go_on(self) -> bool:
        return self.wanted

    def changed(self, job: BatchJob) -> None:
        self.statuses.append(job.status)

    def looked_at(self, job: BatchJob, *, ran_before: bool) -> None:
        self.looks.append((job.status, ran_before))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def start(api: BatchApi, notes: Notes, configure: Callable[..., BatchJobConfiguration]) -> Start:
    async def deliver(lines: Any) -> None:
        del lines

    async def no_sleep(seconds: float) -> None:
        del seconds

    def make(**fields: Any) -> JobRun:
        return JobRun(
            Aws.of(api),
            configure(**fields),
            flow_run_id=RUN_ID,
            flow_name="train",
            run_count=0,
            logs=JobLogs(api.log_events, api.last_log_events, deliver, group="/aws/batch/job", sleep=no_sleep),
            logger=logging.getLogger("test"),
            followed=notes,
        )

    return make


@contextmanager
def playing(batch: FakeBatch, *moves: Callable[[str], None], every: float = 0.3) -> Iterator[None]:
    """Let each job that is submitted live through its own moves."""

    async def play() -> None:
        for number, move in enumerate(moves):
            while f"job-{number}" not in batch.jobs:
                await asyncio.sleep(0.02)
            batch.move(f"job-{number}", "RUNNING")
            await asyncio.sleep(every)
            move(f"job-{number}")

    task = asyncio.get_running_loop().create_task(play())
    yield
    task.cancel()


async def end_of(run: JobRun) -> Ending:
    return await asyncio.wait_for(run.to_the_end(await run.submit()), 10)


async def test_a_run_ends_with_its_job(batch: FakeBatch, start: Start, notes: Notes) -> None:
    run = start()
    with playing(batch, lambda job: batch.move(job, "SUCCEEDED", container={"exitCode": 0, "logStreamName": "s"})):
        batch.log("s", "saved checkpoint 100")
        ending = await end_of(run)
    assert ending.state == "completed"
    assert run.tail == ["saved checkpoint 100"]
    assert notes.job_ids == ["job-0"]


async def test_a_lost_machine_is_followed_by_a_new_job_with_a_name_of_its_own(
    batch: FakeBatch, start: Start, notes: Notes
) -> None:
    with playing(batch, lambda job: batch.fail(job, SPOT), lambda job: batch.move(job, "SUCCEEDED")):
        ending = await end_of(start(attempts=2))
    assert ending.state == "completed"
    assert [job["jobName"] for job in batch.jobs.values()] == [f"train-{RUN_ID}-1", f"train-{RUN_ID}-1-1"]
    assert notes.job_ids == ["job-0", "job-1"]


async def test_batchs_own_attempts_count_too(batch: FakeBatch, start: Start) -> None:
    def reclaimed_twice(job: str) -> None:
        batch.fail(job, SPOT)
        batch.move(job, "FAILED", attempts=[{}, {}])

    with playing(batch, reclaimed_twice):
        ending = await end_of(start(attempts=2))
    assert isinstance(ending.error, MachineLostError)
    assert len(batch.jobs) == 1


async def test_a_run_whose_machine_was_reclaimed_is_spoken_for_until_the_next(
    batch: FakeBatch, start: Start, notes: Notes
) -> None:
    run = start(attempts=3)
    job_id = await run.submit()
    following = asyncio.create_task(run.to_the_end(job_id))
    started = {"startedAt": 1}
    for status, fields in (("RUNNABLE", {}), ("RUNNING", started), ("RUNNABLE", {"attempts": [{}]}), ("RUNNING", {})):
        batch.move(job_id, status, **fields)
        await asyncio.sleep(0.5)
    batch.move(job_id, "SUCCEEDED")
    await asyncio.wait_for(following, 10)
    spoken = [ran_before for _, ran_before in notes.looks]
    assert spoken[0] is False
    assert {ran_before for status, ran_before in notes.looks if status == "RUNNABLE"} == {False, True}
    assert notes.statuses == ["RUNNABLE", "RUNNING", "RUNNABLE", "RUNNING", "SUCCEEDED"]


async def test_three_attempts_are_three_in_all(batch: FakeBatch, start: Start) -> None:
    def lost_after(attempts: int) -> Callable[[str], None]:
        def lost(job: str) -> None:
            batch.fail(job, reason="CannotPullContainerError: context canceled")
            batch.move(job, "FAILED", attempts=[{}] * attempts)

        return lost

    with playing(batch, lost_after(2), lost_after(1), lost_after(1)):
        ending = await end_of(start(attempts=3))
    assert isinstance(ending.error, MachineLostError)
    given = [job["request"]["retryStrategy"]["attempts"] for job in batch.jobs.values()]
    assert given == [3, 1], "the second job has what the first left over"


async def test_a_users_error_is_never_tried_again(batch: FakeBatch, start: Start) -> None:
    with playing(batch, lambda job: batch.fail(job, exit_code=137, reason="OutOfMemoryError: killed")):
        ending = await end_of(start(attempts=5))
    assert isinstance(ending.error, OutOfMemoryError)
    assert len(batch.jobs) == 1


async def test_a_cancelled_run_gets_no_new_job(batch: FakeBatch, start: Start, notes: Notes) -> None:
    notes.wanted = False
    with playing(batch, lambda job: batch.fail(job, SPOT)):
        await end_of(start(attempts=5))
    assert len(batch.jobs) == 1


async def test_a_job_that_finds_no_machine_is_ended_with_batchs_reason(batch: FakeBatch, start: Start) -> None:
    run = start(placement_timeout_seconds=1)
    job_id = await run.submit()
    batch.move(job_id, "RUNNABLE", statusReason="CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY")
    ending = await asyncio.wait_for(run.to_the_end(job_id), 10)
    assert isinstance(ending.error, CannotBePlacedError)
    assert "INSUFFICIENT_INSTANCE_CAPACITY" in ending.error.what
    assert batch.terminated[0][1].startswith(PLACEMENT_REASON)
    assert len(batch.jobs) == 1, "another job would wait as long"


async def test_a_job_that_has_just_found_a_machine_is_not_ended(batch: FakeBatch, start: Start) -> None:
    run = start(placement_timeout_seconds=1)
    job_id = await run.submit()
    batch.move(job_id, "RUNNABLE", createdAt=1)
    describe = batch.describe_jobs

    def placed_after_the_first_look(jobs: list[str]) -> dict[str, Any]:
        seen = describe(jobs)
        if batch.jobs[job_id]["status"] == "RUNNABLE":
            batch.move(job_id, "STARTING")
        return seen

    batch.describe_jobs = placed_after_the_first_look  # type: ignore[method-assign]
    following = asyncio.create_task(run.to_the_end(job_id))
    await asyncio.sleep(0.8)
    assert batch.jobs[job_id]["status"] == "STARTING"
    assert not batch.terminated
    batch.move(job_id, "SUCCEEDED")
    assert (await asyncio.wait_for(following, 10)).state == "completed"


async def test_an_exit_code_that_only_lists_tell_is_found(batch: FakeBatch, start: Start) -> None:
    def fail(job: str) -> None:
        batch.fail(job, exit_code=3)
        details = batch.jobs[job]
        # DescribeJobs of some engines leaves the code out.
        describe = batch.describe_jobs
        batch.describe_jobs = lambda jobs: {  # type: ignore[method-assign]
            "jobs": [found | {"container": {}, "attempts": []} for found in describe(jobs)["jobs"]]
        }
        assert details["container"] == {"exitCode": 3}

    with playing(batch, fail):
        ending = await end_of(start(attempts=3))
    assert isinstance(ending.error, ContainerError)
    assert "exit code 3" in ending.error.what


async def test_the_death_of_another_node_ends_the_job_with_its_reason(batch: FakeBatch, start: Start) -> None:
    run = start(num_nodes=2, attempts=1)
    job_id = await run.submit()
    batch.jobs[f"{job_id}#0"] = {"jobId": f"{job_id}#0", "status": "RUNNING", "container": {"logStreamName": "main"}}
    batch.jobs[f"{job_id}#1"] = {"jobId": f"{job_id}#1", "status": "RUNNING"}
    batch.log("main", "rank 0 is here")
    batch.move(job_id, "RUNNING")

    async def die() -> None:
        await asyncio.sleep(0.5)
        batch.fail(f"{job_id}#1", exit_code=137, reason="OutOfMemoryError: killed")

    dying = asyncio.get_running_loop().create_task(die())
    ending = await asyncio.wait_for(run.to_the_end(job_id), 10)
    await dying
    assert isinstance(ending.error, OutOfMemoryError)
    assert "Node 1 died" in ending.error.what
    assert batch.terminated[0][0] == job_id
    assert batch.terminated[0][1].startswith(CHILD_NODE_REASON)
    assert run.tail == ["rank 0 is here"], "the main node's log is the job's"


async def test_the_main_nodes_verdict_counts_not_that_of_a_node_stopped_after_it(
    batch: FakeBatch, start: Start
) -> None:
    run = start(num_nodes=2, attempts=1)
    job_id = await run.submit()
    for node in range(2):
        batch.jobs[f"{job_id}#{node}"] = {"jobId": f"{job_id}#{node}", "status": "RUNNING"}
    batch.move(job_id, "RUNNING")
    following = asyncio.create_task(run.to_the_end(job_id))
    await asyncio.sleep(0.5)
    batch.fail(f"{job_id}#0", "Essential container in task exited", exit_code=3)
    batch.fail(f"{job_id}#1", "Node terminated", exit_code=137)
    await asyncio.sleep(0.5)
    batch.move(job_id, "FAILED", statusReason="Essential container in task exited")
    ending = await asyncio.wait_for(following, 10)
    assert isinstance(ending.error, ContainerError)
    assert "exit code 3" in ending.error.what
    assert not batch.terminated


async def test_the_second_attempts_log_is_followed_and_every_nodes_is_named(
    batch: FakeBatch, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = start(num_nodes=2, attempts=2)
    job_id = await run.submit()
    following = asyncio.create_task(run.to_the_end(job_id))
    for attempt in (1, 2):
        for node in range(2):
            stream = {"container": {"logStreamName": f"node-{node}-{attempt}"}}
            batch.jobs[f"{job_id}#{node}"] = {"jobId": f"{job_id}#{node}", "status": "RUNNING", **stream}
        batch.log(f"node-0-{attempt}", f"attempt {attempt}")
        batch.move(job_id, "RUNNING")
        await asyncio.sleep(0.7)
        if attempt == 1:
            batch.fail(f"{job_id}#0", "Host EC2 (instance i-1) terminated.")
            batch.fail(f"{job_id}#1", "Host EC2 (instance i-1) terminated.")
            batch.move(job_id, "RUNNABLE", attempts=[{}])
            await asyncio.sleep(0.5)
    batch.move(f"{job_id}#0", "SUCCEEDED")
    batch.move(job_id, "SUCCEEDED")
    assert (await asyncio.wait_for(following, 10)).state == "completed"
    assert run.tail == ["attempt 1", "attempt 2"]
    assert "log-events/node-1-2" in caplog.text


async def test_a_definition_that_was_cleaned_up_is_registered_again(batch: FakeBatch, start: Start) -> None:
    run = start()
    await run.submit()
    batch.move("job-0", "SUCCEEDED")
    batch.deregister_job_definition(jobDefinition=batch.definitions[0]["jobDefinitionArn"])
    batch.before["submit_job"] = [refused("JobDefinition is inactive")]
    await run.submit(1)
    assert [definition["revision"] for definition in batch.definitions] == [1, 2]
    assert batch.jobs["job-1"]["request"]["jobDefinition"].endswith(":2")


async def test_what_batch_refuses_for_another_reason_is_told(batch: FakeBatch, start: Start) -> None:
    batch.before["submit_job"] = [refused("JobQueue gpu not found")]
    with pytest.raises(ConfigurationError, match="not found"):
        await start().submit()
    assert len(batch.definitions) == 1


async def test_a_log_that_may_not_be_read_is_told_once_and_ends_nothing(
    batch: FakeBatch, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    batch.before["get_log_events"] = [refused("not authorized", "GetLogEvents") for _ in range(99)]
    log = {"logStreamName": "s"}
    with playing(batch, lambda job: batch.move(job, "SUCCEEDED", container=log), every=0.8):
        run = start()
        job_id = await run.submit()
        batch.move(job_id, "RUNNING", container=log)
        ending = await asyncio.wait_for(run.to_the_end(job_id), 10)
    assert ending.state == "completed"
    assert caplog.text.count("not authorized") == 1


LOST = ending_of(MachineLostError("The container was lost", remedy="Run it again."))
WRONG = ending_of(ConfigurationError("No such image", remedy="Check its name."))


@pytest.mark.parametrize(
    ("current", "ending", "name"),
    [
        (Running(), LOST, "Crashed"),
        (Pending(), LOST, "Crashed"),
        (Running(), WRONG, "Failed"),
        (Running(), Ending("completed"), "Crashed"),
        (Cancelling(), LOST, "Cancelled"),
        (Cancelling(), Ending("completed"), "Cancelled"),
    ],
)
async def test_the_runs_state_says_how_its_job_ended(current: Any, ending: Ending, name: str) -> None:
    state = end_state(current, ending, [f"line {n}" for n in range(40)])
    assert state.name == name
    if ending.error:
        assert ending.error.sentence in (state.message or "")
    if name in ("Crashed", "Failed"):
        assert (state.message or "").endswith("line 38\nline 39")
        assert "line 20" not in (state.message or "")
