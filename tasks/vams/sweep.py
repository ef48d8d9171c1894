"""What VAMS shows of a sweep: metadata of the asset and of every evaluated checkpoint, and the plots as previews."""

from __future__ import annotations

from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import VamsLocations
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import join_uri
from isaaclab_flows.tasks.sweep.leaderboard import METRIC_WORDS, Board, Entry
from isaaclab_flows.tasks.sweep.outputs import SweepResult, picture_of
from isaaclab_flows.tasks.vams.limits import RESERVED_KEYS
from isaaclab_flows.tasks.vams.metadata import Value, write_documents
from isaaclab_flows.tasks.vams.previews import shrunk


def write_sweep_metadata(
    job: Job,
    outcome: Outcome,
    result: SweepResult,
    locations: VamsLocations,
    *,
    asset_uri: str | None,
    flow_run_url: str = "",
) -> int:
    """Describe the asset, the published best checkpoints, and the evaluated checkpoints of the asset.

    Args:
        job: The sweep as a job.
        outcome: Its files are those that VAMS is given.
        result: The sweep.
        locations: Where VAMS takes results from.
        asset_uri: The asset's root: evaluated checkpoints below it are described.
        flow_run_url: The flow run's page.

    Returns:
        How many objects were written.

    Raises:
        StorageError: One could not be written.
    """
    files = _best_values(job, outcome, result)
    if asset_uri:
        root = join_uri(asset_uri) + "/"
        files |= {
            uri.removeprefix(root): values
            for uri, values in checkpoint_values(job, result).items()
            if uri.startswith(root)
        }
    return write_documents(locations, asset_values(job, result, flow_run_url=flow_run_url), files)


def asset_values(job: Job, result: SweepResult, *, flow_run_url: str = "") -> dict[str, Value]:
    """Return what is said of the asset; the keys of a task's leaderboard name the task."""
    summary = result.summary
    values: dict[str, Value] = {
        "job_id": job.job_id,
        "name": summary.name,
        "evaluations": summary.evaluations,
        "new_evaluations": summary.new,
        "evaluations_without_result": summary.without_result,
        "gpu_seconds": round(summary.gpu_seconds, 1),
        "estimated_cost_usd": summary.estimated_cost,
        "regressions": "\n".join(summary.regressions) or None,
        "outputs": job.published(""),
        "flow_run_url": flow_run_url or None,
    }
    for board in result.boards:
        about: dict[str, Value] = {"checkpoints_ranked": len(board.ranked), "statement": board.statement}
        if board.best is not None:
            about |= {"best_checkpoint": board.best.label, **_score(board, board.best)}
        values |= {f"{board.task}_{key}": value for key, value in about.items()}
    return {f"sweep_{key}": value for key, value in values.items()}


def checkpoint_values(job: Job, result: SweepResult) -> dict[str, dict[str, Value]]:
    """Return what is said of each evaluated checkpoint, by its URI: over all tasks, the ranked ones first."""
    values: dict[str, dict[str, Value]] = {}
    for board in result.boards:
        for rank, entry in enumerate(board.ranked, 1):
            about = {"rank": rank, "ranked": len(board.ranked), **_score(board, entry)}
            _say(values, job, board, entry, about)
    for board in result.boards:
        for entry in board.incomplete:
            _say(values, job, board, entry, {"not_ranked": "\n".join(entry.reasons) or "no reason given"})
    return values


def write_sweep_previews(job: Job, outcome: Outcome, result: SweepResult, locations: VamsLocations) -> list[str]:
    """Show each task's plot with its best checkpoint, and the first plot with the leaderboard and for the asset.

    Returns:
        A sentence for each picture that could not be shown; no preview is worth a failed sweep.
    """
    published = {file.path for file in outcome.files}
    results = storage_at(result.summary.results_uri)
    target = storage_at(join_uri(locations.files, job.outputs_folder))
    best = _best_files(outcome, result)
    plots = [board for board in result.boards if picture_of(board.task) in published][: RESERVED_KEYS - 1]
    problems: list[str] = []
    for board in plots:
        picture = picture_of(board.task)
        try:
            content, suffix = shrunk(results.read(picture))
            if board.task in best:
                target.write(f"{best[board.task]}.previewFile{suffix}", content)
            if board is plots[0]:
                target.write(f"leaderboard.csv.previewFile{suffix}", content)
                storage_at(locations.previews).write(f"sweep{suffix}", content)
        except (FlowsError, OSError) as error:
            problems.append(f"The preview {picture} could not be written: {error}")
    return problems


def _best_values(job: Job, outcome: Outcome, result: SweepResult) -> dict[str, dict[str, Value]]:
    """Return what is said of each task's published best checkpoint, by its path below the results."""
    found: dict[str, dict[str, Value]] = {}
    files = _best_files(outcome, result)
    for board in result.boards:
        if board.best is not None and board.task in files:
            found[job.published(files[board.task])] = {
                "job_id": job.job_id,
                "task": board.task,
                "rl_library": job.library,
                "checkpoint": board.best.checkpoint,
                "iteration": board.best.iteration,
                "statement": board.statement,
                **_score(board, board.best),
            }
    return found


def _best_files(outcome: Outcome, result: SweepResult) -> dict[str, str]:
    """Return the published copy of each task's best checkpoint."""
    root = result.summary.results_uri.rstrip("/") + "/"
    published = {file.path for file in outcome.files}
    copies = {best.task: best.kept_as.removeprefix(root) for best in result.summary.best}
    return {task: path for task, path in copies.items() if path in published}


def _score(board: Board, entry: Entry) -> dict[str, Value]:
    metric = METRIC_WORDS[board.metric].replace(" ", "_")
    values: dict[str, Value] = {metric: entry.score, "episodes": entry.episodes}
    if entry.interval is not None:
        low, high, level = entry.interval.low, entry.interval.high, entry.interval.level
        values |= {f"{metric}_ci_low": low, f"{metric}_ci_high": high, f"{metric}_ci_level": level}
    return values


def _say(values: dict[str, dict[str, Value]], job: Job, board: Board, entry: Entry, about: dict[str, Value]) -> None:
    said = values.setdefault(entry.checkpoint, {"sweep_job_id": job.job_id})
    said |= {f"sweep_{board.task}_{key}": value for key, value in about.items()}
