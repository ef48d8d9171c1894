"""A request: what somebody asks for, before anything is checked. VAMS, the UI, the CLI and sweeps all become one."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr

from isaaclab_flows.schemas.config import CamelModel, Kind

JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")]


def new_job_id() -> str:
    """Return a fresh job id (a UUID4 in its usual form)."""
    return str(uuid.uuid4())


class Callback(CamelModel):
    """Where the answer goes. The token is a secret: it lives in the request document and nowhere else."""

    task_token: SecretStr
    """VAMS's Step Functions task token, at most 2,048 characters. Dumped as asterisks, in JSON too: whoever needs it
    reads the document again, which also gives the newest one."""
    document_uri: str
    """The request document's own URI; the answers are recorded beside it."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Counts the runs of this execution."""
    received_at: float = 0.0
    """Unix time [s] at which the token arrived."""
    region: str | None = None
    """AWS region of the state machine; by default the session's."""
    heartbeat_seconds: float = 60.0
    """From one heartbeat to the next."""
    end_unawaited_after_seconds: float | None = None
    """The job ends when its token has been gone for so long [s], if that is sooner than the setting says."""


class VamsLocations(CamelModel):
    """Where VAMS takes results from (s3:// prefixes ending in a slash)."""

    files: str
    previews: str
    metadata: str
    results: str | None = None
    """Where short texts are shown from; None where VAMS knows no such place."""
    paged: bool = False
    """It lists all pages of a prefix; otherwise the first 1,000 keys."""


class VamsInputs(CamelModel):
    """Where VAMS 2.6 says what the request is about."""

    manifest_uri: str
    configuration_uri: str | None = None
    step: Annotated[int, Field(ge=1)] = 1
    """Counts the workflow's steps."""


class VamsBus(CamelModel):
    """Where VAMS 2.6 wants to hear of the job that works for an execution."""

    arn: str
    """The event bus."""
    source: str
    """The events' source, exactly."""
    pipeline_execution_id: str
    """This step's execution."""


class Request(CamelModel):
    """One request, complete but unchecked. As a document in S3 it is private and holds the callback."""

    version: Literal[1] = 1
    job_id: JobId
    kind: Kind | None = None
    """The workflow it was given to; None lets the file's mode decide."""
    source: Literal["cli", "python", "ui", "vams", "sweep"]
    config_uri: str | None = None
    """Path or s3:// URI of the configuration, of an asset's root (the one config of its kind is found), or of a
    checkpoint to evaluate."""
    config: dict[str, Any] | None = None
    """The configuration itself, instead of its URI."""
    input_parameters: dict[str, Any] = {}
    """Defaults beneath the configuration."""
    overrides: dict[str, Any] = {}
    """Values above the configuration (``--set``)."""
    config_version: str | None = None
    """S3 version of config_uri to read; None reads the newest."""
    asset_uri: str | None = None
    """The asset's root that relative paths resolve against; None derives it from config_uri."""
    earlier_outputs_uri: str | None = None
    """Where earlier steps of the same VAMS execution have put their outputs, which are not in the asset yet."""
    confined: bool = False
    """It may read nothing beyond its asset and the shared prefixes; requests from VAMS never may."""
    output_uri: str
    """Folder or s3:// prefix; outputs appear below ``<output_uri>/<job id>/``."""
    outputs_folder: str | None = None
    """Name to use instead of the job id there; empty: none."""
    auxiliary_uri: str | None = None
    """s3:// prefix for checkpoints, metrics and logs while the job runs; None keeps them in the job folder."""
    sweeps_uri: str | None = None
    """s3:// prefix for the growing table of sweeps; None: auxiliary_uri."""
    vams: VamsLocations | None = None
    inputs: VamsInputs | None = None
    """What is still to be read from VAMS 2.6's manifest."""
    bus: VamsBus | None = None
    execution_id: str = ""
    """VAMS's execution, which several steps share."""
    callback: Callback | None = None
    asset_metadata: dict[str, Any] = {}
    """VAMS's inputMetadata map, parsed."""
    user: str = ""
    labels: dict[str, str] = {}
    """Identifiers shown to people: assetId, databaseId, workflowId …"""
    device: str | None = None
    """``cpu`` or ``cuda``; None takes the setting's."""
    again: bool = False
    """Run a finished job again instead of returning its result."""

    def without_callback(self) -> Self:
        """Return the request as flows may see it: without its secret."""
        return self.model_copy(update={"callback": None})
