"""metrics.csv out of TensorBoard's events: every scalar, one row an iteration, over all attempts of a job."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isaaclab_flows.schemas.files import write_whole

STANDARD: dict[str, tuple[str, ...]] = {
    "mean_reward": ("Train/mean_reward", "rewards/iter", "Reward / Total reward (mean)"),
    "mean_episode_length": (
        "Train/mean_episode_length",
        "episode_lengths/iter",
        "Episode / Total timesteps (mean)",
    ),
    "steps_per_second": ("Perf/total_fps", "performance/step_inference_rl_update_fps", "Perf / steps per second"),
    "learning_rate": ("Loss/learning_rate", "info/last_lr", "Learning / Learning rate"),
}
"""Our column to each library's TensorBoard tag; the raw tags are columns too."""


@dataclass(frozen=True)
class Metrics:
    """A table with one row an iteration.

    Args:
        columns: `iteration`, then the standard ones that are known, then every TensorBoard tag.
        rows: Column to value; a missing value is absent.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, float], ...]

    def series(self, column: str) -> tuple[list[int], list[float]]:
        """Return the iterations and values of a column where it has finite values."""
        pairs = [(int(r["iteration"]), r[column]) for r in self.rows if math.isfinite(r.get(column, math.nan))]
        return [i for i, _ in pairs], [v for _, v in pairs]

    def write(self, target: Path) -> None:
        """Write the table as CSV, by rename."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({k: int(v) if k == "iteration" else repr(v) for k, v in row.items()})
        write_whole(target, text.getvalue().encode())


def read_metrics(tensorboard: Path) -> Metrics:
    """Read the events below ``tensorboard/<attempt>/``; where two attempts did an iteration, the later one counts.

    Args:
        tensorboard: Folder with one folder an attempt, named so that sorting gives their order.
    """
    folders = sorted(p for p in tensorboard.iterdir() if p.is_dir()) if tensorboard.is_dir() else []
    return merge_attempts(_read_attempt(folder) for folder in folders)


def merge_attempts(attempts: Iterable[Mapping[int, Mapping[str, float]]]) -> Metrics:
    """Join the attempts' rows: from an attempt's first iteration on, earlier attempts' rows do not count."""
    rows: dict[int, Mapping[str, float]] = {}
    for attempt in attempts:
        if attempt:
            first = min(attempt)
            rows = {i: row for i, row in rows.items() if i < first} | dict(attempt)
    tags = sorted({tag for row in rows.values() for tag in row})
    standard = {name: next((t for t in known if t in tags), None) for name, known in STANDARD.items()}
    columns = ("iteration", *(name for name, tag in standard.items() if tag), *tags)
    return Metrics(
        columns,
        tuple(
            {"iteration": i, **{n: rows[i][t] for n, t in standard.items() if t and t in rows[i]}, **rows[i]}
            for i in sorted(rows)
        ),
    )


def _read_attempt(folder: Path) -> dict[int, dict[str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows: dict[int, dict[str, float]] = {}
    for events in sorted(folder.rglob("events.out.tfevents*")):
        accumulator = EventAccumulator(str(events), size_guidance={"scalars": 0})
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            # rsl_rl writes some curves twice, the second time over seconds; those have no iteration.
            if tag.endswith("/time"):
                continue
            for scalar in accumulator.Scalars(tag):
                rows.setdefault(scalar.step, {})[tag] = scalar.value
    return rows


def best(metrics: Metrics, column: str = "mean_reward") -> tuple[int, float] | None:
    """Return the iteration and value of a column's maximum, or None where it has no values."""
    iterations, values = metrics.series(column)
    if not values:
        return None
    value = max(values)
    return iterations[values.index(value)], value
