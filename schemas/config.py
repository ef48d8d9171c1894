"""The two JSON files that users write: `*-training-config.json` and `*-evaluation-config.json`.

JSON is camelCase, Python snake_case. Unknown keys, wrong types and values out of range are errors that name the key,
the value, what is allowed and the nearest known key. Numbers may be quoted, and what is left out has the defaults of
schemas/defaults.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from isaaclab_flows.schemas.budget import BudgetConfig
from isaaclab_flows.schemas.defaults import Kind as Kind  # noqa: PLC0414
from isaaclab_flows.schemas.defaults import completed, given, with_mode
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.numbers import numbers_of
from isaaclab_flows.schemas.overrides import HydraOverride
from isaaclab_flows.schemas.task_names import Library, near_names
from isaaclab_flows.schemas.validation import explain

MAX_CONFIG_BYTES = 1_000_000


class CamelModel(BaseModel):
    """Base of everything that is written as camelCase JSON: strict, frozen, no unknown keys."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class WrittenModel(CamelModel):
    """Base of what people write: a quoted number is a number, and a whole one may have been written as ``4096.0``."""

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, data: Any) -> Any:
        return numbers_of(cls, data) if isinstance(data, Mapping) else data


Acceleration = Literal["auto", "off"]
Frontend = Literal["auto", "torch", "warp"]
S3Uri = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$", examples=["s3://bucket/key"])]


class OutputConfig(WrittenModel):
    """What is kept of a training run."""

    save_checkpoints: bool = True
    """Publish every checkpoint; false publishes only the last one."""
    checkpoint_interval: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Iterations from one checkpoint to the next."""


class VideoConfig(WrittenModel):
    """The picture of an evaluation's video."""

    width: Annotated[int, Field(ge=64, le=3840, multiple_of=2)] = 640
    """Pixels across (even)."""
    height: Annotated[int, Field(ge=64, le=2160, multiple_of=2)] = 360
    """Pixels down (even)."""
    fps: Annotated[int, Field(ge=1, le=120)] | None = None
    """Frames a second of the file; by default the task's own step rate, so that the video plays in real time."""
    max_frames: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Stop filming after so many frames; by default numEpisodes x stepsPerEpisode are filmed."""
    num_envs: Annotated[int, Field(ge=1, le=16)] = 1
    """How many of the environments are filmed, side by side."""


class ComputeConfig(WrittenModel):
    """The machines that a job asks for."""

    num_nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """GPU machines; more than one trains distributed."""
    gpus_per_node: Annotated[int, Field(ge=1, le=8)] = 1
    """GPUs of each machine; on each of them a process simulates trainingConfig.numEnvs environments."""
    timeout_minutes: Annotated[int, Field(ge=1, le=10_080)] = 360
    """The job ends after so long, with what was saved by then."""
    capacity: Literal["auto", "spot", "on-demand"] = "auto"
    """On AWS: `spot` machines only, `on-demand` machines only, or Spot first where the deployment has it (`auto`)."""

    def require_one_process(self) -> None:
        """Check what an evaluation asks for.

        Raises:
            ValueError: More than one machine or GPU.
        """
        if self.num_nodes != 1:
            raise ValueError("computeConfig.numNodes must be 1: an evaluation runs on one machine")
        if self.gpus_per_node != 1:
            raise ValueError("computeConfig.gpusPerNode must be 1: an evaluation uses one GPU")


class _SharedTaskConfig(WrittenModel):
    task: Annotated[str, Field(min_length=1, max_length=200)]
    """Isaac Lab task; names with and without the 2.x suffix `-v0` both work."""
    num_envs: Annotated[int, Field(ge=1, le=65_536)]
    """Environments simulated in parallel."""
    rl_library: Library
    """The reinforcement-learning library."""
    agent: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=200)] | None = None
    """Another of the task's agents for the library, e.g. `recurrent`, `distillation`, `with_symmetry` or `amp`; also
    written as Isaac Lab's own key, `rsl_rl_recurrent_cfg_entry_point`. By default the library's first one."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Seed of the environments and the agent."""
    custom_environment_path: Annotated[str, Field(min_length=1)] | None = None
    """A .whl, .zip or .tar.gz with tasks of your own, relative to the asset's root."""
    custom_environment_s3_uri: S3Uri | None = None
    """The same as a full s3:// URI."""
    hydra_overrides: Annotated[tuple[HydraOverride, ...], Field(strict=False, max_length=100)] = ()
    """Isaac Lab's Hydra overrides, e.g. `env.episode_length_s=10` or `agent.algorithm.entropy_coef=0.01`."""


