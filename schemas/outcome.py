"""An outcome: how a job ended. It is kept as outcome.json, summarised for people and answered to VAMS."""

from __future__ import annotations

import csv
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from isaaclab_flows.schemas.config import CamelModel, Kind
from isaaclab_flows.schemas.errors import ErrorRecord, InputMissingError
from isaaclab_flows.schemas.request import JobId
from isaaclab_flows.schemas.simulator import Engine
from isaaclab_flows.schemas.sweep import SweepSummary

Status = Literal["succeeded", "failed", "cancelled"]


def _below(path: str) -> str:
    """Return a path that stays below its folder, whoever wrote it."""
    parts = path.split("/")
    if "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts) or ":" in parts[0]:
        raise ValueError("it leads out of the outputs' folder, or is no plain relative path")
    return path


class OutputFile(CamelModel):
    """One published or publishable file."""

    path: Annotated[str, Field(max_length=1_000), AfterValidator(_below)]
    """Relative to the job's output folder, POSIX."""
    size: int
    """Bytes."""
    sha256: str = ""


class Interval(CamelModel):
    """A confidence interval."""

    low: float
    high: float
    level: float = 0.95


class TrainingSummary(CamelModel):
    """What came out of a training."""

    iterations: int
    total_iterations: int
    final_reward: float | None = None
    best_reward: float | None = None
    best_iteration: int | None = None
    final_episode_length: float | None = None
    success_rate: float | None = None
    steps_per_second: float | None = None
    """Median over the iterations."""
    checkpoints: int = 0
    last_checkpoint: str | None = None
    recoveries: int = 0
    """How often the training went on from a checkpoint after a stop."""
    iterations_lost: int = 0
    """Iterations done twice because of those stops."""
    rollbacks: int = 0
    """How often the training diverged and went back to its last finite checkpoint with half the learning rate."""


class EvaluationSummary(CamelModel):
    """What one checkpoint's evaluation gave."""

    checkpoint: str
    checkpoint_sha256: str = ""
    checkpoint_iteration: int | None = None
    episodes: int = 0
    mean_return: float | None = None
    std_return: float | None = None
    mean_return_ci: Interval | None = None
    worst_tenth_return: float | None = None
    """Mean return of the worst tenth of episodes; None for fewer than ten."""
    smallest_difference: float | None = None
    """What another policy's mean return must differ by to be told from this one in 80 of 100 equal evaluations."""
    unseen_rate: float | None = None
    """How frequent a kind of episode may be (at the 95 % level) and still not have been among these."""
    mean_length: float | None = None
    success_rate: float | None = None
    """None where the task reports no success."""
    success_rate_ci: Interval | None = None
    terminated_rate: float | None = None
    steps_per_second: float | None = None
    reward_terms: dict[str, float] = {}
    """Mean over episodes of each reward term, where the task logs them."""
    video_frames: int = 0
    error: ErrorRecord | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_former_values(cls, data: Any) -> Any:
        # Outcomes that were kept before this version have them, and their jobs can still be gone on with.
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if not key.startswith("interquartileMeanReturn")}
        return data


class Outcome(CamelModel):
    """How a job ended."""

    version: int = 1
    job_id: JobId
    kind: Kind
    status: Status
    task: str
    library: str
    error: ErrorRecord | None = None
    training: TrainingSummary | None = None
    evaluations: Annotated[tuple[EvaluationSummary, ...], Field(strict=False)] = ()
    sweep: SweepSummary | None = None
    """Of a sweep that came as a request; its single evaluations are in its tables."""
    files: Annotated[tuple[OutputFile, ...], Field(strict=False)] = ()
    output_uri: str = ""
    """Where the files lie, job id included."""
    started_at: float = 0.0
    """Unix time [s]."""
    seconds: float = 0.0
    """Wall time of all attempts."""
    gpu_seconds: float = 0.0
    """Wall time of the simulator times its GPUs, all attempts; 0 on a CPU."""
    estimated_cost: float | None = None
    """Dollars, by the job's price; None without one."""
    attempts: int = 1
    device: str = ""
    physics: str = ""
    """The engine that simulated: ``Newton`` or ``PhysX``."""
    versions: dict[str, str] = {}
    engine: Engine | None = None
    """Physics, frontend and, of a training, how its steps were taken."""
    seed: int | None = None
    warnings: Annotated[tuple[str, ...], Field(strict=False)] = ()
    defaults: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """What was not written in the configuration's file: a sentence for each value that was filled in."""

    @property
    def folder(self) -> Path:
        """The local folder with everything that was published.

        Raises:
            InputMissingError: It was published to S3.
        """
        if self.output_uri.startswith("s3://"):
            raise InputMissingError(
                "The outputs are in S3, not in a local folder",
                where=self.output_uri,
                remedy="Copy them here, or read them with an S3 client.",
            )
        return Path(self.output_uri)

    @property
    def checkpoints(self) -> list[Path]:
        """The published checkpoints, oldest first; those without a number come before the others."""
        from natsort import natsorted

        folder = self.folder / "checkpoints"
        names = [PurePosixPath(file.path).name for file in self.files if file.path.startswith("checkpoints/")]
        return [folder / name for name in natsorted(names)]

    def table(self, name: str = "metrics.csv") -> Any:
        """Return a published table: a pandas DataFrame where pandas is installed, else a list of rows.

        Args:
            name: Below :attr:`folder`. ``metrics.csv`` has a row for each iteration of a training, or for each episode
                of an evaluation.

        Returns:
            ``pandas.DataFrame``, or dictionaries from column to number, text, or None where a cell is empty.

        Raises:
            InputMissingError: There is no such table, or it is in S3.
        """
        path = self.folder / name
        if not path.is_file():
            tables = ", ".join(file.path for file in self.files if file.path.endswith(".csv"))
            raise InputMissingError("There is no such table", where=str(path), remedy=f"There are: {tables or 'none'}.")
        if find_spec("pandas") is not None:
            return import_module("pandas").read_csv(path)
        with path.open(newline="") as file:
            return [{column: _cell(text) for column, text in row.items()} for row in csv.DictReader(file)]


def _cell(text: str) -> float | int | str | None:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text or None
