"""What VAMS's metadata and spellings mean: settings by prefix, and keys whose `+` arrived as a space."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from isaaclab_flows.schemas.config import merge
from isaaclab_flows.schemas.dotted import nested, value_of
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.request.vams_2_6 import located
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import Storage

SETTINGS_PREFIX = "isaaclab."
"""Metadata keys that begin so are settings: ``isaaclab.trainingConfig.numEnvs`` is trainingConfig.numEnvs."""
LAYERS = ("assetMetadata", "fileMetadata", "fileAttributes")
"""VAMS's maps with settings, each above the ones before it."""
_MOST_SPACES = 8


def settings_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in VAMS's metadata, shaped like a configuration file.

    Args:
        metadata: inputMetadata, parsed: ``{"VAMS": {"assetMetadata": {…}, …}}``; maps may be empty or absent.

    Returns:
        An object to lay beneath the configuration file. A value is read as JSON where it is JSON (``64``, ``true``,
        ``["a=1"]``), otherwise as text; quotes make text of a number (``"64"``).
    """
    vams = metadata.get("VAMS")
    settings: dict[str, Any] = {}
    for layer in LAYERS:
        entries = vams.get(layer) if isinstance(vams, Mapping) else None
        # Sorted: `isaaclab.trainingConfig` as a whole comes beneath its single keys.
        for key, value in sorted(entries.items()) if isinstance(entries, Mapping) else ():
            path = key.removeprefix(SETTINGS_PREFIX)
            if key.startswith(SETTINGS_PREFIX) and path:
                settings = merge(settings, nested(path, value_of(value) if isinstance(value, str) else value))
    return settings


def prepare(request: Request) -> Request:
    """Return a VAMS request with what VAMS wrote down for it, its settings among the defaults, its keys as they are.

    The settings lie above the workflow's registered inputParameters and beneath the configuration file.
    """
    if request.source != "vams":
        return request
    request = located(request)
    changes: dict[str, Any] = {"input_parameters": merge(request.input_parameters, settings_of(request.asset_metadata))}
    if request.inputs is None and request.config_uri is not None and " " in request.config_uri:
        changes["config_uri"] = uri = spelled(request.config_uri)
        if request.asset_uri is not None:
            # The asset's root is the beginning of the same key, so it is spelled alike.
            changes["asset_uri"] = uri[: len(request.asset_uri)]
    return request.model_copy(update=changes)


def spelled(uri: str, storage: Storage | None = None) -> str:
    """Return the URI under which something lies, trying `+` for spaces; the given one where nothing is found.

    Args:
        uri: File, or prefix with a trailing slash, in which a `+` may have become a space.
        storage: Where to look; by default the bucket.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    storage = storage or storage_at(f"s3://{bucket}")
    for candidate in spellings(key):
        is_there = (
            next(iter(storage.files(candidate.rstrip("/"))), None) is not None
            if candidate.endswith("/")
            else storage.stat(candidate) is not None
        )
        if is_there:
            return f"s3://{bucket}/{candidate}"
    return uri


def spellings(key: str) -> list[str]:
    """Return the ways in which a key may have been spelled, likeliest first: as it came, all `+`, then mixtures."""
    parts = key.split(" ")
    gaps = len(parts) - 1
    choices = [(" ",) * gaps, ("+",) * gaps]
    if 1 < gaps <= _MOST_SPACES:
        choices += [mixed for mixed in itertools.product(" +", repeat=gaps) if len(set(mixed)) > 1]
    spelled_keys = ["".join(itertools.chain(*zip(parts, (*gap, ""), strict=True))) for gap in choices]
    return list(dict.fromkeys(spelled_keys))
