"""Which of several policies is better, and which differences could be chance.

The winner is chosen on one half of the starts, and every score that is printed comes from the other half, so it is not
the score that chose it. Differences are judged on all starts with one resampled distribution: that of the largest
studentised difference between any two of the policies, so that it does not matter which of them was picked as the best
(step-down of Romano and Wolf, Econometrica 73, 2005). Signs are flipped by start, all policies together, which keeps
what the policies have in common.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isaaclab_flows.schemas.outcome import Interval
from isaaclab_flows.tasks.statistics.sample import LEVEL, POWER, Sample, Values, student_quantile

FLIPS: Final = 999
"""With the true signs a thousand: none more is needed for more policies or more episodes."""
FLIPS_OF_MANY: Final = 199
"""Of more than :data:`MANY` policies at once: a Monte Carlo test is exact with any number, and this one is fast."""
MANY: Final = 300
MOST_UNITS: Final = 1_024
"""More starts are added up in so many parcels; a parcel's sign is flipped as a whole."""
FEWEST_UNITS: Final = 6
"""Fewer starts have too few signs (two of 2^5) for anything to be unlikely at the 5 % level."""
AT_ONCE: Final = 2_000_000
"""Numbers that are held at once, where a loop would only cost time."""
_WORTH_A_STEP: Final = 0.05
_ROUNDING: Final = 1e-5
"""Flipped sums are kept in single precision: so much below the true value counts as equal to it."""


@dataclass(frozen=True)
class Difference:
    """How one policy's mean differs from another's."""

    one: str
    other: str
    difference: float
    """Mean of the one less that of the other, over all their starts."""
    interval: Interval | None
    """Of the difference, for all that are printed at once; None where nothing can be said."""
    p_value: float
    """Two-sided, corrected for every comparison that could have been made."""
    detectable: float | None
    """The difference that would have been told in 80 of 100 such evaluations; None where none would."""

    @property
    def significant(self) -> bool:
        """Whether chance alone is an unlikely reason, at the 5 % level."""
        return self.p_value <= 1 - LEVEL + 1e-12


@dataclass(frozen=True)
class Judgement:
    """Several policies compared."""

    order: tuple[str, ...]
    """Best first."""
    reported: Mapping[str, Sample]
    """The starts that each score is reported on: not those that chose the winner, where there are enough of both."""
    apart: bool
    """Whether choosing and reporting were kept apart."""
    paired: bool
    """Whether all policies met the same starts, and were compared start by start."""
    differences: tuple[Difference, ...]
    """Of the best from each of the others, in their order."""

    @property
    def tied(self) -> tuple[str, ...]:
        """Those that may be as good as the best."""
        return tuple(d.other for d in self.differences if not d.significant)


def judge(samples: Mapping[str, Sample]) -> Judgement:
    """Order policies by their means, best first, and say which differ from the best.

    Args:
        samples: Name to episodes, at least one each; earlier ones come first among equals.
    """
    names = tuple(samples)
    halves = {name: sample.parts for name, sample in samples.items()}
    apart = len(names) > 1 and all(half is not None for half in halves.values())
    choosing = {name: half[0] if apart and half else samples[name] for name, half in halves.items()}
    reported = {name: half[1] if apart and half else samples[name] for name, half in halves.items()}
    order = tuple(sorted(names, key=lambda name: -choosing[name].mean))
    paired = len({sample.starts for sample in samples.values()}) < 2
    differences = differences_from(order[0], {n: samples[n] for n in order}) if order else ()
    return Judgement(order, reported, apart, paired, differences)


def differences_from(best: str, samples: Mapping[str, Sample]) -> tuple[Difference, ...]:
    """Return how a policy differs from each of the others, whichever way it was picked from them.

    Args:
        best: One of the names.
        samples: Name to episodes. All with the same starts are compared start by start, others as independent.
    """
    names = list(samples)
    if len(names) < 2:
        return ()
    place = names.index(best)
    contrasts = _contrasts([samples[name] for name in names])
    others = [i for i in range(len(names)) if i != place]
    observed = contrasts.observed(place)
    p_values, critical = _step_down(contrasts, observed, place)
    found = []
    for i in others:
        interval, detectable = contrasts.interval(place, i, critical)
        if interval is not None and p_values[i] <= 1 - LEVEL and interval.low <= 0 <= interval.high:
            # A later step told them apart, with fewer policies left: the sign is known, and the interval ends at 0.
            positive = contrasts.difference(place, i) > 0
            interval = Interval(low=max(0.0, interval.low), high=interval.high, level=LEVEL) if positive else interval
            interval = interval if positive else Interval(low=interval.low, high=min(0.0, interval.high), level=LEVEL)
        found.append(
            Difference(best, names[i], contrasts.difference(place, i), interval, float(p_values[i]), detectable)
        )
    return tuple(found)


