"""A resolved job: everything checked and decided, nothing secret. It is what execute gets and the job folder keeps."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from isaaclab_flows.schemas.config import CamelModel, EvaluationJobConfig, Kind, TrainingJobConfig
from isaaclab_flows.schemas.request import JobId, VamsBus
from isaaclab_flows.schemas.task_names import Library

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_NAME = 60

FLOW_RUN_LABEL = "flowRun"
"""The label that holds the id of the flow run that somebody started, below which all work for the job is done."""
NAME_LABEL = "name"
"""The label that holds what people call a job."""


class CheckpointSource(CamelModel):
    """One checkpoint to read."""

    uri: str
    """Path or s3:// URI."""
    found_by: str
    """``checkpointPath``, ``policyS3Uri``, ``discovery``, ``input`` or ``resumeCheckpoint``."""
    size: int | None = None
    """Bytes, where known."""
    version_id: str | None = None
    """S3 version to read; None reads the newest."""


class Price(CamelModel):
    """What a job is expected to cost, for people; never a limit."""

    instance_type: str
    dollars_per_hour: float
    as_of: str
    """Date of the price, YYYY-MM-DD."""


class Job(CamelModel):
    """One resolved job."""

    version: int = 1
    job_id: JobId
    kind: Kind
    source: str
    config: TrainingJobConfig | EvaluationJobConfig
    task: str
    """Installed registry's name, or the custom environment's own."""
    library: Library
    checkpoints: Annotated[tuple[CheckpointSource, ...], Field(strict=False)] = ()
    """Evaluation: what is evaluated, in order. Training: at most one, the one to resume from."""
    custom_environment_uri: str | None = None
    output_uri: str
    """Without the job id."""
    named_folder: str | None = None
    """Name of the outputs' folder where the request says so; empty: the outputs lie at output_uri itself."""
    staging_uri: str
    """Folder or s3:// prefix that finished files appear in while the job runs; ends with the job id."""
    device: str
    bus: VamsBus | None = None
    """Where VAMS wants to hear of the Batch job."""
    user: str = ""
    labels: dict[str, str] = {}
    price: Price | None = None
    again: bool = False
    warnings: Annotated[tuple[str, ...], Field(strict=False)] = ()
    defaults: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """What was not written in the configuration's file: a sentence for each value that was filled in."""

    @property
    def outputs_folder(self) -> str:
        """Name of the outputs' folder: the id where VAMS or a sweep looks for it, else one that people recognise."""
        if self.named_folder is not None:
            return self.named_folder
        if self.source not in ("cli", "python", "ui"):
            return self.job_id
        name = _UNFIT.sub("-", self.config.name).strip("-.")[:_MOST_NAME].rstrip("-.")
        return f"{name}-{self.job_id[:8]}" if name else self.job_id

    @property
    def outputs_uri(self) -> str:
        """Where the outputs are published: a folder or an s3:// prefix."""
        return f"{self.output_uri.rstrip('/')}/{self.outputs_folder}".rstrip("/")

    def published(self, path: str) -> str:
        """Return an output's path below output_uri."""
        return f"{self.outputs_folder}/{path}".lstrip("/")

    @property
    def title(self) -> str:
        """Task, library and the id's first eight characters, as run names say it."""
        return f"{self.task} · {self.library} · {self.job_id[:8]}"

    @property
    def run_name(self) -> str:
        """Name of the run that does the work; VAMS 2.6 finds an execution's lines in a log by its ids in them."""
        ids = f" · {self.job_id} · {self.bus.pipeline_execution_id}" if self.bus else ""
        return f"execute {self.title}{ids}"

    def dollars(self, seconds: float) -> float | None:
        """Return what all the job's machines cost for so many seconds [$]; None where no price is known."""
        if self.price is None:
            return None
        return round(self.price.dollars_per_hour * self.config.compute_config.num_nodes * seconds / 3600, 4)
