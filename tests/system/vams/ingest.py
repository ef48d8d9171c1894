"""VAMS's post-processing rules, applied read-only to what was written: what it would take, and what it would lose."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

MOST_KEYS = 1_000
MOST_PREVIEW = 5 * 1024 * 1024
BLOCKED_SUFFIXES = frozenset(
    {
        ".jar",
        ".java",
        ".com",
        ".php",
        ".reg",
        ".pif",
        ".bak",
        ".dll",
        ".exe",
        ".nat",
        ".cmd",
        ".lnk",
        ".docm",
        ".vbs",
        ".bat",
    }
)
BLOCKED_TYPES = ("python", "javascript", "x-sh", "shellscript", "x-bat", "java-archive", "x-msdownload", "php")
IMAGES = (".png", ".jpg", ".jpeg", ".svg", ".gif")
TYPES = frozenset(
    [
        "string",
        "multiline_string",
        "inline_controlled_list",
        "number",
        "boolean",
        "date",
        "xyz",
        "wxyz",
        "matrix4x4",
        "geopoint",
        "geojson",
        "lla",
        "json",
    ]
)


@dataclass
class Ingested:
    """What VAMS would have afterwards.

    Attributes:
        files: Keys below the asset's root.
        previews: File's key to its preview's key.
        asset_preview: The asset's picture.
        metadata: File's key (empty: the asset) to its metadata.
        lost: Sentences about everything that VAMS would silently drop.
    """

    files: set[str] = field(default_factory=set)
    previews: dict[str, str] = field(default_factory=dict)
    asset_preview: str | None = None
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def ingest(client: Any, body: dict[str, Any]) -> Ingested:
    """Apply the rules to the three output prefixes of an event's body."""
    taken = Ingested()
    files = _prefix(client, body["outputS3AssetFilesPath"], taken)
    previews = {name for name in files if ".previewFile." in name}
    taken.files = set(files) - previews
    for name in sorted(previews):
        base, _, suffix = name.partition(".previewFile")
        if base not in taken.files:
            taken.lost.append(f"{name}: its base file is not in the batch")
        elif suffix not in IMAGES:
            taken.lost.append(f"{name}: not a lower-case image")
        elif files[name] > MOST_PREVIEW:
            taken.lost.append(f"{name}: larger than 5 MB")
        else:
            taken.previews[base] = name
    for name, size in sorted(_prefix(client, body["outputS3AssetPreviewPath"], taken).items()):
        if not name.endswith(IMAGES) or size > MOST_PREVIEW:
            taken.lost.append(f"{name}: no preview of an asset")
        elif taken.asset_preview is None:
            taken.asset_preview = name
    known = taken.files | _existing(client, body)
    for name in sorted(_prefix(client, body["outputS3AssetMetadataPath"], taken)):
        _metadata(client, body, name, known, taken)
    return taken


def _prefix(client: Any, uri: str, taken: Ingested) -> dict[str, int]:
    """List a prefix once, as VAMS does; one blocked object drops all of it."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=MOST_KEYS)
    if listed["IsTruncated"]:
        taken.lost.append(f"{uri}: more than {MOST_KEYS:,} keys")
    found: dict[str, int] = {}
    for entry in listed.get("Contents", []):
        name = entry["Key"].removeprefix(prefix)
        kind = client.head_object(Bucket=bucket, Key=entry["Key"])["ContentType"]
        if PurePosixPath(name).suffix.lower() in BLOCKED_SUFFIXES or any(word in kind for word in BLOCKED_TYPES):
            taken.lost.append(f"{uri}: dropped whole because of {name} ({kind})")
            return {}
        found[name] = entry["Size"]
    return found


def _existing(client: Any, body: dict[str, Any]) -> set[str]:
    bucket, root = body["bucketAsset"], body["inputAssetLocationKey"]
    listed = client.list_objects_v2(Bucket=bucket, Prefix=root)
    return {entry["Key"].removeprefix(root) for entry in listed.get("Contents", [])}


def _metadata(client: Any, body: dict[str, Any], name: str, known: set[str], taken: Ingested) -> None:
    bucket, _, prefix = body["outputS3AssetMetadataPath"].removeprefix("s3://").partition("/")
    document = json.loads(client.get_object(Bucket=bucket, Key=prefix + name)["Body"].read())
    read_metadata(name, document, known, taken)


def read_metadata(name: str, document: dict[str, Any], known: set[str], taken: Ingested) -> None:
    """Take one metadata document, or note why VAMS would not."""
    kind = next((k for k in ("metadata", "attribute") if name.endswith(f".{k}.json")), None)
    if kind is None:
        taken.lost.append(f"{name}: neither metadata nor attributes")
        return
    base = "" if name == "asset.metadata.json" else name.removesuffix(f".{kind}.json")
    if base and base not in known:
        taken.lost.append(f"{name}: there is no file {base}")
        return
    if document.get("type") != kind or document.get("updateType") not in ("update", "replace_all"):
        taken.lost.append(f"{name}: wrong type or updateType")
        return
    items = document.get("metadata", [])
    if not 1 <= len(items) <= 500:
        taken.lost.append(f"{name}: {len(items)} items")
        return
    for item in items:
        key, value = item["metadataKey"], item["metadataValue"]
        allowed = TYPES if kind == "metadata" else {"string"}
        if not isinstance(value, str) or not 1 <= len(key) <= 256 or item["metadataValueType"] not in allowed:
            taken.lost.append(f"{name}: the item {key} is not valid")
            return
        if item["metadataValueType"] == "number":
            float(value)
        if item["metadataValueType"] == "json":
            json.loads(value)
    taken.metadata[base] = {item["metadataKey"]: item["metadataValue"] for item in items}
