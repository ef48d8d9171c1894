"""Ranks the checkpoints of a sweep, says which differences are significant, and notices a regression."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isaaclab_flows.schemas.outcome import Interval
from isaaclab_flows.schemas.sweep import Metric
from isaaclab_flows.tasks.statistics.comparison import Comparison, compare, holm
from isaaclab_flows.tasks.statistics.intervals import (
    Values,
    interquartile_mean,
    interquartile_mean_interval,
    mean_interval,
    rate_interval,
)
from isaaclab_flows.tasks.sweep.table import Row

SIGNIFICANCE = 0.05
MOST_COMPARED = 100
MOST_NAMED = 5
METRIC_WORDS: dict[Metric, str] = {
    "meanReturn": "mean return",
    "interquartileMeanReturn": "interquartile mean return",
    "successRate": "success rate",
}


@dataclass(frozen=True)
class Entry:
    """One checkpoint on one task, over all seeds, environments and variations of the sweep.

    Args:
        strata: The episodes' values of each evaluation (one array a seed, number of environments and variation).
        done: Evaluations with a result.
        cells: Evaluations that the sweep wants of it.
        reasons: Why the others have none, each reason once.
    """

    task: str
    checkpoint: str
    digest: str
    run: str
    iteration: int | None
    score: float | None
    interval: Interval | None
    episodes: int
    done: int
    cells: int
    reasons: tuple[str, ...]
    strata: tuple[tuple[float, ...], ...]

    @property
    def complete(self) -> bool:
        """Whether every evaluation has a result: only then is it comparable with the others."""
        return self.done == self.cells and self.score is not None

    @property
    def label(self) -> str:
        """The file's name, with its run's."""
        run = self.run.rstrip("/").rpartition("/")[2]
        name = self.checkpoint.rpartition("/")[2]
        return f"{run[:8]}/{name}" if run else name


@dataclass(frozen=True)
class Difference:
    """How an entry differs from the best of its task."""

    entry: Entry
    p_value: float
    """Two-sided, of a permutation test, corrected for the number of comparisons (Holm)."""
    interval: Interval | None
    """Of the difference of the means; None where one of them has a single episode."""

    @property
    def significant(self) -> bool:
        """Whether chance alone is an unlikely reason, at the 5 % level."""
        return self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Board:
    """One task's leaderboard: complete entries ranked, best first; the others after them."""

    task: str
    metric: Metric
    ranked: tuple[Entry, ...]
    incomplete: tuple[Entry, ...]
    differences: tuple[Difference, ...]
    """Of the first, to the entries that follow it in the ranking."""

    @property
    def best(self) -> Entry | None:
        """The first, or None where nothing has a result."""
        return self.ranked[0] if self.ranked else None

    @property
    def statement(self) -> str:
        """One or two sentences: which differences from the best are significant."""
        if self.best is None:
            return "No checkpoint has results for the whole sweep."
        if not self.differences:
            return f"{self.best.label} is the only checkpoint with results for the whole sweep."
        worse = [d for d in self.differences if d.significant]
        even = [d.entry.label for d in self.differences if not d.significant]
        test = f"permutation tests, Holm's correction, {SIGNIFICANCE:.0%} level"
        others = f"{len(self.differences)} others" if len(self.differences) > 1 else "the other"
        said = f"{self.best.label} differs significantly from {len(worse)} of {others} ({test})."
        if len(self.differences) < len(self.ranked) - 1:
            said += f" Only the {MOST_COMPARED} next best were compared."
        if even:
            names = ", ".join(even[:MOST_NAMED]) + (" …" if len(even) > MOST_NAMED else "")
            said += f" No significant difference from: {names}."
        return said


def boards(rows: Iterable[Row], metric: Metric) -> list[Board]:
    """Rank the checkpoints of each task.

    Args:
        rows: The sweep's evaluations, one a checkpoint, task, seed, number of environments and variation.
        metric: What to rank by; larger is better.
    """
    by_task: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_task[row.task][row.checkpoint_digest].append(row)
    made = []
    for task, of_task in sorted(by_task.items()):
        entries = [_entry(of_checkpoint, metric) for of_checkpoint in of_task.values()]
        ranked = sorted(
            (e for e in entries if e.complete), key=lambda e: (-(e.score or 0.0), -(e.iteration or 0), e.checkpoint)
        )
        incomplete = sorted((e for e in entries if not e.complete), key=lambda e: (-e.done, e.checkpoint))
        made.append(Board(task, metric, tuple(ranked), tuple(incomplete), _differences(ranked)))
    return made


def _entry(rows: Sequence[Row], metric: Metric) -> Entry:
    first = rows[0]
    # Always in one order, so that two checkpoints' episodes can be compared in pairs.
    rows = sorted(rows, key=lambda row: (row.variation, row.num_envs, row.seed))
    good = [row for row in rows if not row.error_kind]
    strata = tuple(_values(row, metric) for row in good)
    score, interval = None, None
    if strata and all(strata):
        arrays = [np.asarray(values, dtype=np.float64) for values in strata]
        score, interval = _scored(np.concatenate(arrays), arrays, metric)
    return Entry(
        task=first.task,
        checkpoint=first.checkpoint,
        digest=first.checkpoint_digest,
        run=first.run,
        iteration=next((row.iteration for row in rows if row.iteration is not None), None),
        score=score,
        interval=interval,
        episodes=sum(len(values) for values in strata),
        done=len(good),
        cells=len(rows),
        reasons=tuple(dict.fromkeys(row.error for row in rows if row.error)),
        strata=strata,
    )


