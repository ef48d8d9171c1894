"""S3 behind the interface of tasks/storage/base.py, on boto3's transfer manager.

Every upload is checked afterwards (size, and the SHA-256 that travels with it); transient faults are tried again with
jitter.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isaaclab_flows.schemas.errors import InputMissingError, StorageError
from isaaclab_flows.schemas.files import renamed_into
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.storage.base import StoredFile, content_type, join_uri, missing, sha256_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

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

    def read(self, path: str, version: str | None = None) -> bytes:
        """Return an object's content, of one version where one is given."""
        return _attempt(
            lambda: _read_object(self.bucket, self._key(path), version),
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

    def download(self, path: str, target: Path, version: str | None = None) -> None:
        """Fetch an object in parallel parts, by rename."""
        arguments = _version(version)
        with renamed_into(target) as partial:
            _attempt(
                lambda: s3_client().download_file(
                    self.bucket, self._key(path), str(partial), ExtraArgs=arguments, Config=_transfer_config()
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

    def stat(self, path: str, version: str | None = None) -> StoredFile | None:
        """Return an object's size and time."""
        key = self._key(path)
        try:
            head = _attempt(
                lambda: s3_client().head_object(Bucket=self.bucket, Key=key, **_version(version)),
                join_uri(self.uri, path),
            )
        except InputMissingError:
            return None
        return StoredFile(path, head["ContentLength"], head["LastModified"].timestamp(), head["ETag"])

    def delete(self, path: str) -> None:
        """Remove an object."""
        _attempt(lambda: s3_client().delete_object(Bucket=self.bucket, Key=self._key(path)), join_uri(self.uri, path))


def error_code(error: BaseException) -> str:
    """Return AWS's code of an error, or its type's name; the message is left out, because it may quote a secret."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def _read_object(bucket: str, key: str, version: str | None) -> bytes:
    return s3_client().get_object(Bucket=bucket, Key=key, **_version(version))["Body"].read()


def _version(version: str | None) -> Any:
    return {"VersionId": version} if version else {}


class _IncompleteUploadError(Exception):
    """What S3 has is not what was sent."""


def _attempt[T](call: Callable[[], T], uri: str) -> T:
    """Make an S3 call, again after transient faults, and translate what remains into our errors."""
    import botocore.exceptions as faults
    from boto3.exceptions import S3UploadFailedError
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    def transient(error: BaseException) -> bool:
        cause = error.__context__ if isinstance(error, S3UploadFailedError) else error
        if isinstance(cause, faults.ClientError):
            status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return error_code(cause) in _TRANSIENT_CODES or status >= 500
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
        code = error_code(cause) if cause is not None else ""
        if code in _MISSING_CODES:
            raise missing(uri) from error
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
