"""Ranks the checkpoints of a sweep and says which differences are significant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from isaaclab_flows.schemas.outcome import Interval
from isaaclab_flows.schemas.plain import markdown_text
from isaaclab_flows.schemas.sweep import Metric
from isaaclab_flows.tasks.statistics.comparison import Difference, Judgement, judge
from isaaclab_flows.tasks.statistics.sample import Sample, Stratum, unit_labels
from isaaclab_flows.tasks.statistics.statements import judgement_statement
from isaaclab_flows.tasks.sweep.table import Row

METRIC_WORDS: dict[Metric, str] = {"meanReturn": "mean return", "successRate": "success rate"}


@dataclass(frozen=True)
class Entry:
    """One checkpoint on one task, over all seeds, environments and variations of the sweep.

    Args:
        score: The metric, on the episodes that did not choose the winner where there are enough of both.
        interval: Its 95 % interval.
        worst_tenth: Mean return of the worst tenth of those episodes; None for fewer than ten.
        success: Their success rate; None where the task reports none.
        episodes: How many there are in all.
        done: Evaluations with a result.
        cells: Evaluations that the sweep wants of it.
        reasons: Why the others have none, each reason once.
        settings: What it was evaluated in, one a setting, with the episodes' length and number and the versions.
        sample: All its episodes, by the metric; None without a score.
    """

    task: str
    checkpoint: str
    digest: str
    run: str
    iteration: int | None
    score: float | None
    interval: Interval | None
    worst_tenth: float | None
    success: float | None
    episodes: int
    done: int
    cells: int
    reasons: tuple[str, ...]
    settings: tuple[str, ...]
    sample: Sample | None

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
class Board:
    """One task's leaderboard: complete entries ranked, best first; the others after them."""

    task: str
    metric: Metric
    ranked: tuple[Entry, ...]
    incomplete: tuple[Entry, ...]
    judgement: Judgement
    """Of the ranked entries, by their checkpoints' URIs."""

    @property
    def best(self) -> Entry | None:
        """The first, or None where nothing has a result."""
        return self.ranked[0] if self.ranked else None

    @property
    def differences(self) -> Mapping[str, Difference]:
        """Of the first, from each of those that follow it in the ranking, by their checkpoints' URIs."""
        return {difference.other: difference for difference in self.judgement.differences}

    @property
    def statement(self) -> str:
        """Which differences from the best are significant, and what could not have been seen."""
        if self.best is None:
            return "No checkpoint has results for the whole sweep."
        if len(self.ranked) < 2:
            return f"{self.best.label} is the only checkpoint with results for the whole sweep."
        return judgement_statement(self.judgement, names={e.checkpoint: e.label for e in self.ranked})


def boards(rows: Iterable[Row], metric: Metric) -> list[Board]:
    """Rank the checkpoints of each task.

    Args:
        rows: The sweep's evaluations, one a checkpoint, task, seed, number of environments and variation.
        metric: What to rank by; larger is better.
    """
    by_task: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_task[row.task][row.checkpoint_digest].append(row)
    return [board_of(task, of_task.values(), metric) for task, of_task in sorted(by_task.items())]


def board_of(task: str, checkpoints: Iterable[Sequence[Row]], metric: Metric) -> Board:
    """Rank one task's checkpoints, each given by its evaluations."""
    rows_of = {}
    entries = []
    for rows in checkpoints:
        entry = _entry(rows, metric)
        entries.append(entry)
        rows_of[entry.checkpoint] = rows
    complete = {entry.checkpoint: entry for entry in _later_first(entries) if entry.complete}
    judgement = judge({uri: entry.sample for uri, entry in complete.items() if entry.sample is not None})
    ranked = tuple(_reported(complete[uri], rows_of[uri], judgement, metric) for uri in judgement.order)
    incomplete = sorted((e for e in entries if not e.complete), key=lambda e: (-e.done, e.checkpoint))
    return Board(task, metric, ranked, tuple(incomplete), judgement)


def _later_first(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda e: (-(e.iteration or 0), e.checkpoint))


def _reported(entry: Entry, rows: Sequence[Row], judgement: Judgement, metric: Metric) -> Entry:
    """Return an entry with the scores of the episodes that did not choose the winner."""
    if not judgement.apart:
        return entry
    returns, successes = (_other_half(sample_of(rows, m)) for m in ("meanReturn", "successRate"))
    sample = judgement.reported[entry.checkpoint]
    return replace(
        entry,
        score=sample.mean,
        interval=_interval(sample, metric),
        worst_tenth=returns.worst_tenth if returns else None,
        success=successes.mean if successes else None,
    )


def _other_half(sample: Sample | None) -> Sample | None:
    return sample.parts[1] if sample is not None and sample.parts is not None else None


