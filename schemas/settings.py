"""The settings, read from the environment in one place: the prefix is ISAACLAB_FLOWS_."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from isaaclab_flows.schemas.budget import BudgetConfig
from isaaclab_flows.schemas.placement import Queues


class Settings(BaseSettings):
    """Everything that the environment decides. ``ISAACLAB_FLOWS_HANG_SECONDS=900`` sets hang_seconds."""

    model_config = SettingsConfigDict(
        env_prefix="ISAACLAB_FLOWS_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    outputs: str = "outputs"
    """Folder or s3:// prefix for the outputs of runs that name none."""
    jobs_folder: Path | None = None
    """Where job folders lie (on AWS: the EFS mount's /mnt/efs/jobs); by default `.jobs` beside the outputs."""
    cache_folder: Path = Path("~/.cache/isaaclab-flows")
    """Robot files and compiled kernels that later runs use again."""
    asset_root: Annotated[
        str | None,
        Field(validation_alias=AliasChoices("ISAACLAB_FLOWS_ASSET_ROOT", "ISAACSIM_ASSET_ROOT")),
    ] = None
    """Folder or URL with robot files to use instead of NVIDIA's server and of the pack made from Newton's wheel."""
    simulator_python: Path | None = None
    """Python that has Isaac Lab; by default the one that runs this. In NVIDIA's image: /isaac-sim/python.sh."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to simulate; auto takes the GPU where there is one."""
    hang_seconds: Annotated[float, Field(gt=0)] = 900.0
    """The simulator is ended when it reports nothing for so long."""
    stop_grace_seconds: Annotated[float, Field(gt=0)] = 60.0
    """From asking the simulator to end (SIGTERM) to making it (SIGKILL)."""
    simulator_restarts: Annotated[int, Field(ge=0, le=100)] = 2
    """How often a training that was killed or hung goes on by itself from its newest checkpoint."""
    execute_deployment: str | None = None
    """Deployment (`flow/name`) that runs execute on a GPU machine; None runs it inline."""
    transfer_threads: Annotated[int, Field(ge=1, le=64)] = 8
    """Parallel transfers."""
    transfer_attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """Tries of one call of S3, the first included."""
    studio_folder: Path = Path("outputs/.studio")
    """Where `isaaclab-flows up` keeps the local studio's database, logs and process numbers."""
    files_url: str | None = None
    """Address under which a browser finds the outputs folder; `up` serves it and sets this."""
    instance_type: str | None = None
    """EC2 instance type that jobs run on, for the estimated cost."""
    idle_gpu_seconds: Annotated[float, Field(ge=0)] = 300.0
    """A job on a GPU is ended when its GPU did nothing and nothing was reported for so long; 0 switches this off."""
    budget: BudgetConfig = BudgetConfig()
    """What a job may use whose configuration has no budgetConfig of its own (JSON)."""
    queues: Queues | None = None
    """The deployment's Batch job queues (JSON); infrastructure/ sets it, schemas/placement.py chooses from it."""
    gpu_pool: dict[str, Any] = {}
    """Defaults of the aws-batch work pool's variables (JSON), for `isaaclab-flows deploy`; infrastructure/ sets it."""
    shared_prefixes: tuple[str, ...] = ()
    """s3:// prefixes (JSON) that requests from VAMS may read besides their own asset; infrastructure/ sets it."""
    jobs_log_group: str | None = None
    """CloudWatch's log group of the GPU jobs, which VAMS 2.6 is told; infrastructure/ sets it."""
    vams_custom_environments: bool = True
    """Whether requests from VAMS may bring an archive with tasks of their own, which is code that runs in the job."""
    end_unawaited_after_seconds: Annotated[float, Field(ge=0)] = 180.0
    """A VAMS job ends when its token has been gone for so long and no retry brought a new one; 0 lets it go on."""


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings, read once; tests clear the cache."""
    return _replaced[-1] if _replaced else Settings()


_replaced: list[Settings] = []


@contextmanager
def replaced_settings(**changes: Any) -> Iterator[Settings]:
    """Let :func:`settings` answer with some other values while the context lasts, in every thread of this process.

    Args:
        changes: Fields of :class:`Settings`.
    """
    _replaced.append(settings().model_copy(update=changes))
    settings.cache_clear()
    try:
        yield settings()
    finally:
        _replaced.pop()
        settings.cache_clear()