def _values(row: Row, metric: Metric) -> tuple[float, ...]:
    values = row.successes if metric == "successRate" else row.returns
    return values if all(math.isfinite(value) for value in values) else ()


def _scored(values: Values, strata: Sequence[Values], metric: Metric) -> tuple[float, Interval | None]:
    """Return the metric over all episodes, and its 95 % interval."""
    match metric:
        case "meanReturn":
            return float(values.mean()), mean_interval(values)
        case "interquartileMeanReturn":
            return interquartile_mean(values), interquartile_mean_interval(strata)
        case "successRate":
            return float(values.mean()), rate_interval(values)


def _differences(ranked: Sequence[Entry]) -> tuple[Difference, ...]:
    if len(ranked) < 2:
        return ()
    best, *others = ranked
    compared = [compare_entries(best, other) for other in others[:MOST_COMPARED]]
    corrected = holm([c.p_value for c in compared])
    told = [
        Difference(entry, p, comparison.difference_ci)
        for entry, p, comparison in zip(others, corrected, compared, strict=False)
    ]
    return tuple(told)


def compare_entries(one: Entry, other: Entry) -> Comparison:
    """Compare two entries' episodes, in pairs where both were evaluated in the same settings."""
    sizes = [[len(stratum) for stratum in entry.strata] for entry in (one, other)]
    first, second = ([value for stratum in entry.strata for value in stratum] for entry in (one, other))
    return compare(first, second, paired=sizes[0] == sizes[1])


@dataclass(frozen=True)
class Regression:
    """The best of a sweep against the best before it."""

    before: Entry
    now: Entry
    p_value: float
    verdict: Literal["worse", "not worse"]

    @property
    def sentence(self) -> str:
        """What became worse, by how much."""
        assert self.now.score is not None
        assert self.before.score is not None
        return (
            f"{self.now.task}: {self.now.label} scores {self.now.score:,.3g}, below the last best, {self.before.label},"
            f" with {self.before.score:,.3g} (p = {self.p_value:.2g})."
        )


def compare_with_last_best(before: Entry, now: Entry, *, tolerance: float) -> Regression | None:
    """Compare the best of what a sweep newly evaluated with the best before it.

    Worse is what lies below by more than the tolerance and hardly by chance.

    Returns:
        The comparison, or None when one of the two has no score.
    """
    if before.score is None or now.score is None:
        return None
    p_value = compare_entries(before, now).p_value
    worse = now.score < before.score - tolerance and p_value < SIGNIFICANCE
    return Regression(before, now, p_value, "worse" if worse else "not worse")


def markdown(made: Sequence[Board], *, name: str, most: int = 50) -> str:
    """Return the leaderboards as markdown, for the artifact and the file.

    Args:
        made: One board a task.
        name: Of the sweep.
        most: Rows shown of each board.
    """
    lines = [f"# Leaderboard of {name}", ""]
    for board in made:
        lines += [f"## {board.task}", "", board.statement, ""]
        words = METRIC_WORDS[board.metric]
        lines += [f"| rank | checkpoint | iteration | {words} | 95 % interval | episodes | vs best |"]
        lines += ["| ---: | --- | ---: | ---: | --- | ---: | --- |"]
        told = {id(d.entry): d for d in board.differences}
        for rank, entry in enumerate(board.ranked[:most], 1):
            difference = told.get(id(entry))
            verdict = _verdict(difference) if difference else "best" if rank == 1 else "not compared"
            lines.append(
                f"| {rank} | `{entry.label}` | {_number(entry.iteration)} | {_number(entry.score)} |"
                f" {_span(entry.interval)} | {entry.episodes} | {verdict} |"
            )
        if len(board.ranked) > most:
            lines.append(f"\n… and {len(board.ranked) - most} more, in leaderboard.csv.")
        if board.incomplete:
            lines += ["", f"Not ranked, {len(board.incomplete)} without a result for the whole sweep:", ""]
            lines += [
                f"- `{entry.label}`: {entry.done} of {entry.cells}; {'; '.join(entry.reasons) or 'no reason given'}"
                for entry in board.incomplete[:most]
            ]
        lines.append("")
    return "\n".join(lines)


def _verdict(difference: Difference) -> str:
    chance = "p < 0.001" if difference.p_value < 0.001 else f"p = {difference.p_value:.3f}"
    return f"**differs**, {chance}" if difference.significant else f"even, {chance}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _span(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.low:,.2f} … {interval.high:,.2f}"


def table(made: Sequence[Board]) -> list[dict[str, str | int | float | None]]:
    """Return all boards as one table: a row a checkpoint and task."""
    rows: list[dict[str, str | int | float | None]] = []
    for board in made:
        p_values = {id(d.entry): d.p_value for d in board.differences}
        for rank, entry in enumerate((*board.ranked, *board.incomplete), 1):
            rows.append(
                {
                    "rank": rank if entry.complete else None,
                    "task": entry.task,
                    "checkpoint": entry.label,
                    "iteration": entry.iteration,
                    METRIC_WORDS[board.metric].replace(" ", "_"): entry.score,
                    "low": entry.interval.low if entry.interval else None,
                    "high": entry.interval.high if entry.interval else None,
                    "episodes": entry.episodes,
                    "p_value": p_values.get(id(entry)),
                    "reason": "; ".join(entry.reasons),
                    "uri": entry.checkpoint,
                }
            )
    return rows
