"""Evaluates one group of a sweep: a job like any other, whose outcome becomes rows whatever happens."""

from __future__ import annotations

import csv
import io
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

from isaaclab_flows.schemas.errors import CancelledError, ErrorRecord, InputMissingError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.sweep import SweepConfig
from isaaclab_flows.tasks.job.hand_over import known_job, load_outcome
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.results.evaluation import labels
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import join_uri
from isaaclab_flows.tasks.sweep.plan import Group, group_config
from isaaclab_flows.tasks.sweep.table import EpisodeValues, Row, rows_of

# A simulator that ended like this may have been ended by one of its checkpoints: the others deserve another chance.
_BLAMES_ONE = frozenset({"simulator", "simulator_killed", "simulator_hung", "out_of_memory"})
_VERSIONED = ("isaaclab-flows", "isaaclab", "newton", "warp-lang", "torch", "rsl-rl-lib", "skrl", "rl-games")


@dataclass(frozen=True)
class SweepRun:
    """What all groups of one sweep share.

    Args:
        sweep_id: The flow run that it belongs to: its retries find the jobs of the first try.
        results_uri: The sweep's results; outputs of single jobs lie in `jobs/` below.
        reach: What its jobs may read.
        auxiliary_uri: Where jobs keep what they have while they run; None keeps it in the job folders.
    """

    config: SweepConfig
    sweep_id: uuid.UUID
    results_uri: str
    reach: Reach
    auxiliary_uri: str | None = None
    device: str | None = None

    def request(self, group: Group) -> Request:
        """Return the request that evaluates a group."""
        return Request(
            job_id=group.job_id(self.sweep_id),
            kind="evaluation",
            source="sweep",
            config=group_config(self.config, group),
            asset_uri=self.reach.asset,
            earlier_outputs_uri=self.reach.earlier,
            confined=self.reach.bounded,
            output_uri=join_uri(self.results_uri, "jobs"),
            auxiliary_uri=self.auxiliary_uri,
            labels={"sweep": self.config.name},
            device=self.device,
        )


@dataclass(frozen=True)
class Evaluated:
    """What came of a group, all its jobs together."""

    rows: tuple[Row, ...]
    gpu_seconds: float = 0.0
    estimated_cost: float | None = None
    """Dollars; None where no job had a price."""

    def __add__(self, other: Evaluated) -> Evaluated:
        """Return both."""
        costs = [cost for cost in (self.estimated_cost, other.estimated_cost) if cost is not None]
        return Evaluated(self.rows + other.rows, self.gpu_seconds + other.gpu_seconds, sum(costs) if costs else None)


def evaluate(
    run: SweepRun,
    group: Group,
    *,
    orchestrate: Callable[[Request], Outcome],
    add_part: Callable[[str, Sequence[Row]], None],
    wanted: Callable[[], bool],
) -> Evaluated:
    """Evaluate a group; one that ends the simulator is halved until the checkpoint to blame stands alone.

    A job that somebody cancelled is rows with that reason, like any other that fails; only when the sweep itself is
    being cancelled does it end here.

    Args:
        run: What all groups share.
        group: What to evaluate.
        orchestrate: Runs a request to its end.
        add_part: Keeps the rows under the job's id, as soon as there are any.
        wanted: Says whether the sweep is to go on; asked only when a job was cancelled.

    Returns:
        A row for each evaluation, and what the jobs took.

    Raises:
        CancelledError: The sweep itself is being cancelled, or was deleted.
    """
    request = run.request(group)
    try:
        outcome = orchestrate(request)
    except Exception as error:
        # Prefect cancels a cancelled sweep's jobs too, and they may end before the sweep hears of it.
        if isinstance(error, CancelledError) and not wanted():
            raise
        outcome = _failed(request, error)
    rows = rows_of(
        group,
        outcome,
        num_episodes=run.config.sweep_config.num_episodes,
        steps_per_episode=run.config.sweep_config.steps_per_episode,
        episodes=_episodes(outcome, known_job(request)),
        evaluated_at=time.time(),
    )
    blamed = outcome.error is not None and outcome.error.kind in _BLAMES_ONE
    reached = [row for row in rows if row.error_kind == ""]
    if blamed and len(group.cells) > 1:
        if reached:
            add_part(request.job_id, reached)
        done = {row.key for row in reached}
        rest = Group(group.setting, tuple(cell for cell in group.cells if cell.key not in done))
        found = Evaluated(tuple(reached), outcome.gpu_seconds, outcome.estimated_cost)
        for part in rest.halves() if len(rest.cells) > 1 else (rest,):
            found += evaluate(run, part, orchestrate=orchestrate, add_part=add_part, wanted=wanted)
        return found
    add_part(request.job_id, rows)
    return Evaluated(tuple(rows), outcome.gpu_seconds, outcome.estimated_cost)


def _failed(request: Request, error: Exception) -> Outcome:
    """Return what a failed job left: the evaluations before the failure count."""
    job = known_job(request)
    left = load_outcome(job) if job is not None else None
    record = ErrorRecord.of(error)
    if left is not None:
        return left.model_copy(update={"error": record, "status": "failed"})
    inner = (request.config or {}).get("trainingConfig", {})
    return Outcome(
        job_id=request.job_id,
        kind="evaluation",
        status="failed",
        task=inner.get("task", ""),
        library=inner.get("rlLibrary", ""),
        error=record,
    )


def _episodes(outcome: Outcome, job: Job | None) -> list[EpisodeValues]:
    """Return each checkpoint's episodes from the published metrics.csv, in the order of the evaluations."""
    if job is None or not outcome.output_uri or not outcome.evaluations:
        return []
    try:
        content = storage_at(outcome.output_uri).read("metrics.csv")
    except InputMissingError:
        return []
    return split_episodes(content.decode(), labels(job, len(outcome.evaluations)))


def split_episodes(text: str, names: Sequence[str]) -> list[EpisodeValues]:
    """Return the episodes of each checkpoint of a metrics.csv.

    Args:
        text: The CSV, with the columns `checkpoint`, `return` and `success` among others.
        names: The checkpoints' names there; those without rows (torn ones) give no episodes.
    """
    returns: dict[str, list[float]] = {}
    successes: dict[str, list[float]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        returns.setdefault(row["checkpoint"], []).append(float(row["return"]))
        if row.get("success"):
            successes.setdefault(row["checkpoint"], []).append(float(row["success"]))
    return [EpisodeValues(tuple(returns.get(name, ())), tuple(successes.get(name, ()))) for name in names]


def versions() -> dict[str, str]:
    """Return the versions that decide a result, of what is installed here."""
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # the simulator's side is in its own image; sweepConfig.release stands for that
    return found
