"""The publishable tree: assembled from what the simulator left, mirrored while the job runs, checked and published."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import OutputsMissingError
from schemas.job import Job
from schemas.outcome import OutputFile
from tasks.checkpoints import flaw_of, is_checkpoint, iteration_of, newest_first
from tasks.files import PARTIAL_SUFFIX, renamed_into, write_whole
from tasks.job_folder import JobFolder
from tasks.storage import FolderStorage, Storage, copy_all, sha256_of, storage_at

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
    write_whole(out / config_name(job), job.config.model_dump_json(indent=2, exclude_none=True).encode())
    _take_checkpoints(job, folder, left_out if settled else [], settled=settled)
    for attempt in folder.attempts():
        if attempt.log_file.is_file():
            take(attempt.log_file, out / f"simulator-{attempt.number:03d}.txt")
        for log in sorted(attempt.folder.glob("node-*.txt")):  # of a multi-node job's other machines
            take(log, out / f"simulator-{attempt.number:03d}-{log.stem}.txt")
    for name in ("params", "tensorboard", "exported"):
        _take_tree(folder.run / name, out / name)
    return left_out


def _take_checkpoints(job: Job, folder: JobFolder, left_out: list[str], *, settled: bool) -> None:
    source = folder.run / "checkpoints"
    if job.kind != "training" or not source.is_dir():
        return
    names = [p.name for p in source.iterdir() if p.is_file() and is_checkpoint(p.name)]
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


def _take_tree(source: Path, target: Path) -> None:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and path.suffix.lower() not in BLOCKED_SUFFIXES:
                take(path, target / path.relative_to(source))


def take(source: Path, target: Path) -> None:
    """Copy a file by rename, with its time; nothing happens when the copy is current."""
    info = source.stat()
    if target.exists() and (target.stat().st_mtime_ns, target.stat().st_size) == (info.st_mtime_ns, info.st_size):
        return
    with renamed_into(target) as partial:
        shutil.copy2(source, partial)


class Mirror:
    """Copies the new and changed files of a local tree to a storage; remembers what it has sent."""

    def __init__(self, tree: Path, storage: Storage) -> None:
        self._tree = tree
        self._storage = storage
        self._sent: dict[str, tuple[int, int]] = {}

    def sync(self) -> int:
        """Send what is new or changed; return how many files that was. Raises StorageError after retries."""
        if isinstance(self._storage, FolderStorage) and self._storage.root.resolve() == self._tree.resolve():
            return 0
        work = []
        for path in sorted(self._tree.rglob("*")):
            name = path.relative_to(self._tree).as_posix()
            if not path.is_file() or path.name.endswith(PARTIAL_SUFFIX):
                continue
            stamp = (path.stat().st_mtime_ns, path.stat().st_size)
            if self._sent.get(name) != stamp:
                work.append((path, name, stamp))

        def send(path: Path, name: str, stamp: tuple[int, int]) -> None:
            self._storage.upload(path, name)
            self._sent[name] = stamp

        copy_all([(lambda w=w: send(*w), w[1]) for w in work])  # type: ignore[misc]
        return len(work)


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
        if p.is_file() and not p.name.endswith(PARTIAL_SUFFIX)
    )


def publish(source_uri: str, target_uri: str, files: Sequence[OutputFile], *, scratch: Path) -> None:
    """Copy checked outputs from staging to where the user takes them, and check that they arrived.

    Args:
        source_uri: Staging.
        target_uri: Output folder, job id included.
        files: What to copy; sizes (and hashes, on upload) are compared.
        scratch: Local folder for files on their way between two buckets.

    Raises:
        OutputsMissingError: A file is not in staging, or has another size there.
        StorageError: A transfer failed after retries.
    """
    source, target = storage_at(source_uri), storage_at(target_uri)
    there = {f.path: f.size for f in source.files()}
    wrong = [f.path for f in files if there.get(f.path) != f.size]
    if wrong:
        raise OutputsMissingError(
            f"{len(wrong)} outputs are missing or cut short: {', '.join(wrong[:5])}",
            where=source_uri,
            remedy="Run the job again: finished work is not repeated.",
        )

    def copy(file: OutputFile) -> None:
        if isinstance(source, FolderStorage):
            target.upload(source.root / file.path, file.path)
            return
        local = scratch / file.path
        source.download(file.path, local)
        try:
            target.upload(local, file.path)
        finally:
            local.unlink(missing_ok=True)

    copy_all([(lambda f=f: copy(f), f.path) for f in files])  # type: ignore[misc]


def last_checkpoint(files: Sequence[OutputFile]) -> str | None:
    """Return the path of the highest-numbered checkpoint among outputs."""
    numbered = [f.path for f in files if f.path.startswith("checkpoints/") and iteration_of(f.path) is not None]
    return next(iter(newest_first(numbered)), None)
