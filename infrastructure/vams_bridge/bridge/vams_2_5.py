"""The contract of VAMS 2.4 and 2.5: the event's body itself says everything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from bridge.delivery import IDENTIFIER, Delivery, common, malformed, s3_uri, step_id

# Greedy: a bucket's base prefix may have folders of the same names, and the last ones are VAMS's.
_OUTPUT = re.compile(r"(?:.*/pipelines/([^/]+)/[^/]+|.*)/output/([^/]+)/", re.DOTALL)
_PIPELINE = re.compile(r".*/pipelines/([^/]+)/", re.DOTALL)


def read(body: Mapping[str, Any], token: str) -> Delivery:
    """Return a delivery.

    Raises:
        HopelessError: A key is missing, is of the wrong type, or is not what VAMS sends.
    """
    files = _folder(body, "outputS3AssetFilesPath")
    locations = {
        "files": files,
        "previews": _folder(body, "outputS3AssetPreviewPath"),
        "metadata": _folder(body, "outputS3AssetMetadataPath"),
    }
    output = _OUTPUT.match(files)
    if output is None or not IDENTIFIER.fullmatch(output[2]):
        raise malformed(f"'outputS3AssetFilesPath' is {files!r}: it names no execution (…/output/<execution>/…)")
    first_pipeline, execution = output[1] or "", output[2]
    given = s3_uri(body, "inputS3AssetFilePath")
    auxiliary = s3_uri(body, "inputOutputS3AssetAuxiliaryFilesPath", needed=False)
    own = _PIPELINE.match(auxiliary or "")
    pipeline = own[1] if own else first_pipeline
    # All steps share the first one's output folder; what an earlier step wrote is a later one's input.
    later = given.startswith(files) or pipeline != first_pipeline
    job_id = step_id(execution, pipeline or "next") if later else execution
    asset = _asset_uri(body, given, follows=given.startswith(files))
    document = common(body, job_id, execution)
    document["labels"] |= {"pipelineId": pipeline} if pipeline else {}
    document |= {
        "kind": kind_of(pipeline, document["labels"].get("workflowId", ""), str(body.get("outputType") or "")),
        "configUri": asset if given.startswith(files) else given,
        "assetUri": asset,
        "earlierOutputsUri": files if later else None,
        "outputUri": files,
        "auxiliaryUri": auxiliary,
        "vams": locations,
        "inputParameters": _json_object(body, "inputParameters"),
        "assetMetadata": _json_object(body, "inputMetadata"),
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


def _asset_uri(body: Mapping[str, Any], given: str, *, follows: bool) -> str | None:
    """Return the asset's root: as VAMS names it, else the folder above the file's own; never a whole bucket."""
    bucket, _, path = given.removeprefix("s3://").partition("/")
    named = body.get("bucketAsset")
    if isinstance(named, str) and named:
        bucket = named
    key = body.get("inputAssetLocationKey")
    if isinstance(key, str) and key.strip("/"):
        return f"s3://{bucket}/{key.strip('/')}/"
    if follows:
        return None
    folders = path.split("/")[:-1]
    if path.endswith("/") or len(folders) == 1:
        return f"s3://{bucket}/{'/'.join(folders)}/"
    return f"s3://{bucket}/{'/'.join(folders[:-1])}/" if folders else None


def _folder(body: Mapping[str, Any], key: str) -> str:
    uri: str = s3_uri(body, key)
    return uri if uri.endswith("/") else f"{uri}/"


def _json_object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """VAMS sends these as JSON strings, empty where unset; an object is taken as it is."""
    value = body.get(key) or {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise malformed(f"'{key}' is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise malformed(f"'{key}' holds a JSON {type(value).__name__}, not an object")
    return value
