"""What a checkpoint's surroundings tell of its origin: the training's own configuration lies beside its checkpoints."""

from __future__ import annotations

import contextlib
from typing import Any

from isaaclab_flows.schemas.config import parse_object
from isaaclab_flows.schemas.errors import CheckpointError, ConfigError, InputMissingError
from isaaclab_flows.schemas.job import CheckpointSource
from isaaclab_flows.schemas.task_names import Library, installed_name
from isaaclab_flows.tasks.job.checkpoints import library_of
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import split_uri

TRAINING_CONFIG = "training-config.json"


def refuse_foreign(source: CheckpointSource, task: str, library: Library, reach: Reach) -> None:
    """Refuse a checkpoint that is known to be of another task or library; unknown origins pass.

    Raises:
        CheckpointError: Its name or the training's configuration beside it says so.
    """
    named = library_of(source.uri)
    if named is not None and named != library:
        raise CheckpointError(
            f"The checkpoint's name is one of {named}, but 'trainingConfig.rlLibrary' is '{library}'",
            where=source.uri,
            remedy=f"Set rlLibrary to '{named}', or name a checkpoint of {library}.",
        )
    trained = training_beside(source.uri, reach)
    if trained is None:
        return
    if trained.get("rlLibrary", library) != library:
        raise CheckpointError(
            f"The checkpoint was trained with {trained['rlLibrary']}, but 'trainingConfig.rlLibrary' is '{library}'",
            where=source.uri,
            remedy=f"Set rlLibrary to '{trained['rlLibrary']}'.",
        )
    its_task = str(trained.get("task", task))
    if not {its_task, installed_name(its_task)} & {task, installed_name(task)} - {None}:
        raise CheckpointError(
            f"The checkpoint was trained on the task '{its_task}', but 'trainingConfig.task' is '{task}'",
            where=source.uri,
            remedy="Evaluate it on its own task, or name another checkpoint.",
        )


def training_beside(uri: str, reach: Reach) -> dict[str, Any] | None:
    """Return trainingConfig of the training whose output folder the checkpoint lies in, or None."""
    folder, _ = split_uri(uri)
    parent, name = split_uri(folder)
    if name != "checkpoints" or not reach.allows(parent):
        return None
    with contextlib.suppress(InputMissingError, ConfigError):
        inner = parse_object(storage_at(parent).read(TRAINING_CONFIG), source=TRAINING_CONFIG).get("trainingConfig")
        return inner if isinstance(inner, dict) else None
    return None
