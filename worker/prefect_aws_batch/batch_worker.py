"""The Prefect worker of type aws-batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import anyio
from prefect.exceptions import InfrastructureNotFound
from prefect.settings import get_current_settings
from prefect.workers.base import BaseWorker, BaseWorkerResult

from prefect_aws_batch.adoption import Notes, last_job
from prefect_aws_batch.aws import Aws
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.causes import CANCEL_REASON
from prefect_aws_batch.configuration import BatchJobConfiguration, BatchVariables
from prefect_aws_batch.diagnosis import Ending, ending_of
from prefect_aws_batch.errors import BatchError, MachineLostError
from prefect_aws_batch.following import Following
from prefect_aws_batch.job_run import JobRun, run_count_of
from prefect_aws_batch.logs import JobLogs, LogLine, deliver_to_prefect, delivered_so_far
from prefect_aws_batch.phases import is_unfinished
from prefect_aws_batch.presence import FOLLOWER_LABEL, Mark, Presence, TakenOverError, take_over
from prefect_aws_batch.reconciler import Sweeper
from prefect_aws_batch.reporting import read_run, report
from prefect_aws_batch.states import BatchJob

if TYPE_CHECKING:
    from anyio.abc import TaskStatus
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun


class BatchWorkerResult(BaseWorkerResult):
    """How a job ended: its id, and 0, its exit code, or 1 where it has none."""


class BatchWorker(BaseWorker[BatchJobConfiguration, BatchVariables, BatchWorkerResult]):
    """Runs flow runs as AWS Batch jobs: On-Demand or Spot, with or without GPUs, fair share, multi-node jobs.

    Create a pool with ``prefect work-pool create gpu --type aws-batch`` and start a worker with
    ``prefect worker start --pool gpu``. The worker needs ``batch:SubmitJob``, ``TerminateJob``, ``DescribeJobs``,
    ``ListJobs``, ``TagResource``, ``DescribeJobDefinitions``, ``RegisterJobDefinition`` (and
    ``DeregisterJobDefinition`` to clean up), ``logs:GetLogEvents`` on the log group, and ``iam:PassRole`` on the
    jobs' roles. It keeps no state of its own: killed and started again, it finds its jobs by their tags.
    """

    type: str = "aws-batch"
    job_configuration = BatchJobConfiguration
    job_configuration_variables = BatchVariables
    _description = "Run flow runs as AWS Batch jobs: On-Demand or Spot, fair share, GPUs, several nodes."
    _display_name = "AWS Batch"
    _logo_url = "https://cdn.sanity.io/images/3ugk85nk/production/d74b16fe84ce626345adf235a47008fea2869a60-225x225.png"
    _documentation_url = "https://docs.aws.amazon.com/batch/latest/userguide/what-is-batch.html"

    connect: ClassVar[Callable[[Any], BatchApi]] = staticmethod(BatchApi.connect)
    """How to reach AWS with a credentials block; tests put a fake here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._aws: dict[int, Aws] = {}
        self._following = Following()
        self._presence = Presence(self._work_pool_name, self.name, heartbeat=self.heartbeat_interval_seconds)
        self._present: asyncio.Task[None] | None = None
        self._serves = False
        self._sweeper: Sweeper | None = None
        self._sweeping: asyncio.Task[None] | None = None

    # What Prefect calls

    async def start(
        self, run_once: bool = False, with_healthcheck: bool = False, printer: Callable[..., None] = print
    ) -> None:
        """Serve the pool until stopped. A program that only submits through a worker never comes here: no sweep."""
        self._serves = True
        await super().start(run_once=run_once, with_healthcheck=with_healthcheck, printer=printer)

    async def setup(self) -> None:
        """Connect and, if this worker serves the pool, begin to sweep: at once, which adopts what others left."""
        await super().setup()
        self._present = asyncio.get_running_loop().create_task(self._presence.keep(), name="batch-presence")
        if not self._serves:
            return
        self._sweeper = Sweeper(
            self,
            self._work_pool_name,
            self._logger,
            every=self.heartbeat_interval_seconds,
            cancelled_every=get_current_settings().worker.query_seconds,
        )
        self._sweeping = asyncio.get_running_loop().create_task(self._sweeper.run(), name="batch-sweeper")

    def is_worker_still_polling(self, query_interval_seconds: float) -> bool:
        """Whether the worker is well, for the health check: it polls, and its sweeps succeed."""
        is_well = self._sweeper is None or self._sweeper.is_well
        return super().is_worker_still_polling(query_interval_seconds) and is_well

    async def teardown(self, *exc_info: Any) -> None:
        """Stop; jobs go on, and the next worker adopts them."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await super().teardown(*exc_info)
        if self._present is not None:
            # Only now: until here its runs were followed.
            self._present.cancel()
            await asyncio.gather(self._present, return_exceptions=True)
        for aws in self._aws.values():
            await aws.close()
        self._aws.clear()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: BatchJobConfiguration,
        task_status: TaskStatus[Any] | None = None,
    ) -> BatchWorkerResult:
        """Submit a run's job and follow it to its end.

        Raises:
            ConfigurationError: The configuration, or Batch, says no.
            MachineLostError: Batch takes no job.
        """
        if self._sweeper is not None:
            self._sweeper.note(configuration)
        with self._following.of(flow_run.id):
            notes = Notes(self.client, flow_run, self.mark, task_status.started if task_status else None)
            job_run = await self._job_run(flow_run, configuration, notes, run_count=flow_run.run_count)
            try:
                job_id = await job_run.submit()
            except BatchError as error:
                # Said here, with its kind; the base class would call each of them a crash, and say no more.
                await report(self.client, flow_run.id, ending_of(error), [])
                raise
            return await self._to_the_end(flow_run, job_run, job_id)
        # Another process follows: what becomes of the run is its business.
        return BatchWorkerResult(identifier=str(flow_run.infrastructure_pid), status_code=0)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: BatchJobConfiguration, grace_seconds: int = 30
    ) -> None:
        """End a job: SIGTERM, then SIGKILL after the machine's stop timeout (Batch knows no other grace).

        Raises:
            InfrastructureNotFound: Batch has no such live job.
        """
        del grace_seconds
        api = self.aws_for(configuration).api
        found = await api.describe([infrastructure_pid])
        if not found or not found[0].is_live:
            raise InfrastructureNotFound(f"Batch has no live job {infrastructure_pid}.")
        await api.terminate(infrastructure_pid, f"{CANCEL_REASON}: its run is cancelled")

    async def _propose_crashed_state(
        self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
    ) -> None:
        """Leave a run alone that has an end, or a retry, of its own: the base class would overwrite it."""
        current = await read_run(client or self.client, flow_run.id)
        if current is not None and is_unfinished(current):
            await super()._propose_crashed_state(flow_run, message, client)

    # What the sweep calls

    @property
    def followed(self) -> Collection[UUID]:
        """Runs that this worker follows or is submitting."""
        return self._following.runs | self._submitting_flow_run_ids

    async def configure(self, flow_run: FlowRun) -> BatchJobConfiguration:
        """Fill in a run's configuration, as it would be submitted now."""
        return await BatchJobConfiguration.resolve_for_flow_run(
            flow_run,
            client=self.client,
            work_pool=self.work_pool.model_copy(deep=True),
            worker_name=self.name,
            worker_id=self.backend_id,
        )

    async def pool_configuration(self) -> BatchJobConfiguration:
        """Fill in the pool's own defaults."""
        return await BatchJobConfiguration.from_template_and_values(
            self.work_pool.base_job_template, {}, client=self.client
        )

    def aws_for(self, configuration: BatchJobConfiguration) -> Aws:
        """Return the connection that a configuration's credentials make; runs with the same ones share it."""
        key = hash(configuration.aws_credentials)
        if key not in self._aws:
            self._aws[key] = Aws.of(type(self).connect(configuration.aws_credentials), self._logger)
        return self._aws[key]

    def adopt(self, flow_run: FlowRun, job_id: str | None) -> None:
        """Follow a job that this worker did not submit; without one, find out how it ended."""
        if flow_run.id in self._following.runs or self._runs_task_group is None:
            return
        self._runs_task_group.start_soon(partial(self._follow_adopted, flow_run, job_id))

    def let_go(self, flow_run_id: UUID) -> None:
        """Stop following a run that another process has taken over."""
        self._following.let_go(flow_run_id)

    @property
    def mark(self) -> Mark:
        """What the labels of the runs say that this process follows."""
        return Mark(self.name, self._presence.name)

    async def _follow_adopted(self, flow_run: FlowRun, job_id: str | None) -> None:
        logger = self.get_flow_run_logger(flow_run)
        if flow_run.id in self._following.runs:
            return
        with self._following.of(flow_run.id):
            try:
                if self._limiter:
                    try:
                        self._limiter.acquire_on_behalf_of_nowait(flow_run.id)
                    except (anyio.WouldBlock, RuntimeError):
                        logger.debug("Adopted beyond the worker's limit: the job runs already.")
                if not await take_over(self.client, flow_run, self.mark):
                    return
                await self._give_worker_labels_to_flow_run(flow_run.id)
                configuration = await self.configure(flow_run)
                job = await last_job(self.aws_for(configuration).api, configuration, flow_run, job_id)
                if job is None:
                    error = MachineLostError("Batch has no job of this run", remedy="Run it again.")
                    await report(self.client, flow_run.id, ending_of(error), [])
                    return
                logger.info("Worker '%s' adopts Batch job %s (%s)", self.name, job.job_id, job.status)
                notes = Notes(self.client, flow_run, self.mark)
                await notes.submitted(job.job_id)
                run_count = run_count_of(job.name)
                job_run = await self._job_run(flow_run, configuration, notes, run_count=run_count)
                await self._to_the_end(flow_run, job_run, job.job_id)
            except Exception:  # the next sweep tries again
                logger.exception("The run's job could not be adopted.")
            finally:
                self._release_limit_slot(flow_run.id)

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        """Give a run this process's mark with the base class's labels: two workers of one name are two."""
        await self.client.update_flow_run_labels(flow_run_id, {FOLLOWER_LABEL: self._presence.name})
        await super()._give_worker_labels_to_flow_run(flow_run_id)

    # Inside

    async def _job_run(
        self, flow_run: FlowRun, configuration: BatchJobConfiguration, notes: Notes, *, run_count: int
    ) -> JobRun:
        aws = self.aws_for(configuration)
        logs = JobLogs(
            aws.api.log_events,
            aws.api.last_log_events,
            partial(self._deliver, flow_run.id),
            group=configuration.log_group,
            position=await delivered_so_far(self.client, flow_run.id),
        )
        return JobRun(
            aws,
            configuration,
            flow_run_id=flow_run.id,
            flow_name=configuration.labels.get("prefect.io/flow-name", "flow"),
            run_count=run_count,
            logs=logs,
            logger=self.get_flow_run_logger(flow_run),
            followed=notes,
        )

    async def _deliver(self, flow_run_id: UUID, lines: Sequence[LogLine]) -> None:
        if not self._presence.is_sure:
            # Nobody may have heard of this process for a while (it was frozen, or offline): another may follow by now.
            run = await read_run(self.client, flow_run_id)
            if run is not None and Mark.of(run).process not in (None, self._presence.name):
                self.let_go(flow_run_id)
                raise TakenOverError(run)
        await deliver_to_prefect(self.client, flow_run_id, lines)

    async def _to_the_end(self, flow_run: FlowRun, job_run: JobRun, job_id: str) -> BatchWorkerResult:
        logger = self.get_flow_run_logger(flow_run)
        ending = await job_run.to_the_end(job_id)
        tail = job_run.tail
        state = await report(self.client, flow_run.id, ending, tail)
        if state is not None:
            logger.error("The run is %s: %s", state.name, state.message)
        elif ending.error is not None:
            logger.warning("%s", ending.error.sentence)
        job = job_run.job
        return BatchWorkerResult(identifier=job.job_id if job else job_id, status_code=_status_code(ending, job))


def _status_code(ending: Ending, job: BatchJob | None) -> int:
    if ending.error is None:
        return 0
    return (job.exit_code if job else None) or 1
