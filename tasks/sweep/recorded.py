"""Compares what was evaluated before: finds recorded episodes, and says of them what a leaderboard says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isaaclab_flows.schemas.errors import ConfigError, InputMissingError
from isaaclab_flows.schemas.outcome import Interval
from isaaclab_flows.schemas.sweep import Metric
from isaaclab_flows.tasks.statistics.comparison import Judgement, judge
from isaaclab_flows.tasks.statistics.episodes import Episodes, parse_episodes
from isaaclab_flows.tasks.statistics.sample import Sample, Stratum, unit_labels
from isaaclab_flows.tasks.statistics.statements import judgement_statement
from isaaclab_flows.tasks.storage import storage_at
from isaaclab_flows.tasks.storage.base import join_uri, split_uri

METRICS_FILE = "metrics.csv"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class Recorded:
    """One checkpoint's episodes, as an evaluation published them."""

    name: str
    """The checkpoint's, with the place's where several places are compared."""
    task: str
    """Empty where no summary.json lies beside the episodes."""
    seed: int | None
    checkpoint: str
    """URI; empty likewise."""
    versions: str
    place: str
    """The metrics.csv."""
    episodes: Episodes

    def sample(self, metric: Metric) -> Sample | None:
        """Return the episodes by a metric, or None where it is not known of all of them."""
        values = self.episodes.successes if metric == "successRate" else self.episodes.returns
        if not np.isfinite(values).all():
            return None
        labels = unit_labels(self.seed, self.episodes.environments.tolist(), self.episodes.rounds.tolist())
        # Episodes of which the seed is not known began somewhere of their own.
        setting = f"{self.task}, {len(set(self.episodes.environments.tolist()))} environments"
        return Sample((Stratum.of(setting if self.seed is not None else self.place, values, labels),))


