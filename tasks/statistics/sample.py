"""One policy's episodes as a sample: strata of independent units, the mean over them, and what it leaves open.

A *stratum* is one setting (a variation and a number of environments): it was chosen, not drawn, so its level is no
luck. A *unit* is what was drawn independently: an environment of one seed, with all its rounds, because a task may
draw friction or mass once for an environment and keep it. Where there is one environment its rounds are the units, and
the result speaks for that environment alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isaaclab_flows.schemas.outcome import Interval

LEVEL: Final = 0.95
POWER: Final = 0.8
WORST_SHARE: Final = 0.1

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Stratum:
    """The episodes of one setting."""

    name: str
    values: Values
    """One an episode, finite."""
    units: NDArray[np.int64]
    """Of each episode, the position of its unit in ``labels``."""
    labels: tuple[str, ...]
    """Each unit's name: equal names of two policies began alike."""

    @classmethod
    def of(cls, name: str, values: Sequence[float] | Values, labels: Sequence[str]) -> Stratum:
        """Make a stratum from each episode's value and its unit's name."""
        order = {label: place for place, label in enumerate(dict.fromkeys(labels))}
        return cls(
            name,
            np.asarray(values, dtype=np.float64),
            np.array([order[label] for label in labels], dtype=np.int64),
            tuple(order),
        )


def unit_labels(seed: int | None, environments: Sequence[int], rounds: Sequence[int]) -> list[str]:
    """Return the name of each episode's unit: its environment, or its round where there is one environment."""
    drawn = "" if seed is None else f"seed {seed} "
    if len(set(environments)) < 2:
        return [f"{drawn}round {number}" for number in rounds]
    return [f"{drawn}environment {number}" for number in environments]


