"""metrics.csv: one row an iteration, joined over attempts without duplicates or gaps."""

from __future__ import annotations

import csv
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.tasks.results.learning_curve import draw_learning_curve, smooth
from isaaclab_flows.tasks.results.metrics import Metrics, best, merge_attempts


def attempt(first: int, last: int, value: float = 1.0) -> dict[int, dict[str, float]]:
    return {i: {"Train/mean_reward": value * i} for i in range(first, last + 1)}


def test_a_later_attempt_replaces_what_it_did_again() -> None:
    joined = merge_attempts([attempt(0, 57), attempt(51, 99, 2.0)])
    assert [r["iteration"] for r in joined.rows] == list(range(100))
    assert joined.rows[50]["mean_reward"] == 50
    assert joined.rows[51]["mean_reward"] == 102


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.data())
def test_however_often_it_stops_no_iteration_is_missing_or_twice(lengths: list[int], data: st.DataObject) -> None:
    attempts, done = [], 0
    for length in lengths:
        first = data.draw(st.integers(0, done)) if done else 0
        attempts.append(attempt(first, first + length - 1))
        done = first + length
    rows = merge_attempts(attempts).rows
    assert [r["iteration"] for r in rows] == list(range(done))


def test_standard_columns_come_first_and_every_tag_is_kept(tmp_path: Path) -> None:
    table = merge_attempts([{0: {"Train/mean_reward": 1.5, "Loss/value": 0.25, "Odd/tag": 3.0}}])
    table.write(tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["iteration", "mean_reward", "Loss/value", "Odd/tag", "Train/mean_reward"]
    assert rows[0]["iteration"] == "0"
    assert rows[0]["mean_reward"] == rows[0]["Train/mean_reward"] == "1.5"


def test_no_events_make_an_empty_table() -> None:
    table = merge_attempts([])
    assert (table.columns, table.rows, best(table)) == (("iteration",), (), None)


def test_the_best_iteration_is_the_first_with_the_highest_reward() -> None:
    table = merge_attempts([{0: {"rewards/iter": 1.0}, 1: {"rewards/iter": 5.0}, 2: {"rewards/iter": 5.0}}])
    assert best(table) == (1, 5.0)


def test_a_curve_is_drawn_where_there_are_rewards(tmp_path: Path) -> None:
    target = tmp_path / "curve.png"
    assert not draw_learning_curve(Metrics(("iteration",), ()), target, title="x")
    assert draw_learning_curve(merge_attempts([attempt(0, 30)]), target, title="x", resumed_at=[10])
    assert target.read_bytes().startswith(b"\x89PNG")


@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.integers(1, 10))
def test_smoothing_keeps_length_and_range(values: list[float], window: int) -> None:
    smoothed = smooth(values, window)
    assert len(smoothed) == len(values)
    assert all(min(values) - 1e-3 <= v <= max(values) + 1e-3 for v in smoothed)
