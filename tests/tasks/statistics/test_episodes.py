import csv
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import CheckpointError, ErrorRecord, OutputsMissingError
from isaaclab_flows.schemas.simulator import CheckpointEvaluation
from isaaclab_flows.tasks.statistics.episodes import read_episodes, summarise


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
    assert summary.unseen_rate == pytest.approx(1 - 0.05 ** (1 / 3))
    assert summary.smallest_difference > 0


def test_one_episode_has_a_mean_and_no_interval(tmp_path):
    summary = summarise(evaluation(write(tmp_path / "e.csv", [row("2.5")])))
    assert summary.mean_return == 2.5
    assert summary.std_return is None
    assert summary.mean_return_ci is None
    assert summary.worst_tenth_return is None
    assert summary.success_rate is None
    assert summary.success_rate_ci is None


def test_returns_that_never_vary_have_an_interval_of_no_width(tmp_path):
    summary = summarise(evaluation(write(tmp_path / "e.csv", [row("4.0"), row("4.0", environment=1)])))
    assert (summary.mean_return_ci.low, summary.mean_return_ci.high) == (4.0, 4.0)
    assert summary.std_return == 0.0


def test_a_return_that_is_no_number_leaves_no_mean_and_says_so(tmp_path):
    summary = summarise(evaluation(write(tmp_path / "e.csv", [row("nan"), row("4.0", environment=1)])))
    assert summary.mean_return is None
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


def test_rounds_of_one_environment_are_one_unit_because_it_may_have_been_drawn_once(tmp_path):
    slippery = [0.0, 10.0, 2.0, 8.0]
    rows = [
        row(str(level + noise), environment=place, number=number)
        for number, noise in ((1, -0.1), (2, 0.0), (3, 0.1))
        for place, level in enumerate(slippery)
    ]
    summary = summarise(evaluation(write(tmp_path / "e.csv", rows)))
    (alone,) = [summarise(evaluation(write(tmp_path / "one.csv", rows[4:8])))]
    assert summary.mean_return_ci.low == pytest.approx(alone.mean_return_ci.low)
    assert summary.unseen_rate == alone.unseen_rate


def test_rounds_are_the_units_where_there_is_one_environment(tmp_path):
    rows = [row(str(value), environment=0, number=n) for n, value in enumerate((1.0, 2.0, 3.0, 4.0), 1)]
    assert summarise(evaluation(write(tmp_path / "e.csv", rows))).mean_return_ci is not None


def test_ten_episodes_have_a_worst_tenth(tmp_path):
    rows = [row(str(float(n)), environment=n) for n in range(20)]
    assert summarise(evaluation(write(tmp_path / "e.csv", rows))).worst_tenth_return == 0.5
