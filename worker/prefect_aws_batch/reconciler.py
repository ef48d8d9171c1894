"""Runs the sweep: reads Prefect and Batch, decides, acts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from botocore.exceptions import ClientError
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType, WorkerStatus

from prefect_aws_batch.aws import Aws
from prefect_aws_batch.batch_api import MOST_DESCRIBED
from prefect_aws_batch.causes import CANCEL_REASON
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.phases import RETRY_NAME, is_unfinished, phase_of
from prefect_aws_batch.presence import Mark, forget, gone
from prefect_aws_batch.queues import Queues
from prefect_aws_batch.reconcile import Action, Adopt, End, LetGo, Lost, RunView, decide, jobs_by_run
from prefect_aws_batch.reporting import read_run
from prefect_aws_batch.states import BatchJob

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

_PAGE = 200
_REST = 5
"""Sweeps of thousands of jobs rest for so many times their own length."""
_UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED]
_ACTIONS_AT_ONCE = 12
_ILL_AFTER = 5
"""Sweeps that fail in a row before the worker counts as ill."""


class Host(Protocol):
    """What the sweep needs of its worker."""

    @property
    def mark(self) -> Mark:
        """What the labels of the runs say that the worker follows."""

    @property
    def client(self) -> PrefectClient:
        """The API."""

    @property
    def followed(self) -> Collection[UUID]:
        """Runs that the worker follows."""

    def configure(self, flow_run: FlowRun) -> Awaitable[BatchJobConfiguration]:
        """Fill in a run's configuration."""

    def pool_configuration(self) -> Awaitable[BatchJobConfiguration]:
        """Fill in the pool's defaults."""

    def aws_for(self, configuration: BatchJobConfiguration) -> Aws:
        """Connect as a configuration says."""

    def adopt(self, flow_run: FlowRun, job_id: str | None) -> None:
        """Follow a live job (or, without one, look for how it ended) from now on."""

    def let_go(self, flow_run_id: UUID) -> None:
        """Stop following a run."""


