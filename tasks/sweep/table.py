"""The results of a sweep: one row an evaluation, kept as immutable parts that are put together into one table.

Every finished group writes a part of its own under a name that nobody else uses, so sweeps that run at once cannot
overwrite each other's rows; the table is only ever derived from the parts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from isaaclab_flows.schemas.outcome import EvaluationSummary, Outcome
from isaaclab_flows.tasks.sweep.plan import Cell, Group

if TYPE_CHECKING:
    import pyarrow as pa

# Reasons that lie with the machine or the service and not with the checkpoint: the next sweep tries these again.
_TRY_AGAIN = frozenset(
    {
        "error",
        "infrastructure_lost",
        "cannot_be_placed",
        "storage",
        "cancelled",
        "limit_reached",
        "outputs_missing",
        "simulator_hung",
    }
)


@dataclass(frozen=True)
class Row:
    """One evaluation's result, or the reason why there is none."""

    key: str
    checkpoint: str
    checkpoint_digest: str
    run: str
    iteration: int | None
    task: str
    library: str
    variation: str
    hydra_overrides: str
    seed: int
    num_envs: int
    num_episodes: int
    steps_per_episode: int
    episodes: int
    mean_return: float | None
    std_return: float | None
    mean_return_low: float | None
    mean_return_high: float | None
    worst_tenth_return: float | None
    mean_length: float | None
    success_rate: float | None
    success_rate_low: float | None
    success_rate_high: float | None
    steps_per_second: float | None
    error_kind: str
    error: str
    job_id: str
    output_uri: str
    versions: str
    evaluated_at: float
    """Unix time [s]."""
    returns: tuple[float, ...] = ()
    """Each episode's return; kept in the parquet files only."""
    successes: tuple[float, ...] = ()
    """Each episode's success (0 to 1), where the task reports it; kept in the parquet files only."""

    @property
    def final(self) -> bool:
        """Whether the next sweep has no reason to evaluate this again."""
        return self.error_kind not in _TRY_AGAIN


@dataclass(frozen=True)
class EpisodeValues:
    """What each episode of one checkpoint gave."""

    returns: tuple[float, ...] = ()
    successes: tuple[float, ...] = ()


LIST_COLUMNS = ("returns", "successes")


def rows_of(
    group: Group,
    outcome: Outcome,
    *,
    num_episodes: int,
    steps_per_episode: int,
    episodes: Sequence[EpisodeValues],
    evaluated_at: float,
) -> list[Row]:
    """Return one row for each evaluation of a group.

    Args:
        group: What was to be evaluated.
        outcome: How the group's job ended; its evaluations are in the order of the group's checkpoints, and may end
            early when the job failed.
        num_episodes: Rounds of each evaluation.
        steps_per_episode: Most steps of a round.
        episodes: The episodes of each evaluation, in the same order; may be shorter.
        evaluated_at: Unix time [s].
    """
    rows = []
    for position, cell in enumerate(group.cells):
        summary = outcome.evaluations[position] if position < len(outcome.evaluations) else None
        values = episodes[position] if position < len(episodes) else EpisodeValues()
        rows.append(_row(cell, summary, values, outcome, num_episodes, steps_per_episode, evaluated_at))
    return rows


def _row(
    cell: Cell,
    summary: EvaluationSummary | None,
    values: EpisodeValues,
    outcome: Outcome,
    num_episodes: int,
    steps_per_episode: int,
    evaluated_at: float,
) -> Row:
    setting, candidate = cell.setting, cell.candidate
    error = summary.error if summary is not None else outcome.error
    if summary is None and error is None:
        reason = ("outputs_missing", "The job ended without a result for this checkpoint")
    else:
        reason = (error.kind, error.sentence) if error else ("", "")
    found = summary or EvaluationSummary(checkpoint=candidate.uri)
    mean_ci, success_ci = found.mean_return_ci, found.success_rate_ci
    return Row(
        key=cell.key,
        checkpoint=candidate.uri,
        checkpoint_digest=candidate.digest,
        run=candidate.run,
        iteration=found.checkpoint_iteration if found.checkpoint_iteration is not None else candidate.iteration,
        task=setting.task,
        library=setting.library,
        variation=setting.variation,
        hydra_overrides=" ".join(setting.hydra_overrides),
        seed=setting.seed,
        num_envs=setting.num_envs,
        num_episodes=num_episodes,
        steps_per_episode=steps_per_episode,
        episodes=found.episodes,
        mean_return=found.mean_return,
        std_return=found.std_return,
        mean_return_low=mean_ci.low if mean_ci else None,
        mean_return_high=mean_ci.high if mean_ci else None,
        worst_tenth_return=found.worst_tenth_return,
        mean_length=found.mean_length,
        success_rate=found.success_rate,
        success_rate_low=success_ci.low if success_ci else None,
        success_rate_high=success_ci.high if success_ci else None,
        steps_per_second=found.steps_per_second,
        error_kind=reason[0],
        error=reason[1],
        job_id=outcome.job_id,
        output_uri=outcome.output_uri,
        versions=" ".join(f"{name}={version}" for name, version in sorted(outcome.versions.items())),
        evaluated_at=evaluated_at,
        returns=values.returns,
        successes=values.successes,
    )


def arrow_schema() -> pa.Schema:
    """Return the table's columns and types; parts of one version read as parts of another with columns missing."""
    import pyarrow as pa

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    lists = {"returns": pa.list_(pa.float32()), "successes": pa.list_(pa.float32())}
    return pa.schema([(f.name, lists.get(f.name) or types[str(f.type).partition(" ")[0]]) for f in fields(Row)])


def to_parquet(rows: Iterable[Row]) -> bytes:
    """Return rows as a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=arrow_schema()), buffer)
    return buffer.getvalue()


def from_parquet(content: bytes) -> list[Row]:
    """Return the rows of a parquet file; columns it lacks (an older version's) are empty."""
    import pyarrow.parquet as pq

    known = {f.name for f in fields(Row)}
    empty: dict[str, Any] = dict.fromkeys(known)
    rows = []
    for values in pq.read_table(io.BytesIO(content)).to_pylist():
        row = empty | {name: value for name, value in values.items() if name in known}
        for name in LIST_COLUMNS:
            row[name] = tuple(row[name] or ())
        rows.append(Row(**row))
    return rows


def to_csv(rows: Iterable[Row]) -> bytes:
    """Return rows as CSV, without the columns of single episodes."""
    import csv

    names = [f.name for f in fields(Row) if f.name not in LIST_COLUMNS]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if (value := getattr(row, name)) is None else value for name in names])
    return text.getvalue().encode()


def put_together(parts: Iterable[Iterable[Row]]) -> list[Row]:
    """Put parts together: for each evaluation one row, a result before a reason, the newest of each.

    The order is the same however the parts come: by task, run, iteration, variation, environments and seed.
    """
    best: dict[str, Row] = {}
    for row in (row for part in parts for row in part):
        held = best.get(row.key)
        if held is None or _standing(row) > _standing(held):
            best[row.key] = row
    return sorted(
        best.values(),
        key=lambda r: (
            r.task,
            r.run,
            -1 if r.iteration is None else r.iteration,
            r.checkpoint,
            r.variation,
            r.num_envs,
            r.seed,
            r.key,
        ),
    )


def _standing(row: Row) -> tuple[bool, bool, float, str]:
    return (not row.error_kind, row.final, row.evaluated_at, row.job_id)
