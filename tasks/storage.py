"""Folders and ``s3://`` prefixes behind one small interface, on boto3's transfer manager.

Every upload is checked afterwards (size, and the SHA-256 that travels with it); transient faults are tried again with
jitter; content types are ones that VAMS accepts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from schemas.errors import InputMissingError, StorageError
from schemas.settings import settings
from tasks.files import renamed_into

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

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
PAGE_SIZE = 1000
_TRANSIENT_CODES = frozenset(
    {
        "500",
        "502",
        "503",
        "504",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_MISSING_CODES = frozenset({"404", "NoSuchKey", "NotFound"})


@dataclass(frozen=True)
class StoredFile:
    """One file below a storage's root.

    Args:
        path: Relative to the root, POSIX.
        size: Bytes.
        modified: Unix time [s].
    """

    path: str
    size: int
    modified: float


class Storage(Protocol):
    """A folder or a prefix. Paths are relative to it and POSIX; the empty path is the root itself."""

    @property
    def uri(self) -> str:
        """The root: a path, or an s3:// URI without a trailing slash."""

    def files(self, below: str = "") -> Iterator[StoredFile]:
        """Yield every file below a path, in no particular order, however many pages that takes."""

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises InputMissingError when there is none."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part."""

    def download(self, path: str, target: Path) -> None:
        """Copy a file to a local path, whole or not at all. Raises InputMissingError when there is none."""

    def upload(self, source: Path, path: str) -> None:
        """Copy a local file here and check that it arrived. Raises StorageError when it did not."""

    def stat(self, path: str) -> StoredFile | None:
        """Return a file's size and time, or None when there is none."""

    def delete(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""


def content_type(path: str) -> str:
    """Return the content type to store a file under: one that VAMS accepts, by extension, else plain bytes."""
    return CONTENT_TYPES.get(PurePosixPath(path).suffix.lower(), BINARY)


def is_s3(uri: str) -> bool:
    """Say whether a URI names S3; everything else is a local path."""
    return uri.startswith("s3://")


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


def storage_at(uri: str) -> Storage:
    """Return the storage rooted at a folder or an s3:// prefix."""
    if is_s3(uri):
        bucket, prefix = split_s3(uri)
        return S3Storage(bucket, prefix)
    return FolderStorage(Path(uri).expanduser())


def sha256_of(path: Path) -> str:
    """Return a local file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class FolderStorage:
    """A local (or mounted) folder; it is made when something is first written."""

    root: Path

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self.root)

    def _at(self, path: str) -> Path:
        target = (self.root / path).resolve()
        if not target.is_relative_to(self.root.resolve()):
            raise StorageError(
                f"The path '{path}' leads out of its folder", where=self.uri, remedy="Use a path below it."
            )
        return target

    def files(self, below: str = "") -> Iterator[StoredFile]:
        """Yield every regular file below a path."""
        start = self._at(below)
        for folder, _, names in os.walk(start):
            for name in names:
                found = Path(folder) / name
                try:
                    info = found.stat()
                except FileNotFoundError:
                    continue  # it went away while we walked
                yield StoredFile(found.relative_to(self.root.resolve()).as_posix(), info.st_size, info.st_mtime)

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        try:
            return self._at(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise _missing(join_uri(self.uri, path)) from error

    def write(self, path: str, content: bytes) -> None:
        """Write by rename."""
        target = self._at(path)
        with renamed_into(target) as partial:
            partial.write_bytes(content)

    def download(self, path: str, target: Path) -> None:
        """Copy by rename."""
        try:
            with renamed_into(target) as partial:
                shutil.copyfile(self._at(path), partial)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise _missing(join_uri(self.uri, path)) from error

    def upload(self, source: Path, path: str) -> None:
        """Copy by rename and compare sizes."""
        target = self._at(path)
        with renamed_into(target) as partial:
            shutil.copyfile(source, partial)
            if partial.stat().st_size != source.stat().st_size:
                raise StorageError(
                    f"'{source.name}' changed while it was copied", where=str(target), remedy="Run it again."
                )

    def stat(self, path: str) -> StoredFile | None:
        """Return size and time of a regular file."""
        target = self._at(path)
        if not target.is_file():
            return None
        info = target.stat()
        return StoredFile(path, info.st_size, info.st_mtime)

    def delete(self, path: str) -> None:
        """Remove a file."""
        self._at(path).unlink(missing_ok=True)


@dataclass(frozen=True)
class S3Storage:
    """A prefix of an S3 bucket."""

    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        """The prefix as an s3:// URI."""
        return join_uri(f"s3://{self.bucket}", self.prefix)

    def _key(self, path: str) -> str:
        return "/".join(part for part in (self.prefix, path.strip("/")) if part)

    def files(self, below: str = "") -> Iterator[StoredFile]:
        """Yield every object below a path, all pages."""
        prefix = self._key(below)
        cut = len(self.prefix) + 1 if self.prefix else 0
        pages = (
            s3_client()
            .get_paginator("list_objects_v2")
            .paginate(
                Bucket=self.bucket, Prefix=f"{prefix}/" if prefix else "", PaginationConfig={"PageSize": PAGE_SIZE}
            )
        )
        for page in _attempt(lambda: list(pages), self.uri):
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    yield StoredFile(item["Key"][cut:], item["Size"], item["LastModified"].timestamp())

    def read(self, path: str) -> bytes:
        """Return an object's content."""
        return _attempt(
            lambda: _read_object(self.bucket, self._key(path)),
            join_uri(self.uri, path),
        )

    def write(self, path: str, content: bytes) -> None:
        """Put an object; S3 checks its SHA-256 on arrival."""
        _attempt(
            lambda: s3_client().put_object(
                Bucket=self.bucket,
                Key=self._key(path),
                Body=content,
                ContentType=content_type(path),
                ChecksumAlgorithm="SHA256",
                Metadata={"sha256": hashlib.sha256(content).hexdigest()},
            ),
            join_uri(self.uri, path),
        )

    def download(self, path: str, target: Path) -> None:
        """Fetch an object in parallel parts, by rename."""
        with renamed_into(target) as partial:
            _attempt(
                lambda: s3_client().download_file(
                    self.bucket, self._key(path), str(partial), Config=_transfer_config()
                ),
                join_uri(self.uri, path),
            )

    def upload(self, source: Path, path: str) -> None:
        """Send a file in parallel parts, then compare size and SHA-256 with what S3 has."""
        digest, size = sha256_of(source), source.stat().st_size

        def send() -> None:
            s3_client().upload_file(
                str(source),
                self.bucket,
                self._key(path),
                ExtraArgs={
                    "ContentType": content_type(path),
                    "ChecksumAlgorithm": "SHA256",
                    "Metadata": {"sha256": digest},
                },
                Config=_transfer_config(),
            )
            head = s3_client().head_object(Bucket=self.bucket, Key=self._key(path))
            if head["ContentLength"] != size or head["Metadata"].get("sha256") != digest:
                raise _IncompleteUploadError(f"{head['ContentLength']} of {size} bytes arrived")

        _attempt(send, join_uri(self.uri, path))

    def stat(self, path: str) -> StoredFile | None:
        """Return an object's size and time."""
        try:
            head = _attempt(
                lambda: s3_client().head_object(Bucket=self.bucket, Key=self._key(path)), join_uri(self.uri, path)
            )
        except InputMissingError:
            return None
        return StoredFile(path, head["ContentLength"], head["LastModified"].timestamp())

    def delete(self, path: str) -> None:
        """Remove an object."""
        _attempt(lambda: s3_client().delete_object(Bucket=self.bucket, Key=self._key(path)), join_uri(self.uri, path))


def _read_object(bucket: str, key: str) -> bytes:
    return s3_client().get_object(Bucket=bucket, Key=key)["Body"].read()


class _IncompleteUploadError(Exception):
    """What S3 has is not what was sent."""


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


def _missing(uri: str) -> InputMissingError:
    return InputMissingError("There is no such file", where=uri, remedy="Check the path, and that it was uploaded.")


def _attempt[T](call: Callable[[], T], uri: str) -> T:
    """Make an S3 call, again after transient faults, and translate what remains into our errors."""
    import botocore.exceptions as faults
    from boto3.exceptions import S3UploadFailedError
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    def transient(error: BaseException) -> bool:
        cause = error.__context__ if isinstance(error, S3UploadFailedError) else error
        if isinstance(cause, faults.ClientError):
            status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return cause.response.get("Error", {}).get("Code") in _TRANSIENT_CODES or status >= 500
        return isinstance(cause, faults.HTTPClientError | faults.ConnectionError | _IncompleteUploadError | OSError)

    retrying = Retrying(
        stop=stop_after_attempt(settings().transfer_attempts),
        wait=wait_random_exponential(multiplier=0.2, max=10),
        retry=retry_if_exception(transient),
        reraise=True,
    )
    try:
        return retrying(call)
    except (faults.BotoCoreError, faults.ClientError, S3UploadFailedError, _IncompleteUploadError) as error:
        cause = error.__context__ if isinstance(error, S3UploadFailedError) else error
        code = cause.response.get("Error", {}).get("Code", "") if isinstance(cause, faults.ClientError) else ""
        if code in _MISSING_CODES:
            raise _missing(uri) from error
        remedy = {
            "AccessDenied": "Give this role access to the bucket, prefix and KMS key.",
            "403": "Give this role access to the bucket, prefix and KMS key.",
            "NoSuchBucket": "Check the bucket's name and region.",
        }.get(code, "Run the job again: it goes on from what was saved.")
        raise StorageError(f"S3 refused or lost a transfer: {cause}", where=uri, remedy=remedy) from error


@lru_cache(maxsize=8)
def _client_for(process: int, endpoint: str | None) -> Any:
    import boto3
    from botocore.config import Config

    del process, endpoint  # part of the key only: clients survive neither a fork nor a change of endpoint
    return boto3.client(
        "s3",
        config=Config(
            retries={"mode": "standard", "max_attempts": 3},
            max_pool_connections=4 * settings().transfer_threads,
            connect_timeout=10,
            read_timeout=60,
        ),
    )


def s3_client() -> S3Client:
    """Return this process's S3 client (clients are thread-safe)."""
    client: S3Client = _client_for(os.getpid(), os.environ.get("AWS_ENDPOINT_URL"))
    return client


@lru_cache(maxsize=1)
def _transfer_config() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(max_concurrency=settings().transfer_threads)
