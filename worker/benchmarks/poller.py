"""How the worker's poller copes with many jobs, beside prefect-aws's own way of waiting for one.

A small fake of the Batch API answers after a latency and throttles at random. Run it with::

    python worker/benchmarks/poller.py [--jobs 10000] [--interval 15] [--seconds 60]

It prints, for the worker: describe calls for each 100 jobs and interval, the median and 99th percentile of the time
from a job's end to its watcher's knowing (over the poll interval), peak memory of the process, and its CPU time. Then
the same for prefect-aws's client waiter, with as many jobs as one process can give a thread each.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from botocore.waiter import WaiterModel, create_waiter_with_client

from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.poller import Poller

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fake_batch import FakeBatch, throttled


@dataclass
class Load:
    """What is tried."""

    jobs: int
    interval: float
    """Seconds from one look at a job to the next."""
    seconds: float
    """Over which the jobs end."""
    latency: float
    """Of each call [s]."""
    throttle: float
    """Share of the calls that are refused."""


class BusyBatch(FakeBatch):
    """A fake that throttles at random and notes when jobs end."""

    def __init__(self, load: Load) -> None:
        super().__init__(latency=load.latency)
        self._throttle = load.throttle
        self.ended_at: dict[str, float] = {}
        # Job details about as large as Batch's.
        environment = [{"name": f"VARIABLE_{n}", "value": "x" * 40} for n in range(20)]
        tags = {f"prefect.io/tag-{n}": "y" * 40 for n in range(10)}
        for number in range(load.jobs):
            self.add(f"train-{number}", status="RUNNING", tags=tags, container={"environment": environment})

    def _enter(self, call: str) -> None:
        super()._enter(call)
        if random.random() < self._throttle:
            raise throttled(call)

    def end_them_all(self, load: Load) -> None:
        """End the jobs one after another, in no order, over the time given, after two quiet intervals."""
        ids = list(self.jobs)
        random.shuffle(ids)
        start = time.monotonic() + 2 * load.interval
        for number, job_id in enumerate(ids):
            pause = start + load.seconds * number / len(ids) - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self.ended_at[job_id] = time.monotonic()
            self.move(job_id, "SUCCEEDED")


async def worker_way(load: Load) -> None:
    """Watch all jobs with the worker's poller."""
    batch = BusyBatch(load)
    poller = Poller(BatchApi(batch).describe)
    known: dict[str, float] = {}
    job_seconds = 0.0

    async def watch(job_id: str) -> None:
        watched = poller.watch(job_id, interval=load.interval)
        while True:
            job = await watched.changed()
            if job is not None and not job.is_live:
                known[job_id] = time.monotonic()
                poller.forget(job_id)
                return

    async def count() -> None:
        nonlocal job_seconds
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.2)
            now = time.monotonic()
            job_seconds += (load.jobs - len(known)) * (now - last)
            last = now

    cpu, begin = time.process_time(), time.monotonic()
    counting = asyncio.create_task(count())
    threading.Thread(target=batch.end_them_all, args=(load,), daemon=True).start()
    await asyncio.gather(*(watch(job_id) for job_id in batch.jobs))
    counting.cancel()
    taken = time.monotonic() - begin
    print(f"worker: {load.jobs:,} jobs in {taken:.0f} s")
    report(batch, known, load, cpu=time.process_time() - cpu, taken=taken)
    calls = len(batch.described) / (job_seconds / load.interval / 100)
    print(f"  describe calls for each 100 jobs in flight and interval: {calls:.2f}")


def waiter_way(load: Load) -> None:
    """Wait for each job as prefect-aws's client_waiter does: one thread, one waiter, one job."""
    batch = BusyBatch(load)
    known: dict[str, float] = {}
    gave_up: list[Exception] = []

    def describe_jobs(**request: Any) -> dict[str, Any]:
        # boto3's own retries of throttled calls.
        for attempt in range(4):
            try:
                return batch.describe_jobs(**request)
            except ClientError:
                time.sleep(random.random() * 2**attempt)
        return batch.describe_jobs(**request)

    # A real client, for the waiter's machinery; it never reaches the network.
    client: Any = boto3.client("batch", "us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
    client.describe_jobs = describe_jobs
    acceptor = {"argument": "jobs[0].status", "matcher": "path"}
    model = WaiterModel(
        {
            "version": 2,
            "waiters": {
                "JobEnded": {
                    "operation": "DescribeJobs",
                    "delay": load.interval,
                    "maxAttempts": 100_000,
                    "acceptors": [acceptor | {"expected": "SUCCEEDED", "state": "success"}],
                }
            },
        }
    )

    def wait(job_id: str) -> None:
        try:
            create_waiter_with_client("JobEnded", model, client).wait(jobs=[job_id])
            known[job_id] = time.monotonic()
        except Exception as error:
            gave_up.append(error)

    cpu, begin = time.process_time(), time.monotonic()
    threading.Thread(target=batch.end_them_all, args=(load,), daemon=True).start()
    with ThreadPoolExecutor(load.jobs) as threads:
        list(threads.map(wait, list(batch.jobs)))
    taken = time.monotonic() - begin
    print(f"prefect-aws's client waiter: {load.jobs:,} jobs in {taken:.0f} s, a thread each")
    report(batch, known, load, cpu=time.process_time() - cpu, taken=taken)
    print(f"  waiters that gave up: {len(gave_up)} {gave_up[:1]}")


def report(batch: BusyBatch, known: dict[str, float], load: Load, *, cpu: float, taken: float) -> None:
    """Print calls, delays, memory and CPU time."""
    each = statistics.mean(batch.described)
    print(
        f"  describe calls: {batch.calls['describe_jobs']:,} sent, {len(batch.described):,} answered, "
        f"{each:.1f} jobs each, so {100 / each:.2f} for each 100 jobs and poll"
    )
    delays = sorted(known[job_id] - batch.ended_at[job_id] for job_id in known)
    p99 = delays[int(len(delays) * 0.99) - 1]
    print(
        f"  from a job's end to knowing: median {statistics.median(delays):.1f} s, p99 {p99:.1f} s "
        f"= {p99 / load.interval:.2f} poll intervals of {load.interval:.0f} s"
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  peak memory {memory:.0f} MB, the fake's own jobs included; CPU {cpu / taken:.0%} of one core")


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--waiters", type=int, default=500, help="jobs for prefect-aws's way; 0 leaves it out")
    parser.add_argument("--interval", type=float, default=15.0, help="poll interval [s]")
    parser.add_argument("--seconds", type=float, default=60.0, help="over which the jobs end")
    parser.add_argument("--latency", type=float, default=0.1, help="of each call [s]")
    parser.add_argument("--throttle", type=float, default=0.1, help="share of calls that are refused")
    given = parser.parse_args()
    random.seed(0)
    load = Load(given.jobs, given.interval, given.seconds, given.latency, given.throttle)
    asyncio.run(worker_way(load))
    if given.waiters:
        load.jobs = given.waiters
        waiter_way(load)


if __name__ == "__main__":
    main()
