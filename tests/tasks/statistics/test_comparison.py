import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaaclab_flows.tasks.statistics import comparison
from isaaclab_flows.tasks.statistics.comparison import compare, holm, rank

returns = st.lists(st.floats(min_value=-1e3, max_value=1e3), min_size=2, max_size=20)


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr(comparison, "PERMUTATIONS", 300)


def test_a_clear_difference_is_found():
    rng = np.random.default_rng(0)
    found = compare(rng.normal(0, 1, 40), rng.normal(3, 1, 40), paired=False)
    assert found.difference == pytest.approx(3, abs=0.8)
    assert found.difference_ci.low > 1
    assert found.probability_of_improvement > 0.9
    assert found.p_value < 0.01


def test_pairs_find_a_small_gain_that_luck_would_hide():
    luck = np.random.default_rng(0).normal(0, 10, 40)
    gain = luck + 0.5 + np.random.default_rng(1).normal(0, 0.1, 40)
    assert compare(luck, gain, paired=True).p_value < 0.01
    assert compare(luck, gain, paired=False).p_value > 0.5


@settings(max_examples=8, deadline=None)
@given(returns)
def test_a_policy_is_no_better_than_itself(values):
    for paired in (True, False):
        found = compare(values, values, paired=paired)
        assert found.difference == 0
        assert found.p_value == 1
        assert found.probability_of_improvement == pytest.approx(0.5)


@settings(max_examples=8, deadline=None)
@given(returns, returns)
def test_a_comparison_turned_round_says_the_opposite(one, two):
    there, back = compare(one, two, paired=False), compare(two, one, paired=False)
    assert there.difference == pytest.approx(-back.difference)
    assert there.probability_of_improvement == pytest.approx(1 - back.probability_of_improvement)


def test_one_episode_each_proves_nothing():
    found = compare([1.0], [9.0], paired=True)
    assert (found.difference, found.difference_ci, found.p_value) == (8.0, None, 1.0)


@pytest.mark.parametrize(("one", "two"), [([], [1.0]), ([float("nan")], [1.0]), ([1.0, 2.0], [1.0])])
def test_values_that_cannot_be_compared_are_refused(one, two):
    with pytest.raises(ValueError, match=r"returns|pairs"):
        compare(one, two, paired=True)


@given(st.lists(st.floats(min_value=0, max_value=1), max_size=20))
def test_correction_never_lowers_a_p_value_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    assert np.all(np.diff(np.array(adjusted)[np.argsort(p_values, kind="stable")]) >= 0)


def test_policies_are_ranked_and_those_that_may_be_as_good_as_the_best_are_named():
    rng = np.random.default_rng(0)
    good = rng.normal(10, 1, 30)
    table = {"bad": rng.normal(0, 1, 30), "good": good, "as_good": good + rng.normal(0, 0.5, 30) - 0.01, "none": []}
    best, second, third = rank({name: list(values) for name, values in table.items()}, paired=True)
    assert {best.name, second.name} == {"good", "as_good"}
    assert best.as_good_as_best
    assert second.as_good_as_best
    assert (third.name, third.as_good_as_best) == ("bad", False)
    assert rank({}, paired=True) == []
