"""Reads VAMS's event: pure functions from the event to the request document that the flows read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import HopelessError

MAX_TOKEN_LENGTH = 2_048
_EXECUTION = re.compile(r"/output/([A-Za-z0-9][A-Za-z0-9_-]{0,127})/")
_PIPELINE = re.compile(r"/pipelines/([^/]+)/")
_S3_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+", re.DOTALL)
_LABELS = ("assetId", "databaseId", "workflowId", "workflowDatabaseId")


@dataclass(frozen=True)
class Delivery:
    """One event, read and checked.

    Attributes:
        job_id: VAMS's execution, the ``<EXEC>`` of the output paths.
        token: The task token of this attempt; a secret.
        document: The request document without its callback; nothing in it is secret.
    """

    job_id: str
    token: str
    document: dict[str, Any]

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
            raise _malformed("The event's body is a string that is not JSON") from None
    if not isinstance(body, Mapping):
        raise _malformed("The event has no object 'body'")
    return body


def token_of(event: object) -> str | None:
    """Return the event's task token, or None where there is none that could be answered."""
    try:
        token = body_of(event).get("TaskToken")
    except HopelessError:
        return None
    return token if isinstance(token, str) and 0 < len(token) <= MAX_TOKEN_LENGTH else None


def read_event(event: object) -> Delivery:
    """Read and check one event.

    Raises:
        HopelessError: A key is missing, is of the wrong type, or is not what VAMS sends.
    """
    body = body_of(event)
    token = token_of(event)
    if token is None:
        raise _malformed(f"'TaskToken' is missing or longer than {MAX_TOKEN_LENGTH:,} characters")
    files = _folder(body, "outputS3AssetFilesPath")
    locations = {
        "files": files,
        "previews": _folder(body, "outputS3AssetPreviewPath"),
        "metadata": _folder(body, "outputS3AssetMetadataPath"),
    }
    execution = _EXECUTION.search(files)
    if execution is None:
        raise _malformed(f"'outputS3AssetFilesPath' is {files!r}: it names no execution (…/output/<execution>/…)")
    job_id = execution.group(1)
    config_uri = _s3_uri(body, "inputS3AssetFilePath")
    pipeline = _PIPELINE.search(files)
    labels = {key: str(body[key]) for key in _LABELS if body.get(key)}
    if pipeline:
        labels["pipelineId"] = pipeline.group(1)
    document = {
        "version": 1,
        "jobId": job_id,
        "kind": kind_of(labels.get("pipelineId", ""), labels.get("workflowId", ""), str(body.get("outputType") or "")),
        "source": "vams",
        "configUri": config_uri,
        "assetUri": _asset_uri(body, config_uri),
        "outputUri": files,
        "auxiliaryUri": _s3_uri(body, "inputOutputS3AssetAuxiliaryFilesPath", needed=False),
        "vams": locations,
        "inputParameters": _json_object(body, "inputParameters"),
        "assetMetadata": _json_object(body, "inputMetadata"),
        "user": str(body.get("executingUserName") or ""),
        "labels": labels,
    }
    return Delivery(job_id, token, document)


def kind_of(pipeline: str, workflow: str, output_type: str) -> str | None:
    """Return the kind of job that a registration asks for; None lets the file's mode decide.

    The names come first (``isaaclab-training``, ``prod-isaaclab-evaluation``), then the registered output type.
    """
    for name in (pipeline, workflow):
        kinds = [kind for kind in ("training", "evaluation") if kind in name.casefold()]
        if len(kinds) == 1:
            return kinds[0]
    return {".pt": "training", ".json": "evaluation"}.get(output_type)


def _asset_uri(body: Mapping[str, Any], config_uri: str) -> str | None:
    key = body.get("inputAssetLocationKey")
    if not isinstance(key, str) or not key.strip("/"):
        return None
    bucket = config_uri.removeprefix("s3://").partition("/")[0]
    return f"s3://{bucket}/{key.strip('/')}/"


def _folder(body: Mapping[str, Any], key: str) -> str:
    uri = _s3_uri(body, key)
    return uri if uri.endswith("/") else f"{uri}/"


def _s3_uri(body: Mapping[str, Any], key: str, *, needed: bool = True) -> Any:
    value = body.get(key)
    if not value and not needed:
        return None
    if not isinstance(value, str) or not _S3_URI.fullmatch(value):
        raise _malformed(f"'{key}' is {value!r}, not an s3:// URI")
    return value


def _json_object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """VAMS sends these as JSON strings, empty where unset; an object is taken as it is."""
    value = body.get(key) or {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise _malformed(f"'{key}' is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise _malformed(f"'{key}' holds a JSON {type(value).__name__}, not an object")
    return value


def _malformed(what: str) -> HopelessError:
    return HopelessError(
        "isaaclab.malformed_event",
        f"{what}. The event does not look like one of VAMS 2.5: compare the pipeline's registration with docs/vams.md.",
    )
