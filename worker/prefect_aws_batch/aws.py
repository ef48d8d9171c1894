"""One AWS account and region, as the worker uses it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Self

from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.definitions import POOL_TAG
from prefect_aws_batch.events import EventReader
from prefect_aws_batch.poller import Poller
from prefect_aws_batch.registrar import Registrar


@dataclass(frozen=True)
class Aws:
    """What the runs of one account and region share."""

    api: BatchApi
    poller: Poller
    registrar: Registrar
    draining: set[asyncio.Task[None]] = field(default_factory=set)
    """Logs of ended jobs that are being read to their end."""

    readers: dict[str, tuple[EventReader, asyncio.Task[None]]] = field(default_factory=dict)
    """Of event queues, by URL."""

    @classmethod
    def of(cls, api: BatchApi, logger: Any = None) -> Self:
        """Put together what shares an API."""
        on_error = (lambda error: logger.warning("Batch could not be asked: %s", error)) if logger else None
        return cls(api, Poller(api.describe, on_error=on_error), Registrar(api))

    def listen(self, configuration: BatchJobConfiguration) -> EventReader | None:
        """Read the events of a configuration's queue from now on; None where it names none: jobs are polled."""
        url = configuration.event_queue_url
        if not url:
            return None
        if url not in self.readers:
            pool = configuration.labels.get(POOL_TAG) or ""
            slow_poll = configuration.event_poll_interval
            reader = EventReader(self.api, self.poller, url, pool, slow_poll=slow_poll)
            task = asyncio.get_running_loop().create_task(reader.run(), name="batch-events")
            self.readers[url] = (reader, task)
        return self.readers[url][0]

    async def close(self) -> None:
        """Stop all of it at once."""
        tasks = [task for _, task in self.readers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.poller.close()
        self.api.close()
