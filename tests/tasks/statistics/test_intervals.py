import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaaclab_flows.schemas.errors import CheckpointError, ErrorRecord, OutputsMissingError
from isaaclab_flows.schemas.simulator import CheckpointEvaluation
from isaaclab_flows.tasks.statistics import intervals as statistics
from isaaclab_flows.tasks.statistics.intervals import (
    interquartile_mean,
    interquartile_mean_interval,
    mean_interval,
    rate_interval,
    read_episodes,
    summarise,
)

finite = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
samples = st.lists(finite, min_size=2, max_size=40).map(np.array)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)


def write(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def row(total="1.0", *, number=1, environment=0, length=10, outcome="timed_out", success="", **terms):
    known = {"round": number, "environment": environment, "return": total, "length": length, "outcome": outcome}
    return {**known, "success": success, **terms}


def evaluation(path: Path | None, **more) -> CheckpointEvaluation:
    return CheckpointEvaluation(checkpoint="/c/model_9.pt", episodes_file=str(path) if path else None, **more)


def test_a_summary_says_what_the_episodes_say(tmp_path):
    rows = [
        row("1.0", environment=0, success="1", **{"reward/alive": "2.0"}),
        row("3.0", environment=1, success="0", outcome="terminated", **{"reward/alive": "4.0"}),
        row("5.0", environment=2, success="", outcome="truncated", length=40, **{"reward/alive": "6.0"}),
    ]
    given_ = evaluation(
        write(tmp_path / "e.csv", rows), sha256="ab", environment_steps=600, seconds=2.0, video_frames=7
    )
    summary = summarise(given_, iteration=9)
    assert (summary.episodes, summary.mean_return, summary.mean_length) == (3, 3.0, 20.0)
    assert summary.std_return == pytest.approx(2.0)
    assert summary.success_rate == 0.5
    assert summary.terminated_rate == pytest.approx(1 / 3)
    assert summary.reward_terms == {"alive": 4.0}
    assert (summary.steps_per_second, summary.video_frames, summary.checkpoint_iteration) == (300.0, 7, 9)
    assert summary.mean_return_ci.low <= 3.0 <= summary.mean_return_ci.high
    assert summary.error is None


def test_one_episode_has_a_mean_and_no_interval(tmp_path):
    summary = summarise(evaluation(write(tmp_path / "e.csv", [row("2.5")])))
    assert summary.mean_return == summary.interquartile_mean_return == 2.5
    assert summary.std_return is None
    assert summary.mean_return_ci is None
    assert summary.interquartile_mean_return_ci is None
    assert summary.success_rate is None
    assert summary.success_rate_ci is None


def test_returns_that_never_vary_have_an_interval_of_no_width(tmp_path):
    summary = summarise(evaluation(write(tmp_path / "e.csv", [row("4.0"), row("4.0", environment=1)])))
    assert (summary.mean_return_ci.low, summary.mean_return_ci.high) == (4.0, 4.0)
    assert summary.std_return == 0.0


def test_a_return_that_is_no_number_leaves_no_mean_and_says_so(tmp_path):
    summary = summarise(evaluation(write(tmp_path / "e.csv", [row("nan"), row("4.0", environment=1)])))
    assert summary.mean_return is None
    assert summary.interquartile_mean_return is None
    assert summary.episodes == 2
    assert "1 of 2 episodes" in summary.error.what


def test_a_failed_checkpoint_keeps_its_error_and_nothing_else():
    error = ErrorRecord.of(CheckpointError("torn"))
    summary = summarise(evaluation(None, error=error))
    assert (summary.error, summary.episodes, summary.mean_return) == (error, 0, None)


@pytest.mark.parametrize(
    "text", ["", "round,environment\n1,0\n", "round,environment,return,length,outcome,success\n1,0,x\n"]
)
def test_episodes_that_are_not_whole_are_refused(tmp_path, text):
    path = tmp_path / "e.csv"
    path.write_text(text)
    with pytest.raises(OutputsMissingError, match="cannot be read"):
        read_episodes(path)


def test_missing_episodes_are_refused(tmp_path):
    with pytest.raises(OutputsMissingError, match="No such file"):
        read_episodes(tmp_path / "none.csv")


@settings(max_examples=10, deadline=None)
@given(samples)
def test_an_interval_lies_within_the_values_and_is_the_same_every_time(values):
    for interval in (mean_interval(values), interquartile_mean_interval([values])):
        slack = 1e-9 * max(1.0, np.abs(values).max())
        assert values.min() - slack <= interval.low <= interval.high <= values.max() + slack
    assert mean_interval(values) == mean_interval(values)


@given(samples)
def test_the_interquartile_mean_lies_within_the_values_and_ignores_one_outlier_of_many(values):
    slack = 1e-9 * max(1.0, np.abs(values).max())
    assert values.min() - slack <= interquartile_mean(values) <= values.max() + slack
    assert interquartile_mean(np.array([*[1.0] * 7, 1e9])) == 1.0


@given(st.integers(min_value=0, max_value=500), st.integers(min_value=1, max_value=500))
def test_a_rates_interval_holds_the_rate_and_stays_between_zero_and_one(good, count):
    values = np.array([1.0] * min(good, count) + [0.0] * max(0, count - good))
    interval = rate_interval(values)
    assert 0.0 <= interval.low <= values.mean() <= interval.high <= 1.0
    assert interval.low < interval.high


def test_a_perfect_rate_of_few_episodes_is_not_certain():
    interval = rate_interval(np.ones(10))
    assert interval.high == 1.0
    assert interval.low == pytest.approx(0.7225, abs=1e-3)


def test_the_mean_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(size=30)) for _ in range(60)]
    covered = sum(interval.low <= 0 <= interval.high for interval in intervals)
    assert covered >= 50


def test_strata_are_resampled_each_among_themselves():
    low, high = np.zeros(10), np.full(10, 100.0)
    together = interquartile_mean_interval([np.concatenate([low, high])])
    apart = interquartile_mean_interval([low, high])
    assert (apart.low, apart.high) == (50.0, 50.0)
    assert together.high - together.low > 10


def test_an_interval_is_none_where_nothing_can_be_said():
    assert mean_interval(np.array([1.0])) is None
    assert mean_interval(np.array([1.0, math.nan])) is None
    assert interquartile_mean_interval([]) is None
    assert interquartile_mean_interval([np.array([1.0]), np.array([1.0, 2.0])]) is None
