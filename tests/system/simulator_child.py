"""Speaks to the simulator as its supervisor does: an order file in, events and a result out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from isaaclab_flows.schemas.simulator import (
    EVENTS,
    CheckpointEvent,
    IterationEvent,
    SimulatorEvent,
    SimulatorJob,
    SimulatorResult,
    TrainingOrder,
)

ROOT = Path(__file__).resolve().parents[2]
STARTED: list[subprocess.Popen[bytes]] = []
"""The simulators of the running test; a fixture ends those that it leaves behind."""
Event = TypeVar("Event", bound=BaseModel)


def training(iterations: int, *, interval: int = 1000, resume: Path | None = None) -> TrainingOrder:
    """An order for so many iterations in all."""
    return TrainingOrder(
        max_iterations=iterations, checkpoint_interval=interval, resume_checkpoint=str(resume) if resume else None
    )


@dataclass(frozen=True)
class Child:
    """One simulator process of a job's folder."""

    folder: Path
    attempt: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, *, attempt: int = 1, **order: Any) -> Child:
        """Start a simulator on the CPU; Cartpole with rsl_rl and few environments unless the order says otherwise."""
        own = folder / f"attempt-{attempt}"
        own.mkdir(parents=True)
        fields: dict[str, Any] = {
            "task": "Isaac-Cartpole-Direct",
            "library": "rsl_rl",
            "num_envs": 64,
            "seed": 42,
            "device": "cpu",
        }
        job = SimulatorJob(
            job_id=folder.name,
            run_folder=str(folder / "run"),
            progress_file=str(own / "progress.jsonl"),
            result_file=str(own / "result.json"),
            attempt=attempt,
            **(fields | order),
        )
        (own / "order.json").write_text(job.model_dump_json())
        with (own / "simulator.txt").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "isaaclab_flows.container.simulator", str(own / "order.json")],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            )
        STARTED.append(process)
        return cls(folder, attempt, process)

    @property
    def own(self) -> Path:
        """Where the order, the events, the log and the result lie."""
        return self.folder / f"attempt-{self.attempt}"

    def events(self, kind: type[Event]) -> list[Event]:
        """The events of one kind so far."""
        file = self.own / "progress.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        read: list[SimulatorEvent] = [EVENTS.validate_json(line) for line in lines]
        return [event for event in read if isinstance(event, kind)]

    def wait_for_iteration(self, number: int, *, seconds: float = 300) -> None:
        """Wait until an iteration has ended."""
        end = time.monotonic() + seconds
        while not any(event.iteration >= number for event in self.events(IterationEvent)):
            assert self.process.poll() is None, f"the simulator ended early: {self.log()}"
            assert time.monotonic() < end, f"iteration {number} did not come: {self.log()}"
            time.sleep(0.05)

    def log(self, last: int = 30) -> str:
        """The log's last lines."""
        return "\n".join((self.own / "simulator.txt").read_text(errors="replace").splitlines()[-last:])

    def result(self, *, seconds: float = 600) -> SimulatorResult:
        """Wait for the end and return the result."""
        self.process.wait(seconds)
        file = self.own / "result.json"
        assert file.exists(), f"no result: {self.log()}"
        return SimulatorResult.model_validate_json(file.read_bytes())

    def success(self, *, seconds: float = 600) -> SimulatorResult:
        """Wait for the end, which must be a success."""
        result = self.result(seconds=seconds)
        assert result.status == "succeeded", f"{result.error}: {self.log()}"
        return result


def curve(folder: Path, tag: str) -> dict[int, float]:
    """A metric by iteration over all attempts, the later attempt's value where two have one."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    values: dict[int, float] = {}
    for attempt in sorted((folder / "run" / "tensorboard").iterdir()):
        accumulator = EventAccumulator(str(attempt), size_guidance={"scalars": 0})
        accumulator.Reload()
        values |= {scalar.step: scalar.value for scalar in accumulator.Scalars(tag)}
    return values


def newest_checkpoint(child: Child) -> Path:
    """The checkpoint of the last event."""
    return Path(child.events(CheckpointEvent)[-1].path)
