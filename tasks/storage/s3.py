"""S3 behind the interface of tasks/storage/base.py, on boto3's transfer manager.

Every upload is checked afterwards (size, and the SHA-256 that travels with it). Transient faults are tried again by
botocore alone (its standard mode), and by the transfer manager where a download broke off in the middle.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isaaclab_flows.schemas.errors import InputMissingError, StorageError
from isaaclab_flows.schemas.files import renamed_into, sha256_of
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.storage.base import StoredFile, content_type, join_uri, missing
from isaaclab_flows.tasks.storage.faults import bears_faults

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE_SIZE = 1000
_MISSING_CODES = frozenset({"404", "NoSuchKey", "NotFound"})
_AGAIN = "Run the job again: it goes on from what was saved."


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
        with _our_errors(self.uri):
            for page in pages:
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):
                        yield StoredFile(item["Key"][cut:], item["Size"], item["LastModified"].timestamp())

    def read(self, path: str, version: str | None = None) -> bytes:
        """Return an object's content, of one version where one is given."""
        content = io.BytesIO()
        with _our_errors(join_uri(self.uri, path)):
            s3_client().download_fileobj(
                self.bucket, self._key(path), content, ExtraArgs=_version(version), Config=_transfer_config(threads=1)
            )
        return content.getvalue()

    def tail(self, path: str, most: int, version: str | None = None) -> bytes:
        """Return an object's last bytes."""
        uri = join_uri(self.uri, path)
        from botocore.exceptions import ClientError

        with _our_errors(uri):
            try:
                wanted = _version(version) | {"Range": f"bytes=-{most}"}
                return s3_client().get_object(Bucket=self.bucket, Key=self._key(path), **wanted)["Body"].read()
            except ClientError as error:
                if error_code(error) == "InvalidRange":  # an empty object has no last byte
                    return b""
                raise

    def write(self, path: str, content: bytes) -> None:
        """Put an object; S3 checks its SHA-256 on arrival."""
        with _our_errors(join_uri(self.uri, path)):
            s3_client().put_object(
                Bucket=self.bucket,
                Key=self._key(path),
                Body=content,
                ContentType=content_type(path),
                ChecksumAlgorithm="SHA256",
                Metadata={"sha256": hashlib.sha256(content).hexdigest()},
            )

    @bears_faults
    def download(self, path: str, target: Path, version: str | None = None) -> None:
        """Fetch an object in parallel parts, by rename."""
        with renamed_into(target) as partial, _our_errors(join_uri(self.uri, path)):
            s3_client().download_file(
                self.bucket, self._key(path), str(partial), ExtraArgs=_version(version), Config=_transfer_config()
            )

    @bears_faults
    def upload(self, source: Path, path: str) -> None:
        """Send a file in parallel parts, then compare size and SHA-256 with what S3 has."""
        digest, size = sha256_of(source), source.stat().st_size
        uri = join_uri(self.uri, path)
        with _our_errors(uri):
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
            raise StorageError(
                f"{head['ContentLength']} of {size} bytes arrived, or others than were sent", where=uri, remedy=_AGAIN
            )

    def stat(self, path: str, version: str | None = None) -> StoredFile | None:
        """Return an object's size and time."""
        try:
            with _our_errors(join_uri(self.uri, path)):
                head = s3_client().head_object(Bucket=self.bucket, Key=self._key(path), **_version(version))
        except InputMissingError:
            return None
        return StoredFile(path, head["ContentLength"], head["LastModified"].timestamp(), head["ETag"])

    def delete(self, path: str) -> None:
        """Remove an object."""
        with _our_errors(join_uri(self.uri, path)):
            s3_client().delete_object(Bucket=self.bucket, Key=self._key(path))


def error_code(error: BaseException) -> str:
    """Return AWS's code of an error, or its type's name; the message is left out, because it may quote a secret."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def _version(version: str | None) -> Any:
    return {"VersionId": version} if version else {}


@contextmanager
def _our_errors(uri: str) -> Iterator[None]:
    """Translate what remains of an S3 call's faults after all tries."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error, RetriesExceededError) as error:
        # The transfer manager's own errors stand for what came before them.
        before = error.__context__ if isinstance(error, Boto3Error) else None
        cause = getattr(before or error, "last_exception", None) or before or error
        code = error_code(cause)
        if code in _MISSING_CODES:
            raise missing(uri) from error
        remedy = {
            "AccessDenied": "Give this role access to the bucket, prefix and KMS key.",
            "403": "Give this role access to the bucket, prefix and KMS key.",
            "NoSuchBucket": "Check the bucket's name and region.",
        }.get(code, _AGAIN)
        raise StorageError(f"S3 refused or lost a transfer: {cause}", where=uri, remedy=remedy) from error


@lru_cache(maxsize=8)
def _client_for(process: int, endpoint: str | None) -> Any:
    import boto3
    from botocore.config import Config

    del process, endpoint  # part of the key only: clients survive neither a fork nor a change of endpoint
    return boto3.client(
        "s3",
        config=Config(
            retries={"mode": "standard", "total_max_attempts": settings().transfer_attempts},
            max_pool_connections=4 * settings().transfer_threads,
            connect_timeout=10,
            read_timeout=60,
        ),
    )


def s3_client() -> S3Client:
    """Return this process's S3 client (clients are thread-safe)."""
    client: S3Client = _client_for(os.getpid(), os.environ.get("AWS_ENDPOINT_URL"))
    return client


@lru_cache(maxsize=2)
def _transfer_config(threads: int | None = None) -> Any:
    from boto3.s3.transfer import TransferConfig

    threads = threads or settings().transfer_threads
    return TransferConfig(
        max_concurrency=threads, use_threads=threads > 1, num_download_attempts=settings().transfer_attempts
    )
