"""What a configuration leaves open, and what fills it: the defaults that files written for older pipelines rely on.

A value that is null or empty text was not given. Every default that is taken is returned as a sentence, so that whoever
runs the file can be told.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

CHOOSE_SEED = -1
"""`seed`: choose one; null means the same."""
MOST_SEED = 2**31
TRAINING_ENVS, FILMED_ENVS = 4096, 4
EVALUATION_SUFFIX = "-evaluation-config.json"
VAMS_KEYS = frozenset(
    {
        "TaskToken",
        "assetId",
        "auxiliaryBucket",
        "bucketAsset",
        "bucketAssetAuxiliary",
        "databaseId",
        "executingRequestContext",
        "executingUserName",
        "externalSfnTaskToken",
        "inputAssetFileKey",
        "inputAssetLocationKey",
        "inputConfigurationS3Location",
        "inputManifestS3Location",
        "inputMetadata",
        "inputOutputS3AssetAuxiliaryFilesPath",
        "inputParameters",
        "inputS3AssetFilePath",
        "jobName",
        "outputS3AssetFilesPath",
        "outputS3AssetMetadataPath",
        "outputS3AssetPreviewPath",
        "outputType",
        "workflowDatabaseId",
        "workflowExecutionId",
        "workflowExecutionS3InputOutputBucket",
        "workflowId",
    }
)
"""Top-level keys that VAMS writes into a configuration; they say nothing about the job, and one is a secret."""
Kind = Literal["training", "evaluation"]


def given(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration really gives: without nulls, empty texts, and keys of VAMS's own."""
    return _without_empty({key: value for key, value in data.items() if key not in VAMS_KEYS})


def with_mode(data: Mapping[str, Any], *, source: str, expected: Kind | None) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration with its mode, and a sentence where it was left open.

    Args:
        data: A configuration with an object ``trainingConfig``.
        source: The file's path or URI.
        expected: The workflow that it was given to.
    """
    inner = data["trainingConfig"]
    if "mode" in inner:
        return dict(data), []
    evaluates = expected == "evaluation" or (expected is None and source.endswith(EVALUATION_SUFFIX))
    mode = "evaluate" if evaluates else "train"
    return {**data, "trainingConfig": {"mode": mode, **inner}}, [_said("trainingConfig.mode", mode)]


def completed(
    data: Mapping[str, Any], kind: Kind, *, source: str, seed_for: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration with its gaps filled, and a sentence for each gap.

    Args:
        data: A configuration with an object ``trainingConfig``.
        kind: What its mode makes it.
        source: The file's path or URI, which names it.
        seed_for: A job's id: a chosen seed is the same for every attempt of one job.
    """
    said: list[str] = []
    filled: dict[str, Any] = dict(data)
    inner: dict[str, Any] = dict(data["trainingConfig"])
    compute = filled.get("computeConfig", {})

    def fill(where: dict[str, Any], key: str, value: Any, name: str) -> None:
        if key not in where:
            where[key] = value
            said.append(_said(name, value))

    fill(filled, "name", _name(source, inner), "name")
    filled.setdefault("description", "")
    films = kind == "evaluation" and inner.get("recordVideo", True) is not False
    fill(inner, "numEnvs", FILMED_ENVS if films else TRAINING_ENVS, "trainingConfig.numEnvs")
    fill(inner, "rlLibrary", "rsl_rl", "trainingConfig.rlLibrary")
    if kind == "training":
        fill(inner, "maxIterations", 1500, "trainingConfig.maxIterations")
    else:
        fill(inner, "numEpisodes", 10, "trainingConfig.numEpisodes")
        fill(inner, "stepsPerEpisode", 1000, "trainingConfig.stepsPerEpisode")
    if isinstance(compute, Mapping):
        filled["computeConfig"] = compute = dict(compute)
        fill(compute, "numNodes", 1, "computeConfig.numNodes")
    if inner.get("seed") in (CHOOSE_SEED, str(CHOOSE_SEED)) and not isinstance(inner["seed"], bool):
        inner["seed"] = _seed(seed_for)
        said.append(f"trainingConfig.seed was to be chosen: {inner['seed']}")
    filled["trainingConfig"] = inner
    return filled, said


def _said(key: str, value: object) -> str:
    return f"{key} was not given: {value}"


def _name(source: str, inner: Mapping[str, Any]) -> str:
    if source.endswith(".json"):
        return PurePosixPath(source).stem[:200]
    return str(inner.get("task") or "job")[:200]


def _seed(job_id: str) -> int:
    if not job_id:
        return secrets.randbelow(MOST_SEED)
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:4]) % MOST_SEED


def _without_empty(data: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            kept[key] = _without_empty(value)
        elif key == "seed" and value is None:
            kept[key] = CHOOSE_SEED
        elif value is not None and not (isinstance(value, str) and not value.strip()):
            kept[key] = value
    return kept
