"""What VAMS 2.6 and 2.7 hand to a run: manifest, configuration and metadata, read into the same request as 2.5's event.

Keys are copied as the manifest gives them and never built: a bucket may have a base prefix.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from isaaclab_flows.schemas.config import parse_object
from isaaclab_flows.schemas.defaults import Kind
from isaaclab_flows.schemas.errors import ConfigError, InputMissingError
from isaaclab_flows.schemas.request import Request, VamsBus, VamsInputs, VamsLocations
from isaaclab_flows.tasks.request.discovery import suffixes_of
from isaaclab_flows.tasks.request.sweep import SWEEP_SUFFIX
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import join_uri, split_uri

WHOLE_ASSET = "/"
NO_EXTENSION = ("", "/")
MOST_METADATA_BYTES = 128 * 1024 * 1024
_PIPELINE = re.compile(r"(?:.*/)?pipelines/([^/]+)/", re.DOTALL)
_PIPELINE_EXECUTION = re.compile(r".*\.pipeline\.([A-Za-z0-9_-]+)")


class _Part(BaseModel):
    """Of what VAMS writes, only what is read here; other keys may come and go."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class InputFile(_Part):
    """One file that the run was started on, or that an earlier step has written; the latter belong to no asset yet."""

    relative_path: str = WHOLE_ASSET
    database_id: str = ""
    asset_id: str = ""
    asset_root_s3_key: str = ""
    bucket: str = ""
    key: str = ""
    version_id: str | None = None


class _Outputs(_Part):
    bucket: str
    files: str
    previews: str
    metadata: str
    results: str = ""


class _Target(_Part):
    location_type: str = "asset"
    asset_id: str | None = None
    database_id: str | None = None
    file_base_execution_path_extension: str | None = None


class _System(_Part):
    orchestration_bus_arn: str | None = None
    orchestration_event_prefix: str | None = None


class Manifest(_Part):
    """The manifest of one step."""

    input_files: tuple[InputFile, ...] = ()
    input_metadata_s3_location: str | None = None
    outputs: _Outputs
    output_target: _Target = _Target()
    aux_bucket: str | None = None
    aux_temp_prefix: str | None = None
    system_config: _System = _System()

    @property
    def pipeline(self) -> str:
        """This step's pipeline or job name."""
        found = _PIPELINE.match(self.aux_temp_prefix or "")
        return found[1] if found else ""


def located(request: Request) -> Request:
    """Return a request of VAMS 2.6 with all that its manifest says; any other one, and one that has it, as it is.

    Raises:
        InputMissingError: The manifest, or another object that it names, is not there.
        ConfigError: One of them is not what VAMS writes, or several files or assets were chosen.
    """
    inputs = request.inputs
    if inputs is None or request.output_uri:
        return request
    manifest = read_manifest(inputs.manifest_uri)
    kind = kind_named(manifest.pipeline, request.labels.get("workflowId", ""))
    own = tuple(file for file in manifest.input_files if file.asset_id and file.asset_root_s3_key.strip("/"))
    asset = _asset(own, inputs.manifest_uri)
    file = _file(own, kind, inputs.manifest_uri)
    if file is not None and inputs.step > 1 and _is_of_the_first_step(file, kind):
        file = file.model_copy(update={"relative_path": WHOLE_ASSET, "version_id": None})
    files = _uri(manifest.outputs.bucket, manifest.outputs.files)
    auxiliary = _auxiliary(manifest)
    target = manifest.output_target
    identity = {
        "assetId": file.asset_id if file else target.asset_id or "",
        "databaseId": file.database_id if file else target.database_id or "",
        "pipelineId": manifest.pipeline,
    }
    bus = _bus(manifest.system_config)
    return request.model_copy(
        update={
            "kind": kind,
            "config_uri": None if file is None else asset if _is_whole(file) else _uri(file.bucket, file.key),
            "config_version": (file.version_id or None) if file else None,
            "asset_uri": asset,
            "earlier_outputs_uri": files if inputs.step > 1 else None,
            "output_uri": files,
            "outputs_folder": _folder(target.file_base_execution_path_extension, inputs.step),
            "auxiliary_uri": auxiliary,
            "sweeps_uri": _sweeps(auxiliary, file),
            "vams": VamsLocations(
                files=files,
                previews=_uri(manifest.outputs.bucket, manifest.outputs.previews),
                metadata=_uri(manifest.outputs.bucket, manifest.outputs.metadata),
                results=_results(manifest.outputs, inputs.step),
                paged=True,
            ),
            "overrides": read_configuration(inputs),
            "asset_metadata": read_metadata(manifest.input_metadata_s3_location, file),
            "bus": bus,
            "labels": request.labels
            | {key: value for key, value in identity.items() if value}
            | ({"pipelineExecutionId": bus.pipeline_execution_id} if bus else {}),
        }
    )


def kind_named(*names: str) -> Kind | None:
    """Return the kind that the first telling name says; None lets the configuration's mode decide."""
    kinds: tuple[Kind, ...] = ("training", "evaluation")
    for name in names:
        named = [kind for kind in kinds if kind in name.casefold()]
        if len(named) == 1:
            return named[0]
    return None


def read_manifest(uri: str) -> Manifest:
    """Read a step's manifest; see :func:`located` for errors."""
    try:
        return Manifest.model_validate(_object(uri, "manifest"))
    except ValidationError as error:
        keys = ", ".join(".".join(str(part) for part in detail["loc"]) for detail in error.errors()[:5])
        raise _unlike(uri, "manifest", f"these keys are missing or of another type: {keys}") from None


