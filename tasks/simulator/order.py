"""What the next simulator of a job is told: its inputs on this machine, and its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.simulator import EvaluationOrder, SimulatorJob, TrainingOrder
from isaaclab_flows.tasks.job.checkpoints import flaw_of, newest_intact
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder
from isaaclab_flows.tasks.simulator.machine import device_of
from isaaclab_flows.tasks.simulator.processes import Layout
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import is_s3, split_uri


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
        _local_copy(source.uri, folder.input / "checkpoints" / str(position), version=source.version_id)
        for position, source in enumerate(job.checkpoints)
    )
    archive = job.custom_environment_uri
    return Inputs(checkpoints, _local_copy(archive, folder.input / "environment") if archive else None)


def _local_copy(uri: str, folder: Path, *, version: str | None = None) -> Path:
    """Return a local copy of a version, or of what lies at a URI now; an earlier attempt's of the same is kept."""
    parent, name = split_uri(uri)
    if not is_s3(uri):
        return Path(uri).expanduser().absolute()
    target, note = folder / name, folder / f".{name}.source"
    storage = storage_at(parent)
    there = storage.stat(name) if version is None else None
    source = f"{uri} {version}" if version else f"{uri} {there.size} {there.modified} {there.content}" if there else ""
    if target.exists() and (not source or _text(note) == source):
        return target  # also when the original is gone: it is what was ordered
    note.unlink(missing_ok=True)
    storage.download(name, target, version)
    write_whole(note, source.encode())
    return target


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


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
            on_divergence=config.training_config.on_divergence,
            acceleration=config.training_config.acceleration,
            frontend=config.training_config.frontend,
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
        agent=inner.agent,
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
        distributed=Layout.of(job).distributed,
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
