"""Finds what a request leaves to be found: the checkpoint of the newest run, and the one configuration of an asset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from isaaclab_flows.schemas.config import Kind
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.job import CheckpointSource
from isaaclab_flows.schemas.task_names import Library
from isaaclab_flows.tasks.job.checkpoints import SUFFIXES, is_checkpoint, iteration_of, library_of, newest_first
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import StoredFile, join_uri

CONFIG_SUFFIXES: dict[Kind, str] = {"training": "-training-config.json", "evaluation": "-evaluation-config.json"}
_COPIES = frozenset({"best", "input"})
"""Folders in which runs keep copies of other runs' checkpoints."""


def discover(roots: Iterable[str], library: Library | None) -> tuple[CheckpointSource, str] | None:
    """Return the highest-numbered checkpoint of the newest run folder, and a sentence that says so.

    Args:
        roots: Folders or prefixes; the first one with a checkpoint counts.
        library: Whose checkpoints; None takes any.
    """
    for root in dict.fromkeys(roots):
        runs: dict[str, list[StoredFile]] = defaultdict(list)
        there = list(storage_at(root).files())
        for file in there:
            if is_checkpoint(file.path) and file.size and iteration_of(file.path) is not None:
                folder = PurePosixPath(file.path).parent
                fits = library is None or library_of(file.path) in (library, None)
                if fits and not _COPIES & set(folder.parts):
                    runs[str(folder)].append(file)
        if not runs:
            # A file without a number, such as model.pt or best_agent.pt, is meant where it lies alone and at hand.
            single = [f for f in there if f.size and "/" not in f.path and PurePosixPath(f.path).suffix in SUFFIXES]
            single = [f for f in single if library is None or library_of(f.path) in (library, None)]
            if len(single) != 1:
                continue
            only = CheckpointSource(uri=join_uri(root, single[0].path), found_by="discovery", size=single[0].size)
            return only, f"No checkpoint was named: {single[0].path}, the only one there"
        newest = max(
            runs, key=lambda run: (max(f.modified for f in runs[run]), newest_first(f.path for f in runs[run]))
        )
        files = {file.path: file for file in runs[newest]}
        chosen = files[newest_first(files)[0]]
        source = CheckpointSource(uri=join_uri(root, chosen.path), found_by="discovery", size=chosen.size)
        of_runs = f", the newest of {len(runs)} folders with checkpoints" if len(runs) > 1 else ""
        return (
            source,
            f"No checkpoint was named: {chosen.path}, the highest of {len(files)} in its folder{of_runs}",
        )
    return None


def only_config(root: str, kind: Kind | None) -> str | None:
    """Return the one configuration of a kind in an asset, or None where there is none.

    Raises:
        ConfigError: There are several.
    """
    found = sorted(f.path for f in storage_at(root).files() if f.path.endswith(suffixes_of(kind)))
    if len(found) > 1:
        raise ConfigError(
            f"The asset has {len(found)} configurations: {', '.join(found[:10])}",
            where=root,
            remedy="Run the workflow on the one that you mean.",
        )
    return join_uri(root, found[0]) if found else None


def suffixes_of(kind: Kind | None) -> tuple[str, ...]:
    """Return how the names of a kind's configurations end; of both, where the kind is not known."""
    return (CONFIG_SUFFIXES[kind],) if kind else tuple(CONFIG_SUFFIXES.values())
