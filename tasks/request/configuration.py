"""The configuration of a request: its file, what lies beneath and above it, and what a checkpoint tells of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from isaaclab_flows.schemas.config import JobConfig, Kind, asset_root_of, complete_config, merge, parse_object
from isaaclab_flows.schemas.defaults import given
from isaaclab_flows.schemas.errors import ConfigError, InputMissingError
from isaaclab_flows.schemas.job import CheckpointSource
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.job.checkpoints import is_checkpoint
from isaaclab_flows.tasks.request.discovery import discover, only_config, suffixes_of
from isaaclab_flows.tasks.request.provenance import training_beside
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import absolute_uri, is_s3, split_uri

NO_FILE = "the parameters"
_NAMED = frozenset({"checkpointPath", "checkpointPaths", "policyS3Uri", "policyPath"})
_INHERITED = ("task", "rlLibrary", "customEnvironmentPath", "customEnvironmentS3Uri")


@dataclass(frozen=True)
class Found:
    """A request's configuration.

    Attributes:
        config: Checked and complete.
        uri: Where its file lies; None where there is none.
        chosen: The checkpoint that the request itself points at, or that had to be found to know the task.
        told: A sentence for each thing that was not written in the file.
    """

    config: JobConfig
    uri: str | None
    chosen: CheckpointSource | None
    told: tuple[str, ...]


def find_configuration(request: Request, reach: Reach) -> Found:
    """Return the checked configuration of a request.

    Raises:
        ConfigError: It is wrong, or there are several.
        InputMissingError: There is none.
    """
    told: list[str] = []
    beneath, above = given(request.input_parameters), given(request.overrides)
    chosen = _chosen(request, told)
    has_parameters = bool(beneath.get("trainingConfig") or above.get("trainingConfig"))
    uri, file = _file(request, chosen, has_parameters=has_parameters)
    told += _replaced(file, above)
    data = merge(merge(beneath, file), above)
    expected: Kind | None = request.kind or ("evaluation" if chosen is not None else None)
    inner = data.get("trainingConfig", {} if uri is None and request.config is None else None)
    if isinstance(inner, Mapping) and "task" not in inner and _evaluates(inner, expected):
        roots = [root for root in (reach.earlier, reach.asset) if root and not _NAMED & inner.keys()]
        if chosen is None and (found := discover(roots, inner.get("rlLibrary"))) is not None:
            chosen = found[0]
            told.append(found[1])
        inherited = _inherited(chosen, inner, reach)
        told += [f"trainingConfig.{key} was not given: {value}, as it was trained" for key, value in inherited.items()]
        data = merge(data, {"trainingConfig": merge(inherited, inner)})
    if uri is None and request.config is None and not data.get("trainingConfig"):
        what = f"*{' or *'.join(suffixes_of(expected))}"
        raise InputMissingError(
            f"The asset has no {what}, and no parameters say what to do",
            where=reach.asset or request.config_uri or "configUri",
            remedy=f"Add a {what}.",
        )
    source = "the given values" if request.config is not None else uri or NO_FILE
    config, defaults = complete_config(data, source=source, expected=expected, seed_for=request.job_id)
    return Found(config, uri, chosen, (*told, *defaults))


def _chosen(request: Request, told: list[str]) -> CheckpointSource | None:
    """Return the checkpoint that a request is about: the one it was run on, or what an earlier step has made."""
    uri = request.config_uri
    if request.config is None and uri is not None and is_checkpoint(uri):
        return CheckpointSource(uri=uri, found_by="input", version_id=request.config_version)
    if request.earlier_outputs_uri is None or request.kind == "training":
        return None
    found = discover([request.earlier_outputs_uri], None)
    if found is None:
        return None
    told.append(f"{found[1]}, of this workflow's earlier step")
    return found[0].model_copy(update={"found_by": "input"})


def _file(
    request: Request, chosen: CheckpointSource | None, *, has_parameters: bool
) -> tuple[str | None, dict[str, Any]]:
    """Return where the configuration's file lies and what it gives; nothing where parameters have to do."""
    if request.config is not None:
        return request.config_uri, given(request.config)
    uri, version = request.config_uri, request.config_version
    if uri is None and not has_parameters and chosen is None:
        raise ConfigError("The request names no configuration", where="configUri", remedy="Name a *-config.json.")
    if uri is None or not _is_config(uri):
        root = request.asset_uri or (_asset_of(uri) if uri is not None else None)
        kind = request.kind or ("evaluation" if chosen is not None else None)
        uri, version = (only_config(root, kind) if root is not None else None), None
        if uri is None:
            return None, {}
    folder, name = split_uri(uri)
    return uri, given(parse_object(storage_at(folder).read(name, version), source=uri))


def _is_config(uri: str) -> bool:
    if uri.endswith("/") or is_checkpoint(uri) or (not is_s3(uri) and Path(uri).is_dir()):
        return False
    return PurePosixPath(uri).suffix.lower() in (".json", "")


def _asset_of(uri: str) -> str:
    whole = uri.endswith("/") or (not is_s3(uri) and Path(uri).is_dir())
    return uri if whole else asset_root_of(absolute_uri(uri))


def _evaluates(inner: Mapping[str, Any], expected: Kind | None) -> bool:
    return inner.get("mode") in ("evaluate", "play") or ("mode" not in inner and expected == "evaluation")


def _inherited(chosen: CheckpointSource | None, inner: Mapping[str, Any], reach: Reach) -> dict[str, Any]:
    trained = training_beside(chosen.uri, reach) if chosen is not None else None
    return {key: trained[key] for key in _INHERITED if trained and trained.get(key) and key not in inner}


def _replaced(file: Mapping[str, Any], above: Mapping[str, Any], path: str = "") -> list[str]:
    """Say which of the file's values are replaced by what lies above it."""
    said: list[str] = []
    for key in file.keys() & above.keys():
        below, value = file[key], above[key]
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            said += _replaced(below, value, f"{path}{key}.")
        elif below != value:
            said.append(f"{path}{key} is {value!r} as this run was given it, not the file's {below!r}")
    return sorted(said)