@dataclass(frozen=True)
class Comparison:
    """Several recorded evaluations compared."""

    metric: Metric
    recorded: Mapping[str, Recorded]
    judgement: Judgement
    notes: tuple[str, ...]

    @property
    def statement(self) -> str:
        """Which differ from the best, and what could not be told."""
        if len(self.recorded) < 2:
            return "There is nothing to compare it with."
        return judgement_statement(self.judgement, names={name: name for name in self.recorded})

    def document(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        judged = self.judgement
        return {
            "metric": self.metric,
            "entries": [self._entry(name) for name in judged.order],
            "differences": [
                {
                    "a": d.one,
                    "b": d.other,
                    "difference": d.difference,
                    **_ends(d.interval),
                    "p_value": d.p_value,
                    "significant": d.significant,
                    "smallest_detectable": d.detectable,
                }
                for d in judged.differences
            ],
            "best": judged.order[0],
            "tied_with_best": list(judged.tied),
            "paired": judged.paired,
            "scored_apart_from_choice": judged.apart,
            "statement": self.statement,
            "notes": list(self.notes),
        }

    def _entry(self, name: str) -> dict[str, Any]:
        recorded, sample = self.recorded[name], self.judgement.reported[name]
        interval = sample.rate_interval if self.metric == "successRate" else sample.mean_interval
        returns, successes = (self._reported(recorded, metric) for metric in ("meanReturn", "successRate"))
        success = successes.rate_interval if successes else None
        return {
            "name": name,
            "task": recorded.task or None,
            "checkpoint": recorded.checkpoint or None,
            "episodes": len(recorded.episodes),
            "mean": sample.mean,
            **_ends(interval),
            "worst_tenth": returns.worst_tenth if returns else None,
            "success": successes.mean if successes else None,
            "success_low": success.low if success else None,
            "success_high": success.high if success else None,
            "unseen_rate": sample.unseen_rate,
        }

    def _reported(self, recorded: Recorded, metric: Any) -> Sample | None:
        sample = recorded.sample(metric)
        if sample is None or not self.judgement.apart:
            return sample
        return sample.parts[1] if sample.parts else None


def compare(places: Sequence[str], *, outputs: str, metric: Metric = "meanReturn") -> Comparison:
    """Compare recorded evaluations.

    Args:
        places: Folders of evaluations, metrics.csv files, job ids, or names of evaluations or trainings.
        outputs: Where ids and names are looked for: a folder or an s3:// prefix.
        metric: What to compare by; larger is better.

    Raises:
        InputMissingError: A place has no recorded episodes.
        ConfigError: They are of different tasks, or the metric is not known of all episodes.
    """
    found = [recorded for place in places for recorded in find(place, outputs=outputs)]
    tasks = sorted({recorded.task for recorded in found if recorded.task})
    if len(tasks) > 1:
        raise ConfigError(
            f"Not comparable: the evaluations are of different tasks ({', '.join(tasks)})",
            where=", ".join(places),
            remedy="Compare evaluations of one task.",
        )
    named = _named(found)
    samples = {name: sample for name, recorded in named.items() if (sample := recorded.sample(metric)) is not None}
    without = [name for name in named if name not in samples]
    if without:
        raise ConfigError(
            f"The metric {metric} is not known of every episode of {', '.join(without)}",
            where="--metric",
            remedy="Use meanReturn, or leave these out.",
        )
    notes = []
    if len({recorded.versions for recorded in found}) > 1:
        notes.append("Versions of the simulator or the library differ: a difference may be theirs.")
    return Comparison(metric, named, judge(samples), tuple(notes))


def find(place: str, *, outputs: str) -> list[Recorded]:
    """Return the recorded evaluations that a place means; see :func:`compare`.

    Raises:
        InputMissingError: There are none.
    """
    for folder in _folders(place, outputs):
        path = METRICS_FILE if not folder.endswith(".csv") else split_uri(folder)[1]
        root = folder if not folder.endswith(".csv") else split_uri(folder)[0]
        found = _read(root, path)
        if found:
            return found
        of_training = _evaluations_of(root, outputs)
        if of_training:
            return of_training
    raise InputMissingError(
        f"No recorded evaluation is found by '{place}'",
        where=place,
        remedy=f"Name an evaluation's folder, a metrics.csv, a job's id, or an evaluation or training below {outputs}.",
    )


def _folders(place: str, outputs: str) -> Iterable[str]:
    """Return what a place may mean, the likeliest first."""
    yield place.removesuffix("/")
    if "://" in place:
        return
    storage = storage_at(outputs)
    yield join_uri(outputs, place)
    names = {file.path.partition("/")[0] for file in storage.files() if file.path.endswith(METRICS_FILE)}
    wanted = place.replace(" ", "-")
    near = [n for n in names if n.startswith(f"{wanted}-") or n.endswith(f"-{place[:8]}")]
    times = {name: stat.modified for name in near if (stat := storage.stat(f"{name}/{METRICS_FILE}")) is not None}
    yield from (join_uri(outputs, name) for name in sorted(times, key=lambda name: -times[name]))


def _read(root: str, path: str) -> list[Recorded]:
    """Return a metrics.csv's checkpoints; none where it does not exist or is a training's."""
    storage = storage_at(root)
    try:
        text = storage.read(path).decode()
    except (InputMissingError, IsADirectoryError, NotADirectoryError):
        return []
    if not text.startswith("checkpoint,round,"):
        return []
    about = _summary(root)
    uris = {Path(e["checkpoint"]).stem: e["checkpoint"] for e in about.get("evaluations", ())}
    versions = " ".join(f"{key}={value}" for key, value in sorted(about.get("versions", {}).items()))
    place = join_uri(root, path)
    return [
        Recorded(
            name,
            about.get("task", ""),
            about.get("seed"),
            uris.get(name.partition("-")[2], uris.get(name, "")),
            versions,
            place,
            episodes,
        )
        for name, episodes in parse_episodes(text, where=place).items()
    ]


def _evaluations_of(root: str, outputs: str) -> list[Recorded]:
    """Return the evaluations below the outputs whose checkpoints a training's folder holds."""
    below = f"{root.rstrip('/')}/checkpoints/"
    folders = [f.path.rpartition("/")[0] for f in storage_at(outputs).files() if f.path.count("/") == 1]
    found: dict[str, Recorded] = {}
    for folder in sorted(set(folders)):
        for recorded in _read(join_uri(outputs, folder), METRICS_FILE):
            if recorded.checkpoint.startswith(below) or below in recorded.checkpoint:
                found[recorded.checkpoint] = recorded
    return list(found.values())


def _summary(root: str) -> dict[str, Any]:
    try:
        found = json.loads(storage_at(root).read(SUMMARY_FILE))
    except (InputMissingError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _named(found: Sequence[Recorded]) -> dict[str, Recorded]:
    """Give each a name of its own: the checkpoint's; with its folder's, then with a number, where those repeat."""
    names = [recorded.name for recorded in found]
    named: dict[str, Recorded] = {}
    for recorded in found:
        name = recorded.name
        if names.count(name) > 1:
            name = f"{split_uri(split_uri(recorded.place)[0])[1]}/{name}"
        number, free = 2, name
        while free in named:
            free, number = f"{name} ({number})", number + 1
        named[free] = recorded
    return named


def _ends(interval: Interval | None) -> dict[str, float | None]:
    return {"low": interval.low if interval else None, "high": interval.high if interval else None}
