"""The publishable tree: assembled from what the simulator left, mirrored while the job runs, checked and published."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path

from isaaclab_flows.schemas.errors import OutputsMissingError
from isaaclab_flows.schemas.files import PARTIAL_SUFFIX, sha256_of, write_whole
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.tasks.job.checkpoints import flaw_of, is_checkpoint, iteration_of, newest_first
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.storage.regular import copy_below, drop_links

BLOCKED_SUFFIXES = frozenset(
    [
        ".jar",
        ".java",
        ".com",
        ".php",
        ".reg",
        ".pif",
        ".bak",
        ".dll",
        ".exe",
        ".nat",
        ".cmd",
        ".lnk",
        ".docm",
        ".vbs",
        ".bat",
    ]
)
"""Extensions of which VAMS drops a whole result."""


def config_name(job: Job) -> str:
    """Return the name that the job's own configuration is published under."""
    return "training-config.json" if job.kind == "training" else "evaluation-config.json"


def refresh(job: Job, folder: JobFolder, *, settled: bool) -> list[str]:
    """Bring the publishable tree up to date with what the simulator has written.

    A checkpoint is taken when it opens and its size stays the same over the look: libraries may write in place.

    Args:
        job: The job.
        folder: Its folder.
        settled: The simulator has ended: take everything, and name what is torn.

    Returns:
        A sentence for each checkpoint that was left out.
    """
    out, left_out = folder.out, list[str]()
    drop_links(out)  # what the simulator writes to, its user's code may too
    write_whole(out / config_name(job), job.config.model_dump_json(indent=2, exclude_none=True).encode())
    _take_checkpoints(job, folder, left_out if settled else [], settled=settled)
    for attempt in folder.attempts():
        if attempt.log_file.is_file():
            _take_below(attempt.folder, attempt.log_file, out / f"simulator-{attempt.number:03d}.txt")
        for log in sorted(attempt.folder.glob("node-*.txt")):  # of a multi-node job's other machines
            _take_below(attempt.folder, log, out / f"simulator-{attempt.number:03d}-{log.stem}.txt")
    for name in ("params", "tensorboard", "exported"):
        _take_tree(folder.run, name, out)
    return left_out


def _take_checkpoints(job: Job, folder: JobFolder, left_out: list[str], *, settled: bool) -> None:
    source = folder.run / "checkpoints"
    if job.kind != "training" or not source.is_dir() or source.is_symlink():
        return
    names = [p.name for p in source.iterdir() if p.is_file() and not p.is_symlink() and is_checkpoint(p.name)]
    keep_all = job.config.kind != "training" or job.config.output_config.save_checkpoints
    wanted = newest_first(names) if keep_all else newest_first(names)[:1] if settled else []
    for name in wanted:
        target = folder.out / "checkpoints" / name
        origin = source / name
        if target.exists() and target.stat().st_mtime_ns == origin.stat().st_mtime_ns:
            continue
        size = origin.stat().st_size
        flaw = flaw_of(origin) or ("it is still being written" if origin.stat().st_size != size else None)
        if flaw is None:
            take(origin, target)
        else:
            left_out.append(f"The checkpoint {name} was left out: {flaw}.")


def _take_tree(root: Path, name: str, target: Path) -> None:
    if (root / name).is_dir():
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and path.suffix.lower() not in BLOCKED_SUFFIXES:
                _take_below(root, path, target / path.relative_to(root))


def _take_below(root: Path, source: Path, target: Path) -> None:
    """Copy a file of the simulator's by rename, with its time; what is no regular file there is passed over."""
    if is_current(source, target):
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            copy_below(root, source.relative_to(root).as_posix(), target)
        except OSError as error:
            # ELOOP and EINVAL: a link, a pipe or a device was put there.
            if error.errno not in (errno.ELOOP, errno.EINVAL):
                raise


def take(source: Path, target: Path) -> None:
    """Copy a file by rename, with its time; nothing happens when the copy is current."""
    if not is_current(source, target):
        copy_below(source.parent, source.name, target)


def is_current(source: Path, target: Path) -> bool:
    """Say whether a copy has its source's time and size."""
    facts = source.lstat()
    return target.exists() and (target.stat().st_mtime_ns, target.stat().st_size) == (facts.st_mtime_ns, facts.st_size)


def require(job: Job, files: Sequence[OutputFile]) -> None:
    """Check that the artifacts which make a success are there.

    Raises:
        OutputsMissingError: Naming all that is missing.
    """
    sizes = {f.path: f.size for f in files}
    missing = [name for name in ("metrics.csv", "summary.json", config_name(job)) if not sizes.get(name)]
    if job.kind == "training" and not any(p.startswith("checkpoints/") and size for p, size in sizes.items()):
        missing.append("checkpoints/")
    filmed = job.config.kind == "evaluation" and job.config.training_config.record_video
    if filmed and not any(p.startswith("videos/") and p.endswith(".mp4") and size for p, size in sizes.items()):
        missing.append("videos/*.mp4")
    if missing:
        raise OutputsMissingError(
            f"The simulator ended, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            where=job.staging_uri,
            remedy="Its log (simulator-*.txt) says more; run the job again.",
        )


def inventory(tree: Path) -> tuple[OutputFile, ...]:
    """List a local tree's files with sizes and SHA-256."""
    return tuple(
        OutputFile(path=p.relative_to(tree).as_posix(), size=p.stat().st_size, sha256=sha256_of(p))
        for p in sorted(tree.rglob("*"))
        if p.is_file() and not p.is_symlink() and not p.name.endswith(PARTIAL_SUFFIX)
    )


def last_checkpoint(files: Sequence[OutputFile]) -> str | None:
    """Return the path of the highest-numbered checkpoint among outputs."""
    numbered = [f.path for f in files if f.path.startswith("checkpoints/") and iteration_of(f.path) is not None]
    return next(iter(newest_first(numbered)), None)
