"""Keeps a job's log flowing while it runs, and reads it to its end; trouble with it never becomes the job's."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_aws_batch.logs import JobLogs

    Logger = logging.LoggerAdapter[logging.Logger] | logging.Logger

_EVERY = 5.0
_LAST_LINES_WITHIN = 20.0
"""Seconds for which a job's end waits for its log's end."""


class LogPump:
    """Reads new lines again and again.

    Args:
        logs: The job's.
        logger: The run's.
        every: Most seconds from one read to the next.
        streams: Whether lines are read while the job runs, or only the last ones of a job that failed.
        draining: Holds logs of ended jobs that are still being read, so that they are read to their end.
    """

    def __init__(
        self, logs: JobLogs, logger: Logger, *, every: float, streams: bool, draining: set[asyncio.Task[None]]
    ) -> None:
        self._logs = logs
        self._logger = logger
        self._every = min(_EVERY, every)
        self._streams = streams
        self._draining = draining
        self._said = ""

    async def follow(self, stream: str | None) -> None:
        """Read this stream from now on."""
        try:
            await self._logs.follow(stream)
        except Exception as error:  # logs are a convenience; the job goes on
            self._say_once(error)

    async def run(self) -> None:
        """Read until cancelled."""
        while self._streams:
            try:
                await self._logs.read_new()
            except Exception as error:  # as above
                self._say_once(error)
            await asyncio.sleep(self._every)

    async def finish(self, *, succeeded: bool) -> None:
        """Read the rest after the job's end; longer logs go on arriving after the run's end was reported."""
        if not self._streams and succeeded:
            return
        draining = asyncio.create_task(self._logs.drain())
        self._draining.add(draining)
        draining.add_done_callback(self._draining.discard)
        try:
            await asyncio.wait_for(asyncio.shield(draining), _LAST_LINES_WITHIN)
        except TimeoutError:
            self._logger.info("The log is still being read.")
        except Exception as error:  # the job's end matters more than its last lines
            self._say_once(error)

    def _say_once(self, error: Exception) -> None:
        trouble = f"The log could not be read: {error}"
        if trouble != self._said:
            self._said = trouble
            self._logger.warning("%s", trouble)
