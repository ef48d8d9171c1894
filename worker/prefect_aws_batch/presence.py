"""Which processes follow runs: two workers of one name are two, and Prefect's record of a worker is its name's."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Self
from uuid import uuid4

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkerStatus

from prefect_aws_batch.reporting import read_run

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, Worker

WORKER_LABEL = "prefect.worker.name"
"""Under which Prefect notes a run's worker."""
FOLLOWER_LABEL = "prefect-aws-batch.follower"
"""Under which a run names the process that follows its job."""

_TAKE_OVER_WITHIN, _MARK_SETTLES = 1.0, 1.0
"""Seconds."""
_NAME = re.compile(r".+ \([0-9a-f]{8}\)$")

_LOGGER = logging.getLogger("prefect.worker.aws-batch.presence")


class Presence:
    """This process among the workers of its pool: a worker record of its own, which the server calls offline soon.

    Args:
        pool: The work pool's name.
        worker: The worker's name, which other processes may have as well.
        heartbeat: Seconds from one heartbeat of the worker to the next; signs of life are three times as frequent.
    """

    def __init__(self, pool: str, worker: str, *, heartbeat: float) -> None:
        self.name = f"{worker} ({uuid4().hex[:8]})"
        self._pool = pool
        self._beat = heartbeat / 3
        # The server misses a process after three of the intervals that it is told.
        self._told = max(round(heartbeat / 2), 1)
        self._seen_at = -heartbeat

    @property
    def is_sure(self) -> bool:
        """Whether the others must still take this process for alive."""
        return time.monotonic() - self._seen_at < 2 * self._told

    async def keep(self) -> None:
        """Show signs of life until cancelled, and then leave: what this process followed is others' at once."""
        # A client of its own: the worker's is closed before the last of its runs is let go.
        async with get_client() as client:
            try:
                while True:
                    await self._show(client)
                    await asyncio.sleep(self._beat)
            finally:
                await forget(client, self._pool, [self.name])

    async def _show(self, client: PrefectClient) -> None:
        begin = time.monotonic()
        try:
            await client.send_worker_heartbeat(self._pool, self.name, heartbeat_interval_seconds=self._told)
        except Exception as error:  # the next one may arrive
            _LOGGER.debug("No sign of life arrived: %s", error)
        else:
            self._seen_at = begin


async def forget(client: PrefectClient, pool: str, names: Iterable[str]) -> None:
    """Delete the records of processes that are gone."""
    for name in names:
        path = {"work_pool_name": pool, "name": name}
        try:
            await client.request("DELETE", "/work_pools/{work_pool_name}/workers/{name}", path_params=path)
        except httpx.HTTPError as error:  # somebody else did, or will
            _LOGGER.debug("The record of %s could not be deleted: %s", name, error)


def gone(workers: Iterable[Worker]) -> list[str]:
    """Return the names of processes that show no sign of life any more; the workers' own names are left alone."""
    return [worker.name for worker in workers if worker.status != WorkerStatus.ONLINE and _NAME.match(worker.name)]


class TakenOverError(Exception):
    """Another process follows the run by now."""

    def __init__(self, run: FlowRun) -> None:
        super().__init__(f"{Mark.of(run).process} follows run {run.id} by now")


class Mark(NamedTuple):
    """Who follows a run, as its labels say."""

    worker: str | None
    process: str | None

    @classmethod
    def of(cls, run: FlowRun) -> Self:
        """Read a run's labels."""
        labels = run.labels or {}
        worker, process = labels.get(WORKER_LABEL), labels.get(FOLLOWER_LABEL)
        return cls(str(worker) if worker else None, str(process) if process else None)


async def take_over(client: PrefectClient, seen: FlowRun, mine: Mark) -> bool:
    """Put this process's mark on a run whose follower is gone, and return whether it stayed: others may do so too."""
    # Workers that sweep at the same moment do not all look at the same moment.
    await asyncio.sleep(random.uniform(0, _TAKE_OVER_WITHIN))
    begin = time.monotonic()
    now = await read_run(client, seen.id)
    if now is None or Mark.of(now) != Mark.of(seen):
        return False
    await client.update_flow_run_labels(seen.id, {WORKER_LABEL: mine.worker or "", FOLLOWER_LABEL: mine.process or ""})
    # Of those that looked before any had written, the last to write follows: the others see its mark. A slow
    # server is slow for all of them.
    await asyncio.sleep(_MARK_SETTLES + 3 * (time.monotonic() - begin))
    now = await read_run(client, seen.id)
    return now is not None and Mark.of(now) == mine