def _entry(rows: Sequence[Row], metric: Metric) -> Entry:
    first = rows[0]
    good = [row for row in rows if not row.error_kind]
    samples: dict[Metric, Sample | None] = {m: sample_of(good, m) for m in METRIC_WORDS}
    sample, returns, successes = samples[metric], samples["meanReturn"], samples["successRate"]
    return Entry(
        task=first.task,
        checkpoint=first.checkpoint,
        digest=first.checkpoint_digest,
        run=first.run,
        iteration=next((row.iteration for row in rows if row.iteration is not None), None),
        score=sample.mean if sample else None,
        interval=_interval(sample, metric) if sample else None,
        worst_tenth=returns.worst_tenth if returns else None,
        success=successes.mean if successes else None,
        episodes=sample.episodes if sample else 0,
        done=len(good),
        cells=len(rows),
        reasons=tuple(dict.fromkeys(row.error for row in rows if row.error)),
        settings=tuple(sorted({setting_of(row) for row in rows})),
        sample=sample,
    )


def setting_of(row: Row) -> str:
    """Return everything but the seed that decides what an evaluation measures."""
    return (
        f"{row.hydra_overrides or 'as it is'}, {row.num_envs} environments, {row.num_episodes} rounds of"
        f" {row.steps_per_episode} steps, {row.versions}"
    )


def sample_of(rows: Iterable[Row], metric: Metric) -> Sample | None:
    """Return the episodes of one checkpoint's evaluations, by a metric; seeds are drawn, the other settings chosen.

    Returns:
        None where an evaluation has no episodes or values that are not numbers.
    """
    strata: dict[str, tuple[list[float], list[str]]] = defaultdict(lambda: ([], []))
    # Always in one order, so that two checkpoints' episodes can be compared in pairs.
    for row in sorted(rows, key=lambda row: (row.hydra_overrides, row.num_envs, row.seed)):
        values = row.successes if metric == "successRate" else row.returns
        if not values or not all(math.isfinite(value) for value in values):
            return None
        held, labels = strata[f"{row.hydra_overrides} {row.num_envs}"]
        held += values
        labels += _labels(row, len(values))
    return Sample(tuple(Stratum.of(name, *held) for name, held in strata.items())) if strata else None


def _labels(row: Row, count: int) -> list[str]:
    if count % row.num_envs:
        # Some episodes are missing (no success was reported of them): which ones is not known.
        return unit_labels(row.seed, [0] * count, range(1, count + 1))
    # The table is in the order of rounds, then environments.
    places = range(count)
    return unit_labels(row.seed, [n % row.num_envs for n in places], [n // row.num_envs + 1 for n in places])


def _interval(sample: Sample, metric: Metric) -> Interval | None:
    return sample.rate_interval if metric == "successRate" else sample.mean_interval


def markdown(made: Sequence[Board], *, name: str, most: int = 50) -> str:
    """Return the leaderboards as markdown, for the artifact and the file.

    Args:
        made: One board a task.
        name: Of the sweep.
        most: Rows shown of each board.
    """
    lines = [f"# Leaderboard of {markdown_text(name)}", ""]
    for board in made:
        lines += [f"## {markdown_text(board.task)}", "", markdown_text(board.statement), ""]
        words = METRIC_WORDS[board.metric]
        lines += [
            f"| rank | checkpoint | iteration | {words} | 95 % interval | worst tenth | success | episodes | vs best |"
        ]
        lines += ["| ---: | --- | ---: | ---: | --- | ---: | ---: | ---: | --- |"]
        told = board.differences
        for rank, entry in enumerate(board.ranked[:most], 1):
            verdict = _verdict(told[entry.checkpoint]) if entry.checkpoint in told else "best"
            success = "–" if entry.success is None else f"{entry.success:.0%}"
            lines.append(
                f"| {rank} | {markdown_text(entry.label)} | {_number(entry.iteration)} | {_number(entry.score)} |"
                f" {_span(entry.interval)} | {_number(entry.worst_tenth)} | {success} | {entry.episodes} | {verdict} |"
            )
        if len(board.ranked) > most:
            lines.append(f"\n… and {len(board.ranked) - most} more, in leaderboard.csv.")
        if board.incomplete:
            lines += ["", f"Not ranked, {len(board.incomplete)} without a result for the whole sweep:", ""]
            lines += [
                f"- {markdown_text(entry.label)}: {entry.done} of {entry.cells};"
                f" {markdown_text('; '.join(entry.reasons)) or 'no reason given'}"
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
        told = board.differences
        for rank, entry in enumerate((*board.ranked, *board.incomplete), 1):
            rows.append(
                {
                    "rank": rank if entry.complete else None,
                    "task": entry.task,
                    "checkpoint": entry.label,
                    "iteration": entry.iteration,
                    "metric": METRIC_WORDS[board.metric],
                    "score": entry.score,
                    "low": entry.interval.low if entry.interval else None,
                    "high": entry.interval.high if entry.interval else None,
                    "episodes": entry.episodes,
                    "worst_tenth_return": entry.worst_tenth,
                    "success_rate": entry.success,
                    **_columns(told.get(entry.checkpoint)),
                    "reason": "; ".join(entry.reasons),
                    "uri": entry.checkpoint,
                }
            )
    return rows


def _columns(found: Difference | None) -> dict[str, float | None]:
    interval = found.interval if found else None
    return {
        "best_is_better_by": found.difference if found else None,
        "by_at_least": interval.low if interval else None,
        "by_at_most": interval.high if interval else None,
        "p_value": found.p_value if found else None,
        "smallest_detectable": found.detectable if found else None,
    }
