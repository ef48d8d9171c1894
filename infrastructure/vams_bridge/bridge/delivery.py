"""What events of both contracts have in common: the body, the token, and the delivery that is made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import HopelessError

MAX_TOKEN_LENGTH = 2_048
MOST_JOB_ID = 128
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_S3_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+", re.DOTALL)
_LABELS = ("assetId", "databaseId", "workflowId", "workflowDatabaseId")


@dataclass(frozen=True)
class Delivery:
    """One event, read and checked.

    Attributes:
        job_id: VAMS's execution; of a later step of a workflow, with what tells the step apart.
        token: The task token of this attempt; a secret.
        document: The request document without its callback; nothing in it is secret.
        callback: What this contract adds to the document's callback.
    """

    job_id: str
    token: str
    document: dict[str, Any]
    callback: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Delivery(job_id={self.job_id!r})"


def body_of(event: object) -> Mapping[str, Any]:
    """Return the event's body, whether VAMS sent it as an object or as a JSON string.

    Raises:
        HopelessError: There is no such body.
    """
    body = event.get("body") if isinstance(event, Mapping) else None
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            raise malformed("The event's body is a string that is not JSON") from None
    if not isinstance(body, Mapping):
        raise malformed("The event has no object 'body'")
    return body


def token_of(event: object) -> str | None:
    """Return the event's task token, or None where there is none that could be answered."""
    try:
        token = body_of(event).get("TaskToken")
    except HopelessError:
        return None
    return token if isinstance(token, str) and 0 < len(token) <= MAX_TOKEN_LENGTH else None


def common(body: Mapping[str, Any], job_id: str, execution: str) -> dict[str, Any]:
    """Return what the request document says under both contracts."""
    return {
        "version": 1,
        "jobId": job_id,
        "executionId": execution,
        "source": "vams",
        "user": str(body.get("executingUserName") or ""),
        "labels": {key: str(body[key]) for key in _LABELS if body.get(key)},
    }


def step_id(execution: str, step: str) -> str:
    """Return the job id of a later step of a workflow: all steps share the execution, and each is a job."""
    return f"{execution}-{re.sub(r'[^A-Za-z0-9_-]', '-', step)}"[:MOST_JOB_ID]


def s3_uri(body: Mapping[str, Any], key: str, *, needed: bool = True) -> Any:
    """Return a value that must be an s3:// URI; None where it may be left out, and is."""
    value = body.get(key)
    if not value and not needed:
        return None
    if not isinstance(value, str) or not _S3_URI.fullmatch(value):
        raise malformed(f"'{key}' is {value!r}, not an s3:// URI")
    return value


def malformed(what: str) -> HopelessError:
    """Return the error for an event that is not what VAMS sends."""
    return HopelessError(
        "isaaclab.malformed_event",
        f"{what}. The event does not look like one of VAMS 2.4 to 2.7: compare the pipeline's registration with"
        " docs/vams.md.",
    )