class TrainingTaskConfig(_SharedTaskConfig):
    """`trainingConfig` of a training."""

    mode: Literal["train"]
    """Always `train`."""
    max_iterations: Annotated[int, Field(ge=1, le=10_000_000)]
    """Policy updates in all, those before a resume included."""
    resume_checkpoint: Annotated[str, Field(min_length=1)] | None = None
    """Train on from this checkpoint: a path within the asset, or an s3:// URI."""
    on_divergence: Literal["fail", "rollback"] = "fail"
    """What follows when a loss, the reward or a weight is no number any more: `fail` ends the training and keeps its
    last finite checkpoint; `rollback` goes back to that one with half the learning rate, up to three times."""
    acceleration: Acceleration = "auto"
    """`auto` trains faster where the result is the same (docs/acceleration.md); `off` is Isaac Lab's trainer as it is.
    """
    frontend: Frontend = "auto"
    """Isaac Lab's runtime of the task: `torch`, `warp`, or `auto`, which takes warp on a GPU for the tasks that are
    known to learn the same there."""


class EvaluationTaskConfig(_SharedTaskConfig):
    """`trainingConfig` of an evaluation."""

    mode: Literal["evaluate", "play"]
    """`evaluate`; `play` means the same."""
    num_episodes: Annotated[int, Field(ge=1, le=100_000)]
    """Rounds: each resets every environment and counts each environment's first episode."""
    steps_per_episode: Annotated[int, Field(ge=1, le=1_000_000)]
    """Steps after which a round ends."""
    checkpoint_path: Annotated[str, Field(min_length=1)] | None = None
    """The checkpoint, relative to the asset's root."""
    policy_s3_uri: Annotated[
        S3Uri | None,
        Field(validation_alias=AliasChoices("policyS3Uri", "policyPath", "policy_s3_uri")),
    ] = None
    """The checkpoint as a full s3:// URI (policyPath is an alias)."""
    checkpoint_paths: Annotated[tuple[str, ...], Field(strict=False, max_length=10_000)] = ()
    """Several checkpoints (paths or s3:// URIs), evaluated one after the other in one simulator process."""
    record_video: bool = True
    """Film the evaluation."""


class _JobConfig(WrittenModel):
    schema_: Annotated[str | None, Field(alias="$schema")] = None
    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Shown to people."""
    description: Annotated[str, Field(max_length=4_000)]
    """Shown to people."""
    compute_config: ComputeConfig
    budget_config: BudgetConfig = BudgetConfig()
    custom_environment_path: Annotated[str, Field(min_length=1)] | None = None
    """Accepted here as well as inside trainingConfig."""
    custom_environment_s3_uri: S3Uri | None = None
    """Accepted here as well as inside trainingConfig."""

    @property
    def custom_environment(self) -> str | None:
        """The archive with the user's own tasks: an s3:// URI or a path within the asset, or None."""
        inner: _SharedTaskConfig = self.training_config  # type: ignore[attr-defined]
        return (
            inner.custom_environment_path
            or self.custom_environment_path
            or inner.custom_environment_s3_uri
            or self.custom_environment_s3_uri
        )


class TrainingJobConfig(_JobConfig):
    """A training: `*-training-config.json`."""

    training_config: TrainingTaskConfig
    output_config: OutputConfig = OutputConfig()

    @property
    def kind(self) -> Literal["training"]:
        """The workflow that this file belongs to."""
        return "training"


class EvaluationJobConfig(_JobConfig):
    """An evaluation: `*-evaluation-config.json`."""

    training_config: EvaluationTaskConfig
    video_config: VideoConfig = VideoConfig()

    @property
    def kind(self) -> Literal["evaluation"]:
        """The workflow that this file belongs to."""
        return "evaluation"

    @model_validator(mode="after")
    def _one_process(self) -> Self:
        self.compute_config.require_one_process()
        return self


JobConfig = TrainingJobConfig | EvaluationJobConfig
_MODES: dict[str, type[TrainingJobConfig] | type[EvaluationJobConfig]] = {
    "train": TrainingJobConfig,
    "evaluate": EvaluationJobConfig,
    "play": EvaluationJobConfig,
}


def parse_config(
    text: str | bytes, *, source: str, expected: Kind | None = None, defaults: Mapping[str, Any] | None = None
) -> JobConfig:
    """Read one configuration file's text.

    Args:
        text: The JSON text.
        source: Its path or URI, for errors.
        expected: The workflow it was given to, when that is known.
        defaults: Values beneath the file, e.g. the workflow's registered inputParameters.

    Raises:
        ConfigError: Not JSON, an unknown or missing key, a wrong type or value, or the wrong workflow.
    """
    data = merge(given(defaults or {}), given(parse_object(text, source=source)))
    return check_config(data, source=source, expected=expected)


