"""Runs a job's simulator, again from its newest checkpoint where that helps, and keeps count."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from isaaclab_flows.schemas.errors import InfrastructureLostError, SimulatorHungError, SimulatorKilledError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.reading import read_model
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.simulator import IterationEvent, SimulatorEvent, SimulatorJob, SimulatorResult
from isaaclab_flows.tasks.job.events import EventTail
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder
from isaaclab_flows.tasks.job.lease import Lease
from isaaclab_flows.tasks.request.budget import End, end_of
from isaaclab_flows.tasks.simulator.idle import IdleWatch, gpu_utilisation
from isaaclab_flows.tasks.simulator.order import fetch_inputs
from isaaclab_flows.tasks.simulator.start import Early, Start, newest_checkpoint
from isaaclab_flows.tasks.simulator.supervise import AttemptLimits

RESUMABLE = (SimulatorKilledError, SimulatorHungError)


@dataclass(frozen=True)
class History:
    """What a job's attempts did, read off their folders.

    Args:
        attempts: Simulator processes so far.
        recoveries: How often one went on from a checkpoint of an earlier one.
        iterations_lost: Iterations that were done and had to be done again.
        resumed_at: First iterations of the attempts that went on.
        seconds: Time the simulators ran, by their events.
        gpu_seconds: The same on GPUs, times their number.
    """

    attempts: int = 0
    recoveries: int = 0
    iterations_lost: int = 0
    resumed_at: tuple[int, ...] = ()
    seconds: float = 0.0
    gpu_seconds: float = 0.0


def history(folder: JobFolder, *, gpus: int = 1) -> History:
    """Read what the attempts so far did.

    Args:
        folder: The job's folder.
        gpus: How many GPUs an attempt on GPUs had.
    """
    done, lost, seconds, gpu_seconds, resumed = -1, 0, 0.0, 0.0, list[int]()
    attempts = folder.attempts()
    for attempt in attempts:
        events = list(EventTail(attempt.progress_file).new())
        if not events:
            continue
        ran = max(0.0, events[-1].time - events[0].time)
        seconds += ran
        gpu_seconds += gpus * ran if _ran_on_gpu(attempt) else 0.0
        iterations = [e.iteration for e in events if isinstance(e, IterationEvent)]
        if iterations:
            if done >= 0:
                resumed.append(iterations[0])
                lost += max(0, done + 1 - iterations[0])
            done = iterations[-1]
    return History(len(attempts), len(resumed), lost, tuple(resumed), seconds, gpu_seconds)


def _ran_on_gpu(attempt: Attempt) -> bool:
    try:
        return read_model(SimulatorJob, attempt.order_file.read_bytes()).device.startswith("cuda")
    except (FileNotFoundError, ValidationError):
        return False


def run_attempts(
    job: Job,
    held: Lease,
    *,
    early: Early | None,
    on_event: Callable[[SimulatorEvent], None],
    warn: Callable[[str], None],
) -> SimulatorResult:
    """Run the simulator until it succeeds or nothing more can be hoped for.

    A training that was killed or hung is started again from its newest whole checkpoint, as often as the settings
    allow, and only when the last start got further than the one before: a fault that repeats itself ends the job.

    Args:
        job: The job.
        held: Its folder's lease.
        early: A simulator that may already work on it.
        on_event: Called with each event.
        warn: Called with sentences for people.
    """
    folder = held.folder
    end = _end(job, folder)
    limit = time.monotonic() + end.seconds
    start = early.take(job, warn=warn) if early is not None else None
    inputs = fetch_inputs(job, folder)
    restarts = 0
    while True:
        current = start or Start.of(job, held, inputs=inputs, warn=warn)
        start = None
        try:
            limits = AttemptLimits(seconds=max(1.0, limit - time.monotonic()), end=end, idle=_idle_watch(current))
            result = current.simulator.run(on_event=on_event, limits=limits)
        except RESUMABLE as error:
            restarts += 1
            got_further = newest_checkpoint(folder) != current.newest_before
            if job.kind != "training" or restarts > settings().simulator_restarts or not got_further:
                raise
            warn(
                f"{error.sentence} Starting it again from its newest checkpoint"
                f" ({restarts} of {settings().simulator_restarts})."
            )
        else:
            if result.status == "interrupted":
                raise InfrastructureLostError(
                    "The simulator was asked to end, and saved what it had",
                    where=str(current.simulator.attempt.log_file),
                    remedy="Run the job again: it goes on from its last checkpoint.",
                )
            return result


def _end(job: Job, folder: JobFolder) -> End:
    config = job.config
    chosen = config.budget_config if config.budget_config.is_limited else settings().budget
    price = job.price.dollars_per_hour * config.compute_config.num_nodes if job.price else None
    return end_of(
        chosen,
        timeout_minutes=config.compute_config.timeout_minutes,
        dollars_per_hour=price,
        used_seconds=history(folder).seconds,
        now=time.time(),
    )


def _idle_watch(start: Start) -> IdleWatch | None:
    """Return the watch over a simulation on a GPU; one on the CPU keeps no GPU from anybody."""
    attempt = start.simulator.attempt
    if not _ran_on_gpu(attempt):
        return None
    return IdleWatch(settings().idle_gpu_seconds, gpu_utilisation, str(attempt.log_file))
