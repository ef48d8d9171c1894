"""The leaderboard ranks, says what is significant, and leaves out what cannot be compared."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.tasks.sweep.leaderboard import Board, boards, markdown, table
from isaaclab_flows.tasks.sweep.plan import Candidate, Cell, Group, Setting
from isaaclab_flows.tasks.sweep.table import Row, rows_of


def row(iteration: int, mean: float, *, seed: int = 1, error: str = "", episodes: int = 30) -> Row:
    setting = Setting("Isaac-Cartpole-Direct", "rsl_rl", seed, 8, "default", ())
    candidate = Candidate(f"/runs/abc/checkpoints/model_{iteration}.pt", f"d{iteration}")
    group = Group(setting, (Cell(candidate, setting, f"{iteration}-{seed}"),))
    outcome = Outcome(job_id="j", kind="evaluation", status="succeeded", task=setting.task, library="rsl_rl")
    (made,) = rows_of(group, outcome, num_episodes=1, steps_per_episode=9, episodes=[], evaluated_at=1.0)
    rng = random.Random(iteration * 1000 + seed)
    returns = tuple(rng.gauss(mean, 1.0) for _ in range(episodes))
    return replace(
        made,
        error_kind="checkpoint" if error else "",
        error=error,
        returns=() if error else returns,
        successes=() if error else tuple(float(r > 5) for r in returns),
    )


def only(rows: list[Row]) -> Board:
    (board,) = boards(rows, "meanReturn")
    return board


def test_the_highest_mean_is_first_and_its_interval_holds_it() -> None:
    board = only([row(100, 1.0), row(200, 9.0), row(300, 5.0)])
    assert [e.iteration for e in board.ranked] == [200, 300, 100]
    best = board.best
    assert best is not None
    assert best.score is not None
    assert best.interval is not None
    assert best.interval.low < best.score < best.interval.high
    assert best.interval.high - best.interval.low == pytest.approx(4 * 1.0 / 30**0.5, rel=0.4)


def test_the_statement_tells_significant_differences_from_others() -> None:
    board = only([row(100, 1.0), row(200, 9.0), row(300, 8.95)])
    assert "differs significantly from 1 of 2 others" in board.statement
    assert "No significant difference from: abc/model_300.pt" in board.statement
    assert only([row(1, 1.0)]).statement.endswith("the only checkpoint with results for the whole sweep.")


def test_a_checkpoint_without_all_its_results_is_listed_but_not_ranked() -> None:
    board = only([row(1, 5.0), row(1, 5.0, seed=2), row(2, 99.0), row(2, 0, seed=2, error="It is torn")])
    assert [e.iteration for e in board.ranked] == [1]
    assert [(e.iteration, e.done, e.cells) for e in board.incomplete] == [(2, 1, 2)]
    text = markdown([board], name="Nightly")
    assert "abc/model_2.pt: 1 of 2; It is torn" in text
    assert "| 1 | abc/model_1.pt | 1 |" in text
    assert [r["rank"] for r in table([board])] == [1, None]


def test_the_success_rate_ranks_too() -> None:
    (board,) = boards([row(1, 9.0), row(2, 0.0)], "successRate")
    assert board.best is not None
    assert (board.best.score, board.best.success) == (1.0, 1.0)
    assert board.best.interval is not None
    assert board.best.interval.low < 0.9


def test_a_policy_that_falls_in_a_fifth_of_its_episodes_is_not_before_one_that_never_does() -> None:
    falls = replace(row(1, 0.0), returns=(10.0, 10.0, 10.0, 10.0, 0.0) * 6)
    never = replace(row(2, 0.0), returns=(9.9,) * 30)
    best = only([falls, never]).best
    assert best is not None
    assert (best.iteration, best.worst_tenth) == (2, 9.9)


def test_a_variation_is_a_setting_and_no_luck() -> None:
    easy, hard = row(1, 100.0), replace(row(1, 0.0, seed=2), hydra_overrides="env.x=1", key="h", seed=1)
    interval = only([easy, hard]).ranked[0].interval
    assert interval is not None
    assert interval.high - interval.low < 2


def test_nothing_evaluated_is_said() -> None:
    board = only([row(1, 0, error="It is torn")])
    assert board.best is None
    assert "No checkpoint" in board.statement
    assert boards([], "meanReturn") == []
