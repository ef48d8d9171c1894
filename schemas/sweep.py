"""The third JSON file that users write: `*-sweep-config.json`, which evaluates many checkpoints in many settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from isaaclab_flows.schemas.config import CamelModel, ComputeConfig, S3Uri, WrittenModel, merge, parse_object
from isaaclab_flows.schemas.defaults import given
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.overrides import HydraOverride
from isaaclab_flows.schemas.task_names import Library, near_names, require_task
from isaaclab_flows.schemas.validation import explain

Metric = Literal["meanReturn", "successRate"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$")]
MAX_CELLS = 100_000


class Variation(CamelModel):
    """One variation of the environment."""

    name: Name
    """Shown in the table and the leaderboard."""
    hydra_overrides: Annotated[tuple[HydraOverride, ...], Field(strict=False, max_length=100)] = ()
    """Isaac Lab's Hydra overrides, e.g. `env.episode_length_s=10`; none is the task as it is."""


class RegressionConfig(WrittenModel):
    """When a sweep reports that policies became worse."""

    event: bool = False
    """Emit the Prefect event `isaaclab-flows.sweep.regression`, which an automation can turn into a message."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """The metric may fall so far below the last best before it counts."""


class SweepTaskConfig(WrittenModel):
    """`sweepConfig`: the product of checkpoints, tasks, seeds, numbers of environments and variations."""

    checkpoints: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)]
    """Files, globs, folders, prefixes, runs or assets; within the asset, absolute, or s3://."""
    tasks: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(strict=False, min_length=1)]
    """Isaac Lab tasks; names with and without the 2.x suffix `-v0` both work."""
    rl_library: Library
    """The reinforcement-learning library that trained the checkpoints."""
    num_episodes: Annotated[int, Field(ge=1, le=100_000)]
    """Rounds of each evaluation: each counts every environment's first episode."""
    steps_per_episode: Annotated[int, Field(ge=1, le=1_000_000)]
    """Steps after which a round ends."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...], Field(strict=False, min_length=1)] = (42,)
    """Seeds of the environments."""
    num_envs: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(strict=False, min_length=1)] = (64,)
    """Numbers of environments simulated in parallel."""
    variations: Annotated[tuple[Variation, ...], Field(strict=False, max_length=1_000)] = ()
    """Variations of the environment; none evaluates the tasks as they are."""
    custom_environment_path: Annotated[str, Field(min_length=1)] | None = None
    """A .whl, .zip or .tar.gz with tasks of your own, relative to the asset's root."""
    custom_environment_s3_uri: S3Uri | None = None
    """The same as a full s3:// URI."""
    rank_by: Metric = "meanReturn"
    """What the leaderboard ranks by."""
    checkpoints_per_job: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Most checkpoints that one simulator process evaluates."""
    parallel_jobs: Annotated[int, Field(ge=1, le=64)] = 1
    """Most jobs at a time."""
    only_new: bool = True
    """Skip what has a result for the same checkpoint (by content), settings and versions."""
    release: Annotated[str, Field(max_length=200)] = ""
    """Part of the versions that decide what is new: change it (say, to the simulator image's tag) to evaluate again."""
    regression: RegressionConfig = RegressionConfig()

    @model_validator(mode="after")
    def _distinct_and_bounded(self) -> Self:
        for key, values in (
            ("tasks", self.tasks),
            ("seeds", self.seeds),
            ("numEnvs", self.num_envs),
            ("variations", tuple(v.name for v in self.variations)),
        ):
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"sweepConfig.{key} names {', '.join(twice)} more than once: each value once")
        return self


class SweepConfig(WrittenModel):
    """A sweep: `*-sweep-config.json`."""

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    name: Name
    """Shown to people; the results are kept in a folder of this name, where later sweeps of the name add to them."""
    description: Annotated[str, Field(max_length=4_000)]
    """Shown to people."""
    sweep_config: SweepTaskConfig
    compute_config: ComputeConfig

    @property
    def folder(self) -> str:
        """The name of the results' folder: the sweep's name in lower case, with dashes for blanks."""
        return self.name.lower().replace(" ", "-")

    @property
    def custom_environment(self) -> str | None:
        """The archive with the user's own tasks: an s3:// URI or a path within the asset, or None."""
        return self.sweep_config.custom_environment_path or self.sweep_config.custom_environment_s3_uri

    @model_validator(mode="after")
    def _one_process(self) -> Self:
        self.compute_config.require_one_process()
        return self


def is_sweep(data: object) -> bool:
    """Say whether a configuration's JSON object is a sweep's."""
    return isinstance(data, Mapping) and "sweepConfig" in data and "trainingConfig" not in data


def parse_sweep(text: str | bytes, *, source: str, defaults: Mapping[str, Any] | None = None) -> SweepConfig:
    """Read one sweep configuration's text.

    Args:
        text: The JSON text.
        source: Its path or URI, for errors.
        defaults: Values beneath the file.

    Raises:
        ConfigError: Not JSON, an unknown or missing key, a wrong type or value, or a task that does not exist.
    """
    return check_sweep(merge(given(defaults or {}), given(parse_object(text, source=source))), source=source)


def check_sweep(data: Mapping[str, Any], *, source: str) -> SweepConfig:
    """Check a sweep configuration that is already an object; see :func:`parse_sweep`."""
    if "sweepConfig" not in data:
        near = near_names("sweepConfig", [k for k in data if isinstance(k, str)], most=1)
        hint = " This looks like a training's or an evaluation's file." if "trainingConfig" in data else ""
        hint = hint or (f" Did you write '{near[0]}' for it?" if near else "")
        raise ConfigError("The key 'sweepConfig' is missing", where=source, remedy=f"A sweep needs it.{hint}")
    data = {"name": PurePosixPath(source).stem[:80], "description": "", "computeConfig": {}, **given(data)}
    try:
        config = SweepConfig.model_validate(data)
    except ValidationError as error:
        raise explain(error, SweepConfig, source=source) from error
    if config.custom_environment is None:
        for task in config.sweep_config.tasks:
            require_task(task, config.sweep_config.rl_library)
    return config


def sweep_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of sweep configurations, for editors."""
    schema = SweepConfig.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "isaaclab-flows sweep configuration",
    }


def sweep_schema_file() -> Path:
    """Return where the committed JSON Schema lies."""
    return Path(__file__).with_name("sweep-config.schema.json")


class BestCheckpoint(CamelModel):
    """The first of a task's leaderboard."""

    task: str
    checkpoint: str
    kept_as: str
    """URI of its copy."""
    score: float
    statement: str
    """Which differences from the others are significant."""


class SweepSummary(CamelModel):
    """What came out of a sweep."""

    name: str
    evaluations: int
    """Of the whole product."""
    new: int
    """Evaluated this time."""
    without_result: int
    """Rows of the product with a reason instead of a result."""
    results_uri: str
    best: Annotated[tuple[BestCheckpoint, ...], Field(strict=False)] = ()
    regressions: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """A sentence for each task whose newly evaluated checkpoints are worse than the last best."""
    regression_checks: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """A sentence for each task with a last best: worse, not seen to be worse (and what would have been), or why not."""
    gpu_seconds: float = 0.0
    """Wall time of the simulators times their GPUs, of what was evaluated this time; 0 on a CPU."""
    estimated_cost: float | None = None
    """Dollars, likewise; None without a price."""
