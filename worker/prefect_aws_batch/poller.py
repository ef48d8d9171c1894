"""One poller for all jobs of a worker: DescribeJobs in chunks of 100, jittered, adaptive."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from prefect_aws_batch.batch_api import MOST_DESCRIBED
from prefect_aws_batch.errors import MachineLostError
from prefect_aws_batch.states import LIVE_STATUSES, BatchJob

Describe = Callable[[Sequence[str]], Awaitable[list[BatchJob]]]

_FAST = 3.0
"""Seconds between looks at a job that is about to start."""
_FAST_FOR = 120.0
"""Seconds for which a job in the queue counts as about to start; after that it waits for a machine."""
_JITTER = 0.2
_AHEAD = 0.2
"""Share of its interval by which a job may be looked at early, to fill up a chunk."""
_GONE_AFTER = 300.0
"""Seconds of empty answers after which a job is gone: until then it is Batch's eventual consistency."""
_GONE_LOOKS = 5
_CHUNKS_AT_ONCE = 6
_LOOKS_FOR_AN_END = 10
"""Looks, a few seconds apart, for an end that an event told of and that DescribeJobs does not tell yet."""


class Told(Protocol):
    """Who hears of jobs by events."""

    is_well: bool
    slow_poll: float


class Watch:
    """One job under watch: :meth:`changed` returns each time that Batch tells something new."""

    __slots__ = (
        "_event",
        "_missing",
        "_missing_since",
        "_nudged",
        "_seen",
        "_told",
        "due",
        "failure",
        "interval",
        "job_id",
        "latest",
        "looks_for_end",
        "since",
    )

    def __init__(self, job_id: str, interval: float, now: float, told: Told | None = None) -> None:
        self._told = told
        self._nudged = False
        self.looks_for_end = 0
        self.job_id = job_id
        self.interval = interval
        self.since = now
        self.due = now
        self.latest: BatchJob | None = None
        self.failure: Exception | None = None
        self._event = asyncio.Event()
        self._seen: BatchJob | None = None
        self._missing = 0
        self._missing_since = 0.0

    async def changed(self, timeout: float | None = None) -> BatchJob | None:
        """Return the job once it differs from what was returned last, or None after the timeout [s].

        Raises:
            MachineLostError: Batch has not known the job for minutes.
        """
        while True:
            if self.failure is not None:
                raise self.failure
            if self.latest is not None and self.latest != self._seen:
                self._seen = self.latest
                return self.latest
            self._event.clear()
            try:
                await asyncio.wait_for(self._event.wait(), timeout)
            except TimeoutError:
                return None

    @property
    def is_over(self) -> bool:
        """Whether nothing new can come."""
        return self.failure is not None or (self.latest is not None and not self.latest.is_live)

    def tell(self, job: BatchJob | None, now: float) -> None:
        """Note what one look at Batch gave; None when Batch did not know the job."""
        if job is not None:
            self._missing = 0
            if job != self.latest:
                self.latest = job
                self._event.set()
        else:
            self._missing_since = now if self._missing == 0 else self._missing_since
            self._missing += 1
            if self._missing >= _GONE_LOOKS and now - self._missing_since >= _GONE_AFTER:
                self.failure = MachineLostError(
                    f"Batch has known no such job for {now - self._missing_since:.0f} s",
                    where=f"Batch job {self.job_id}",
                    remedy="Run it again.",
                )
                self._event.set()

    def nudge(self, status: str, now: float) -> None:
        """Make a look due now, be there one under way, which may have come too early."""
        self._nudged = True
        self.due = now
        if status not in LIVE_STATUSES:
            self.looks_for_end = _LOOKS_FOR_AN_END

    def looked(self, now: float, jitter: float) -> None:
        """Note that a look is over, and when the next is due."""
        self.due = now if self._nudged else now + self.next_interval(now) * jitter
        self._nudged = False

    def begin_look(self) -> None:
        """Note that a look begins: what was told until now is what it answers."""
        self._nudged = False

    def next_interval(self, now: float) -> float:
        """Return the seconds until the next look: few while the job starts, more while it runs or waits long.

        While events are read, they are many: an end that an event told of is looked for at once.
        """
        if self.looks_for_end > 0:
            self.looks_for_end -= 1
            return min(_FAST, self.interval)
        if self._told is not None and self._told.is_well:
            return max(self._told.slow_poll, self.interval)
        status = self.latest.status if self.latest else "SUBMITTED"
        starting = status == "STARTING" or (status != "RUNNING" and now - self.since < _FAST_FOR)
        return min(_FAST, self.interval) if starting else self.interval


