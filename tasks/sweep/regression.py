"""Says whether a sweep's new checkpoints are worse than the last best, on fresh starts that chose neither of them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from isaaclab_flows.schemas.sweep import Metric, SweepConfig
from isaaclab_flows.tasks.statistics.comparison import differences_from
from isaaclab_flows.tasks.statistics.sample import LEVEL, Sample
from isaaclab_flows.tasks.sweep.leaderboard import METRIC_WORDS, Entry, sample_of, setting_of
from isaaclab_flows.tasks.sweep.plan import Candidate, Cell, Group, settings_of
from isaaclab_flows.tasks.sweep.table import Row


@dataclass(frozen=True)
class LastBest:
    """The best checkpoint that an earlier sweep kept for a task."""

    label: str
    kept_as: str
    """URI of its copy."""
    digest: str
    metric: Metric
    settings: tuple[str, ...]
    """As :attr:`Entry.settings`, of the sweep that chose it."""


@dataclass(frozen=True)
class Regression:
    """The best of what is new against the best before it."""

    verdict: Literal["worse", "not worse", "not comparable"]
    sentence: str


def fresh_groups(
    config: SweepConfig, task: str, before: LastBest, now: Entry, *, sweep_id: uuid.UUID
) -> tuple[Group, ...]:
    """Return the evaluations that compare two checkpoints: every setting of the task, with one seed not used before.

    Args:
        config: The sweep.
        task: As installed.
        before: The last best.
        now: The best of what is new.
        sweep_id: Makes the seed: a retry finds the same evaluations.
    """
    seed = int.from_bytes(hashlib.sha256(f"{sweep_id}/{task}".encode()).digest()[:4], "big")
    candidates = (Candidate(before.kept_as, before.digest), Candidate(now.checkpoint, now.digest))
    chosen = dict.fromkeys(replace(s, seed=seed) for s in settings_of(config) if s.task == task)
    return tuple(
        Group(setting, tuple(Cell(c, setting, f"regression {setting.title} {c.digest}") for c in candidates))
        for setting in chosen
    )


def comparable(before: LastBest, now: Entry, metric: Metric) -> Regression | None:
    """Return why two checkpoints cannot be compared, or None."""
    if before.metric != metric:
        reason = f"it was chosen by {METRIC_WORDS.get(before.metric, before.metric)}, this sweep ranks by"
        return _not_comparable(before, now, f"{reason} {METRIC_WORDS[metric]}")
    if before.settings != now.settings:
        gone = sorted(set(before.settings) - set(now.settings)) or sorted(set(now.settings) - set(before.settings))
        return _not_comparable(before, now, f"settings or versions differ ({gone[0]})")
    return None


def compare_fresh(before: LastBest, now: Entry, rows: Sequence[Row], *, metric: Metric, tolerance: float) -> Regression:
    """Compare the two from their fresh evaluations.

    A false alarm comes with at most 5 of 100 sweeps, however many checkpoints the choice was made of.

    Args:
        before: The last best.
        now: The best of what is new.
        rows: What :func:`fresh_groups` gave.
        metric: Larger is better.
        tolerance: So much worse is no regression.
    """
    old_rows, new_rows = ([r for r in rows if r.checkpoint_digest == x.digest] for x in (before, now))
    failed = next((row.error for row in (*old_rows, *new_rows) if row.error_kind), None)
    old, new = sample_of(old_rows, metric), sample_of(new_rows, metric)
    if failed or old is None or new is None:
        return _not_comparable(before, now, failed or f"there are no values of the {METRIC_WORDS[metric]}")
    if {setting_of(r) for r in old_rows} != {setting_of(r) for r in new_rows}:
        return _not_comparable(before, now, "they were evaluated in different settings or versions")
    (found,) = differences_from("before", {"before": _lowered(old, tolerance), "now": new})
    drop = old.mean - new.mean
    how = f"both evaluated anew on {old.episodes:,} common fresh episodes"
    values = f"{METRIC_WORDS[metric]} {new.mean:,.3g} against {old.mean:,.3g}"
    chance = found.p_value / 2
    if found.difference > 0 and chance <= 1 - LEVEL:
        return Regression(
            "worse",
            f"{now.task}: {now.label} is worse than the last best, {before.label}: {values}, lower by {drop:,.3g}"
            f" (p = {chance:.2g}; {how}).",
        )
    power = (
        "too few starts to see any drop"
        if found.detectable is None
        else f"a drop of {found.detectable + tolerance:,.3g} or more would have been seen in 80 of 100 such sweeps"
    )
    return Regression(
        "not worse", f"{now.task}: {now.label} is not seen to be worse than the last best: {values}; {power}."
    )


def _lowered(sample: Sample, by: float) -> Sample:
    return Sample(tuple(replace(stratum, values=stratum.values - by) for stratum in sample.strata))


def _not_comparable(before: LastBest, now: Entry, reason: str) -> Regression:
    return Regression(
        "not comparable", f"{now.task}: {now.label} is not comparable with the last best, {before.label}: {reason}."
    )
