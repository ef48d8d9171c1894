"""Starting a job's simulator: in its turn, or before the flow that will supervise it has begun.

A program that runs a job on this machine knows what the simulator will be told long before Prefect's server is up.
It starts the simulator at once, and the flow takes over one that already works.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.simulator import CheckpointEvent, EvaluationEvent
from isaaclab_flows.tasks.job.checkpoints import newest_intact
from isaaclab_flows.tasks.job.events import EventTail
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder
from isaaclab_flows.tasks.job.lease import lease
from isaaclab_flows.tasks.simulator.order import Inputs, fetch_inputs, order_for
from isaaclab_flows.tasks.simulator.processes import Layout
from isaaclab_flows.tasks.simulator.supervise import Simulator
from isaaclab_flows.tasks.storage.base import is_s3


@dataclass(frozen=True)
class Start:
    """A simulator that was started.

    Args:
        simulator: It.
        newest_before: Name of the job's newest whole checkpoint at that time.
    """

    simulator: Simulator
    newest_before: str | None

    @classmethod
    def of(cls, job: Job, folder: JobFolder, *, inputs: Inputs, warn: Callable[[str], None]) -> Start:
        """Start a job's next attempt.

        Args:
            job: The job.
            folder: Its folder, held by the caller.
            inputs: Local copies of what it reads.
            warn: Called with sentences for people.

        Raises:
            ConfigError: This machine cannot run it, or a checkpoint to resume from is damaged.
        """
        newest = newest_checkpoint(folder)
        attempt = folder.new_attempt()
        try:
            order = order_for(job, folder, attempt, inputs=inputs, warn=warn)
            return cls(Simulator(attempt, order, layout=Layout.of(job)), newest)
        except BaseException:
            shutil.rmtree(attempt.folder, ignore_errors=True)
            raise


def newest_checkpoint(folder: JobFolder) -> str | None:
    """Return the name of a job's newest whole checkpoint."""
    newest, _ = newest_intact(folder.run / "checkpoints")
    return newest.name if newest else None


@dataclass
class _Early:
    job: Job
    start: Start
    warnings: list[str]
    at: float


_EARLY: ContextVar[_Early | None] = ContextVar("simulator_started_early", default=None)


Abandoned = Callable[[BaseException, float, Sequence[str]], None]
"""Keeps what a simulator saved that nobody took over: given what ended it, its start (Unix time), and warnings."""


@contextlib.contextmanager
def started_early(job: Job, folder: JobFolder, *, abandoned: Abandoned) -> Iterator[None]:
    """Hold a job's folder and start its simulator now; :func:`started_before` takes it over.

    One that nobody took is ended; where it saved nothing, its attempt does not count. What has to be fetched first, or
    thrown away first, is left to the flow.

    Args:
        job: The job.
        folder: Its folder.
        abandoned: Called when something else ended before anybody took a simulator that has saved something.

    Raises:
        LimitReachedError: Somebody else works on this job.
        ConfigError: This machine cannot run it, or a checkpoint to resume from is damaged.
    """
    uris = [source.uri for source in job.checkpoints] + [job.custom_environment_uri or ""]
    if job.again or any(map(is_s3, uris)):
        yield
        return
    with lease(folder):
        at, warnings = time.time(), list[str]()
        start = Start.of(job, folder, inputs=fetch_inputs(job, folder), warn=warnings.append)
        early = _Early(job, start, warnings, at)
        token = _EARLY.set(early)
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            unused = _EARLY.get() is early
            _EARLY.reset(token)
            start.simulator.stop()
            if unused and failure is not None and _saved_something(start.simulator.attempt):
                abandoned(failure, at, warnings)
            elif unused:
                shutil.rmtree(start.simulator.attempt.folder, ignore_errors=True)


def _saved_something(attempt: Attempt) -> bool:
    events = EventTail(attempt.progress_file).new()
    return any(isinstance(event, CheckpointEvent | EvaluationEvent) for event in events)


def started_before(job: Job, *, warn: Callable[[str], None]) -> Start | None:
    """Take over the simulator that was started early for this very job, if there is one."""
    early = _EARLY.get()
    if early is None or _work_of(early.job) != _work_of(job):
        return None
    _EARLY.set(None)
    for sentence in early.warnings:
        warn(sentence)
    return early.start


def begun(job: Job) -> float:
    """Return since when this job has been worked on (Unix time): now, unless its simulator was started early."""
    early = _EARLY.get()
    return time.time() if early is None or _work_of(early.job) != _work_of(job) else early.at


def _work_of(job: Job) -> Job:
    """Return what of a job decides what the simulator does."""
    return job.model_copy(update={"labels": {}, "warnings": (), "price": None, "user": ""})
