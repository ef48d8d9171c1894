"""The answers recorded beside the request document: private objects in S3, the deciding one written only once.

```
<folder>/request.json                 the Request; the only object that holds the task token; the bridge writes it
<folder>/answer-001.json              what attempt 1 answers: the intent, written once, before anything is sent
<folder>/answer-001.sent-<mark>.json  what became of sending it to the token with that mark
<folder>/answer-001.unawaited.json    nobody waits for attempt 1 any more
```
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field

from isaaclab_flows.schemas.config import CamelModel
from isaaclab_flows.schemas.errors import StorageError
from isaaclab_flows.schemas.request import Callback
from isaaclab_flows.tasks.request.document import read_request
from isaaclab_flows.tasks.storage.base import join_uri, split_s3, split_uri
from isaaclab_flows.tasks.storage.s3 import error_code, s3_client

Result = Literal["accepted", "gone"]


class Answer(CamelModel):
    """What one attempt answers. Once recorded it never changes, and the bridge reads it too."""

    version: Literal[1] = 1
    attempt: int
    status: Literal["succeeded", "failed"]
    output: dict[str, Any] | None = None
    """Of a success."""
    error: str = ""
    """Of a failure: its name."""
    cause: str = ""
    """Of a failure: what happened, where, and what to do."""
    retryable: bool = False
    """Another attempt may succeed: the bridge starts one when VAMS retries, instead of repeating this answer."""
    recorded_at: float = Field(default_factory=time.time)
    """Unix time [s]."""


def newest_callback(callback: Callback) -> Callback:
    """Return the callback as the request document has it now: a retry by VAMS brings a new token."""
    return read_request(callback.document_uri).callback or callback


def recorded_answer(callback: Callback) -> Answer | None:
    """Return what this attempt answers, or None while that is undecided."""
    text = _read(_beside(callback))
    return None if text is None else Answer.model_validate_json(text)


def record_answer(callback: Callback, answer: Answer) -> Answer:
    """Record what this attempt answers, unless that is already recorded; return the one that counts.

    Raises:
        StorageError: The requests bucket does not take it.
    """
    if _write(_beside(callback), answer.model_dump_json(), only_if_absent=True):
        return answer
    present = recorded_answer(callback)
    if present is None:
        raise StorageError("The recorded answer went away while it was read", where=_beside(callback))
    return present


def was_sent(callback: Callback) -> bool:
    """Say whether sending this attempt's answer to this token is known to have come to an end."""
    return _read(_beside(callback, f".sent-{mark(callback)}")) is not None


def record_sent(callback: Callback, result: Result) -> None:
    """Record what became of sending this attempt's answer to this token."""
    _write(_beside(callback, f".sent-{mark(callback)}"), json.dumps({"result": result, "sentAt": time.time()}))


def record_unawaited(callback: Callback, code: str) -> None:
    """Record that Step Functions no longer knows this attempt's token."""
    record = {"code": code, "token": mark(callback), "noticedAt": time.time()}
    _write(_beside(callback, ".unawaited"), json.dumps(record))


def mark(callback: Callback) -> str:
    """Return a token's mark: tells tokens apart in logs and records without showing anything of them."""
    return hashlib.sha256(callback.task_token.get_secret_value().encode()).hexdigest()[:12]


def _beside(callback: Callback, suffix: str = "") -> str:
    return join_uri(split_uri(callback.document_uri)[0], f"answer-{callback.attempt:03}{suffix}.json")


def _read(uri: str) -> str | None:
    bucket, key = split_s3(uri)
    try:
        return s3_client().get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    except ClientError as error:
        code = error_code(error)
        if code in ("NoSuchKey", "404") or (code == "AccessDenied" and not _exists(bucket, key)):
            return None
        raise _refused("read", uri, error) from None
    except (BotoCoreError, OSError) as error:
        raise _refused("read", uri, error) from None


def _exists(bucket: str, key: str) -> bool:
    """Say whether an object is there: where listing is allowed below a prefix only, S3 denies what is missing."""
    try:
        listed = s3_client().list_objects_v2(Bucket=bucket, Prefix=key)
    except (BotoCoreError, ClientError):
        return True  # then the denial stands
    return any(entry.get("Key") == key for entry in listed.get("Contents", []))


def _write(uri: str, text: str, *, only_if_absent: bool = False) -> bool:
    """Write one object; False where it had to be absent and was not.

    A write that arrived although its answer was lost is found by the client's own second try, as "not absent".
    """
    bucket, key = split_s3(uri)
    condition: Any = {"IfNoneMatch": "*"} if only_if_absent else {}
    try:
        s3_client().put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="application/json", **condition)
    except ClientError as error:
        if error_code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
            return False
        raise _refused("written", uri, error) from None
    except (BotoCoreError, OSError) as error:
        raise _refused("written", uri, error) from None
    return True


def _refused(verb: str, uri: str, error: Exception) -> StorageError:
    return StorageError(
        f"The object cannot be {verb} ({error_code(error)})", where=uri, remedy="May this role use the requests bucket?"
    )
