"""What VAMS takes back, kept by construction: extensions, content types, keys a prefix, sizes of previews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from isaaclab_flows.schemas.outcome import Outcome, OutputFile
from isaaclab_flows.tasks.job.checkpoints import is_checkpoint, iteration_of
from isaaclab_flows.tasks.results.tree import BLOCKED_SUFFIXES

MOST_KEYS = 1_000
"""VAMS lists a prefix once, and sees so many keys."""
MOST_RECORDED = 10_000
"""A VAMS that lists all pages records so many files of an execution."""
RESERVED_KEYS = 20
"""Of them, kept free for previews in ``files/``."""
MOST_PREVIEW_BYTES = 5 * 1024 * 1024
CODE_SUFFIXES = frozenset(
    {
        ".py",
        ".pyc",
        ".pyo",
        ".pyw",
        ".pyi",
        ".ipynb",
        ".sh",
        ".bash",
        ".zsh",
        ".ksh",
        ".csh",
        ".js",
        ".mjs",
        ".cjs",
        ".ps1",
    }
)
"""Their usual content types are blocked as well."""
PREVIEW = "it is given as a preview"
_FIRST = ("", "exported", "videos", "params", "tensorboard")
"""Folders by importance, for a result that is not checkpoints and still too large; the empty one is the top."""


@dataclass(frozen=True)
class Selection:
    """Which outputs VAMS is given.

    Attributes:
        kept: What is published, within VAMS's limits.
        left_out: Path to the reason, for everything else; it stays in the auxiliary bucket.
    """

    kept: tuple[OutputFile, ...]
    left_out: dict[str, str]

    @property
    def warning(self) -> str:
        """One sentence for people, empty where nothing was left out."""
        missed = sorted(path for path, reason in self.left_out.items() if reason != PREVIEW)
        if not missed:
            return ""
        names = ", ".join(missed[:5])
        more = " …" if len(missed) > 5 else ""
        return (
            f"{len(missed)} files are not given to VAMS, which would drop more than them ({names}{more});"
            " they are in the auxiliary bucket."
        )


def select(files: Sequence[OutputFile], *, best: str | None = None, most: int = MOST_KEYS - RESERVED_KEYS) -> Selection:
    """Choose what VAMS is given.

    Blocked extensions and code never are. Where more than `most` files remain, checkpoints are thinned: first, last
    and best stay, the rest evenly over the iterations, but at least a tenth of the room is theirs; of the other files
    those nearest the top stay.

    Args:
        files: Everything that could be published.
        best: Path of the best checkpoint, where known.
        most: How many files to keep at most.
    """
    left_out: dict[str, str] = {}
    allowed: list[OutputFile] = []
    for file in files:
        reason = blocked(file.path)
        if reason:
            left_out[file.path] = reason
        else:
            allowed.append(file)
    checkpoints = [f for f in allowed if f.path.startswith("checkpoints/") and is_checkpoint(f.path)]
    numbered = {f.path for f in checkpoints}
    others = sorted((f for f in allowed if f.path not in numbered), key=lambda f: (_rank(f.path), f.path))
    room = min(len(checkpoints), max(most - len(others), most // 10))
    kept_checkpoints = thin([f.path for f in checkpoints], room, best=best)
    kept_others = {f.path for f in others[: most - len(kept_checkpoints)]}
    for file in checkpoints:
        if file.path not in kept_checkpoints:
            left_out[file.path] = f"thinned: VAMS takes {most:,} files"
    for file in others:
        if file.path not in kept_others:
            left_out[file.path] = f"VAMS takes {most:,} files"
    wanted = kept_checkpoints | kept_others
    return Selection(tuple(f for f in allowed if f.path in wanted), left_out)


def best_checkpoint(outcome: Outcome) -> str | None:
    """Return the checkpoint nearest to a training's best iteration, or None where that is not known."""
    best = outcome.training.best_iteration if outcome.training is not None else None
    numbers = {file.path: iteration_of(file.path) for file in outcome.files if file.path.startswith("checkpoints/")}
    near = [(abs(number - best), path) for path, number in numbers.items() if number is not None and best is not None]
    return min(near)[1] if near else None


def thin(checkpoints: Sequence[str], room: int, *, best: str | None = None) -> set[str]:
    """Return at most `room` checkpoints: last, best and first in that order of importance, then evenly spaced ones."""
    if room >= len(checkpoints):
        return set(checkpoints)
    by_number = sorted(checkpoints, key=lambda p: (iteration_of(p) is not None, iteration_of(p) or 0, p))
    important = [by_number[-1], *([best] if best in by_number else []), by_number[0]] if by_number else []
    kept = dict.fromkeys(path for path in important if path is not None)
    kept = dict.fromkeys(list(kept)[:room])
    rest = [path for path in by_number if path not in kept]
    free = room - len(kept)
    # The middle of each of `free` equal parts of the rest.
    kept |= dict.fromkeys(rest[(2 * n + 1) * len(rest) // (2 * free)] for n in range(free))
    return set(kept)


def blocked(path: str) -> str:
    """Say why VAMS must not get a file, or return the empty string."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in BLOCKED_SUFFIXES:
        return f"VAMS blocks {suffix}"
    if suffix in CODE_SUFFIXES:
        return f"VAMS blocks the content type of {suffix}"
    if ".previewfile." in path.lower():
        return PREVIEW
    return ""


def _rank(path: str) -> int:
    top = PurePosixPath(path).parts[0] if "/" in path else ""
    return _FIRST.index(top) if top in _FIRST else len(_FIRST)
