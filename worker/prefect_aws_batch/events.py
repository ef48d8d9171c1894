"""Batch's events, which EventBridge puts into an SQS queue: a reason to look at a job now, never news in itself.

An event may be late, doubled, out of order, lost, or written by whoever may write the queue. So it only says which job
to look at; what DescribeJobs then says counts, and a slow poll finds what no event told.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.definitions import POOL_TAG

_WAIT = 5
"""Seconds for which SQS holds a call open; a worker that is stopped waits for it."""
_MOST = 10
"""Messages that one call takes."""
_PASSED_ON_WITHIN = 60.0
"""Seconds for which an event of a job that is not followed here is left to the pool's other workers."""
_HIDDEN = 5
"""Seconds until they see it."""
_AFTER_TROUBLE = 30.0

_LOGGER = logging.getLogger("prefect.worker.aws-batch.events")

Fate = Literal["look", "pass on", "drop"]


@dataclass(frozen=True, slots=True)
class JobEvent:
    """What one event says of one job."""

    job_id: str
    status: str
    pool: str | None = None
    """The work pool by its tags, where the event carries them."""

    @classmethod
    def of(cls, body: str) -> Self | None:
        """Read a message's body; None where it is no event of a job."""
        try:
            event = json.loads(body)
            detail = event["detail"]
            job_id, status = detail["jobId"], detail["status"]
        except (ValueError, TypeError, KeyError):
            return None
        if event.get("source") != "aws.batch" or not isinstance(job_id, str) or not isinstance(status, str):
            return None
        tags = detail.get("tags")
        pool = tags.get(POOL_TAG) if isinstance(tags, dict) else None
        return cls(job_id, status, pool if isinstance(pool, str) else None)


def fate_of(event: JobEvent | None, age: float, *, pool: str, watched: Collection[str]) -> Fate:
    """Decide what to do with a message; pure.

    Args:
        event: What it says.
        age: Seconds since it was sent.
        pool: The work pool that is served here.
        watched: Ids of the jobs that are followed here.
    """
    if event is None:
        return "drop"
    if event.job_id in watched:
        return "look"
    of_another = event.pool in (None, pool) and age < _PASSED_ON_WITHIN
    return "pass on" if of_another else "drop"


class Looks(Protocol):
    """Who looks at jobs."""

    @property
    def watched(self) -> Collection[str]:
        """Ids of the jobs under watch."""

    def look_now(self, job_id: str, status: str) -> None:
        """Look at a job that an event said has come into a status."""


class EventReader:
    """Reads one queue for as long as it runs.

    Args:
        api: AWS.
        looks: Told what to look at.
        url: The queue's URL.
        pool: The work pool.
        slow_poll: Seconds between looks at a job while events are read.
    """

    def __init__(
        self,
        api: BatchApi,
        looks: Looks,
        url: str,
        pool: str,
        *,
        slow_poll: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._looks = looks
        self._url = url
        self._pool = pool
        self._clock = clock
        self._told = ""
        self.slow_poll = slow_poll
        self.is_well = False
        """Whether events arrive, as far as can be told: the queue can be read."""

    async def run(self) -> None:
        """Read until cancelled; while that fails, jobs are polled as if there were no events."""
        while True:
            try:
                await self.read()
                self.is_well, self._told = True, ""
            except Exception as error:  # the queue may come back
                self.is_well = False
                if str(error) != self._told:
                    self._told = str(error)
                    _LOGGER.warning("The event queue %s cannot be read; jobs are polled: %s", self._url, error)
                await asyncio.sleep(_AFTER_TROUBLE)

    async def read(self) -> None:
        """Take the next messages, if any come within seconds."""
        answer = await self._api.call(
            self._api.sqs.receive_message,
            QueueUrl=self._url,
            MaxNumberOfMessages=_MOST,
            WaitTimeSeconds=_WAIT,
            AttributeNames=["SentTimestamp"],
        )
        done: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for number, message in enumerate(answer.get("Messages", [])):
            event = JobEvent.of(message["Body"])
            age = self._clock() - int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1000
            fate = fate_of(event, age, pool=self._pool, watched=self._looks.watched)
            if fate == "look" and event is not None:
                self._looks.look_now(event.job_id, event.status)
            entry = {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            if fate == "pass on":
                others.append({**entry, "VisibilityTimeout": _HIDDEN})
            else:
                done.append(entry)
        if done:
            await self._api.call(self._api.sqs.delete_message_batch, QueueUrl=self._url, Entries=done)
        if others:
            await self._api.call(self._api.sqs.change_message_visibility_batch, QueueUrl=self._url, Entries=others)
