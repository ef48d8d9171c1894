"""Reads a sweep's configuration from where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isaaclab_flows.schemas.config import asset_root_of, merge, parse_object
from isaaclab_flows.schemas.defaults import given
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.sweep import SweepConfig, check_sweep
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import split_uri

SWEEP_SUFFIX = "-sweep-config.json"


def is_sweep_request(request: Request) -> bool:
    """Say whether a request's configuration is a sweep's, by its name."""
    return request.config_uri is not None and request.config_uri.endswith(SWEEP_SUFFIX)


def read_sweep(
    config_uri: str,
    asset_uri: str | None,
    *,
    defaults: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    version: str | None = None,
) -> tuple[SweepConfig, str]:
    """Return a sweep's configuration, and the asset's root that its relative paths resolve against.

    Args:
        config_uri: Absolute path or s3:// URI of the file.
        asset_uri: The root, where it is known; by default the folder above the file's own folder.
        defaults: Values beneath the file.
        overrides: Values above it.
        version: S3 version of the file to read.

    Raises:
        ConfigError: The configuration is wrong.
        InputMissingError: There is no such file.
    """
    folder, name = split_uri(config_uri)
    file = given(parse_object(storage_at(folder).read(name, version), source=config_uri))
    data = merge(merge(given(defaults or {}), file), given(overrides or {}))
    config = check_sweep(data, source=config_uri)
    return config, asset_uri or asset_root_of(config_uri)


def require_reach(config: SweepConfig, reach: Reach) -> None:
    """Refuse what a sweep may not bring or name.

    Raises:
        ConfigError: It brings a custom environment where none may be brought, or overrides that name files elsewhere.
    """
    reach.require_custom_environment(config.custom_environment)
    for variation in config.sweep_config.variations:
        reach.require_own_overrides(variation.hydra_overrides)
