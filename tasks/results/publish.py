"""Publishing: the checked outputs, copied from staging to where the user takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isaaclab_flows.schemas.errors import OutputsMissingError
from isaaclab_flows.schemas.outcome import OutputFile
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import copy_all
from isaaclab_flows.tasks.storage.folder import FolderStorage


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