@dataclass(frozen=True)
class Sample:
    """One policy's episodes."""

    strata: tuple[Stratum, ...]

    @cached_property
    def episodes(self) -> int:
        """How many there are."""
        return sum(len(stratum.values) for stratum in self.strata)

    @cached_property
    def values(self) -> Values:
        """All episodes."""
        return np.concatenate([stratum.values for stratum in self.strata]) if self.strata else np.zeros(0)

    @cached_property
    def contributions(self) -> Values:
        """What each unit adds to the mean, strata one after the other: they add up to it."""
        parts = [np.bincount(s.units, weights=s.values, minlength=len(s.labels)) for s in self.strata]
        return np.concatenate(parts) / self.episodes if parts else np.zeros(0)

    @cached_property
    def stratum_of_unit(self) -> NDArray[np.int64]:
        """The stratum of each unit, in the order of ``contributions``."""
        return np.repeat(np.arange(len(self.strata)), [len(s.labels) for s in self.strata])

    @cached_property
    def starts(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What identifies the units: samples with the same ones can be compared in pairs."""
        return tuple((s.name, s.labels) for s in self.strata)

    @property
    def mean(self) -> float:
        """The mean over all episodes."""
        return float(self.values.mean())

    @property
    def worst_tenth(self) -> float | None:
        """The mean of the worst tenth of episodes (the conditional value at risk); None for fewer than ten."""
        return worst_tenth(self.values)

    @cached_property
    def standard_error(self) -> float | None:
        """Of the mean; None where a stratum has a single unit."""
        found = _moments(self.contributions, self.stratum_of_unit)
        return None if found is None else float(np.sqrt(found[0]))

    @cached_property
    def mean_interval(self) -> Interval | None:
        """The mean's interval, corrected for skewness; None where a stratum has a single unit.

        Student's interval after the cubic transformation of P. Hall, "On the removal of skewness by transformation"
        (J. R. Statist. Soc. B 54, 1992), on stratified moments of the units.
        """
        found = _moments(self.contributions, self.stratum_of_unit)
        if found is None:
            return None
        variance, skewness, freedom = found
        mean, error = self.mean, float(np.sqrt(variance))
        if error == 0.0:
            return Interval(low=mean, high=mean, level=LEVEL)
        reach = student_quantile((1 + LEVEL) / 2, freedom)
        low = mean - _untransformed(reach, skewness) * error
        high = mean - _untransformed(-reach, skewness) * error
        return Interval(low=low, high=high, level=LEVEL)

    @cached_property
    def rate_interval(self) -> Interval:
        """The interval of a rate (values 0 to 1): Wilson's, with as many episodes as the units are worth.

        Episodes of one environment that agree are worth fewer (Korn and Graubard, Survey Methodology 24, 1998).
        """
        rate = min(1.0, max(0.0, self.mean))
        error = self.standard_error
        spread = rate * (1 - rate)
        worth = float(len(self.contributions))
        if error and spread > 0:
            worth = min(float(self.episodes), max(1.0, spread / error**2))
        return wilson(rate, worth)

    @property
    def unseen_rate(self) -> float:
        """How frequent a kind of episode may be and still not have been seen, at the 95 % level."""
        return unseen_rate(len(self.contributions))

    @property
    def smallest_difference(self) -> float | None:
        """The difference of means that another policy, evaluated as often, must have to be told from this one.

        It is then told in 80 of 100 such comparisons of two, at the 5 % level, without pairs.
        """
        error = self.standard_error
        if error is None:
            return None
        freedom = max(1, len(self.contributions) - len(self.strata))
        reach = student_quantile((1 + LEVEL) / 2, freedom) + student_quantile(POWER, freedom)
        return reach * error * 2**0.5

    @cached_property
    def parts(self) -> tuple[Sample, Sample] | None:
        """Every other unit and the rest: one chooses, the other reports. None for fewer than two units in each."""
        if not self.strata or min(len(s.labels) for s in self.strata) < 4:
            return None
        return self._every_other(0), self._every_other(1)

    def _every_other(self, first: int) -> Sample:
        strata = []
        for s in self.strata:
            kept = s.units % 2 == first
            strata.append(Stratum(s.name, s.values[kept], s.units[kept] // 2, s.labels[first::2]))
        return Sample(tuple(strata))


def pooled(values: Iterable[float] | Values) -> Sample:
    """Return values that are all independent as a sample of one stratum."""
    found = np.asarray(list(values), dtype=np.float64)
    labels = tuple(str(number) for number in range(len(found)))
    return Sample((Stratum("", found, np.arange(len(found)), labels),))


def worst_tenth(values: Values) -> float | None:
    """Return the mean of the worst tenth of values, or None for fewer than ten."""
    if len(values) < 1 / WORST_SHARE:
        return None
    count = round(len(values) * WORST_SHARE)
    return float(np.partition(values, count - 1)[:count].mean())


def wilson(rate: float, count: float) -> Interval:
    """Return Wilson's interval of a rate.

    Args:
        rate: 0 to 1.
        count: Independent episodes, at least one; need not be whole.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # Rounding must not push an end over the rate itself or out of 0 to 1.
    low, high = min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half))
    return Interval(low=float(low), high=float(high), level=LEVEL)


def unseen_rate(count: int) -> float:
    """Return the highest rate of an event that never happens in so many tries in 5 of 100 series."""
    return 1.0 if count < 1 else float(1 - (1 - LEVEL) ** (1 / count))


def student_quantile(probability: float, freedom: int) -> float:
    """Return a quantile of Student's distribution."""
    # Imported where it is used: scipy takes a second, which the start of every flow would pay.
    from scipy import special

    return float(special.stdtrit(freedom, probability))


def _moments(contributions: Values, strata: NDArray[np.int64]) -> tuple[float, float, int] | None:
    """Return the mean's variance, its skewness, and degrees of freedom; None where a stratum has a single unit."""
    if not len(contributions):
        return None
    counts = np.bincount(strata)
    if counts.min() < 2:
        return None
    centred = contributions - (np.bincount(strata, weights=contributions) / counts)[strata]
    # What is left by rounding of equal values is no spread.
    centred[np.abs(centred) < 1e-12 * np.abs(contributions).max(initial=0.0)] = 0.0
    factor = (counts / (counts - 1))[strata]
    variance = float((factor * centred**2).sum())
    skewness = float((centred**3).sum() / variance**1.5) if variance > 0 else 0.0
    return variance, skewness, int((counts - 1).sum())


def _untransformed(reach: float, skewness: float) -> float:
    if abs(skewness) < 1e-9:
        return reach
    return float(3 / skewness * (np.cbrt(1 + skewness * (reach - skewness / 6)) - 1))
