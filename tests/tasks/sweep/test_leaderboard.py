"""The leaderboard ranks, says what is significant, and leaves out what cannot be compared."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.tasks.sweep.leaderboard import Board, boards, compare_with_last_best, markdown, table
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
    assert "`abc/model_2.pt`: 1 of 2; It is torn" in text
    assert "| 1 | `abc/model_1.pt` | 1 |" in text
    assert [r["rank"] for r in table([board])] == [1, None]


@pytest.mark.parametrize(("metric", "score"), [("successRate", 1.0), ("interquartileMeanReturn", 9.0)])
def test_other_metrics_rank_too(metric: str, score: float) -> None:
    (board,) = boards([row(1, 9.0), row(2, 0.0)], metric)  # type: ignore[arg-type]
    assert board.best is not None
    assert board.best.score == pytest.approx(score, abs=0.5)


def test_nothing_evaluated_is_said() -> None:
    board = only([row(1, 0, error="It is torn")])
    assert board.best is None
    assert "No checkpoint" in board.statement
    assert boards([], "meanReturn") == []


def test_a_regression_is_lower_by_more_than_the_tolerance_and_not_by_chance() -> None:
    good, bad, even = (only([row(n, mean)]).best for n, mean in ((1, 9.0), (2, 5.0), (3, 8.9)))
    assert good and bad and even  # noqa: PT018
    worse = compare_with_last_best(good, bad, tolerance=0.0)
    assert worse is not None
    assert worse.verdict == "worse"
    assert "model_2.pt scores" in worse.sentence
    assert compare_with_last_best(good, bad, tolerance=5.0).verdict == "not worse"  # type: ignore[union-attr]
    assert compare_with_last_best(good, even, tolerance=0.0).verdict == "not worse"  # type: ignore[union-attr]
    assert compare_with_last_best(bad, good, tolerance=0.0).verdict == "not worse"  # type: ignore[union-attr]
