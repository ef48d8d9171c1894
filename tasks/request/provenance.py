"""What a checkpoint's surroundings tell of its origin: the training's own configuration lies beside its checkpoints."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from isaaclab_flows.schemas.errors import CheckpointError, InputMissingError
from isaaclab_flows.schemas.job import CheckpointSource
from isaaclab_flows.schemas.task_names import Library, installed_name
from isaaclab_flows.tasks.job.checkpoints import library_of
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import split_uri

TRAINING_CONFIG = "training-config.json"


def refuse_foreign(source: CheckpointSource, task: str, library: Library) -> None:
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
    trained = _training_beside(source.uri)
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


def _training_beside(uri: str) -> dict[str, Any] | None:
    """Return trainingConfig of the training whose output folder the checkpoint lies in, or None."""
    folder, _ = split_uri(uri)
    parent, name = split_uri(folder)
    if name != "checkpoints":
        return None
    with contextlib.suppress(InputMissingError, json.JSONDecodeError, UnicodeDecodeError):
        data = json.loads(storage_at(parent).read(TRAINING_CONFIG))
        inner = data.get("trainingConfig") if isinstance(data, dict) else None
        return inner if isinstance(inner, dict) else None
    return None
