"""The nodes of a multi-node job: whose end counts, and where their logs are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from prefect_aws_batch.causes import CHILD_NODE_REASON, PLAIN
from prefect_aws_batch.definitions import MAIN_NODE
from prefect_aws_batch.diagnosis import diagnose
from prefect_aws_batch.errors import BatchError

if TYPE_CHECKING:
    from prefect_aws_batch.aws import Aws
    from prefect_aws_batch.configuration import BatchJobConfiguration
    from prefect_aws_batch.states import BatchJob

_MAIN_ENDS_WITHIN, _LOOKS_AT_MAIN = 20.0, 4
"""Seconds, and looks, for which another node's death waits to see whether it was the main node's end that caused it."""


class NodeWatch:
    """Watches the nodes of one job's attempts, and ends the job when one dies that the others would wait for.

    Args:
        aws: The account.
        configuration: The job's.
        main_log: Told the main node's log stream.
        other_log: Told the number and log stream of each other node.
    """

    def __init__(
        self,
        aws: Aws,
        configuration: BatchJobConfiguration,
        *,
        main_log: Callable[[str | None], Awaitable[None]],
        other_log: Callable[[int, str], None],
    ) -> None:
        self._aws = aws
        self._configuration = configuration
        self._main_log = main_log
        self._other_log = other_log
        self._tasks: list[asyncio.Task[None]] = []
        self.verdict: BatchError | None = None
        """Why the job was ended, if it was."""

    async def look(self, job: BatchJob) -> None:
        """Watch the nodes of each attempt: in the next one, they run again under the same ids."""
        if job.status == "RUNNING" and all(task.done() for task in self._tasks):
            count = self._configuration.num_nodes if self._configuration.num_nodes > 1 else 0
            self._tasks = [asyncio.create_task(self._watch(job.job_id, node)) for node in range(count)]
        elif job.status != "RUNNING" and self._tasks:
            await self.close()

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _watch(self, job_id: str, node: int) -> None:
        node_id = f"{job_id}#{node}"
        watch = self._aws.poller.watch(node_id, interval=self._configuration.poll_interval)
        told: str | None = None
        try:
            while True:
                job = await watch.changed()
                assert job is not None
                if node == MAIN_NODE:
                    await self._main_log(job.log_stream)
                elif job.log_stream and job.log_stream != told:
                    told = job.log_stream
                    self._other_log(node, told)
                if job.is_live:
                    continue
                if node != MAIN_NODE and job.status == "FAILED" and await self._died_before_the_main_node(job, job_id):
                    await self._end(job_id, node, job)
                return
        except BatchError:
            return  # an engine that does not describe nodes
        finally:
            self._aws.poller.forget(node_id)

    async def _end(self, job_id: str, node: int, dead: BatchJob) -> None:
        death = diagnose(dead, self._configuration.retry_exit_codes).error
        assert death is not None
        self.verdict = self.verdict or type(death)(
            f"Node {node} died, and the job with it: {death.what}", where=death.where, remedy=death.remedy
        )
        await self._aws.api.terminate(job_id, f"{CHILD_NODE_REASON} ({node}): {death.what}"[:1_000])

    async def _died_before_the_main_node(self, node: BatchJob, job_id: str) -> bool:
        """Whether a node's death is its own: Batch stops all others as soon as the main node has ended."""
        for look in range(_LOOKS_AT_MAIN):
            found = await self._aws.api.describe([f"{job_id}#{MAIN_NODE}"])
            if found and not found[0].is_live:
                main, own = found[0].stopped_at, node.stopped_at
                return main is not None and own is not None and own < main
            if look + 1 < _LOOKS_AT_MAIN:
                await asyncio.sleep(min(_MAIN_ENDS_WITHIN / _LOOKS_AT_MAIN, self._configuration.poll_interval))
        return True

    async def end_of_main(self, job: BatchJob) -> BatchJob:
        """Return the job as its main node ended; the job itself tells neither exit code nor reason."""
        try:
            found = await self._aws.api.describe([f"{job.job_id}#{MAIN_NODE}"])
        except ClientError:
            return job
        if not found or found[0].is_live:
            return job
        main = found[0]
        return replace(
            job,
            status_reason=job.status_reason if not PLAIN.match(job.status_reason) else main.status_reason,
            exit_code=main.exit_code,
            container_reason=main.container_reason,
            has_started=main.has_started,
        )
