"""What a sweep gives to whoever asked for it: its results, copied to where they are taken from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.schemas.sweep import SweepSummary
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import Storage, copy_all
from isaaclab_flows.tasks.sweep.leaderboard import Board

TABLES = ("leaderboard.md", "leaderboard.csv", "results.csv", "results.parquet")


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep: its summary, and the leaderboard of each task."""

    summary: SweepSummary
    boards: tuple[Board, ...]


def result_files(result: SweepResult) -> list[str]:
    """Return the paths of a sweep's results, if they exist: tables, plots, and the best checkpoints with their reasons.

    What earlier sweeps of the name have left beside them (parts, jobs, former best checkpoints) is not among them.
    """
    root = result.summary.results_uri.rstrip("/") + "/"
    best = [kept.kept_as.removeprefix(root) for kept in result.summary.best]
    pictures = [picture_of(board.task) for board in result.boards]
    reasons = [f"{path.rpartition('/')[0]}/why.json" for path in best]
    return [*TABLES, *pictures, *best, *reasons]


def picture_of(task: str) -> str:
    """Return the path of a task's plot over training iterations."""
    return f"iterations-{task}.png"


def publish_results(result: SweepResult, target_uri: str) -> tuple[OutputFile, ...]:
    """Copy a sweep's results to where the user takes them.

    Args:
        result: The sweep.
        target_uri: Folder or s3:// prefix.

    Returns:
        What was copied.

    Raises:
        StorageError: A transfer failed after retries.
    """
    source, target = storage_at(result.summary.results_uri), storage_at(target_uri)
    found = [file for path in result_files(result) if (file := source.stat(path)) is not None]
    with tempfile.TemporaryDirectory() as scratch:
        copy_all([(partial(_copy, source, target, file.path, Path(scratch)), file.path) for file in found])
    return tuple(OutputFile(path=file.path, size=file.size) for file in found)


def _copy(source: Storage, target: Storage, path: str, scratch: Path) -> None:
    local = scratch / path
    source.download(path, local)
    target.upload(local, path)
    local.unlink()
