"""The contract between the supervising flow and the simulator, its child: one job file in, events and a result out.

The child gets the path of a :class:`SimulatorJob` file; it appends one JSON object a line to ``progress.jsonl`` and
writes ``result.json`` (a :class:`SimulatorResult`) once, by rename, at its end. Its standard output and error are its
log. Exit codes say nothing: the result and the artifacts do.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from isaaclab_flows.schemas.config import Acceleration, CamelModel, Frontend, VideoConfig
from isaaclab_flows.schemas.errors import ErrorRecord
from isaaclab_flows.schemas.task_names import Library

Stage = Literal[
    "importing",
    "installing_environment",
    "launching",
    "creating_environment",
    "building_agent",
    "training",
    "exporting",
    "evaluating",
    "finishing",
]


class TrainingOrder(CamelModel):
    """What to train."""

    max_iterations: int
    """Iterations in all, counted from 0; a resumed training runs only the remaining ones."""
    checkpoint_interval: int
    """Iterations from one checkpoint to the next."""
    resume_checkpoint: str | None = None
    """Absolute path of the checkpoint to go on from."""
    on_divergence: Literal["fail", "rollback"] = "fail"
    """What follows when losses, rewards or weights are no numbers any more."""
    acceleration: Acceleration = "auto"
    """``off``: Isaac Lab's trainer as it is."""
    frontend: Frontend = "auto"
    """Isaac Lab's runtime of the task; ``auto`` takes warp where it is known to give the same."""


class EvaluationOrder(CamelModel):
    """What to evaluate."""

    checkpoints: Annotated[tuple[str, ...], Field(strict=False)]
    """Absolute paths, evaluated in this order in one process."""
    num_episodes: int
    """Rounds of each checkpoint."""
    steps_per_episode: int
    """Most steps of a round."""
    video: VideoConfig | None = None
    """How to film; None films nothing."""


class SimulatorJob(CamelModel):
    """The one file that the child reads."""

    job_id: str
    task: str
    """Name in the installed registry, or in the custom environment's."""
    library: Library
    agent: str | None = None
    """Another of the task's agents for the library, as `trainingConfig.agent` names it."""
    num_envs: int
    seed: int
    device: str
    """``cpu``, ``cuda`` or ``cuda:0``."""
    run_folder: str
    """Absolute path; the library writes its checkpoints, parameters and TensorBoard events below it.

    Training leaves ``checkpoints/`` (each library's own file names), ``params/*.yaml``,
    ``tensorboard/<attempt>/events*``, ``exported/policy.{pt,onnx}`` and ``exported/check.json``. Evaluation leaves, for
    the checkpoint at position k of the order, ``evaluations/<k>/episodes.csv`` and, filmed,
    ``evaluations/<k>/video.mp4`` and ``evaluations/<k>/preview.png``.
    """
    progress_file: str
    """Absolute path of progress.jsonl."""
    result_file: str
    """Absolute path of result.json."""
    attempt: int = 1
    """Counts the simulator processes of one job, from 1."""
    training: TrainingOrder | None = None
    evaluation: EvaluationOrder | None = None
    custom_environment: str | None = None
    """Absolute path of the user's archive (.whl, .zip, .tar.gz)."""
    custom_environment_folder: str | None = None
    """Absolute path of the folder that the archive is installed into; the job's own."""
    hydra_overrides: Annotated[tuple[str, ...], Field(strict=False)] = ()
    asset_root: str | None = None
    """Folder that stands in for NVIDIA's asset server; None lets Isaac Lab decide."""
    distributed: bool = False
    """One of several processes that torchrun started (RANK, LOCAL_RANK and WORLD_SIZE are in the environment)."""


class StageEvent(CamelModel):
    """A stage begins."""

    event: Literal["stage"] = "stage"
    time: Annotated[float, Field(default_factory=time.time)]
    """Unix time [s]."""
    stage: Stage
    message: str = ""


class IterationEvent(CamelModel):
    """A training iteration ended."""

    event: Literal["iteration"] = "iteration"
    time: Annotated[float, Field(default_factory=time.time)]
    iteration: int
    """Counted from 0 over the whole training."""
    total: int
    reward: float | None = None
    """Mean return of the episodes that ended lately, as the library reports it."""
    episode_length: float | None = None
    """Mean length of those episodes [steps]."""
    steps_per_second: float | None = None
    """Environment steps a second, all environments together."""


