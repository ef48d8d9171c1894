"""What is new against the last best: like with like, on starts that chose neither."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from isaaclab_flows.schemas.sweep import check_sweep
from isaaclab_flows.tasks.sweep.leaderboard import Entry, boards
from isaaclab_flows.tasks.sweep.regression import LastBest, comparable, compare_fresh, fresh_groups
from isaaclab_flows.tasks.sweep.table import Row
from tests.schemas.test_sweep import minimal
from tests.tasks.sweep.test_leaderboard import row


def entry(made: Row) -> Entry:
    (board,) = boards([made], "meanReturn")
    assert board.best is not None
    return board.best


def last(made: Row) -> LastBest:
    known = entry(made)
    return LastBest("model_1.pt", "/best/model_1-ab.pt", known.digest, "meanReturn", known.settings)


def verdict(old: Row, new: Row, tolerance: float = 0.0) -> tuple[str, str]:
    found = compare_fresh(last(old), entry(new), [old, new], metric="meanReturn", tolerance=tolerance)
    return found.verdict, found.sentence


@pytest.mark.parametrize(
    ("new", "tolerance", "expected", "said"),
    [
        (5.0, 0.0, "worse", "model_2.pt is worse than the last best, model_1.pt: mean return 4.94 against 9.06"),
        (5.0, 5.0, "not worse", "would have been seen in 80 of 100"),
        (8.9, 0.0, "not worse", "not seen to be worse"),
        (20.0, 0.0, "not worse", "not seen to be worse"),
    ],
)
def test_worse_is_lower_by_more_than_the_tolerance_and_not_by_chance(
    new: float, tolerance: float, expected: str, said: str
) -> None:
    found, sentence = verdict(row(1, 9.0), row(2, new), tolerance)
    assert found == expected
    assert said in sentence


def test_what_cannot_be_compared_is_said_with_the_reason() -> None:
    old, new = row(1, 9.0), row(2, 1.0)
    torn = replace(old, error_kind="checkpoint", error="It is torn", returns=())
    found = compare_fresh(last(old), entry(new), [torn, new], metric="meanReturn", tolerance=0.0)
    assert found.verdict == "not comparable"
    assert found.sentence.endswith("abc/model_2.pt is not comparable with the last best, model_1.pt: It is torn.")
    assert verdict(old, replace(new, num_envs=16))[0] == "not comparable"
    before = last(old)
    assert comparable(before, entry(new), "meanReturn") is None
    for changed in (replace(new, versions="newton=9"), replace(new, steps_per_episode=7)):
        reason = comparable(before, entry(changed), "meanReturn")
        assert reason is not None
        assert "settings or versions differ" in reason.sentence
    metric = comparable(before, entry(new), "successRate")
    assert metric is not None
    assert "it was chosen by mean return, this sweep ranks by success rate" in metric.sentence


def test_both_meet_every_setting_with_one_seed_that_no_sweep_chose() -> None:
    variations = [{"name": "default"}, {"name": "long", "hydraOverrides": ["env.episode_length_s=10"]}]
    config = check_sweep(minimal(seeds=[1, 2], variations=variations), source="x")
    before, now = last(row(1, 9.0)), entry(row(2, 5.0))
    groups = fresh_groups(config, now.task, before, now, sweep_id=uuid.UUID(int=7))
    assert [group.setting.variation for group in groups] == ["default", "long"]
    (seed,) = {group.setting.seed for group in groups}
    assert seed not in (1, 2)
    assert [cell.candidate.uri for cell in groups[0].cells] == ["/best/model_1-ab.pt", now.checkpoint]
    again = fresh_groups(config, now.task, before, now, sweep_id=uuid.UUID(int=7))
    assert [group.key for group in again] == [group.key for group in groups]