class Sweeper:
    """Sweeps a pool: quickly over cancelled runs, and now and then over everything."""

    def __init__(self, host: Host, pool: str, logger: Any, *, every: float, cancelled_every: float) -> None:
        self._host = host
        self._pool = pool
        self._logger = logger
        self._every = every
        self._cancelled_every = cancelled_every
        self._ended: set[str] = set()
        self._queues = Queues(host, pool, logger)
        self._failures = 0
        self._told: dict[UUID, str] = {}

    @property
    def is_well(self) -> bool:
        """Whether sweeps succeed, as a whole: a run that cannot be swept makes no worker ill."""
        return self._failures < _ILL_AFTER

    async def run(self) -> None:
        """Sweep until cancelled."""
        await asyncio.gather(
            self._again_and_again(self.sweep, self._every),
            self._again_and_again(self.sweep_cancelled, self._cancelled_every),
        )

    async def _again_and_again(self, what: Callable[[], Awaitable[None]], every: float) -> None:
        while True:
            begin = time.monotonic()
            try:
                await what()
                self._failures = 0
            except Exception as error:  # the next sweep may do better
                self._failures += 1
                self._logger.warning("The sweep over %s's jobs failed: %s", self._pool, _words(error))
                self._logger.debug("The sweep's traceback", exc_info=True)
            await asyncio.sleep(max(every, _REST * (time.monotonic() - begin)))

    async def sweep_cancelled(self) -> None:
        """End the jobs of runs that were cancelled, as soon as their grace is over."""
        runs = await self._read_runs(FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])))
        await self._act(runs, [])

    async def sweep(self) -> None:
        """Compare all unfinished runs of the pool with the live jobs of its queues."""
        unfinished = FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))
        retrying = FlowRunFilterState(name=FlowRunFilterStateName(any_=[RETRY_NAME]))
        found = await self._read_runs(unfinished) + await self._read_runs(retrying)
        runs = [run for run in {run.id: run for run in found}.values() if is_unfinished(run)]
        # Those followed here were submitted here, and their queues noted.
        strangers = [run for run in runs if run.id not in self._host.followed]
        configurations = [known for run in strangers if (known := await self._configure(run)) is not None]
        pool = await self._host.pool_configuration()
        queues = await self._queues.to_sweep(self._host.client, pool, configurations)
        jobs: list[BatchJob] = []
        for queue, aws in queues.items():
            try:
                jobs += await self._live_jobs(queue, aws)
            except ClientError as error:  # deleted, say; the other queues have jobs too
                self._logger.warning("The jobs of queue %s cannot be listed: %s", queue, error)
        await self._act(runs, jobs)

    def note(self, configuration: BatchJobConfiguration) -> None:
        """Remember the queue of a job that is submitted now."""
        self._queues.note(configuration)

    async def _configure(self, run: FlowRun) -> BatchJobConfiguration | None:
        """Fill in a run's configuration, or None where that fails: its deployment may be gone."""
        try:
            return await self._host.configure(run)
        except Exception as error:  # one run must not stop the sweep of the others
            self._tell(run.id, f"Run {run.id} cannot be configured: {_words(error)}")
            return None

    def _tell(self, run_id: UUID, trouble: str) -> None:
        """Warn once, not at every sweep."""
        if self._told.get(run_id) != trouble:
            self._told[run_id] = trouble
            self._logger.warning("%s", trouble)

    async def _live_jobs(self, queue: str, aws: Aws) -> list[BatchJob]:
        """Return a queue's live jobs with their tags, which lists leave out; the poller knows some already."""
        ids = [job.job_id for job in await aws.api.list_live(queue)]
        watched = {job_id: job for job_id in ids if (job := aws.poller.latest(job_id)) is not None}
        found = list(watched.values())
        ids = [job_id for job_id in ids if job_id not in watched]
        for start in range(0, len(ids), MOST_DESCRIBED):
            found += await aws.api.describe(ids[start : start + MOST_DESCRIBED])
        return found

    async def _read_runs(self, state: FlowRunFilterState) -> list[FlowRun]:
        runs: list[FlowRun] = []
        while True:
            page = await self._host.client.read_flow_runs(
                flow_run_filter=FlowRunFilter(state=state),
                work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self._pool])),
                limit=_PAGE,
                offset=len(runs),
            )
            runs += page
            if len(page) < _PAGE:
                return runs

    async def _online(self) -> set[str]:
        workers = await self._host.client.read_workers_for_work_pool(self._pool)
        await forget(self._host.client, self._pool, gone(workers))
        return {worker.name for worker in workers if worker.status == WorkerStatus.ONLINE}

    async def _act(self, runs: list[FlowRun], jobs: list[BatchJob]) -> None:
        known = {run.id: run for run in runs}
        views = [await self._view(run) for run in runs]
        for run_id in jobs_by_run(jobs, self._pool):
            if run_id in known:
                continue
            run = await read_run(self._host.client, run_id)
            if run is not None:
                known[run_id] = run
            views.append(await self._view(run) if run is not None else _deleted(run_id))
        actions = decide(
            views,
            jobs,
            pool=self._pool,
            followed=self._host.followed,
            mine=self._host.mark,
            online=await self._online() if views else (),
        )
        slots = asyncio.Semaphore(_ACTIONS_AT_ONCE)

        async def act(action: Action) -> None:
            try:
                async with slots:
                    await self._do(action, known)
            except Exception as error:  # the others' actions do not wait for this one
                self._tell(action.run_id, f"{action} failed: {_words(error)}")

        await asyncio.gather(*(act(action) for action in actions))

    async def _do(self, action: Action, known: Mapping[UUID, FlowRun]) -> None:
        match action:
            case Adopt(run_id, job_id):
                self._host.adopt(known[run_id], job_id)
            case LetGo(run_id):
                # It may have been marked by this process since the sweep read it.
                now = await read_run(self._host.client, run_id)
                if now is not None and Mark.of(now).process != self._host.mark.process:
                    self._logger.info("Run %s is followed by another process by now.", run_id)
                    self._host.let_go(run_id)
            case Lost(run_id):
                self._host.adopt(known[run_id], None)
            case End(run_id, job_id, why):
                await self._end(known.get(run_id), job_id, why)

    async def _end(self, run: FlowRun | None, job_id: str, why: str) -> None:
        if job_id in self._ended:
            return
        if run is not None:
            # The sweep takes a while, in which a run may have been resumed or started again.
            now = await read_run(self._host.client, run.id)
            if now is not None and phase_of(now) != phase_of(run):
                return
        configuration = (await self._configure(run) if run else None) or await self._host.pool_configuration()
        self._logger.info("Ending Batch job %s: %s", job_id, why)
        await self._host.aws_for(configuration).api.terminate(job_id, f"{CANCEL_REASON}: {why}")
        self._ended.add(job_id)

    async def _view(self, run: FlowRun) -> RunView:
        state = run.state
        grace = 0.0
        if state is not None and state.type == StateType.CANCELLING:
            configuration = await self._configure(run) or await self._host.pool_configuration()
            grace = configuration.cancel_grace_seconds
        mark = Mark.of(run)
        return RunView(
            run_id=run.id,
            phase=phase_of(run),
            has_started=run.start_time is not None,
            state_age=(datetime.now(UTC) - state.timestamp).total_seconds() if state else 0.0,
            job_id=run.infrastructure_pid,
            worker=mark.worker,
            process=mark.process,
            cancel_grace=grace,
            was_cancelled=state is not None and state.type == StateType.CANCELLED,
        )


def _deleted(run_id: UUID) -> RunView:
    return RunView(run_id, "final", has_started=False, state_age=float("inf"))


def _words(error: BaseException) -> str:
    """Return an error's type and words: some of Prefect's have none of their own."""
    return f"{type(error).__name__}: {error}" if str(error) not in ("", "None") else type(error).__name__
