"""Brings a container's lines from CloudWatch into Prefect's logs of its run: each once, none left out."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from botocore.exceptions import ClientError

from prefect_aws_batch.batch_api import error_code

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

LOGGER = "prefect.flow_runs.container"
"""Name under which Prefect keeps the container's lines."""

_TAIL = 30
_MOST_LINES, _MOST_BYTES = 200, 500_000
_MOST_MESSAGE = 30_000
_INFO = 20
_DRAIN_LOOKS = 3
"""Empty looks after a job's end before its log counts as complete: CloudWatch takes lines in with a delay."""
_SEARCHED_PAGES = 25

# What Prefect's engine prints to the console it also sends to the API itself.
_PREFECTS_OWN = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| (Flow|Task) run '")

ReadPage = Callable[[str, str, str | None, int], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the container."""

    timestamp: int
    """Unix time [ms], by CloudWatch."""
    message: str


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far a run's lines were delivered: the time of the last, and the lines of that same millisecond."""

    timestamp: int = 0
    messages: tuple[str, ...] = ()


class JobLogs:
    """The log of one job; a new attempt's stream follows the one before it.

    A page counts as read once it was delivered: the token moves on then only, so that neither a throttled read nor a
    failed delivery leaves a gap or gives a line twice.
    """

    def __init__(
        self,
        read_page: ReadPage,
        read_last_page: ReadPage,
        deliver: Callable[[Sequence[LogLine]], Awaitable[None]],
        *,
        group: str,
        position: LogPosition | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read_page = read_page
        self._read_last_page = read_last_page
        self._deliver = deliver
        self._group = group
        position = position or LogPosition()
        self._start = position.timestamp
        self._delivered_at_start = Counter(position.messages)
        self._sleep = sleep
        self._stream: str | None = None
        self._token: str | None = None
        self._done_of_page = 0
        self._lock = asyncio.Lock()
        self._tail: deque[str] = deque(maxlen=_TAIL)

    @property
    def tail(self) -> list[str]:
        """The last lines, Prefect's own among them."""
        return list(self._tail)

    async def follow(self, stream: str | None) -> None:
        """Read this stream from now on; what the one before it still holds is read first."""
        if stream is None or stream == self._stream:
            return
        if self._stream is not None:
            await self.drain()
        self._stream, self._token, self._done_of_page = stream, None, 0

    async def read_new(self) -> int:
        """Deliver what is new and return the number of lines."""
        return await self._read(self._read_page)

    async def _read(self, read_page: ReadPage) -> int:
        async with self._lock:
            lines = 0
            while self._stream is not None:
                try:
                    page = await read_page(self._group, self._stream, self._token, self._start)
                except ClientError as error:
                    if error_code(error) == "ResourceNotFoundException":
                        return lines  # nothing was logged yet
                    raise
                lines += await self._take(page["events"])
                token, self._token, self._done_of_page = self._token, page["nextForwardToken"], 0
                # CloudWatch gives the same token again at the stream's end.
                if self._token == token or (not page["events"] and token is None):
                    return lines
            return lines

    async def drain(self) -> None:
        """Read until nothing more comes, after a container's end."""
        empty = 0
        while self._stream is not None and empty < _DRAIN_LOOKS:
            empty = 0 if await self._read(self._read_last_page) else empty + 1
            if empty < _DRAIN_LOOKS:
                await self._sleep(1.0)

    async def _take(self, events: Sequence[dict[str, Any]]) -> int:
        lines = [LogLine(event["timestamp"], event["message"]) for event in events]
        taken = self._done_of_page
        for batch in batches(lines[taken:]):
            new = [line for line in batch if not self._was_delivered(line)]
            if wanted := [line for line in new if not _PREFECTS_OWN.match(line.message)]:
                await self._deliver(wanted)
            # Should the next batch fail, the page is read again: this much of it is done.
            self._done_of_page += len(batch)
            self._tail.extend(line.message for line in new)
        return len(lines) - taken

    def _was_delivered(self, line: LogLine) -> bool:
        if line.timestamp != self._start or not self._delivered_at_start[line.message]:
            return False
        self._delivered_at_start[line.message] -= 1
        return True


def batches(lines: Sequence[LogLine]) -> list[list[LogLine]]:
    """Cut lines into batches that Prefect's API takes, too long ones shortened."""
    result: list[list[LogLine]] = []
    size = 0
    for line in lines:
        length = min(len(line.message), _MOST_MESSAGE)
        if not result or len(result[-1]) >= _MOST_LINES or size + length > _MOST_BYTES:
            result.append([])
            size = 0
        size += length
        cut = len(line.message) > _MOST_MESSAGE
        result[-1].append(LogLine(line.timestamp, f"{line.message[:_MOST_MESSAGE]} … (cut)") if cut else line)
    return result


async def deliver_to_prefect(client: PrefectClient, flow_run_id: UUID, lines: Sequence[LogLine]) -> None:
    """Write lines into a run's logs, with the times at which the container wrote them."""
    from prefect.client.schemas.actions import LogCreate
    from prefect.types import DateTime

    await client.create_logs(
        [
            LogCreate(
                name=LOGGER,
                level=_INFO,
                message=line.message,
                timestamp=DateTime.fromtimestamp(line.timestamp / 1000, UTC),
                flow_run_id=flow_run_id,
            )
            for line in lines
        ]
    )


async def delivered_so_far(client: PrefectClient, flow_run_id: UUID) -> LogPosition:
    """Return how far a run's lines were delivered, by a worker that is gone, say."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.client.schemas.sorting import LogSort

    mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    for page in range(_SEARCHED_PAGES):
        logs = await client.read_logs(mine, limit=200, offset=200 * page, sort=LogSort.TIMESTAMP_DESC)
        found = [(_milliseconds(log.timestamp), log.message) for log in logs if log.name == LOGGER]
        if found:
            last = found[0][0]
            return LogPosition(last, tuple(message for time, message in found if time == last))
        if len(logs) < 200:
            break
    return LogPosition()


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
