"""Where files lie: folders and ``s3://`` prefixes behind one small interface."""

from __future__ import annotations

from pathlib import Path

from isaaclab_flows.tasks.storage.base import Storage, is_s3, split_s3
from isaaclab_flows.tasks.storage.folder import FolderStorage


def storage_at(uri: str) -> Storage:
    """Return the storage rooted at a folder or an s3:// prefix."""
    if is_s3(uri):
        from isaaclab_flows.tasks.storage.s3 import S3Storage  # boto3 takes long to import

        return S3Storage(*split_s3(uri))
    return FolderStorage(Path(uri).expanduser())
