"""What a sample says of the mean that it was drawn from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.tasks.statistics.sample import (
    Sample,
    Stratum,
    pooled,
    unit_labels,
    unseen_rate,
    wilson,
    worst_tenth,
)


def of(*strata: tuple[list[float], list[str]]) -> Sample:
    return Sample(tuple(Stratum.of(str(n), values, labels) for n, (values, labels) in enumerate(strata)))


def numbers(count: int) -> list[str]:
    return [str(n) for n in range(count)]


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=2, max_size=30))
def test_an_interval_holds_its_mean_and_grows_with_a_shift_by_nothing(values):
    sample = pooled(values)
    interval = sample.mean_interval
    assert interval.low <= sample.mean + 1e-6
    assert interval.high >= sample.mean - 1e-6
    assert sample.contributions.sum() == pytest.approx(sample.mean, abs=1e-6)


def test_a_skewed_sample_has_an_interval_that_reaches_to_its_long_side():
    values = np.r_[np.zeros(60), -np.full(4, 100.0)]
    interval, mean = pooled(values).mean_interval, values.mean()
    assert mean - interval.low > 1.3 * (interval.high - mean)


def test_a_sample_without_skew_has_students_interval():
    interval = pooled([-1.0, 1.0] * 5).mean_interval
    assert interval.high == pytest.approx(2.2622 * np.sqrt(10 / 9) / np.sqrt(10), rel=1e-3)
    assert interval.low == pytest.approx(-interval.high)


def test_levels_of_settings_are_no_luck():
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 1, 50), rng.normal(100, 1, 50)
    strata = of((list(one), numbers(50)), (list(two), numbers(50))).mean_interval
    pool = pooled([*one, *two]).mean_interval
    assert strata.high - strata.low < 1
    assert pool.high - pool.low > 15


@pytest.mark.parametrize("strata", [[([1.0], ["a"])], [([1.0, 2.0], ["a", "b"]), ([1.0], ["a"])]])
def test_a_setting_with_one_unit_has_no_interval(strata):
    sample = of(*strata)
    assert sample.mean_interval is None
    assert sample.smallest_difference is None


def test_units_are_environments_or_rounds_of_a_single_one():
    assert unit_labels(3, [0, 1, 0, 1], [1, 1, 2, 2]) == [f"seed 3 environment {n}" for n in (0, 1, 0, 1)]
    assert unit_labels(None, [0, 0], [1, 2]) == ["round 1", "round 2"]


def test_parts_share_no_unit_and_hold_every_episode():
    sample = of(([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], ["a", "b", "c", "d"] * 2))
    one, other = sample.parts
    assert sorted([*one.values, *other.values]) == sorted(sample.values)
    assert one.strata[0].labels == ("a", "c")
    assert list(other.values) == [2.0, 4.0, 6.0, 8.0]
    assert of(([1.0, 2.0, 3.0], ["a", "b", "c"])).parts is None


@given(st.integers(min_value=0, max_value=500), st.integers(min_value=1, max_value=500))
def test_a_rates_interval_holds_the_rate_and_stays_between_zero_and_one(good, count):
    rate = min(good, count) / count
    interval = wilson(rate, count)
    assert 0.0 <= interval.low <= rate <= interval.high <= 1.0
    assert interval.low < interval.high


def test_a_perfect_rate_of_few_episodes_is_not_certain():
    interval = pooled(np.ones(10)).rate_interval
    assert (interval.low, interval.high) == (pytest.approx(0.7225, abs=1e-3), 1.0)
    assert unseen_rate(10) == pytest.approx(0.2589, abs=1e-3)
    assert unseen_rate(0) == 1.0


def test_rounds_that_repeat_their_environments_success_are_worth_no_more_than_it():
    alone = of(([1.0, 0.0, 1.0, 1.0] * 4, numbers(16))).rate_interval
    repeated = of(([1.0, 0.0, 1.0, 1.0] * 40, numbers(16) * 10)).rate_interval
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_the_worst_tenth_is_a_mean_of_the_lowest():
    assert worst_tenth(np.arange(20.0)) == 0.5
    assert worst_tenth(np.arange(9.0)) is None
