"""One flow run's job, from its submission to its end."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote
from uuid import UUID

from botocore.exceptions import ClientError

from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.causes import CHILD_NODE_REASON, PLACEMENT_REASON, PLAIN
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.definitions import (
    MAIN_NODE,
    attempts_before,
    attempts_of,
    check_submission,
    job_name,
    submission,
)
from prefect_aws_batch.diagnosis import (
    Ending,
    diagnose,
    ending_of,
)
from prefect_aws_batch.errors import BatchError, CannotBePlacedError, ConfigurationError
from prefect_aws_batch.logs import JobLogs
from prefect_aws_batch.placement import Placement
from prefect_aws_batch.poller import Poller, Watch
from prefect_aws_batch.registrar import Registrar
from prefect_aws_batch.states import WAITING, BatchJob
from prefect_aws_batch.submission import submit_once

if TYPE_CHECKING:
    Logger = logging.LoggerAdapter[logging.Logger] | logging.Logger

_LOGS_EVERY = 5.0
_MAIN_ENDS_WITHIN, _LOOKS_AT_MAIN = 20.0, 4
"""Seconds, and looks, for which another node's death waits to see whether it was the main node's end that caused it."""
_LAST_LINES_WITHIN = 20.0
"""Seconds for which a job's end waits for its log's end."""
_RESUBMISSION = re.compile(r"-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-(?P<run>\d+)(?:-(?P<again>\d+))?$")


@dataclass(frozen=True)
class Aws:
    """One account and region, as the worker uses it."""

    api: BatchApi
    poller: Poller
    registrar: Registrar
    draining: set[asyncio.Task[None]] = field(default_factory=set)
    """Logs of ended jobs that are being read to their end."""

    @classmethod
    def of(cls, api: BatchApi, logger: Any = None) -> Aws:
        """Put together what shares an API."""
        on_error = (lambda error: logger.warning("Batch could not be asked: %s", error)) if logger else None
        return cls(api, Poller(api.describe, on_error=on_error), Registrar(api))


class Followed(Protocol):
    """What a job's run is told as it goes."""

    def submitted(self, job_id: str) -> Awaitable[None]:
        """Note a job's id."""

    def may_go_on(self) -> Awaitable[bool]:
        """Whether the run still wants a container."""

    def changed(self, job: BatchJob) -> None:
        """Note another status, or reason, of the job."""

    def looked_at(self, job: BatchJob, *, ran_before: bool) -> None:
        """Note that the job was seen, and whether an attempt of the run's ran before."""