class CheckpointEvent(CamelModel):
    """A checkpoint was written completely."""

    event: Literal["checkpoint"] = "checkpoint"
    time: Annotated[float, Field(default_factory=time.time)]
    path: str
    """Absolute path."""
    iteration: int


class EvaluationEvent(CamelModel):
    """A round of a checkpoint's evaluation ended."""

    event: Literal["evaluation"] = "evaluation"
    time: Annotated[float, Field(default_factory=time.time)]
    checkpoint: str
    position: int
    """Of the checkpoint in the order, from 0."""
    checkpoints: int
    round: int
    """From 1."""
    rounds: int
    mean_return: float | None = None
    """Over this checkpoint's episodes so far."""
    steps_per_second: float | None = None


class AliveEvent(CamelModel):
    """Something long goes on (a round's steps, a kernel's compilation): a sign of life with a message."""

    event: Literal["alive"] = "alive"
    time: Annotated[float, Field(default_factory=time.time)]
    message: str = ""


class WarningEvent(CamelModel):
    """Something people should know, with its remedy."""

    event: Literal["warning"] = "warning"
    time: Annotated[float, Field(default_factory=time.time)]
    message: str


SimulatorEvent = Annotated[
    StageEvent | IterationEvent | CheckpointEvent | EvaluationEvent | AliveEvent | WarningEvent,
    Field(discriminator="event"),
]
EVENTS: TypeAdapter[SimulatorEvent] = TypeAdapter(SimulatorEvent)


class CheckpointEvaluation(CamelModel):
    """What the child measured of one checkpoint; statistics over its episodes are the supervisor's business."""

    checkpoint: str
    """Absolute path as given in the order."""
    sha256: str = ""
    episodes_file: str | None = None
    """Absolute path of episodes.csv, or None when the checkpoint could not be evaluated."""
    video_file: str | None = None
    preview_file: str | None = None
    video_frames: int = 0
    environment_steps: int = 0
    seconds: float = 0.0
    error: ErrorRecord | None = None
    """Why this checkpoint could not be evaluated; the others were."""


class Ran(CamelModel):
    """What really ran, as the child reads it from the simulation itself; the supervisor compares it with the order."""

    task: str
    library: str
    agent: str | None = None
    num_envs: int
    seed: int
    device: str
    physics: str = ""
    """The engine that simulated: ``Newton`` or ``PhysX``."""
    checkpoint_interval: int | None = None
    num_episodes: int | None = None
    steps_per_episode: int | None = None
    overrides: dict[str, JsonValue] = {}
    """Each override that sets a value, to the value that its key had."""


class Engine(CamelModel):
    """What a training or an evaluation ran on."""

    physics: str
    """``Newton``, ``PhysX``, or another's name."""
    frontend: Literal["torch", "warp"]
    """Isaac Lab's runtime of the task."""
    frontend_reason: str = ""
    """Why it was not the other one; empty where it was asked for."""
    steps: Literal["captured", "uncaptured", "own"] = "own"
    """A training's: ours as CUDA graphs, ours without, or the library's own."""
    steps_reason: str = ""
    """Why they were not captured."""

    def sentence(self, *, training: bool = True) -> str:
        """All of it in one line, for people; an evaluation takes no steps of learning."""
        simulation = f"{self.physics} physics, {self.frontend} frontend{_because(self.frontend_reason)}"
        if not training:
            return simulation
        words = {"captured": "captured steps", "uncaptured": "steps not captured", "own": "the library's own steps"}
        return f"{simulation}, {words[self.steps]}{_because(self.steps_reason)}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


class SimulatorResult(CamelModel):
    """The child's last word."""

    status: Literal["succeeded", "failed", "interrupted"]
    """``interrupted``: told to end by SIGTERM or SIGINT, saved what it could."""
    error: ErrorRecord | None = None
    iterations: int = 0
    """Training iterations complete over all attempts, i.e. the last one's number plus one."""
    last_checkpoint: str | None = None
    rollbacks: int = 0
    """How often the training diverged and went back to its last checkpoint."""
    exported: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Absolute paths of the exported policies that gave the checkpoint's actions."""
    evaluations: Annotated[tuple[CheckpointEvaluation, ...], Field(strict=False)] = ()
    step_dt: float | None = None
    """Seconds of simulated time a step."""
    versions: dict[str, str] = {}
    engine: Engine | None = None
    device_name: str = ""
    ran: Ran | None = None
    registered_tasks: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Tasks that the custom environment registered."""
