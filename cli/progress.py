"""The live display of a job on this machine: it follows the events in the job folder."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from isaaclab_flows.cli.console import console
from isaaclab_flows.schemas.plain import printable
from isaaclab_flows.schemas.simulator import EvaluationEvent, IterationEvent, SimulatorEvent, StageEvent, WarningEvent
from isaaclab_flows.tasks.job.events import EventTail
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder, folder_of
from isaaclab_flows.tasks.show.progress import STAGE_WORDS, duration, iteration_line, number, seconds_left

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from isaaclab_flows.schemas.job import Job

LOOK_EVERY_SECONDS = 0.25
PLAIN_LINES = 20


@contextlib.contextmanager
def watch(job: Job, *, verbose: bool) -> Iterator[None]:
    """Show the job's progress while the context lasts: a live bar on a terminal, plain lines elsewhere."""
    out = console()
    display = PlainDisplay(out) if verbose or not out.is_terminal else LiveDisplay(out)
    stop = threading.Event()
    folder = folder_of(job)
    history = {_identity(attempt) for attempt in folder.attempts()}
    thread = threading.Thread(
        target=_follow, args=(folder, history, display, stop), name="progress-display", daemon=True
    )
    with display:
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(5)


def _identity(attempt: Attempt) -> tuple[int, int]:
    """Tell an attempt from one of the same number in a job that was begun anew."""
    return attempt.number, attempt.folder.stat().st_ino


def _follow(
    folder: JobFolder, history: set[tuple[int, int]], display: PlainDisplay | LiveDisplay, stop: threading.Event
) -> None:
    tails: dict[tuple[int, int], EventTail] = {}
    last = False
    while not last:
        last = stop.wait(LOOK_EVERY_SECONDS)
        for attempt in folder.attempts():
            with contextlib.suppress(FileNotFoundError):  # thrown away between two looks
                key = _identity(attempt)
                if key not in history:
                    tail = tails.setdefault(key, EventTail(attempt.progress_file))
                    for event in tail.new():
                        display.show(event)


class PlainDisplay:
    """A line a stage, and a line every so many iterations."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._first: IterationEvent | None = None

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: SimulatorEvent) -> None:
        """Print an event where it is worth a line."""
        match event:
            case StageEvent():
                self._out.print(f"{STAGE_WORDS[event.stage]} …" + (f" {event.message}" if event.message else ""))
            case IterationEvent():
                self._first = self._first or event
                step = max(1, event.total // PLAIN_LINES)
                if (event.iteration + 1) % step == 0 or event.iteration == event.total - 1:
                    self._out.print(iteration_line(event, self._first))
            case EvaluationEvent():
                self._out.print(evaluation_progress(event))
            case WarningEvent():
                self._out.print(f"Warning: {event.message}", style="yellow", soft_wrap=True)
            case _:
                pass


class LiveDisplay:
    """A bar with stage, iteration of total, reward, speed and time left."""

    def __init__(self, out: Console) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._out = out
        self._first: IterationEvent | None = None
        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=out,
            transient=True,
        )
        self._bar: TaskID = self._progress.add_task("Starting", total=None, note="")

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: SimulatorEvent) -> None:
        """Move the bar."""
        match event:
            case StageEvent():
                self._progress.update(
                    self._bar,
                    description=STAGE_WORDS[event.stage],
                    total=None,
                    completed=0,
                    note=printable(event.message),
                )
            case IterationEvent():
                self._first = self._first or event
                self._progress.update(
                    self._bar, total=event.total, completed=event.iteration + 1, note=_note(event, self._first)
                )
            case EvaluationEvent():
                self._progress.update(
                    self._bar,
                    total=event.rounds * event.checkpoints,
                    completed=event.position * event.rounds + event.round,
                    note=evaluation_progress(event),
                )
            case WarningEvent():
                self._out.print(f"Warning: {event.message}", style="yellow", soft_wrap=True)
            case _:
                pass


def _note(event: IterationEvent, first: IterationEvent) -> str:
    parts = [f"{event.iteration + 1}/{event.total}", f"reward {number(event.reward)}"]
    if event.steps_per_second:
        parts.append(f"{event.steps_per_second:,.0f} steps/s")
    left = seconds_left(event, first)
    return " · ".join([*parts, f"{duration(left)} left"] if left is not None else parts)


def evaluation_progress(event: EvaluationEvent) -> str:
    """Return one line about a round."""
    which = f"checkpoint {event.position + 1}/{event.checkpoints}, " if event.checkpoints > 1 else ""
    return f"{which}round {event.round} of {event.rounds}, mean return {number(event.mean_return)}"