class JobRun:
    """Submits a run's job, watches it, brings its log, and submits it again when its machine was lost."""

    def __init__(
        self,
        aws: Aws,
        configuration: BatchJobConfiguration,
        *,
        flow_run_id: UUID,
        flow_name: str,
        run_count: int,
        logs: JobLogs,
        logger: Logger,
        followed: Followed,
    ) -> None:
        self._aws = aws
        self._configuration = configuration
        self._flow_run_id = flow_run_id
        self._flow_name = flow_name
        self._run_count = run_count
        self._logs = logs
        self._logger = logger
        self._followed = followed
        self._verdict: BatchError | None = None
        self._said = ""
        self.job: BatchJob | None = None

    @property
    def tail(self) -> list[str]:
        """The container's last lines."""
        return self._logs.tail

    async def submit(self, resubmission: int = 0, *, used: int = 0) -> str:
        """Submit the job, or adopt the live one of its name, and return its id.

        Raises:
            ConfigurationError: The configuration or Batch says no.
            MachineLostError: Batch takes no job.
        """
        self._configuration.check()
        name = job_name(self._flow_name, self._flow_run_id, self._run_count, resubmission)
        definition = await self._aws.registrar.definition_for(self._configuration)
        try:
            job_id, adopted = await self._submit_as(name, definition, used)
        except ConfigurationError:
            # Somebody may have cleaned the definition up since it was looked up.
            other = await self._aws.registrar.definition_after_refusal(self._configuration, definition)
            if other is None:
                raise
            job_id, adopted = await self._submit_as(name, other, used)
        verb = "adopted: it was submitted before" if adopted else "submitted"
        self._logger.info("Batch job %s (%s) %s; %s", job_id, name, verb, self._console_link(job_id))
        await self._followed.submitted(job_id)
        return job_id

    async def _submit_as(self, name: str, definition: str, used: int) -> tuple[str, bool]:
        request = submission(
            self._configuration,
            name=name,
            definition=definition,
            flow_run_id=self._flow_run_id,
            attempts_before=used,
        )
        check_submission(request)
        return await submit_once(self._aws.api, request)

    async def to_the_end(self, job_id: str) -> Ending:
        """Follow a job, and those that replace it after a lost machine, and say how the last one ended."""
        while True:
            ending = await self._follow(job_id)
            if not ending.try_again:
                return ending
            again = resubmission_of(self.job.name if self.job else "")
            used = attempts_of(self.job) if self.job else 1
            if used >= self._configuration.attempts or not await self._followed.may_go_on():
                return ending
            assert ending.error is not None
            self._logger.warning(
                "%s Attempt %d of %d follows.", ending.error.sentence, used + 1, self._configuration.attempts
            )
            try:
                job_id = await self.submit(again + 1, used=used)
            except BatchError as error:
                return ending_of(error)

    async def _follow(self, job_id: str) -> Ending:
        self._verdict = None
        watch = self._aws.poller.watch(job_id, interval=self._configuration.poll_interval)
        pump = asyncio.create_task(self._pump_logs())
        nodes: list[asyncio.Task[None]] = []
        try:
            job = await self._watch(watch, nodes)
        except BatchError as error:
            return ending_of(error)
        finally:
            for task in (pump, *nodes):
                task.cancel()
            await asyncio.gather(pump, *nodes, return_exceptions=True)
            self._aws.poller.forget(job_id)
        await self._finish_logs(job)
        self.job = job
        return ending_of(self._verdict) if self._verdict else diagnose(job, self._configuration.retry_exit_codes)

    async def _watch(self, watch: Watch, nodes: list[asyncio.Task[None]]) -> BatchJob:
        placement = Placement(self._configuration.placement_timeout_seconds)
        ran_before = False
        last = ("", "")
        while True:
            job = await watch.changed(timeout=self._configuration.poll_interval) or watch.latest
            if job is None:
                continue
            if (job.status, job.status_reason) != last:
                last = (job.status, job.status_reason)
                reason = f": {job.status_reason}" if job.status_reason else ""
                self._logger.info("Batch job %s is %s%s", job.job_id, job.status, reason)
                self._followed.changed(job)
            waits_again = job.attempts > 0 and job.status in WAITING
            ran_before = ran_before or waits_again or attempts_before(job) > 0
            self._followed.looked_at(job, ran_before=ran_before)
            await self._follow_log(job.log_stream)
            if not job.is_live:
                return await self._with_exit_code(job)
            await self._watch_nodes(job, nodes)
            error = placement.look(job, time.time())
            if error is not None and self._verdict is None:
                await self._give_up(job, error)

    async def _give_up(self, job: BatchJob, error: CannotBePlacedError) -> None:
        """End a job that finds no machine, unless it has just found one."""
        now = await self._aws.api.describe([job.job_id])
        if now and now[0].status in WAITING:
            try:
                await self._aws.api.terminate(job.job_id, f"{PLACEMENT_REASON}: {error.what}"[:1_000])
            except ClientError as refusal:
                self._logger.warning("Batch job %s cannot be ended: %s", job.job_id, refusal)
                return
            self._verdict = error

    async def _watch_nodes(self, job: BatchJob, nodes: list[asyncio.Task[None]]) -> None:
        """Watch the nodes of each attempt: in the next one, they run again under the same ids."""
        if job.status == "RUNNING" and all(node.done() for node in nodes):
            count = self._configuration.num_nodes if self._configuration.num_nodes > 1 else 0
            nodes[:] = [asyncio.create_task(self._watch_node(job.job_id, node)) for node in range(count)]
        elif job.status != "RUNNING" and nodes:
            for node in nodes:
                node.cancel()
            await asyncio.gather(*nodes, return_exceptions=True)
            nodes.clear()

    async def _watch_node(self, job_id: str, node: int) -> None:
        """Bring the main node's log, and end the job when another node dies: the rest would wait for it."""
        node_id = f"{job_id}#{node}"
        watch = self._aws.poller.watch(node_id, interval=self._configuration.poll_interval)
        told: str | None = None
        try:
            while True:
                job = await watch.changed()
                assert job is not None
                if node == MAIN_NODE:
                    await self._follow_log(job.log_stream)
                elif job.log_stream and job.log_stream != told:
                    told = job.log_stream
                    self._logger.info("The log of node %d: %s", node, self._log_link(told))
                if job.is_live:
                    continue
                if node != MAIN_NODE and job.status == "FAILED" and await self._died_before_the_main_node(job, job_id):
                    death = diagnose(job, self._configuration.retry_exit_codes).error
                    assert death is not None
                    self._verdict = self._verdict or type(death)(
                        f"Node {node} died, and the job with it: {death.what}",
                        where=death.where,
                        remedy=death.remedy,
                    )
                    await self._aws.api.terminate(job_id, f"{CHILD_NODE_REASON} ({node}): {death.what}"[:1_000])
                return
        except BatchError:
            return  # an engine that does not describe nodes
        finally:
            self._aws.poller.forget(node_id)

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

    async def _of_main_node(self, job: BatchJob) -> BatchJob:
        """A multi-node job ends as its main node did; the job itself tells neither exit code nor reason."""
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

    async def _with_exit_code(self, job: BatchJob) -> BatchJob:
        """Find what DescribeJobs leaves out: a main node's end, and with some engines a container's exit code."""
        if job.status == "FAILED" and self._configuration.num_nodes > 1:
            job = await self._of_main_node(job)
        if job.status != "FAILED" or job.exit_code is not None or not job.queue:
            return job
        try:
            summaries = await self._aws.api.find_by_name(job.queue, job.name)
        except ClientError:
            return job
        for summary in summaries:
            if summary.job_id == job.job_id and summary.exit_code is not None:
                return replace(job, exit_code=summary.exit_code)
        return job

    async def _follow_log(self, stream: str | None) -> None:
        try:
            await self._logs.follow(stream)
        except Exception as error:  # logs are a convenience; the job goes on
            self._say_once(f"The log could not be read: {error}")

    def _say_once(self, trouble: str) -> None:
        if trouble != self._said:
            self._said = trouble
            self._logger.warning("%s", trouble)

    async def _pump_logs(self) -> None:
        while self._configuration.stream_logs:
            try:
                await self._logs.read_new()
            except Exception as error:  # as above
                self._say_once(f"The log could not be read: {error}")
            await asyncio.sleep(min(_LOGS_EVERY, self._configuration.poll_interval))

    async def _finish_logs(self, job: BatchJob) -> None:
        if not self._configuration.stream_logs and job.status == "SUCCEEDED":
            return
        draining = asyncio.create_task(self._logs.drain())
        self._aws.draining.add(draining)
        draining.add_done_callback(self._aws.draining.discard)
        try:
            # Longer logs go on arriving after the run's end was reported.
            await asyncio.wait_for(asyncio.shield(draining), _LAST_LINES_WITHIN)
        except TimeoutError:
            self._logger.info("The log is still being read.")
        except Exception as error:  # the job's end matters more than its last lines
            self._say_once(f"The log could not be read: {error}")

    def _log_link(self, stream: str) -> str:
        region, group = self._aws.api.region, quote(self._configuration.log_group, safe="")
        where = f"log-groups/log-group/{group}/log-events/{quote(stream, safe='')}"
        return f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logsV2:{where}"

    def _console_link(self, job_id: str) -> str:
        region = self._aws.api.region
        return f"https://{region}.console.aws.amazon.com/batch/home?region={region}#jobs/detail/{job_id}"


def resubmission_of(name: str) -> int:
    """Return how often a job of this name had been submitted again before."""
    match = _RESUBMISSION.search(name)
    return int(match["again"] or 0) if match else 0


def run_count_of(name: str) -> int:
    """Return the run count that a job's name was made with."""
    match = _RESUBMISSION.search(name)
    return int(match["run"]) - 1 if match else 0
