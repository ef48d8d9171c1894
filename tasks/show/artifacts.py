"""What a run shows in the Prefect UI while it works: progress, a summary, the learning curve, results and links.

An artifact that cannot be written is no reason to end a training, or to wait: see tasks/show/artifact_writer.py.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from isaaclab_flows.schemas.errors import CancelledError
from isaaclab_flows.schemas.job import FLOW_RUN_LABEL, Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.plain import markdown_text
from isaaclab_flows.schemas.simulator import EvaluationEvent, IterationEvent, SimulatorEvent, StageEvent
from isaaclab_flows.tasks.results.pictures import new_figure
from isaaclab_flows.tasks.show.artifact_writer import ArtifactWriter
from isaaclab_flows.tasks.show.progress import STAGE_WORDS, seconds_left
from isaaclab_flows.tasks.show.texts import progress_text, results_table, summary_markdown, web_address

EVERY_SECONDS = 5.0
CURVE_EVERY_SECONDS = 20.0
LOOK_EVERY_SECONDS = 15.0
MOST_PREVIEW_BYTES = 500_000


class RunArtifacts:
    """The artifacts of one job, kept up to date; call it with each event of the simulator.

    They belong to the run that does the work and to the run that a person started, so that both show them.

    Args:
        job: The job.
        logger: Where a fault is told.
        clock: Monotonic time [s].
    """

    def __init__(
        self,
        job: Job,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._artifacts = ArtifactWriter(
            job.job_id[:8].lower(), logger, above=run_above(job), shown_above=job.source != "sweep"
        )
        self._clock = clock
        self._started = clock()
        self._written = self._drawn = float("-inf")
        self._looked = self._started
        self._stage = "Waiting"
        self._first: IterationEvent | None = None
        self._last: IterationEvent | EvaluationEvent | None = None
        self._curve: list[tuple[int, float]] = []

    def __call__(self, event: SimulatorEvent) -> None:
        """Take one event; the artifacts follow every few seconds.

        Raises:
            CancelledError: Somebody deleted the run: nobody can see, cancel or want what goes on here.
        """
        if self._clock() - self._looked >= LOOK_EVERY_SECONDS:
            self._looked = self._clock()
            self._artifacts.look()
        if self._artifacts.gone:
            raise CancelledError(
                "The flow run was deleted while it ran",
                where=self._job.title,
                remedy="Run the job again under its id: it goes on from its last checkpoint.",
            )
        if isinstance(event, StageEvent):
            self._stage = STAGE_WORDS[event.stage]
        elif isinstance(event, IterationEvent):
            self._first = self._first or event
            self._last = event
            if event.reward is not None:
                self._curve.append((event.iteration, event.reward))
        elif isinstance(event, EvaluationEvent):
            self._last = event
        else:
            return
        now = self._clock()
        if now - self._written >= EVERY_SECONDS:
            self._written = now
            self._write()
        if self._curve and now - self._drawn >= CURVE_EVERY_SECONDS:
            self._drawn = now
            self._draw()

    def finish(self, outcome: Outcome, *, out: Path) -> None:
        """Show how it ended.

        Args:
            outcome: The outcome.
            out: The publishable tree on this machine.
        """
        self._stage = {"succeeded": "Done", "failed": "Failed", "cancelled": "Cancelled"}[outcome.status]
        done = outcome.status == "succeeded"
        self._artifacts.retry()
        self._artifacts.put("progress", "progress", 100.0 if done else self._percent(), "Done" if done else self._stage)
        self._artifacts.put("summary", "markdown", self._summary(outcome), "How it ended")
        rows = results_table(outcome)
        if rows:
            self._artifacts.put("results", "table", json.dumps(rows), "Results")
        curve = out / "learning-curve.png"
        if curve.is_file():
            self._artifacts.put("learning-curve", "image", data_uri(curve.read_bytes()), "Reward over iterations")
        preview = next(iter(sorted((out / "videos").glob("*.png"))), None)
        if preview is not None and preview.stat().st_size <= MOST_PREVIEW_BYTES:
            self._artifacts.put("video-preview", "image", data_uri(preview.read_bytes()), "A still of the video")
        self._artifacts.flush()

    def _write(self) -> None:
        text = progress_text(self._last) or self._stage
        self._artifacts.put("progress", "progress", self._percent(), text)
        self._artifacts.put("summary", "markdown", self._summary(None), "How it goes")

    def _percent(self) -> float:
        match self._last:
            case IterationEvent(iteration=iteration, total=total):
                return round(100 * (iteration + 1) / max(1, total), 1)
            case EvaluationEvent() as e:
                return round(100 * (e.position + e.round / max(1, e.rounds)) / max(1, e.checkpoints), 1)
            case _:
                return 0.0

    def _summary(self, outcome: Outcome | None) -> str:
        return summary_markdown(
            self._job,
            stage=self._stage,
            last=self._last,
            left=seconds_left(self._last, self._first) if isinstance(self._last, IterationEvent) else None,
            seconds=self._clock() - self._started,
            machine=f"{socket.gethostname()} ({self._job.device})",
            outcome=outcome,
        )

    def _draw(self) -> None:
        figure = new_figure(7, 3.5, dpi=90)
        axes = figure.add_subplot()
        axes.plot(*zip(*self._curve, strict=True), color="#4c7a00", linewidth=1.5)
        axes.set(title=self._job.title, xlabel="iteration", ylabel="mean reward of finished episodes")
        axes.grid(alpha=0.25)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        self._artifacts.put("learning-curve", "image", data_uri(picture.getvalue()), "Reward over iterations")


def run_above(job: Job) -> UUID | None:
    """Return the flow run that somebody started for a job, where that is known."""
    label = job.labels.get(FLOW_RUN_LABEL)
    return UUID(label) if label else None


def show_outputs(job: Job, outcome: Outcome, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
    """Link the published outputs: a folder of the studio, or the S3 console."""
    artifacts = ArtifactWriter(job.job_id[:8].lower(), logger, above=run_above(job), shown_above=job.source != "sweep")
    artifacts.put("outputs", "markdown", links_markdown(outcome), "Where the outputs are")
    artifacts.flush()


def links_markdown(outcome: Outcome) -> str:
    """Return the outputs' links as markdown, the files that people open first at its head."""
    folder = web_address(outcome.output_uri, folder=True)
    where = f"[{markdown_text(outcome.output_uri)}]({folder})" if folder else markdown_text(outcome.output_uri)
    lines = [f"Outputs: {where}", ""]
    names = [file.path for file in outcome.files]
    for path in _first_to_open(names):
        address = web_address(f"{outcome.output_uri}/{path}")
        lines.append(f"- [{markdown_text(path)}]({address})" if address else f"- {markdown_text(path)}")
    return "\n".join(lines)


def _first_to_open(paths: Sequence[str], most: int = 12) -> list[str]:
    chosen = [p for p in paths if p.endswith((".mp4", ".png", "metrics.csv", "summary.json", ".txt", ".onnx"))]
    return chosen[:most]


def data_uri(png: bytes) -> str:
    """Return a PNG as an address that a browser shows without fetching anything."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
