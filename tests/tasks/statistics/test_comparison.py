"""Which policies differ; whichever is picked as the best."""

import numpy as np
import pytest

from isaaclab_flows.tasks.statistics.comparison import MOST_UNITS, differences_from, judge
from isaaclab_flows.tasks.statistics.sample import Sample, Stratum, pooled
from isaaclab_flows.tasks.statistics.statements import judgement_statement


def own_starts(name: str, values) -> Sample:
    return Sample((Stratum.of("", values, [f"{name} {n}" for n in range(len(values))]),))


def only(one: Sample, other: Sample):
    (found,) = differences_from("one", {"one": one, "other": other})
    return found


def test_a_clear_difference_is_found_and_measured():
    rng = np.random.default_rng(0)
    one, other = rng.normal(3, 1, 40), rng.normal(0, 1, 40)
    for found in (only(pooled(one), pooled(other)), only(own_starts("a", one), own_starts("b", other))):
        assert found.difference == pytest.approx(3, abs=0.8)
        assert found.interval.low < 3 < found.interval.high
        assert found.p_value == 0.001
        assert found.significant
        assert 0.3 < found.detectable < 1.2


def test_pairs_find_a_small_gain_that_luck_would_hide():
    luck = np.random.default_rng(0).normal(0, 10, 40)
    gain = luck + 0.5 + np.random.default_rng(1).normal(0, 0.1, 40)
    assert only(pooled(gain), pooled(luck)).significant
    assert only(own_starts("a", gain), own_starts("b", luck)).p_value > 0.5


def test_a_policy_is_no_better_than_itself():
    values = np.random.default_rng(0).normal(1e6, 1, 64)
    found = differences_from("a", {"a": pooled(values), "b": pooled(values), "c": pooled(values - 1)})
    assert [(d.difference == 0, d.significant) for d in found] == [(True, False), (False, True)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_fewer_than_six_starts_prove_nothing(count):
    found = only(pooled(np.full(count, 9.0) + np.arange(count)), pooled(np.zeros(count)))
    assert not found.significant
    assert found.interval is None
    assert found.detectable is None


def test_more_policies_and_more_episodes_never_make_significance_impossible():
    rng = np.random.default_rng(0)
    many = {str(n): pooled(rng.normal(0, 1, 3 * MOST_UNITS)) for n in range(60)}
    many["good"] = pooled(rng.normal(0.5, 1, 3 * MOST_UNITS))
    judged = judge(many)
    assert judged.order[0] == "good"
    assert judged.tied == ()


def test_a_step_with_fewer_policies_left_tells_more_and_the_interval_says_the_same():
    rng = np.random.default_rng(3)
    luck = rng.normal(0, 1, 30)
    samples = {f"bad {n}": pooled(rng.normal(-50, 1, 30)) for n in range(40)}
    samples |= {"good": pooled(luck), "near": pooled(luck - 0.6 + rng.normal(0, 1, 30))}
    for found in differences_from("good", samples):
        assert found.significant == (found.interval.low >= 0)
    assert found.other == "near"
    assert found.significant


def test_noisy_policies_do_not_hide_a_sure_difference_between_steady_ones():
    rng = np.random.default_rng(0)
    steady = rng.normal(10, 0.01, 64)
    samples = {f"noisy {n}": pooled(rng.normal(9, 20, 64)) for n in range(20)}
    samples |= {"steady": pooled(steady), "worse": pooled(steady - 0.1 + rng.normal(0, 0.01, 64))}
    found = {d.other: d for d in differences_from("steady", samples)}
    assert found["worse"].significant
    assert not any(found[f"noisy {n}"].significant for n in range(20))


def test_the_winner_is_chosen_by_one_half_and_scored_by_the_other():
    one = np.tile([9.0, 1.0], 10)
    judged = judge({"lucky": pooled(one), "even": pooled(np.full(20, 6.0))})
    assert judged.order == ("lucky", "even")
    assert judged.reported["lucky"].mean == 1.0
    assert judged.apart
    assert not judge({"one": pooled([1.0, 2.0]), "two": pooled([3.0, 4.0])}).apart


def test_a_statement_names_what_differs_what_does_not_and_what_would_have_been_seen():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 1, 40)
    samples = {"a": pooled(luck), "b": pooled(luck + rng.normal(0, 0.1, 40)), "c": pooled(luck - 5)}
    names = {"a": "model_1.pt", "b": "model_2.pt", "c": "model_3.pt"}
    said = judgement_statement(judge(samples), names=names)
    assert "differs significantly from 1 of 2 others (compared start by start" in said
    assert "No significant difference from: model_" in said
    assert "or more would have been seen" in said
    few = judge({"a": pooled([1.0, 2.0, 3.0, 4.0]), "b": pooled([1.5, 2.5, 3.5, 4.5])})
    assert "too few starts to tell any difference: at least 6" in judgement_statement(few, names=names)


@pytest.mark.parametrize("kind", ["normal", "lognormal", "rare failures", "clustered"])
def test_of_equal_policies_few_boards_claim_a_difference_and_the_winners_interval_holds_its_score(kind):
    rng = np.random.default_rng(7)
    boards, policies, starts = 150, 8, 32
    false = covered = 0
    for _ in range(boards):
        values, truth = draw(rng, kind, policies, starts)
        judged = judge({str(n): sample for n, sample in enumerate(values)})
        false += len(judged.tied) < policies - 1
        interval = judged.reported[judged.order[0]].mean_interval
        covered += interval.low <= truth <= interval.high
    # What 150 boards with a rate of 5 % have at most, in 99 of 100 series.
    assert false <= 14
    if kind in ("normal", "clustered"):
        assert covered >= 0.95 * boards - 9


def draw(rng: np.random.Generator, kind: str, policies: int, starts: int) -> tuple[list[Sample], float]:
    match kind:
        case "normal":
            return [pooled(x) for x in rng.normal(size=(policies, starts))], 0.0
        case "lognormal":
            return [pooled(x) for x in rng.lognormal(size=(policies, starts))], float(np.exp(0.5))
        case "rare failures":
            fell = rng.random((policies, starts)) < 0.05
            return [pooled(x) for x in np.where(fell, -100.0, 0.0) + rng.normal(size=(policies, starts))], -5.0
        case _:
            environments = rng.normal(size=(policies, starts)).repeat(4, axis=1) * 0.5
            values = environments + rng.normal(size=(policies, starts * 4))
            labels = [str(n) for n in range(starts) for _ in range(4)]
            return [Sample((Stratum.of("", x, labels),)) for x in values], 0.0
