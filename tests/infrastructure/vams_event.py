"""The events that VAMS 2.5 and 2.6 send, with values that a test may change."""

from __future__ import annotations

import json
from typing import Any

EXECUTION = "7d1c1a4e-5b9f-4f0e-9a54-0d6f0c2b7b11"
TOKEN = "AQCEAAAAKgAAAAMAAAAAAAAAAd-very-secret-token-1"


def vams_event(
    *, execution: str = EXECUTION, token: str = TOKEN, kind: str = "training", bucket: str = "asset-bkt", **changes: Any
) -> dict[str, Any]:
    """Return one event; ``changes`` replace keys of its body, None removes one."""
    pipeline = f"isaaclab-{kind}"
    outputs = f"s3://{bucket}/pipelines/{pipeline}/0a1b2-{pipeline}/output/{execution}"
    key = f"xAsset/{kind}/cartpole-{kind}-config.json"
    body: dict[str, Any] = {
        "inputS3AssetFilePath": f"s3://{bucket}/{key}",
        "outputS3AssetFilesPath": f"{outputs}/files/",
        "outputS3AssetPreviewPath": f"{outputs}/previews/",
        "outputS3AssetMetadataPath": f"{outputs}/metadata/",
        "inputOutputS3AssetAuxiliaryFilesPath": f"s3://aux-bkt/{key}/pipelines/{pipeline}/",
        "bucketAsset": bucket,
        "bucketAssetAuxiliary": "aux-bkt",
        "assetId": "xAsset",
        "databaseId": "robots",
        "workflowId": pipeline,
        "workflowDatabaseId": "GLOBAL",
        "inputAssetFileKey": key,
        "inputAssetLocationKey": "xAsset/",
        "outputType": ".pt" if kind == "training" else ".json",
        "inputMetadata": json.dumps(
            {
                "VAMS": {
                    "assetData": {"assetName": "Cart", "description": "", "tags": []},
                    "assetMetadata": {},
                    "fileMetadata": {},
                    "fileAttributes": {},
                }
            }
        ),
        "inputParameters": "",
        "executingUserName": "user@x.com",
        "executingRequestContext": {"authorizer": {"claims": {"sub": "very-private-claim"}}},
        "TaskToken": token,
    }
    body |= changes
    return {"body": {key: value for key, value in body.items() if value is not None}}


def vams_2_6_event(
    *,
    execution: str = EXECUTION,
    token: str = TOKEN,
    kind: str = "training",
    step: int = 1,
    bucket: str = "run-bkt",
    base: str = "",
    **changes: Any,
) -> dict[str, Any]:
    """Return one event of VAMS 2.6: everything else is in the manifest."""
    folder = f"s3://{bucket}/{base}pipelines/workflowExecutionInputs/{execution}/pipeline{step}"
    body: dict[str, Any] = {
        "workflowDatabaseId": "GLOBAL",
        "workflowId": f"isaaclab-{kind}",
        "workflowExecutionId": execution,
        "workflowExecutionS3InputOutputBucket": bucket,
        "executingUserName": "user@x.com",
        "executingRequestContext": {"authorizer": {"claims": {"sub": "very-private-claim"}}},
        "inputManifestS3Location": f"{folder}/manifest.json",
        "inputConfigurationS3Location": f"{folder}/config.json",
        "TaskToken": token,
    }
    body |= changes
    return {"body": {key: value for key, value in body.items() if value is not None}}
