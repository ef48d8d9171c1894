"""The publishable part of an evaluation: tables, videos and previews of every checkpoint, and their summaries."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import EvaluationSummary
from isaaclab_flows.schemas.simulator import CheckpointEvaluation, SimulatorResult
from isaaclab_flows.tasks.job.checkpoints import iteration_of
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.results.returns_plot import draw_returns
from isaaclab_flows.tasks.results.tree import take
from isaaclab_flows.tasks.statistics.episodes import summarise

PREVIEW_SUFFIX = ".previewFile.png"
"""Behind the whole name of a file, this makes VAMS show the picture as the file's preview."""


def collect(job: Job, folder: JobFolder, result: SimulatorResult) -> tuple[EvaluationSummary, ...]:
    """Lay an evaluation's files into the publishable tree and return a summary of each checkpoint.

    Args:
        job: The evaluation.
        folder: Its folder; ``out/`` gets ``metrics.csv``, ``returns.png`` and ``videos/``.
        result: What the simulator measured.
    """
    names = labels(job, len(result.evaluations))
    summaries = []
    for source, name, evaluation in zip(job.checkpoints, names, result.evaluations, strict=True):
        for path, target in (
            (evaluation.video_file, folder.out / "videos" / f"{name}.mp4"),
            (evaluation.preview_file, folder.out / "videos" / f"{name}.mp4{PREVIEW_SUFFIX}"),
        ):
            if path is not None and Path(path).is_file():
                take(Path(path), target)
        summary = summarise(evaluation, iteration=iteration_of(source.uri))
        summaries.append(summary.model_copy(update={"checkpoint": source.uri}))
    _write_metrics(folder.out / "metrics.csv", names, result.evaluations)
    files = [Path(e.episodes_file) if e.episodes_file else None for e in result.evaluations]
    draw_returns(
        [(name, file) for name, file in zip(names, files, strict=True) if file is not None],
        summaries=[s for s, file in zip(summaries, files, strict=True) if file is not None],
        target=folder.out / "returns.png",
        title=f"{job.config.name}: {job.task}",
    )
    return tuple(summaries)


def require_one_evaluated(result: SimulatorResult) -> None:
    """Check that at least one checkpoint could be evaluated.

    Raises:
        FlowsError: None could; the first one's reason.
    """
    errors = [evaluation.error for evaluation in result.evaluations]
    if errors and all(errors) and errors[0] is not None:
        error: FlowsError = errors[0].to_error()
        raise error


def labels(job: Job, count: int) -> list[str]:
    """Return a name for each checkpoint that files can have: its stem, with its position where stems repeat."""
    stems = [Path(source.uri).stem for source in job.checkpoints[:count]]
    return [f"{i:03d}-{stem}" if stems.count(stem) > 1 else stem for i, stem in enumerate(stems)]


def _write_metrics(target: Path, names: Sequence[str], evaluations: Sequence[CheckpointEvaluation]) -> None:
    """Join all checkpoints' episodes: one row an episode, the checkpoint's name in the first column."""
    rows: list[dict[str, str]] = []
    columns: dict[str, None] = {}
    for name, evaluation in zip(names, evaluations, strict=True):
        if evaluation.episodes_file is None:
            continue
        with Path(evaluation.episodes_file).open(newline="") as file:
            reader = csv.DictReader(file)
            columns |= dict.fromkeys(reader.fieldnames or [])
            rows += [{"checkpoint": name, **row} for row in reader]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["checkpoint", *columns], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(target, text.getvalue().encode())