def parse_object(text: str | bytes, *, source: str, most: int | None = None) -> dict[str, Any]:
    """Read a configuration's JSON object.

    Args:
        text: The JSON text.
        source: Its path or URI, for errors.
        most: Its longest length [bytes]; None takes MAX_CONFIG_BYTES.

    Raises:
        ConfigError: Too long, not JSON, or no object.
    """
    most = most or MAX_CONFIG_BYTES
    if len(text) > most:
        raise ConfigError(
            f"The configuration is {len(text):,} bytes long; at most {most:,} are allowed",
            where=source,
            remedy="Is this the right file?",
        )
    try:
        data = json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"The configuration is not valid JSON: {error}", where=source, remedy=_syntax_remedy(error)
        ) from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"The configuration is a JSON {type(data).__name__}", where=source, remedy="It must be an object {…}."
        )
    return data


def _syntax_remedy(error: Exception) -> str:
    """Say which line has what people write and JSON has not."""
    if not isinstance(error, json.JSONDecodeError):
        return "Mend the file's syntax."
    rest = error.doc[error.pos :].lstrip()
    before = error.doc[: error.pos].rstrip()
    if rest.startswith(("//", "/*", "#")):
        return f"Line {error.lineno} has a comment, and JSON has none: take it out, or say it in 'description'."
    if before.endswith(",") and rest.startswith(("}", "]")):
        line = before.count("\n") + 1
        return f"Line {line} ends with a comma before a closing bracket: take the comma out."
    if error.msg.startswith("Illegal trailing comma"):
        return f"Line {error.lineno} ends with a comma before a closing bracket: take the comma out."
    if rest.startswith("'"):
        return f"Line {error.lineno} has single quotes: JSON's are double."
    return f"Mend line {error.lineno}."


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the key '{twice[0]}' is written more than once in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def check_config(data: Mapping[str, Any], *, source: str, expected: Kind | None = None) -> JobConfig:
    """Check a configuration that is already an object; see :func:`parse_config`."""
    return complete_config(data, source=source, expected=expected)[0]


def complete_config(
    data: Mapping[str, Any], *, source: str, expected: Kind | None = None, seed_for: str = ""
) -> tuple[JobConfig, tuple[str, ...]]:
    """Check a configuration that is already an object, and fill what it leaves open.

    Args:
        data: The configuration.
        source: Its path or URI, for errors and for its name.
        expected: The workflow it was given to, when that is known.
        seed_for: A job's id, from which a seed is chosen where one is to be chosen.

    Returns:
        The configuration, and a sentence for each default that was taken.

    Raises:
        ConfigError: See :func:`parse_config`.
    """
    data = given(data)
    inner = data.get("trainingConfig")
    if not isinstance(inner, Mapping):
        near = near_names("trainingConfig", [k for k in data if isinstance(k, str)], most=1)
        hint = f" Did you write '{near[0]}' for it?" if near else ""
        raise ConfigError(
            "The key 'trainingConfig' is missing or no object",
            where=source,
            remedy=f"Both kinds of configuration have it.{hint}",
        )
    data, said = with_mode(data, source=source, expected=expected)
    mode = data["trainingConfig"]["mode"]
    model = _MODES.get(mode) if isinstance(mode, str) else None
    if model is None:
        raise ConfigError(
            f"trainingConfig.mode is {mode!r}",
            where=source,
            remedy="Allowed: 'train' (training), 'evaluate' or its alias 'play' (evaluation).",
        )
    if expected is not None and model is not (TrainingJobConfig if expected == "training" else EvaluationJobConfig):
        other = "evaluation" if expected == "training" else "training"
        raise ConfigError(
            f"trainingConfig.mode is {mode!r}, but this is the {expected} workflow",
            where=source,
            remedy=f"Run the {other} workflow on this file, or choose a *-{expected}-config.json.",
        )
    kind: Kind = "training" if model is TrainingJobConfig else "evaluation"
    data, filled = completed(data, kind, source=source, seed_for=seed_for)
    try:
        return model.model_validate(data), (*said, *filled)
    except ValidationError as error:
        raise explain(error, model, source=source) from error


def merge(beneath: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one JSON object over another, deeply; the one above wins."""
    merged = dict(beneath)
    for key, value in above.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def asset_root_of(config_uri: str) -> str:
    """Return the asset's root for a config file: the folder above its own folder; at the top, its own folder.

    Args:
        config_uri: POSIX path, e.g. ``asset/training/x.json``, or s3:// URI, of which a bucket's root is the top.
    """
    if config_uri.startswith("s3://"):
        bucket, _, key = config_uri.removeprefix("s3://").partition("/")
        return f"s3://{bucket}/{asset_root_of(key)}".removesuffix("/.")
    folder = PurePosixPath(config_uri).parent
    return str(folder.parent) if folder.name else str(folder)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of both kinds, for editors."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(JobConfig).json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "isaaclab-flows job configuration",
        **schema,
    }


def schema_file() -> Path:
    """Return where the committed JSON Schema lies."""
    return Path(__file__).with_name("job-config.schema.json")
