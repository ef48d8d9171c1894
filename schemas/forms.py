"""The typed parameters of the flows that people start: what the Prefect UI shows as a form.

The UI makes a choice of an enumeration, a group of a nested model (its docstring and its fields' docstrings are the
help), and takes the description of a flow's own parameter from the `Args:` of the flow's docstring. A form becomes the
same configuration that a file would give (schemas/config.py), so that both are checked by the same rules.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from isaaclab_flows.schemas.sweep import SweepConfig, check_sweep
from isaaclab_flows.schemas.task_names import TASKS, Library

TaskName = Annotated[
    str, Field(json_schema_extra={"enum": sorted(name for name, libraries in TASKS.items() if libraries)})
]
"""A task of Isaac Lab, chosen from the list; one of your own goes into `CustomEnvironment`."""
NumEnvs = Annotated[int, Field(ge=1, le=65_536)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Iterations = Annotated[int, Field(ge=1, le=10_000_000)]
Episodes = Annotated[int, Field(ge=1, le=100_000)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
CheckpointPattern = Annotated[str, Field(min_length=1)]
Device = Literal["auto", "cpu", "cuda"]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class CustomEnvironment(_Group):
    """A Python package with tasks of your own. Leave empty for Isaac Lab's tasks."""

    task: str | None = None
    """The task that your package registers; it replaces the one chosen from the list."""
    archive: str | None = None
    """A .whl, .zip or .tar.gz: a path within the asset, or an s3:// URI."""


class Machine(_Group):
    """The machines that the job asks for."""

    num_nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """GPU machines; more than one trains distributed."""
    gpus_per_node: Annotated[int, Field(ge=1, le=8)] = 1
    """GPUs of each machine; on each of them a process simulates so many environments as num_envs says."""
    timeout_minutes: Annotated[int, Field(ge=1, le=10_080)] = 360
    """The job ends after so long, with what was saved by then."""
    capacity: Literal["auto", "spot", "on-demand"] = "auto"
    """On AWS: Spot machines only, on-demand machines only, or Spot first where the deployment has it (auto)."""


class Places(_Group):
    """Where inputs come from and outputs go to. Leave empty for the studio's own folder."""

    output_uri: str | None = None
    """Folder or s3:// prefix; the outputs appear below it in a folder named by the job's id."""
    asset_uri: str | None = None
    """Folder or s3:// prefix that relative paths resolve against."""
    job_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")] | None = None
    """Go on with (or show again) the job of this id; by default every run is a job of its own."""


class Keep(_Group):
    """What is kept of a training."""

    save_checkpoints: bool = True
    """Publish every checkpoint; off publishes only the last one."""
    checkpoint_interval: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Iterations from one checkpoint to the next."""


class Film(_Group):
    """The video of an evaluation."""

    record_video: bool = True
    """Film the evaluation."""
    width: Annotated[int, Field(ge=64, le=3840, multiple_of=2)] = 640
    """Pixels across (even)."""
    height: Annotated[int, Field(ge=64, le=2160, multiple_of=2)] = 360
    """Pixels down (even)."""
    max_frames: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Stop filming after so many frames; empty films everything."""
    num_envs: Annotated[int, Field(ge=1, le=16)] = 1
    """How many of the environments are filmed, side by side."""


class SweepVariation(_Group):
    """One variation of the environment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$")]
    """Shown in the table and the leaderboard."""
    hydra_overrides: tuple[str, ...] = ()
    """Isaac Lab's Hydra overrides."""


class SweepJobs(_Group):
    """How a sweep's work is divided."""

    checkpoints_per_job: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Most checkpoints that one simulator process evaluates."""
    parallel_jobs: Annotated[int, Field(ge=1, le=64)] = 1
    """Most jobs at a time."""
    only_new: bool = True
    """Skip what has a result for the same checkpoint (by content), settings and versions."""
    gpus: Annotated[int, Field(ge=1, le=8)] = 1
    """GPUs of each job's machine."""


