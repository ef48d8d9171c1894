"""One flow run's job, from its submission to its end."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote
from uuid import UUID

from botocore.exceptions import ClientError

from prefect_aws_batch.aws import Aws
from prefect_aws_batch.causes import PLACEMENT_REASON
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.definitions import (
    attempts_before,
    attempts_of,
    check_submission,
    job_name,
    submission,
)
from prefect_aws_batch.diagnosis import Ending, diagnose, ending_of
from prefect_aws_batch.errors import BatchError, CannotBePlacedError, ConfigurationError
from prefect_aws_batch.log_pump import LogPump
from prefect_aws_batch.logs import JobLogs
from prefect_aws_batch.node_watch import NodeWatch
from prefect_aws_batch.placement import Placement
from prefect_aws_batch.poller import Watch
from prefect_aws_batch.states import WAITING, BatchJob
from prefect_aws_batch.submission import submit_once

if TYPE_CHECKING:
    Logger = logging.LoggerAdapter[logging.Logger] | logging.Logger

_RESUBMISSION = re.compile(r"-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-(?P<run>\d+)(?:-(?P<again>\d+))?$")


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
        self._not_placed: CannotBePlacedError | None = None
        self._pump = LogPump(
            logs,
            logger,
            every=configuration.poll_interval,
            streams=configuration.stream_logs,
            draining=aws.draining,
        )
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
        self._not_placed = None
        watch = self._aws.poller.watch(
            job_id, interval=self._configuration.poll_interval, told=self._aws.listen(self._configuration)
        )
        nodes = NodeWatch(self._aws, self._configuration, main_log=self._pump.follow, other_log=self._tell_node_log)
        pumping = asyncio.create_task(self._pump.run())
        try:
            job = await self._watch(watch, nodes)
        except BatchError as error:
            return ending_of(error)
        finally:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)
            await nodes.close()
            self._aws.poller.forget(job_id)
        await self._pump.finish(succeeded=job.status == "SUCCEEDED")
        self.job = job
        verdict = self._not_placed or nodes.verdict
        return ending_of(verdict) if verdict else diagnose(job, self._configuration.retry_exit_codes)

    async def _watch(self, watch: Watch, nodes: NodeWatch) -> BatchJob:
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
            await self._pump.follow(job.log_stream)
            if not job.is_live:
                return await self._with_exit_code(job, nodes)
            await nodes.look(job)
            error = placement.look(job, time.time())
            if error is not None and self._not_placed is None:
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
            self._not_placed = error

    async def _with_exit_code(self, job: BatchJob, nodes: NodeWatch) -> BatchJob:
        """Find what DescribeJobs leaves out: a main node's end, and with some engines a container's exit code."""
        if job.status == "FAILED" and self._configuration.num_nodes > 1:
            job = await nodes.end_of_main(job)
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

    def _tell_node_log(self, node: int, stream: str) -> None:
        self._logger.info("The log of node %d: %s", node, self._log_link(stream))

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
