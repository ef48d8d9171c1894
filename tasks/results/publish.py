"""Publishing: the checked outputs, copied from staging to where the user takes them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from isaaclab_flows.schemas.errors import OutputsMissingError
from isaaclab_flows.schemas.files import PARTIAL_SUFFIX
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import copy_all, is_s3
from isaaclab_flows.tasks.storage.folder import FolderStorage

LATEST = "latest"


def publish(source_uri: str, target_uri: str, files: Sequence[OutputFile], *, scratch: Path) -> None:
    """Copy checked outputs from staging to where the user takes them, and check that they arrived.

    Args:
        source_uri: Staging.
        target_uri: Output folder, job id included.
        files: What to copy; sizes (and hashes, on upload) are compared.
        scratch: Local folder to keep files in on their way between two buckets.

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

    if isinstance(source, FolderStorage):
        copy_all([(lambda f=f: target.upload(source.own(f.path), f.path), f.path) for f in files])  # type: ignore[misc]
        return
    scratch.mkdir(parents=True, exist_ok=True)
    # A folder of its own, whose name nobody could know beforehand.
    with TemporaryDirectory(dir=scratch, prefix="publish-") as own:

        def copy(file: OutputFile) -> None:
            local = Path(own) / file.path
            source.download(file.path, local)
            try:
                target.upload(local, file.path)
            finally:
                local.unlink(missing_ok=True)

        copy_all([(lambda f=f: copy(f), f.path) for f in files])  # type: ignore[misc]


def point_latest(job: Job) -> None:
    """Let ``latest`` beside a job's outputs lead to them, where they lie in a folder; best effort, for people."""
    if is_s3(job.output_uri) or job.outputs_folder == job.job_id:
        return
    link = Path(job.output_uri) / LATEST
    if link.exists() and not link.is_symlink():
        return  # somebody's own file or folder
    partial = link.with_name(f".{LATEST}.{uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    with contextlib.suppress(OSError):
        partial.symlink_to(job.outputs_folder, target_is_directory=True)
        partial.replace(link)
