"""How long a sweep over many live jobs takes, and how many calls it makes, by the number of jobs.

Small fakes of both APIs answer from memory, that of Batch after a latency. Run it with::

    python worker/benchmarks/sweep.py [--jobs 100 1000 10000] [--latency 0.02]

Three cases each: the jobs' runs are all followed by this worker; none is (a worker that was killed and started again);
all runs have ended, so that every job is left over and is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from prefect.client.schemas.objects import FlowRun, State, StateType

from prefect_aws_batch.aws import Aws
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.definitions import POOL_TAG, RUN_ID_TAG
from prefect_aws_batch.presence import Mark
from prefect_aws_batch.reconciler import Sweeper

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fake_batch import FakeBatch

POOL = "pool"


class Prefect:
    """Answers as Prefect's API does, from memory, a page at a time."""

    def __init__(self, runs: list[FlowRun]) -> None:
        self.runs = {run.id: run for run in runs}
        self.calls = 0

    async def read_flow_runs(self, *, flow_run_filter: Any, limit: int, offset: int, **_: Any) -> list[FlowRun]:
        """Return a page of the runs in the wanted states."""
        self.calls += 1
        wanted = flow_run_filter.state.type.any_ if flow_run_filter.state.type else []
        return [run for run in self.runs.values() if run.state and run.state.type in wanted][offset : offset + limit]

    async def read_flow_run(self, run_id: UUID) -> FlowRun:
        """Return one run."""
        self.calls += 1
        return self.runs[run_id]

    async def read_deployments(self, **_: Any) -> list[Any]:
        """Return none."""
        self.calls += 1
        return []

    async def read_workers_for_work_pool(self, *_: Any) -> list[Any]:
        """Return none."""
        self.calls += 1
        return []


class Host:
    """The worker, as the sweep sees it."""

    mark = Mark("w1", "w1 (0)")

    def __init__(self, client: Prefect, aws: Aws, followed: Collection[UUID]) -> None:
        self.client: Any = client
        self.followed = followed
        self.adopted = 0
        self._aws = aws
        self._configuration = BatchJobConfiguration(job_queue="gpu", other_queues=[], image="i")

    async def configure(self, flow_run: FlowRun) -> BatchJobConfiguration:
        """Return the pool's configuration."""
        return self._configuration

    async def pool_configuration(self) -> BatchJobConfiguration:
        """Return the pool's configuration."""
        return self._configuration

    def aws_for(self, configuration: BatchJobConfiguration) -> Aws:
        """Return the fake's connection."""
        return self._aws

    def let_go(self, flow_run_id: UUID) -> None:
        """Never needed here: no other process takes over."""

    def adopt(self, flow_run: FlowRun, job_id: str | None) -> None:
        """Count."""
        self.adopted += 1


async def measure(case: str, jobs: int, latency: float) -> None:
    """Sweep once and print a row."""
    batch = FakeBatch(latency=latency)
    ended = case == "left over"
    state = State(
        type=StateType.CRASHED if ended else StateType.RUNNING, timestamp=datetime.now(UTC) - timedelta(hours=1)
    )
    runs = [FlowRun(id=uuid4(), flow_id=uuid4(), state=state) for _ in range(jobs)]
    for run in runs:
        batch.add(f"steps-{run.id}-1", status="RUNNING", tags={RUN_ID_TAG: str(run.id), POOL_TAG: POOL})
    prefect = Prefect(runs)
    api = BatchApi(batch, batch)
    host = Host(prefect, Aws.of(api), {run.id for run in runs} if case == "followed" else set())
    sweeper = Sweeper(host, POOL, logging.getLogger("quiet"), every=30, cancelled_every=10)
    begin, cpu = time.monotonic(), time.process_time()
    await sweeper.sweep()
    calls = SimpleNamespace(batch=sum(batch.calls.values()) - len(batch.terminated), prefect=prefect.calls)
    print(
        f"| {jobs:,} | {case} | {time.monotonic() - begin:.1f} | {time.process_time() - cpu:.1f} | {calls.batch} | "
        f"{calls.prefect} | {host.adopted} | {len(batch.terminated)} | "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} |"
    )
    api.close()


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--latency", type=float, default=0.02, help="of each call to AWS [s]")
    given = parser.parse_args()
    logging.getLogger("quiet").setLevel(logging.CRITICAL)
    print("| jobs | their runs | s | CPU s | calls to Batch | calls to Prefect | adopted | ended | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for jobs in given.jobs:
        for case in ("followed", "strangers", "left over"):
            await measure(case, jobs, given.latency)


if __name__ == "__main__":
    asyncio.run(main())