def read_configuration(inputs: VamsInputs) -> dict[str, Any]:
    """Return what the run was given on VAMS's execute screen; it is often empty.

    Raises:
        ConfigError: It is no JSON object.
    """
    if inputs.configuration_uri is None:
        return {}
    folder, name = split_uri(inputs.configuration_uri)
    try:
        content = storage_at(folder).read(name)
    except InputMissingError:
        return {}
    return parse_object(content, source="the configuration of this run") if content.strip() else {}


def read_metadata(uri: str | None, file: InputFile | None) -> dict[str, Any]:
    """Return the metadata of the asset and of the file, in the shape in which VAMS 2.5 sends them.

    Args:
        uri: Where they lie; none or nothing there: there are none.
        file: What the run was started on.
    """
    if not uri:
        return {}
    folder, name = split_uri(uri)
    stat = storage_at(folder).stat(name)
    if stat is None or stat.size == 0:
        return {}
    if stat.size > MOST_METADATA_BYTES:
        raise _unlike(uri, "metadata", f"they have {stat.size:,} bytes")
    data = _object(uri, "metadata", most=MOST_METADATA_BYTES)
    if isinstance(data.get("metadata"), dict):
        return dict(data["metadata"])
    asset = next((a for a in _objects(data.get("assets")) if file and a.get("assetId") == file.asset_id), {})
    of_file = {str(entry.get("fileKey")): entry for entry in _objects(asset.get("files"))}
    own = of_file.get(file.relative_path, {}) if file and not _is_whole(file) else {}
    return {
        "VAMS": {
            "assetData": asset.get("assetData") or {},
            "assetMetadata": of_file.get(WHOLE_ASSET, {}).get("metadata") or {},
            "fileMetadata": own.get("metadata") or {},
            "fileAttributes": own.get("attributes") or {},
        }
    }


def _asset(own: tuple[InputFile, ...], manifest: str) -> str | None:
    roots = {_uri(file.bucket, file.asset_root_s3_key.rstrip("/") + "/") for file in own}
    if len(roots) > 1:
        raise ConfigError(
            f"The run was started on files of {len(roots)} assets", where=manifest, remedy="Choose one asset."
        )
    return roots.pop() if roots else None


def _file(own: tuple[InputFile, ...], kind: Kind | None, manifest: str) -> InputFile | None:
    """Return what the run was started on: the only file, or the only configuration among several."""
    if len(own) <= 1:
        return own[0] if own else None
    configurations = [file for file in own if file.key.endswith(_suffixes(kind))]
    if len(configurations) != 1:
        names = ", ".join(file.relative_path for file in own[:10])
        raise ConfigError(
            f"The run was started on {len(own)} files ({names}), {len(configurations)} of them configurations",
            where=manifest,
            remedy="Choose the configuration, the checkpoint or the whole asset.",
        )
    return configurations[0]


def _suffixes(kind: Kind | None) -> tuple[str, ...]:
    return (*suffixes_of(kind), *(() if kind == "training" else (SWEEP_SUFFIX,)))


def _is_of_the_first_step(file: InputFile, kind: Kind | None) -> bool:
    """Say whether a later step was handed the file that the workflow was started on, which tells it nothing."""
    return kind == "evaluation" and file.key.endswith(".json") and not file.key.endswith(_suffixes(kind))


def _is_whole(file: InputFile) -> bool:
    return file.relative_path == WHOLE_ASSET or file.key.endswith("/")


def _folder(extension: str | None, step: int) -> str | None:
    """Return how the outputs' folder is to be named: the workflow's own extension stands for the execution already."""
    if (extension or "") in NO_EXTENSION:
        return None
    return "" if step == 1 else f"step{step}"


def _results(outputs: _Outputs, step: int) -> str | None:
    if not outputs.results:
        return None
    results = _uri(outputs.bucket, outputs.results)
    return results if step == 1 else join_uri(results, f"step{step}") + "/"


def _auxiliary(manifest: Manifest) -> str | None:
    if not manifest.aux_bucket or not manifest.aux_temp_prefix:
        return None
    return _uri(manifest.aux_bucket, manifest.aux_temp_prefix)


def _sweeps(auxiliary: str | None, file: InputFile | None) -> str | None:
    """Return the place of sweeps of one configuration, which is the same for each of its executions."""
    if auxiliary is None or file is None:
        return None
    above, _ = split_uri(auxiliary)
    return join_uri(above, "sweeps", file.database_id, file.asset_id, file.relative_path)


def _bus(system: _System) -> VamsBus | None:
    source = system.orchestration_event_prefix or ""
    named = _PIPELINE_EXECUTION.fullmatch(source)
    if not system.orchestration_bus_arn or named is None:
        return None
    return VamsBus(arn=system.orchestration_bus_arn, source=source, pipeline_execution_id=named[1])


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


def _object(uri: str, what: str, most: int | None = None) -> dict[str, Any]:
    folder, name = split_uri(uri)
    try:
        return parse_object(storage_at(folder).read(name), source=uri, most=most)
    except ConfigError as error:
        raise _unlike(uri, what, error.what) from None


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _unlike(uri: str, what: str, why: str) -> ConfigError:
    return ConfigError(
        f"The {what} of this execution is not what VAMS 2.6 or 2.7 writes: {why}",
        where=uri,
        remedy="Compare VAMS's version with docs/vams.md.",
    )
