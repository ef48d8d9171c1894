"""Checkpoints by what people call them: `latest`, `best`, or a job's name or id, with `:iteration` behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isaaclab_flows.schemas.config import EvaluationJobConfig, JobConfig, TrainingJobConfig
from isaaclab_flows.schemas.errors import InputMissingError
from isaaclab_flows.schemas.job_view import JobView
from isaaclab_flows.tasks.job.checkpoints import SUFFIXES, is_checkpoint, iteration_of, newest_first
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.job.overview import find_job
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import is_s3, join_uri

LATEST, BEST = "latest", "best"


def is_reference(text: str) -> bool:
    """Say whether a checkpoint is named by a job rather than by a path or a URI."""
    return not is_s3(text) and "/" not in text and "\\" not in text and not text.endswith((*SUFFIXES, ".onnx"))


def referenced(config: JobConfig, jobs: Callable[[], list[JobView]]) -> JobConfig:
    """Return a configuration with the files in the places of references.

    Args:
        config: A checked configuration.
        jobs: Returns the jobs of this machine, the newest first; called where there is a reference.

    Raises:
        InputMissingError: There is no such job, or it has no such checkpoint.
    """
    inner = config.training_config

    def file(text: str, key: str) -> str:
        if not is_reference(text):
            return text
        return checkpoint_uri(text, jobs(), task=inner.task, library=inner.rl_library, key=f"trainingConfig.{key}")

    changed: dict[str, object] = {}
    if isinstance(config, TrainingJobConfig) and config.training_config.resume_checkpoint:
        changed = {"resume_checkpoint": file(config.training_config.resume_checkpoint, "resumeCheckpoint")}
    if isinstance(config, EvaluationJobConfig):
        if config.training_config.checkpoint_path:
            changed = {"checkpoint_path": file(config.training_config.checkpoint_path, "checkpointPath")}
        if config.training_config.checkpoint_paths:
            paths = tuple(file(text, "checkpointPaths") for text in config.training_config.checkpoint_paths)
            changed["checkpoint_paths"] = paths
    return config.model_copy(update={"training_config": inner.model_copy(update=changed)}) if changed else config


def checkpoint_uri(reference: str, jobs: Sequence[JobView], *, task: str, library: str, key: str) -> str:
    """Return the file that a reference means.

    Args:
        reference: `latest` and `best` (the newest training, and the one with the highest success and reward at its
            end, of this task and library), or a job's name, id or the beginning of it; `:300` behind it means the
            checkpoint of iteration 300, otherwise the highest is meant.
        jobs: All jobs, the newest first.
        task: The configuration's task, in either naming.
        library: Its library.
        key: Named in errors.

    Raises:
        InputMissingError: There is no such job, or it has no such checkpoint.
    """
    name, colon, number = reference.rpartition(":")
    if not colon or not number.isdecimal():
        name, number = reference, ""
    view = _training(name, jobs, task=task, library=library, key=key)
    found = _checkpoints(view)
    chosen = [uri for uri in found if not number or iteration_of(uri) == int(number)]
    if not chosen:
        numbers = ", ".join(str(iteration_of(uri)) for uri in found[:10])
        raise InputMissingError(
            f"'{key}' is '{reference}', but the job '{view.name}' has no such checkpoint",
            where=view.where,
            remedy=f"It has those of the iterations {numbers}." if found else "It has saved none.",
        )
    return chosen[0]


def _training(name: str, jobs: Sequence[JobView], *, task: str, library: str, key: str) -> JobView:
    from isaaclab_flows.schemas.task_names import installed_name

    trainings = [view for view in jobs if view.kind == "training"]
    if name not in (LATEST, BEST):
        return find_job(name, trainings)
    wanted = installed_name(task) or task
    fitting = [view for view in trainings if view.task in (wanted, task) and view.library == library]
    fitting = [view for view in fitting if _checkpoints(view)]
    if name == BEST:
        fitting = [view for view in fitting if view.reward is not None]
        fitting.sort(key=lambda view: (view.success_rate or 0.0, view.reward or 0.0), reverse=True)
    if not fitting:
        raise InputMissingError(
            f"'{key}' is '{name}', but no training of {wanted} with {library} has saved a checkpoint here",
            where=key,
            remedy="Train it first, or name a file. `isaaclab-flows jobs list` shows what ran.",
        )
    return fitting[0]


def _checkpoints(view: JobView) -> list[str]:
    """Return a job's checkpoints, the highest first: published ones, or those of a job that still runs."""
    for root in (view.where, str(folder_of(view.job_id).out)):
        place = join_uri(root, "checkpoints")
        names = [file.path for file in storage_at(place).files() if is_checkpoint(file.path) and file.size]
        if names:
            return [join_uri(place, name) for name in newest_first(names)]
    return []
