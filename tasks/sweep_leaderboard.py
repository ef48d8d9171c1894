"""Ranks the checkpoints of a sweep, says which differences are significant, and notices a regression."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from schemas.outcome import Interval
from schemas.sweep import Metric
from tasks.sweep_table import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIGNIFICANCE = 0.05
RESAMPLES = 2_000
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
    p_value: float | None
    """Two-sided, corrected for the number of comparisons; None where a comparison needs more episodes."""

    @property
    def significant(self) -> bool:
        """Whether chance alone is an unlikely reason, at the 5 % level."""
        return self.p_value is not None and self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Board:
    """One task's leaderboard: complete entries ranked, best first; the others after them."""

    task: str
    metric: Metric
    ranked: tuple[Entry, ...]
    incomplete: tuple[Entry, ...]
    differences: tuple[Difference, ...]
    """Of every ranked entry but the first to the first, in the ranking's order."""

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
        test = f"two-sided Mann-Whitney tests, Holm's correction, {SIGNIFICANCE:.0%} level"
        said = f"{self.best.label} differs significantly from {len(worse)} of {len(self.differences)} others ({test})."
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
    import numpy as np

    first = rows[0]
    good = [row for row in rows if not row.error_kind]
    strata = tuple(_values(row, metric) for row in good)
    score, interval = None, None
    if strata and all(strata):
        arrays = [np.asarray(values) for values in strata]
        score = _score(arrays, metric)
        interval = bootstrap_interval(arrays, metric)
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
    return tuple(float(s) for s in row.successes) if metric == "successRate" else row.returns


def _score(strata: Sequence[NDArray[np.float64]], metric: Metric) -> float:
    """Return the metric, every evaluation with the same weight however many episodes it has."""
    import numpy as np

    centre = _interquartile_mean if metric == "interquartileMeanReturn" else np.mean
    return float(np.mean([centre(values) for values in strata]))


def _interquartile_mean(values: NDArray[np.float64]) -> float:
    from scipy.stats import trim_mean

    return float(trim_mean(values, 0.25))


def bootstrap_interval(strata: Sequence[NDArray[np.float64]], metric: Metric) -> Interval:
    """Return the 95 % percentile interval of the metric by a bootstrap within each evaluation (stratified)."""
    import numpy as np
    from scipy.stats import trim_mean

    generator = np.random.default_rng(0)
    scores = np.zeros(RESAMPLES)
    for values in strata:
        drawn = generator.choice(values, size=(RESAMPLES, len(values)))
        scores += trim_mean(drawn, 0.25, axis=1) if metric == "interquartileMeanReturn" else drawn.mean(axis=1)
    low, high = np.percentile(scores / len(strata), [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def _differences(ranked: Sequence[Entry]) -> tuple[Difference, ...]:
    if len(ranked) < 2:
        return ()
    best, *others = ranked
    raw = [p_value(best, other) for other in others]
    return tuple(Difference(entry, p) for entry, p in zip(others, holm(raw), strict=True))


def p_value(one: Entry, other: Entry) -> float | None:
    """Return the two-sided p-value that two entries' episodes come from one distribution; None with under two each."""
    import numpy as np
    from scipy.stats import mannwhitneyu

    first, second = (np.asarray([value for stratum in e.strata for value in stratum]) for e in (one, other))
    if min(len(first), len(second)) < 2:
        return None
    return float(mannwhitneyu(first, second, alternative="two-sided").pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number by Holm's method; unknown ones stay unknown and do not count."""
    known = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, position) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        corrected[position] = highest
    return corrected


@dataclass(frozen=True)
class Regression:
    """The best of a sweep against the best before it."""

    before: Entry
    now: Entry
    p_value: float | None
    verdict: Literal["worse", "not worse"]

    @property
    def sentence(self) -> str:
        """What became worse, by how much."""
        assert self.now.score is not None
        assert self.before.score is not None
        chance = f" (p = {self.p_value:.2g})" if self.p_value is not None else ""
        return (
            f"{self.now.task}: {self.now.label} scores {self.now.score:,.3g}, below the last best, {self.before.label},"
            f" with {self.before.score:,.3g}{chance}."
        )


def compare_with_last_best(before: Entry, now: Entry, *, tolerance: float) -> Regression | None:
    """Compare the best of what a sweep newly evaluated with the best before it.

    Worse is what lies below by more than the tolerance, and not by chance alone where that can be told.

    Returns:
        The comparison, or None when one of the two has no score.
    """
    if before.score is None or now.score is None:
        return None
    chance = p_value(before, now)
    lower = now.score < before.score - tolerance
    likely = chance is None or chance < SIGNIFICANCE
    return Regression(before, now, chance, "worse" if lower and likely else "not worse")


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
        lines += [f"| rank | checkpoint | iteration | {words} | 95 % interval | episodes | differs from the best |"]
        lines += ["| ---: | --- | ---: | ---: | --- | ---: | --- |"]
        told = {id(d.entry): d for d in board.differences}
        for rank, entry in enumerate(board.ranked[:most], 1):
            difference = told.get(id(entry))
            verdict = "best" if difference is None else _verdict(difference)
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
    if difference.p_value is None:
        return "too few episodes"
    chance = "p < 0.001" if difference.p_value < 0.001 else f"p = {difference.p_value:.3f}"
    return f"**yes** ({chance})" if difference.significant else f"no ({chance})"


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