class Poller:
    """Looks at all watched jobs, with no more calls than one for each 100 jobs and interval.

    It runs while there is something to watch. Throttling is the describe function's business
    (:meth:`BatchApi.call` waits it out): meanwhile the jobs of that chunk are not asked for again.
    """

    def __init__(
        self,
        describe: Describe,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self._describe = describe
        self._clock = clock
        self._on_error = on_error
        self._watches: dict[str, Watch] = {}
        self._asked: set[str] = set()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._chunks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_CHUNKS_AT_ONCE)

    def watch(self, job_id: str, *, interval: float, told: Told | None = None) -> Watch:
        """Begin to watch a job, or return the watch that exists; the first look comes at once.

        Args:
            job_id: Batch's id.
            interval: Seconds between looks while it runs.
            told: Who hears of it by events; looks are few then.
        """
        watch = self._watches.get(job_id)
        if watch is None:
            watch = self._watches[job_id] = Watch(job_id, interval, self._clock(), told)
            self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="batch-poller")
        return watch

    def forget(self, job_id: str) -> None:
        """Stop watching a job."""
        self._watches.pop(job_id, None)

    def latest(self, job_id: str) -> BatchJob | None:
        """Return what Batch said last of a job under watch."""
        watch = self._watches.get(job_id)
        return watch.latest if watch else None

    @property
    def watched(self) -> Collection[str]:
        """Ids of the jobs under watch."""
        return self._watches.keys()

    def look_now(self, job_id: str, status: str) -> None:
        """Look at a job that was said to have come into a status."""
        if watch := self._watches.get(job_id):
            watch.nudge(status, self._clock())
            self._news.set()

    async def close(self) -> None:
        """Stop at once."""
        tasks = [task for task in (self._task, *self._chunks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while self._watches:
            now = self._clock()
            waiting = [w for w in self._watches.values() if w.job_id not in self._asked and not w.is_over]
            for chunk in chunks(waiting, now):
                ids = [watch.job_id for watch in chunk]
                self._asked.update(ids)
                for watch in chunk:
                    watch.begin_look()
                task = asyncio.get_running_loop().create_task(self._look(ids))
                self._chunks.add(task)
                task.add_done_callback(self._chunks.discard)
            rest = [w.due for w in waiting if w.job_id not in self._asked]
            pause = max(min(rest, default=now + 1.0) - now, 0.05)
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), min(pause, 1.0))
            except TimeoutError:
                continue
            # Jobs that are submitted together are looked at together.
            await asyncio.sleep(0.05)

    async def _look(self, ids: list[str]) -> None:
        found: dict[str, BatchJob] | None = None
        try:
            async with self._slots:
                found = {job.job_id: job for job in await self._describe(ids)}
        except Exception as error:  # the next look may do better; the jobs go on meanwhile
            if self._on_error is not None:
                self._on_error(error)
        now = self._clock()
        jitter = random.uniform(1, 1 + _JITTER)
        for job_id in ids:
            self._asked.discard(job_id)
            if (watch := self._watches.get(job_id)) is None:
                continue
            if found is not None:
                watch.tell(found.get(job_id), now)
            # One jitter for the whole chunk keeps it together, so that it costs one call next time too.
            watch.looked(now, jitter)
        self._news.set()


def chunks(watches: Sequence[Watch], now: float) -> list[list[Watch]]:
    """Choose what to ask for now: all that is due, and to fill up the last call, what is due soonest."""
    due = sorted((watch for watch in watches if watch.due <= now), key=lambda watch: watch.due)
    if not due:
        return []
    room = -len(due) % MOST_DESCRIBED
    if room:
        soon = [w for w in watches if now < w.due <= now + w.next_interval(now) * _AHEAD]
        due += sorted(soon, key=lambda watch: watch.due)[:room]
    return [due[start : start + MOST_DESCRIBED] for start in range(0, len(due), MOST_DESCRIBED)]
