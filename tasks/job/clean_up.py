"""Frees the jobs folder of old jobs: which folders may go is decided by a pure function, then they go one by one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import filesize

from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.job.lease import is_live

SECONDS_PER_DAY = 86_400.0
UNFINISHED_DAYS = 14.0
"""A job without an outcome may be waiting for a machine or its next attempt; the quota does not touch it so long."""
_TRASH = ".trash"
_CALLS = ".nodes"


@dataclass(frozen=True)
class StoredJob:
    """What one job folder takes."""

    path: Path
    size: int
    """Bytes on disk."""
    touched: float
    """When anything in it last changed (Unix time)."""
    live: bool
    """Somebody works in it now."""
    finished: bool
    """It has an outcome."""


def survey(jobs: Path, *, now: float) -> Iterator[StoredJob]:
    """Yield what lies in the jobs folder; a folder that goes away meanwhile is passed over.

    Args:
        jobs: The jobs folder.
        now: Unix time.
    """
    if not jobs.is_dir():
        return
    for path in sorted(jobs.iterdir()):
        if path.name.startswith(".") or path.is_symlink() or not path.is_dir():
            continue
        folder = JobFolder(path)
        size, touched = _measure(path)
        yield StoredJob(path, size, touched, is_live(folder, now=now), folder.outcome_file.is_file())


def choose(
    jobs: Iterable[StoredJob], *, now: float, older_than_days: float, quota_bytes: int | None
) -> list[StoredJob]:
    """Return the jobs to delete, oldest first: those past the age, then as many as the quota asks for.

    A live job is never among them, and the quota spares jobs that have not ended and were touched lately.

    Args:
        jobs: All that lie there.
        now: Unix time.
        older_than_days: Jobs untouched for longer go.
        quota_bytes: Most that all jobs may take; None has no end.
    """
    everything = sorted(jobs, key=lambda job: job.touched)
    left = sum(job.size for job in everything)
    chosen = []
    for job in everything:
        age = (now - job.touched) / SECONDS_PER_DAY
        over_quota = quota_bytes is not None and left > quota_bytes and (job.finished or age > UNFINISHED_DAYS)
        if not job.live and (age > older_than_days or over_quota):
            chosen.append(job)
            left -= job.size
    return chosen


def delete(job: StoredJob, *, now: float) -> bool:
    """Delete one job folder; return False when somebody came to work in it meanwhile.

    It is set aside by a rename first: an attempt that starts at this moment finds no folder and begins anew, instead
    of reading one that is half gone.
    """
    trash = job.path.parent / _TRASH / job.path.name
    trash.parent.mkdir(exist_ok=True)
    shutil.rmtree(trash, ignore_errors=True)
    try:
        job.path.rename(trash)
    except FileNotFoundError:
        return False
    if is_live(JobFolder(trash), now=now) and not job.path.exists():
        trash.rename(job.path)
        return False
    shutil.rmtree(trash)
    return True


def forget_calls(jobs: Path, *, older_than_days: float, now: float) -> None:
    """Remove what the main nodes of old multi-node jobs left for the other nodes, and what a killed clean-up left."""
    for file in (jobs / _CALLS).glob("*.json"):
        if now - file.stat().st_mtime > older_than_days * SECONDS_PER_DAY:
            file.unlink(missing_ok=True)
    for left_over in (jobs / _TRASH).glob("*"):
        shutil.rmtree(left_over, ignore_errors=True)


def human(size: int) -> str:
    """Return bytes as people read them, in the units that the quota is given in."""
    unit, name = filesize.pick_unit_and_suffix(size, ["bytes", "KiB", "MiB", "GiB", "TiB"], 1024)
    return f"{size / unit:,.1f} {name}" if unit > 1 else f"{size} {name}"


def total(jobs: Sequence[StoredJob]) -> int:
    """Return the bytes that jobs take together."""
    return sum(job.size for job in jobs)


def _measure(root: Path) -> tuple[int, float]:
    size, touched, pending = 0, root.stat().st_mtime, [root]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            size += facts.st_blocks * 512
            touched = max(touched, facts.st_mtime)
            if entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
    return size, touched
