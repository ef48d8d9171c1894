"""Folders and ``s3://`` prefixes behind one small interface; content types are ones that VAMS accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from isaaclab_flows.schemas.errors import InputMissingError, StorageError
from isaaclab_flows.schemas.settings import settings

CONTENT_TYPES = {
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".mp4": "video/mp4",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
BINARY = "application/octet-stream"


@dataclass(frozen=True)
class StoredFile:
    """One file below a storage's root.

    Args:
        path: Relative to the root, POSIX.
        size: Bytes.
        modified: Unix time [s].
        content: Tells one content from another where the storage does (S3's ETag).
    """

    path: str
    size: int
    modified: float
    content: str = ""


class Storage(Protocol):
    """A folder or a prefix. Paths are relative to it and POSIX; the empty path is the root itself."""

    @property
    def uri(self) -> str:
        """The root: a path, or an s3:// URI without a trailing slash."""

    def files(self, below: str = "") -> Iterator[StoredFile]:
        """Yield every file below a path, in no particular order, however many pages that takes."""

    def read(self, path: str, version: str | None = None) -> bytes:
        """Return a file's content, of an S3 version where one is given. Raises InputMissingError without it."""

    def tail(self, path: str, most: int, version: str | None = None) -> bytes:
        """Return a file's last bytes, so many or all that it has. Raises InputMissingError without it."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part."""

    def download(self, path: str, target: Path, version: str | None = None) -> None:
        """Copy a file to a local path, whole or not at all. Raises InputMissingError when there is none."""

    def upload(self, source: Path, path: str) -> None:
        """Copy a local file here and check that it arrived. Raises StorageError when it did not."""

    def stat(self, path: str, version: str | None = None) -> StoredFile | None:
        """Return a file's size and time, or None when there is none."""

    def delete(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""


def content_type(path: str) -> str:
    """Return the content type to store a file under: one that VAMS accepts, by extension, else plain bytes."""
    return CONTENT_TYPES.get(PurePosixPath(path).suffix.lower(), BINARY)


def is_s3(uri: str) -> bool:
    """Say whether a URI names S3; everything else is a local path."""
    return uri.startswith("s3://")


def absolute_uri(place: str | Path) -> str:
    """Return an s3:// URI as it is, and any other place as an absolute path, a leading `~` expanded."""
    return str(place) if is_s3(str(place)) else str(Path(place).expanduser().absolute())


def split_s3(uri: str) -> tuple[str, str]:
    """Return bucket and key (without slashes at its ends) of an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key.strip("/")


def join_uri(root: str, *parts: str) -> str:
    """Append path parts to a folder or s3:// prefix, with exactly one slash between them."""
    return "/".join([root.rstrip("/") or "/", *(p.strip("/") for p in parts if p.strip("/"))])


def split_uri(uri: str) -> tuple[str, str]:
    """Return the folder and the name of a file's URI."""
    folder, _, name = uri.rstrip("/").rpartition("/")
    return folder or ".", name


def copy_all(pairs: Iterable[tuple[Callable[[], None], str]]) -> None:
    """Run transfers in parallel and wait for all of them.

    Args:
        pairs: A transfer and its name, for the error.

    Raises:
        StorageError: Some failed; all of those are named. The others were done.
    """
    with ThreadPoolExecutor(settings().transfer_threads, thread_name_prefix="transfer") as pool:
        running = [(pool.submit(transfer), name) for transfer, name in pairs]
        failed = [(name, error) for future, name in running if (error := future.exception())]
    if failed:
        first = failed[0][1]
        if not isinstance(first, Exception):
            raise first
        raise StorageError(
            f"{len(failed)} of {len(running)} files could not be copied: {', '.join(name for name, _ in failed[:5])}",
            where=getattr(first, "where", ""),
            remedy=getattr(first, "remedy", "") or f"First cause: {first}.",
        ) from first


def missing(uri: str) -> InputMissingError:
    """Return the error for a file that is not there."""
    return InputMissingError("There is no such file", where=uri, remedy="Check the path, and that it was uploaded.")
