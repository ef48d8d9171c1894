"""Runs a job's simulator, again from its newest checkpoint where that helps, and keeps count."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from schemas.errors import ConfigError, InfrastructureLostError, SimulatorHungError, SimulatorKilledError
from schemas.job import Job
from schemas.settings import settings
from schemas.simulator import (
    EvaluationOrder,
    IterationEvent,
    SimulatorEvent,
    SimulatorJob,
    SimulatorResult,
    TrainingOrder,
)
from tasks.checkpoints import flaw_of, newest_intact
from tasks.job_folder import Attempt, JobFolder
from tasks.machine import device_of
from tasks.simulator import EventTail, Limits, next_simulator
from tasks.storage import is_s3, split_uri, storage_at

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
        return SimulatorJob.model_validate_json(attempt.order_file.read_bytes()).device.startswith("cuda")
    except (FileNotFoundError, ValidationError):
        return False


def run_attempts(
    job: Job,
    folder: JobFolder,
    *,
    on_event: Callable[[SimulatorEvent], None],
    warn: Callable[[str], None],
) -> SimulatorResult:
    """Run the simulator until it succeeds or nothing more can be hoped for.

    A training that was killed or hung is started again from its newest whole checkpoint, as often as the settings
    allow, and only when the last start got further than the one before: a fault that repeats itself ends the job.

    Args:
        job: The job.
        folder: Its folder, held by the caller.
        on_event: Called with each event.
        warn: Called with sentences for people.
    """
    limit = time.monotonic() + 60 * job.config.compute_config.timeout_minutes
    inputs = fetch_inputs(job, folder)
    restarts = 0
    while True:
        before = _newest_number(folder)
        current = next_simulator(folder)
        order = order_for(job, folder, current.attempt, inputs=inputs, warn=warn)
        try:
            result = current.run(order, on_event=on_event, limits=Limits(seconds=max(1.0, limit - time.monotonic())))
        except RESUMABLE as error:
            restarts += 1
            if job.kind != "training" or restarts > settings().simulator_restarts or _newest_number(folder) == before:
                raise
            warn(
                f"{error.sentence} Starting it again from its newest checkpoint"
                f" ({restarts} of {settings().simulator_restarts})."
            )
        else:
            if result.status == "interrupted":
                raise InfrastructureLostError(
                    "The simulator was asked to end, and saved what it had",
                    where=str(current.attempt.log_file),
                    remedy="Run the job again: it goes on from its last checkpoint.",
                )
            return result


def _newest_number(folder: JobFolder) -> str | None:
    newest, _ = newest_intact(folder.run / "checkpoints")
    return newest.name if newest else None


@dataclass(frozen=True)
class Inputs:
    """Local copies of what a job reads."""

    checkpoints: tuple[Path, ...] = ()
    custom_environment: Path | None = None


def fetch_inputs(job: Job, folder: JobFolder) -> Inputs:
    """Copy the job's checkpoints and archive next to it; what was copied by an earlier attempt is used again.

    Raises:
        InputMissingError: One is gone.
        StorageError: A transfer failed.
    """
    checkpoints = tuple(
        _local_copy(source.uri, folder.input / "checkpoints" / str(position), size=source.size)
        for position, source in enumerate(job.checkpoints)
    )
    archive = job.custom_environment_uri
    return Inputs(checkpoints, _local_copy(archive, folder.input / "environment") if archive else None)


def _local_copy(uri: str, folder: Path, *, size: int | None = None) -> Path:
    parent, name = split_uri(uri)
    if not is_s3(uri):
        return Path(uri).expanduser().absolute()
    target = folder / name
    if not target.exists() or (size is not None and target.stat().st_size != size):
        storage_at(parent).download(name, target)
    return target


def order_for(
    job: Job, folder: JobFolder, attempt: Attempt, *, inputs: Inputs, warn: Callable[[str], None]
) -> SimulatorJob:
    """Decide what the next simulator process is told.

    Raises:
        ConfigError: A checkpoint to resume from is damaged.
    """
    config = job.config
    inner = config.training_config
    training: TrainingOrder | None = None
    evaluation: EvaluationOrder | None = None
    if config.kind == "training":
        newest, skipped = newest_intact(folder.run / "checkpoints")
        for sentence in skipped:
            warn(sentence)
        training = TrainingOrder(
            max_iterations=config.training_config.max_iterations,
            checkpoint_interval=config.output_config.checkpoint_interval,
            resume_checkpoint=str(newest) if newest else _given_checkpoint(inputs),
        )
    else:
        evaluation = EvaluationOrder(
            checkpoints=tuple(str(p) for p in inputs.checkpoints),
            num_episodes=config.training_config.num_episodes,
            steps_per_episode=config.training_config.steps_per_episode,
            video=config.video_config if config.training_config.record_video else None,
        )
    return SimulatorJob(
        job_id=job.job_id,
        task=job.task,
        library=job.library,
        num_envs=inner.num_envs,
        seed=inner.seed,
        device=device_of(job),
        run_folder=str(folder.run),
        progress_file=str(attempt.progress_file),
        result_file=str(attempt.result_file),
        attempt=attempt.number,
        training=training,
        evaluation=evaluation,
        custom_environment=str(inputs.custom_environment) if inputs.custom_environment else None,
        custom_environment_folder=str(folder.environment) if inputs.custom_environment else None,
        hydra_overrides=inner.hydra_overrides,
        asset_root=settings().asset_root,
    )


def _given_checkpoint(inputs: Inputs) -> str | None:
    if not inputs.checkpoints:
        return None
    checkpoint = inputs.checkpoints[0]
    flaw = flaw_of(checkpoint)
    if flaw is not None:
        raise ConfigError(
            f"'trainingConfig.resumeCheckpoint' cannot be used: {flaw}",
            where=str(checkpoint),
            remedy="Name another checkpoint, or upload it again.",
        )
    return str(checkpoint)
