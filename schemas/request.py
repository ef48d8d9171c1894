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


class VamsLocations(CamelModel):
    """Where VAMS takes results from (s3:// prefixes ending in a slash)."""

    files: str
    previews: str
    metadata: str


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
    asset_uri: str | None = None
    """The asset's root that relative paths resolve against; None derives it from config_uri."""
    output_uri: str
    """Folder or s3:// prefix; outputs appear below ``<output_uri>/<job id>/``."""
    auxiliary_uri: str | None = None
    """s3:// prefix for checkpoints, metrics and logs while the job runs; None keeps them in the job folder."""
    vams: VamsLocations | None = None
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