def _step_down(contrasts: _Paired | _Independent, observed: Values, place: int) -> tuple[Values, float]:
    """Return each policy's corrected p value, and the critical value of the first step."""
    count = len(observed)
    p_values = np.zeros(count)
    left = np.arange(count)
    critical, reached = np.inf, 0.0
    while len(left) > 1:
        largest = contrasts.largest(left)
        if len(left) == count:
            critical = float(np.quantile(largest, LEVEL, method="higher"))
        ordered = np.sort(largest)
        not_below = len(ordered) - np.searchsorted(ordered, observed[left] * (1 - _ROUNDING), side="left")
        stepped = np.maximum(reached, (1 + not_below) / (1 + len(ordered)))
        p_values[left] = stepped
        told = (stepped <= 1 - LEVEL + 1e-12) & (left != place)
        # A step costs as much as its policies squared; it is taken while it takes some of them away.
        if not told.any() or (len(left) > 200 and told.mean() < _WORTH_A_STEP):
            break
        reached = float(stepped[told].max())
        left = left[~told]
    return p_values, critical


def _contrasts(samples: Sequence[Sample]) -> _Paired | _Independent:
    return _Paired(samples) if len({sample.starts for sample in samples}) == 1 else _Independent(samples)


class _Paired:
    """Policies that met the same starts.

    The statistic of two is |sum of differences| / root of their sum of squares: it rises with Student's t, and
    flipping signs leaves its denominator as it is.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        all_units = np.stack([sample.contributions for sample in samples])
        self._strata = _parcelled_strata(samples[0].stratum_of_unit)
        self._units = _parcels(all_units - all_units.mean(axis=0), self._strata)
        self._strata = self._strata[: self._units.shape[1]]
        self._sums = self._units.sum(axis=1)
        signs = _generator(all_units).choice(np.array([-1.0, 1.0]), size=(self._units.shape[1], FLIPS))
        self._flipped = (self._units @ signs).astype(np.float32)
        self._slack = 1e-20 * float((all_units**2).sum(axis=1).max())

    def difference(self, one: int, other: int) -> float:
        return float(self._sums[one] - self._sums[other])

    def observed(self, one: int) -> Values:
        apart = self._units[one] - self._units
        squares = (apart**2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(squares > self._slack, np.abs(apart.sum(axis=1)) / np.sqrt(squares), 0.0)

    def largest(self, left: NDArray[np.int64]) -> Values:
        units = self._units[left]
        # Of all pairs at once; equal policies leave rounding, which must not become a difference.
        norms = (units**2).sum(axis=1)
        squares = norms[:, None] + norms[None, :] - 2 * units @ units.T
        rounding = max(self._slack, 1e-12 * float(norms.max()))
        scale = np.where(squares > rounding, 1 / np.sqrt(np.maximum(squares, 1e-300)), 0.0).astype(np.float32)
        flips = FLIPS_OF_MANY if len(left) > MANY else FLIPS
        return _largest(self._flipped[left, :flips].T, scale)

    def interval(self, one: int, other: int, critical: float) -> tuple[Interval | None, float | None]:
        apart = self._units[one] - self._units[other]
        count = len(apart)
        if count < FEWEST_UNITS or critical**2 >= count:
            return None, None
        reach = float(np.sqrt((count - 1) * critical**2 / (count - critical**2)))
        counts = np.bincount(self._strata)
        counts = np.maximum(counts, 1)
        means = np.bincount(self._strata, weights=apart) / counts
        if counts.min() < 2:
            means, counts = np.full(len(counts), apart.mean()), np.full(len(counts), count)
        factor = (counts / (counts - 1))[self._strata]
        error = float(np.sqrt((factor * (apart - means[self._strata]) ** 2).sum()))
        return _around(self.difference(one, other), reach, error, count - 1)


class _Independent:
    """Policies that met starts of their own: each has its own signs, and Welch's denominator."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        rng = _generator(np.concatenate([sample.contributions for sample in samples]))
        self._means = np.array([sample.mean for sample in samples])
        self._units = [min(len(sample.contributions), MOST_UNITS) for sample in samples]
        self._errors = np.array([np.nan if s.standard_error is None else s.standard_error for s in samples])
        flipped, variances = [], []
        for sample in samples:
            strata = _parcelled_strata(sample.stratum_of_unit)
            counts = np.bincount(sample.stratum_of_unit)
            means = np.bincount(sample.stratum_of_unit, weights=sample.contributions) / counts
            centred = _parcels((sample.contributions - means[sample.stratum_of_unit])[None], strata)[0]
            count = max(2, len(centred))
            sums = centred @ rng.choice(np.array([-1.0, 1.0]), size=(len(centred), FLIPS))
            factor = count / (count - 1)
            flipped.append(sums * factor**0.5)
            variances.append(factor * np.maximum((centred**2).sum() - sums**2 / count, 0.0))
        self._flipped, self._variances = np.stack(flipped), np.stack(variances)

    def difference(self, one: int, other: int) -> float:
        return float(self._means[one] - self._means[other])

    def observed(self, one: int) -> Values:
        error = np.sqrt(self._errors[one] ** 2 + self._errors**2)
        apart = np.abs(self._means[one] - self._means)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(error > 0, apart / error, np.where(apart > 0, np.inf, 0.0))
        usable = np.array(self._units) >= FEWEST_UNITS // 2
        return np.where(np.isfinite(self._errors) & usable & usable[one] & np.isfinite(self._errors[one]), found, 0.0)

    def largest(self, left: NDArray[np.int64]) -> Values:
        flips = FLIPS_OF_MANY if len(left) > MANY else FLIPS
        step = max(1, AT_ONCE // len(left) ** 2)
        return np.concatenate(
            [self._largest_of(left, begin, min(flips, begin + step)) for begin in range(0, flips, step)]
        )

    def _largest_of(self, left: NDArray[np.int64], begin: int, end: int) -> Values:
        sums, variances = self._flipped[left, begin:end].T, self._variances[left, begin:end].T
        error = np.sqrt(variances[:, :, None] + variances[:, None, :])
        apart = np.abs(sums[:, :, None] - sums[:, None, :])
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Values = np.where(error > 0, apart / error, np.where(apart > 1e-12, np.inf, 0.0)).max(axis=(1, 2))
        return found

    def interval(self, one: int, other: int, critical: float) -> tuple[Interval | None, float | None]:
        error = float(np.hypot(self._errors[one], self._errors[other]))
        if not np.isfinite(error) or not np.isfinite(critical):
            return None, None
        freedom = max(1, min(self._units[one], self._units[other]) - 1)
        return _around(self.difference(one, other), critical, error, freedom)


def _generator(units: Values) -> np.random.Generator:
    """Return the generator of the episodes' own signs: the same episodes always give the same statements.

    Signs that were the same for all episodes of the world would make the same error of some tenths of a percent in
    every test.
    """
    return np.random.default_rng(zlib.crc32(np.ascontiguousarray(units).tobytes()))


def _around(difference: float, reach: float, error: float, freedom: int) -> tuple[Interval, float]:
    interval = Interval(low=difference - reach * error, high=difference + reach * error, level=LEVEL)
    return interval, (reach + student_quantile(POWER, freedom)) * error


def _largest(flipped: NDArray[np.float32], scale: NDArray[np.float32]) -> Values:
    """Return for each row of sums (flips, policies) the largest scaled difference between two of them.

    Only pairs that could be it are looked at: those whose distances from the ends, at the best scale that the policy
    has with any other, are no less than what one row of pairs has already given.
    """
    if len(flipped) * scale.size <= AT_ONCE:
        every: Values = (np.abs(flipped[:, :, None] - flipped[:, None, :]) * scale).max(axis=(1, 2)).astype(np.float64)
        return every
    best_scale = scale.max(axis=1)
    found = np.zeros(len(flipped))
    for number, sums in enumerate(np.ascontiguousarray(flipped)):
        above, below = (sums - sums.min()) * best_scale, (sums.max() - sums) * best_scale
        seen = 0.0
        for one in (int(above.argmax()), int(below.argmax())):
            seen = max(seen, float((np.abs(sums - sums[one]) * scale[one]).max()))
        upper, lower = np.flatnonzero(above >= seen), np.flatnonzero(below >= seen)
        if len(upper) and len(lower):
            pairs = (sums[upper, None] - sums[None, lower]) * scale[np.ix_(upper, lower)]
            seen = max(seen, float(pairs.max()))
        found[number] = seen
    return found


def _parcelled_strata(strata: NDArray[np.int64]) -> NDArray[np.int64]:
    return strata if len(strata) <= MOST_UNITS else np.zeros(MOST_UNITS, dtype=np.int64)


def _parcels(units: Values, strata: NDArray[np.int64]) -> Values:
    """Add up units (policies, units) in at most :data:`MOST_UNITS` parcels, neighbours into different ones."""
    count = units.shape[1]
    if count <= MOST_UNITS:
        return units
    padded = np.zeros((units.shape[0], -(-count // MOST_UNITS) * MOST_UNITS))
    padded[:, :count] = units
    parcelled: Values = padded.reshape(units.shape[0], -1, MOST_UNITS).sum(axis=1)
    return parcelled
