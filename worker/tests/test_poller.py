from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from fake_batch import FakeBatch, throttled
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.errors import MachineLostError
from prefect_aws_batch.poller import Poller, Watch, chunks
from prefect_aws_batch.states import BatchJob

pytestmark = pytest.mark.anyio


async def end_of(watch: Watch) -> BatchJob:
    while True:
        job = await watch.changed(timeout=5)
        assert job is not None, "the job's end was not noticed"
        if not job.is_live:
            return job


async def test_every_job_is_told_its_end_with_one_call_for_each_hundred_jobs(batch: FakeBatch, api: BatchApi) -> None:
    begin = time.monotonic()
    ids = [batch.add(f"train-{n}", status="RUNNING") for n in range(250)]
    poller = Poller(api.describe)
    watches = [poller.watch(job_id, interval=0.3) for job_id in ids]
    await asyncio.gather(*(watch.changed(timeout=5) for watch in watches))
    assert sorted(batch.described) == [50, 100, 100]
    for job_id in ids:
        batch.move(job_id, "SUCCEEDED")
    ended = await asyncio.gather(*(end_of(watch) for watch in watches))
    await poller.close()
    assert {job.status for job in ended} == {"SUCCEEDED"}
    looks = 2 + (time.monotonic() - begin) / (0.3 * 0.9)
    assert batch.calls["describe_jobs"] <= 3 * looks, "no job is looked at one by one"


async def test_an_empty_answer_is_not_the_jobs_death(batch: FakeBatch, api: BatchApi) -> None:
    batch.hidden_looks = 3
    watch = Poller(api.describe).watch(batch.add("train", status="RUNNING"), interval=0.05)
    job = await watch.changed(timeout=5)
    assert job is not None
    assert batch.calls["describe_jobs"] == 4


async def test_a_job_that_batch_does_not_know_for_minutes_is_gone(batch: FakeBatch, api: BatchApi) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 40.0
        return now

    watch = Poller(api.describe, clock=clock).watch("job-of-yesterday", interval=0.05)
    with pytest.raises(MachineLostError, match="job-of-yesterday"):
        await watch.changed(timeout=5)


async def test_throttling_is_waited_out_with_jitter(batch: FakeBatch, api: BatchApi, slept: list[float]) -> None:
    batch.before["describe_jobs"] = [throttled() for _ in range(8)]
    watch = Poller(api.describe).watch(batch.add("train", status="RUNNING"), interval=0.1)
    assert await watch.changed(timeout=5)
    assert len(slept) == 8
    assert max(slept[:2]) <= 1.0
    assert max(slept) > 4.0, "the waits grow"


async def test_an_error_of_one_look_ends_no_watch(batch: FakeBatch) -> None:
    answers: list[Exception | None] = [OSError("no route"), None]
    seen: list[Exception] = []

    async def describe(ids: Sequence[str]) -> list[BatchJob]:
        if error := answers.pop(0):
            raise error
        return [BatchJob(job_id, "n", "SUCCEEDED") for job_id in ids]

    poller = Poller(describe, on_error=seen.append)
    assert (await end_of(poller.watch("j", interval=0.05))).status == "SUCCEEDED"
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("status", "age", "interval"),
    [
        ("SUBMITTED", 1, 3),
        ("RUNNABLE", 10, 3),
        ("RUNNABLE", 600, 30),
        ("STARTING", 600, 3),
        ("RUNNING", 1, 30),
    ],
)
async def test_looks_are_many_while_a_job_starts_and_few_while_it_runs(
    status: str, age: float, interval: float
) -> None:
    watch = Watch("j", 30.0, now=0.0)
    watch.tell(BatchJob("j", "n", status), age)
    assert watch.next_interval(age) == interval


async def test_a_call_is_filled_up_with_what_is_due_soonest() -> None:
    watches = [Watch(str(n), 30.0, now=0.0) for n in range(150)]
    for n, watch in enumerate(watches):
        watch.tell(BatchJob(watch.job_id, "n", "RUNNING"), 0)
        watch.due = 0.0 if n < 60 else 5.0 if n < 120 else 25.0
    (chunk,) = chunks(watches, now=1.0)
    assert len(chunk) == 100
    assert all(watch.due <= 5.0 for watch in chunk)
    assert chunks(watches, now=-1.0) == []
