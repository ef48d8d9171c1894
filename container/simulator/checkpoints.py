"""Checkpoints on the simulator's side: read as untrusted input, and how far they have come."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isaaclab_flows.schemas.errors import CheckpointError, ConfigError
from isaaclab_flows.schemas.simulator import SimulatorJob

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.session import Session

_MOST_NAMED = 4
_MISMATCH = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\(\[([\d, ]*)\]\) from checkpoint,"
    r" the shape in current model is torch\.Size\(\[([\d, ]*)\]\)"
)


def load_untrusted(path: Path, *, device: str) -> dict[str, Any]:
    """Load a checkpoint without running code that it may contain.

    Args:
        path: The file.
        device: Where its tensors go.

    Raises:
        CheckpointError: It does not exist, is torn, or holds more than tensors and plain values.
    """
    import torch

    if is_exported(path):
        raise CheckpointError(
            "The file is an exported policy (TorchScript), which holds the actor alone as a program",
            where=str(path),
            remedy="Name the checkpoint that it was exported from: checkpoints/….",
        )
    try:
        with torch.serialization.safe_globals(_numbers()):
            state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError("The checkpoint does not exist", where=str(path), remedy="Name one that does.") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "The checkpoint is torn, or holds more than weights and plain values and is therefore not opened",
            where=str(path),
            remedy="Choose an intact checkpoint that one of the three libraries wrote.",
            details=str(error),
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint is torn or no checkpoint ({path.stat().st_size:,} bytes)",
            where=str(path),
            remedy="Choose an earlier one; a killed process may leave a torn file.",
            details=str(error),
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(
            f"The file holds a {type(state).__name__}, not a checkpoint",
            where=str(path),
            remedy="Choose a checkpoint that one of the three libraries wrote.",
        )
    return state


def is_exported(path: Path) -> bool:
    """Whether a file is a TorchScript program instead of saved weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _numbers() -> list[Any]:
    """Return what NumPy's numbers are made of: rl_games' own checkpoints hold the best reward as one."""
    import numpy as np

    # Files name the module as it was called when they were written.
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    return [
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
        np.dtype,
        np.dtypes.Float32DType,
        np.dtypes.Float64DType,
        np.dtypes.Int64DType,
    ]


@contextmanager
def fitting(path: Path, *, task: str, library: str) -> Iterator[None]:
    """Turn a library's complaint about a checkpoint that does not fit into one sentence.

    Raises:
        CheckpointError: Another network shape, or parts of another library.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"The checkpoint was not written by {library} ({error} is not in it)",
            where=str(path),
            remedy="Set trainingConfig.rlLibrary to the library that it was trained with.",
        ) from error
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint does not fit '{task}': {_difference(str(error))}",
            where=str(path),
            remedy="Use the task and the agent settings that it was trained with.",
        ) from error


def warn_of_conversion(session: Session, checkpoint: Path, written_by: str) -> None:
    """Say that a checkpoint of an earlier version is read, and what may be different from where it was trained."""
    session.events.warn(
        f"{checkpoint.name} was written by {written_by} and is converted. Isaac Lab 2.x trained with PhysX, and this is"
        f" {session.physics}: the order of joints and their dynamics may differ, and with them what the policy does."
    )


def first_iteration(done: int, job: SimulatorJob, path: Path) -> int:
    """Return the iteration to go on with after a checkpoint.

    Args:
        done: Iterations that the checkpoint has behind it.
        job: The order.
        path: The checkpoint.

    Raises:
        ConfigError: A checkpoint from elsewhere already has all iterations. The job's own may: then only the export
            was missing.
    """
    assert job.training is not None
    total = job.training.max_iterations
    if done >= total and not path.is_relative_to(job.run_folder):
        raise ConfigError(
            f"The checkpoint to resume from already has {done:,} iterations, and maxIterations, the total, is {total}",
            where=str(path),
            remedy=f"Set trainingConfig.maxIterations above {done:,}, or evaluate the checkpoint.",
        )
    return min(done, total)


def _difference(text: str) -> str:
    found = _MISMATCH.search(text)
    if found is None and (named := _named(text)):
        return named
    if found is None:
        line = next((part.strip() for part in text.splitlines() if part.strip()), "unknown difference")
        return line[:200]
    name, had, wanted = found.groups()
    return f"its network has another shape ('{name}' is {_shape(had)} there, and {_shape(wanted)} here)"


def _named(text: str) -> str:
    """Return which weights a network has too many or too few, from torch's complaint."""
    parts = []
    for kind, words in (("Missing", "it has no"), ("Unexpected", "it has, and the task's agent has not,")):
        found = re.search(rf"{kind} key\(s\) in state_dict: ((?:\"[^\"]+\"(?:, )?)+)", text)
        if found:
            names = re.findall(r'"([^"]+)"', found[1])
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            parts.append(f"{words} {', '.join(names[:_MOST_NAMED])}{more}")
    return "; ".join(parts)


def _shape(sizes: str) -> str:
    return sizes.replace(", ", "x") or "a number"
