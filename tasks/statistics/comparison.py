"""Which of several policies is better, and which differences could be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from isaaclab_flows.schemas.outcome import Interval
from isaaclab_flows.tasks.statistics.intervals import LEVEL, Values, mean_interval

PERMUTATIONS: Final = 10_000
MOST_DRAWS: Final = 30_000_000
_SEED: Final = 20_210_830


@dataclass(frozen=True)
class Comparison:
    """One policy's returns against another's."""

    difference: float
    """Mean return of the second less that of the first."""
    difference_ci: Interval | None
    """None where one of them has a single episode."""
    probability_of_improvement: float
    """How likely an episode of the second beats one of the first; ties count half."""
    p_value: float
    """Two-sided, of a permutation test for equal means. 1 where nothing can be said."""
    paired: bool
    """Episodes were compared with those of the same round and environment, which begin alike."""


@dataclass(frozen=True)
class Standing:
    """One policy's place among several."""

    name: str
    mean_return: float
    against_best: Comparison | None
    """None for the best itself."""
    adjusted_p_value: float | None
    """Corrected for so many comparisons (Holm)."""

    @property
    def as_good_as_best(self) -> bool:
        """Whether its difference from the best could be chance."""
        return self.adjusted_p_value is None or self.adjusted_p_value > 1 - LEVEL


def compare(first: Sequence[float] | Values, second: Sequence[float] | Values, *, paired: bool) -> Comparison:
    """Compare two policies' returns.

    Args:
        first: Returns, at least one, all finite.
        second: Returns, at least one, all finite.
        paired: Both are in the same order of rounds and environments, evaluated with the same seed and numEnvs: then
            each pair begins in the same state, and less of the difference is luck.

    Raises:
        ValueError: No values, ones that are not finite, or pairs of different numbers.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not one.size or not two.size or not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError("returns to compare must be finite, and at least one of each")
    if paired and one.size != two.size:
        raise ValueError(f"pairs need equal numbers of episodes, not {one.size} and {two.size}")
    improvement = _improvement(one, two)
    difference = float(two.mean() - one.mean())
    if paired:
        interval, p_value = mean_interval(two - one), _sign_flip(two - one)
    else:
        interval, p_value = _difference_interval(one, two), _shuffle(one, two)
    return Comparison(difference, interval, improvement, p_value, paired)


def rank(returns: Mapping[str, Sequence[float]], *, paired: bool) -> list[Standing]:
    """Rank policies by mean return, best first, each with its comparison against the best.

    Args:
        returns: Name to returns; those without episodes or with returns that are not finite are left out.
        paired: See :func:`compare`; ignored for those whose number of episodes differs from the best's.
    """
    usable = {name: np.asarray(v, dtype=np.float64) for name, v in returns.items() if len(v) and np.isfinite(v).all()}
    order = sorted(usable, key=lambda name: -usable[name].mean())
    if not order:
        return []
    best = usable[order[0]]
    against = [compare(best, usable[n], paired=paired and usable[n].size == best.size) for n in order[1:]]
    adjusted = holm([comparison.p_value for comparison in against])
    first = Standing(order[0], float(best.mean()), None, None)
    return [first] + [
        Standing(name, float(usable[name].mean()), comparison, p)
        for name, comparison, p in zip(order[1:], against, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down method, in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _improvement(one: Values, two: Values) -> float:
    ordered = np.sort(one)
    below = np.searchsorted(ordered, two, side="left")
    not_above = np.searchsorted(ordered, two, side="right")
    return float((below + not_above).mean() / (2 * one.size))


def _sign_flip(differences: Values) -> float:
    """Return how often random signs give a mean as far from zero as the true ones do."""
    if differences.size < 2:
        return 1.0
    rng = np.random.default_rng(_SEED)
    observed = abs(differences.mean())
    means = [abs((differences * rng.choice((-1.0, 1.0), differences.size)).mean()) for _ in range(_rounds(differences))]
    return _tail(np.array(means), observed)


def _shuffle(one: Values, two: Values) -> float:
    """Return how often a random division of all values gives means as far apart as the true one does."""
    if one.size < 2 or two.size < 2:
        return 1.0
    rng = np.random.default_rng(_SEED)
    together = np.concatenate([one, two])
    observed = abs(two.mean() - one.mean())
    means = []
    for _ in range(_rounds(together)):
        mixed = rng.permutation(together)
        means.append(abs(mixed[one.size :].mean() - mixed[: one.size].mean()))
    return _tail(np.array(means), observed)


def _tail(random: Values, observed: float) -> float:
    # The true arrangement is one of the possible ones, so p is never zero.
    slack = 1e-12 * max(1.0, observed)
    return float((1 + (random >= observed - slack).sum()) / (1 + random.size))


def _rounds(values: Values) -> int:
    return int(np.clip(MOST_DRAWS // values.size, 200, PERMUTATIONS))


def _difference_interval(one: Values, two: Values) -> Interval | None:
    if one.size < 2 or two.size < 2:
        return None
    rng = np.random.default_rng(_SEED)
    count = _rounds(np.concatenate([one, two])) // 2
    means = [
        two[rng.integers(two.size, size=two.size)].mean() - one[rng.integers(one.size, size=one.size)].mean()
        for _ in range(count)
    ]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high), level=LEVEL)