class RegressionForm(_Group):
    """What to do when the new checkpoints are worse than the last best."""

    event: bool = False
    """Emit the Prefect event isaaclab-flows.sweep.regression, which an automation can turn into a message."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """The metric may fall so far before it counts."""


def sweep_config(
    *,
    name: str,
    checkpoints: tuple[str, ...],
    tasks: tuple[str, ...],
    library: Library,
    seeds: tuple[int, ...],
    num_envs: tuple[int, ...],
    variations: tuple[SweepVariation, ...],
    num_episodes: int,
    steps_per_episode: int,
    rank_by: str,
    jobs: SweepJobs,
    regression: RegressionForm,
) -> SweepConfig:
    """Return the checked sweep that a form stands for."""
    data = {
        "name": name,
        "description": "Started from the form of the Prefect UI.",
        "sweepConfig": {
            "checkpoints": list(checkpoints),
            "tasks": list(tasks),
            "rlLibrary": library,
            "numEpisodes": num_episodes,
            "stepsPerEpisode": steps_per_episode,
            "seeds": list(seeds),
            "numEnvs": list(num_envs),
            "variations": [{"name": v.name, "hydraOverrides": list(v.hydra_overrides)} for v in variations],
            "rankBy": rank_by,
            "checkpointsPerJob": jobs.checkpoints_per_job,
            "parallelJobs": jobs.parallel_jobs,
            "onlyNew": jobs.only_new,
            "regression": {"event": regression.event, "tolerance": float(regression.tolerance)},
        },
        "computeConfig": {"numNodes": 1, "gpusPerNode": jobs.gpus},
    }
    return check_sweep(data, source="the form")


def training_config(
    *,
    name: str = "",
    task: str,
    library: str,
    num_envs: int,
    max_iterations: int,
    seed: int,
    resume_checkpoint: str | None = None,
    hydra_overrides: tuple[str, ...] = (),
    custom_environment: CustomEnvironment | None = None,
    keep: Keep | None = None,
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Return the configuration (as `*-training-config.json` writes it) that a training's form stands for."""
    inner = {
        "mode": "train",
        "maxIterations": max_iterations,
        "resumeCheckpoint": resume_checkpoint or None,
        **_shared(
            task=task,
            library=library,
            num_envs=num_envs,
            seed=seed,
            hydra_overrides=hydra_overrides,
            custom_environment=custom_environment,
        ),
    }
    keep = keep or Keep()
    return {
        **_heading(name, "Training", inner["task"]),
        "trainingConfig": _without_none(inner),
        "outputConfig": {"saveCheckpoints": keep.save_checkpoints, "checkpointInterval": keep.checkpoint_interval},
        "computeConfig": _compute(machine),
    }


def evaluation_config(
    *,
    name: str = "",
    task: str,
    library: str,
    num_envs: int,
    num_episodes: int,
    steps_per_episode: int,
    seed: int,
    checkpoints: tuple[str, ...] = (),
    hydra_overrides: tuple[str, ...] = (),
    custom_environment: CustomEnvironment | None = None,
    film: Film | None = None,
    machine: Machine | None = None,
) -> dict[str, Any]:
    """Return the configuration (as `*-evaluation-config.json` writes it) that an evaluation's form stands for."""
    film = film or Film()
    inner = {
        "mode": "evaluate",
        "numEpisodes": num_episodes,
        "stepsPerEpisode": steps_per_episode,
        "recordVideo": film.record_video,
        **_shared(
            task=task,
            library=library,
            num_envs=num_envs,
            seed=seed,
            hydra_overrides=hydra_overrides,
            custom_environment=custom_environment,
        ),
    }
    if len(checkpoints) == 1:
        inner["policyS3Uri" if checkpoints[0].startswith("s3://") else "checkpointPath"] = checkpoints[0]
    elif checkpoints:
        inner["checkpointPaths"] = list(checkpoints)
    video = {"width": film.width, "height": film.height, "maxFrames": film.max_frames, "numEnvs": film.num_envs}
    return {
        **_heading(name, "Evaluation", inner["task"]),
        "trainingConfig": _without_none(inner),
        "videoConfig": _without_none(video),
        "computeConfig": _compute(machine),
    }


def _heading(name: str, what: str, task: object) -> dict[str, str]:
    return {"name": name.strip() or f"{what} of {task}", "description": "Started from the form of the Prefect UI."}


def _shared(
    *,
    task: str,
    library: str,
    num_envs: int,
    seed: int,
    hydra_overrides: tuple[str, ...],
    custom_environment: CustomEnvironment | None,
) -> dict[str, Any]:
    custom = custom_environment or CustomEnvironment()
    archive = custom.archive or None
    on_s3 = archive is not None and archive.startswith("s3://")
    return {
        "task": custom.task or task,
        "numEnvs": num_envs,
        "rlLibrary": library,
        "seed": seed,
        "hydraOverrides": list(hydra_overrides),
        "customEnvironmentS3Uri": archive if on_s3 else None,
        "customEnvironmentPath": None if on_s3 else archive,
    }


def _compute(machine: Machine | None) -> dict[str, int | str]:
    machine = machine or Machine()
    return {
        "numNodes": machine.num_nodes,
        "capacity": machine.capacity,
        "gpusPerNode": machine.gpus_per_node,
        "timeoutMinutes": machine.timeout_minutes,
    }


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
