"""What a person reads while a job runs: a line a stage and a line every so many iterations."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.simulator import (
    CheckpointEvent,
    EvaluationEvent,
    IterationEvent,
    SimulatorEvent,
    StageEvent,
    WarningEvent,
)

LINES_A_TRAINING = 20
STAGE_WORDS = {
    "importing": "Starting the simulator",
    "installing_environment": "Installing the custom environment",
    "launching": "Launching the simulation",
    "creating_environment": "Creating the environments",
    "building_agent": "Building the agent",
    "training": "Training",
    "exporting": "Exporting the policy",
    "evaluating": "Evaluating",
    "finishing": "Finishing",
}


class ProgressLog:
    """Writes events as log lines; call it with each event.

    Args:
        job: The job.
        logger: Where to write.
        on_finished_file: Called when a checkpoint or a video is complete.
        warn: Called with the simulator's warnings.
    """

    def __init__(
        self,
        job: Job,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
        *,
        on_finished_file: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self._job = job
        self._logger = logger
        self._on_finished_file = on_finished_file
        self._warn = warn
        self._last_line = -1.0
        self._first: IterationEvent | None = None

    def __call__(self, event: SimulatorEvent) -> None:
        """Take one event."""
        match event:
            case StageEvent():
                self._logger.info("%s%s", STAGE_WORDS[event.stage], f": {event.message}" if event.message else "")
            case IterationEvent():
                self._iteration(event)
            case CheckpointEvent():
                self._on_finished_file()
            case EvaluationEvent():
                self._evaluation(event)
            case WarningEvent():
                self._warn(event.message)
            case _:
                pass

    def _iteration(self, event: IterationEvent) -> None:
        self._first = self._first or event
        step = max(1, event.total // LINES_A_TRAINING)
        if event.iteration % step == 0 or event.iteration == event.total - 1:
            self._logger.info("%s", iteration_line(event, self._first))

    def _evaluation(self, event: EvaluationEvent) -> None:
        now = time.monotonic()
        last = event.round == event.rounds
        if last or now - self._last_line > 10:
            self._last_line = now
            self._logger.info(
                "Checkpoint %d of %d, round %d of %d: mean return %s",
                event.position + 1,
                event.checkpoints,
                event.round,
                event.rounds,
                number(event.mean_return),
            )
        if last:
            self._on_finished_file()


def iteration_line(event: IterationEvent, first: IterationEvent | None) -> str:
    """Return one line about an iteration: reward, speed and time left."""
    parts = [f"Iteration {event.iteration + 1} of {event.total}", f"reward {number(event.reward)}"]
    if event.steps_per_second:
        parts.append(f"{event.steps_per_second:,.0f} steps/s")
    left = seconds_left(event, first)
    if left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def seconds_left(event: IterationEvent, first: IterationEvent | None) -> float | None:
    """Return the time left by the pace since the first iteration of this attempt [s], or None before there is one."""
    if first is None or event.iteration <= first.iteration:
        return None
    pace = (event.time - first.time) / (event.iteration - first.iteration)
    return max(0.0, pace * (event.total - 1 - event.iteration))


def number(value: float | None) -> str:
    """Return a reward for people; an unknown one is a dash."""
    return "–" if value is None else f"{value:,.2f}"


def duration(seconds: float) -> str:
    """Return seconds as `1 h 02 min`, `3 min 05 s` or `8 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
