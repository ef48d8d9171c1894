"""Starting a job's simulator: in its turn, or before the flow that will supervise it has begun.

A program that runs a job on this machine knows what the simulator will be told long before Prefect's server is up.
It starts the simulator at once, and the flow takes over one that already works.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.simulator import CheckpointEvent, EvaluationEvent
from isaaclab_flows.tasks.job.checkpoints import newest_intact
from isaaclab_flows.tasks.job.events import EventTail
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder
from isaaclab_flows.tasks.job.lease import Lease, lease
from isaaclab_flows.tasks.simulator.leftovers import end_leftovers
from isaaclab_flows.tasks.simulator.order import Inputs, fetch_inputs, order_for
from isaaclab_flows.tasks.simulator.processes import Layout
from isaaclab_flows.tasks.simulator.supervise import Simulator
from isaaclab_flows.tasks.storage.base import is_s3


@dataclass(frozen=True)
class Start:
    """A simulator that was started.

    Args:
        simulator: The process that was started.
        newest_before: Name of the job's newest whole checkpoint at that time.
    """

    simulator: Simulator
    newest_before: str | None

    @classmethod
    def of(cls, job: Job, held: Lease, *, inputs: Inputs, warn: Callable[[str], None]) -> Start:
        """Start a job's next attempt; what an earlier one left running on this machine is ended first.

        Args:
            job: The job.
            held: Its folder's lease.
            inputs: Local copies of what it reads.
            warn: Called with sentences for people.

        Raises:
            ConfigError: This machine cannot run it, or a checkpoint to resume from is damaged.
            InfrastructureLostError: Somebody else has taken the job over.
        """
        folder = held.folder
        held.require()
        for sentence in end_leftovers(folder):
            warn(sentence)
        newest = newest_checkpoint(folder)
        attempt = folder.new_attempt()
        try:
            order = order_for(job, folder, attempt, inputs=inputs, warn=warn)
            return cls(Simulator(attempt, order, layout=Layout.of(job), require=held.require), newest)
        except BaseException:
            shutil.rmtree(attempt.folder, ignore_errors=True)
            raise


def newest_checkpoint(folder: JobFolder) -> str | None:
    """Return the name of a job's newest whole checkpoint."""
    newest, _ = newest_intact(folder.run / "checkpoints")
    return newest.name if newest else None


Abandoned = Callable[[BaseException, float, Sequence[str]], None]
"""Keeps what a simulator saved that nobody took over: given what ended it, its start (Unix time), and warnings."""


@dataclass
class Early:
    """A held job folder and, where it could be started before its flow, the simulator that works in it.

    Args:
        job: The job as it was known then.
        held: Its folder's lease.
        start: The simulator; None once it was taken over.
        warnings: What is to be told of the start.
        at: When it was started (Unix time).
    """

    job: Job
    held: Lease
    start: Start | None
    warnings: tuple[str, ...]
    at: float

    def take(self, job: Job, *, warn: Callable[[str], None]) -> Start | None:
        """Take over the simulator if it does this very job; the one who took it ends it."""
        start = self.start
        if start is None or _work_of(self.job) != _work_of(job):
            return None
        self.start = None
        for sentence in self.warnings:
            warn(sentence)
        return start


@contextlib.contextmanager
def started_early(job: Job, folder: JobFolder, *, abandoned: Abandoned) -> Iterator[Early | None]:
    """Hold a job's folder and start its simulator now; its flow takes both over.

    One that nobody took is ended; where it saved nothing, its attempt does not count. What has to be fetched first, or
    thrown away first, is left to the flow: then there is nothing to take over.

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
        yield None
        return
    with lease(folder) as held:
        at, warnings = time.time(), list[str]()
        start = Start.of(job, held, inputs=fetch_inputs(job, folder), warn=warnings.append)
        early = Early(job, held, start, tuple(warnings), at)
        failure: BaseException | None = None
        try:
            yield early
        except BaseException as error:
            failure = error
            raise
        finally:
            unused = early.start is start
            start.simulator.stop()
            if unused and failure is not None and _saved_something(start.simulator.attempt):
                abandoned(failure, at, warnings)
            elif unused:
                shutil.rmtree(start.simulator.attempt.folder, ignore_errors=True)


def _saved_something(attempt: Attempt) -> bool:
    events = EventTail(attempt.progress_file).new()
    return any(isinstance(event, CheckpointEvent | EvaluationEvent) for event in events)


def _work_of(job: Job) -> Job:
    """Return what of a job decides what the simulator does."""
    return job.model_copy(update={"labels": {}, "warnings": (), "price": None, "user": ""})
