"""What came out of a training, out of its metrics, its attempts and its result."""

from __future__ import annotations

from typing import Any

import pytest

from isaaclab_flows.schemas.simulator import SimulatorResult
from isaaclab_flows.tasks.results.metrics import merge_attempts
from isaaclab_flows.tasks.results.training import summarise_training, summary_json
from isaaclab_flows.tasks.simulator.attempts import History
from tests.tasks.vams import vams_job

ROWS = {
    0: {"Train/mean_reward": 1.0, "Train/mean_episode_length": 10.0, "Perf/total_fps": 100.0},
    1: {"Train/mean_reward": 5.0, "Train/mean_episode_length": 20.0, "Perf/total_fps": 300.0},
    2: {"Train/mean_reward": 4.0, "Train/mean_episode_length": 30.0, "Perf/total_fps": 110.0},
}


def summary(rows: dict[int, dict[str, float]], **changes: Any) -> Any:
    given: dict[str, Any] = {"total": 9, "checkpoints": [], "done": History(), "result": None}
    return summarise_training(merge_attempts([rows]), **given | changes)


def test_numbers_come_from_the_metrics() -> None:
    found = summary(ROWS, checkpoints=["model_9.pt", "model_10.pt", "notes.txt"], done=History(3, 2, 7))
    assert (found.iterations, found.total_iterations) == (3, 9)
    assert (found.final_reward, found.best_reward, found.best_iteration) == (4.0, 5.0, 1)
    assert (found.final_episode_length, found.steps_per_second) == (30.0, 110.0)
    assert (found.checkpoints, found.last_checkpoint) == (2, "model_10.pt")
    assert (found.recoveries, found.iterations_lost) == (2, 7)
    assert found.success_rate is None


@pytest.mark.parametrize("tag", ["Metrics/success_rate", "Episode/success_rate", "extras/success_rate"])
def test_a_tasks_own_success_rate_is_found_by_its_tag(tag: str) -> None:
    assert summary({0: {tag: 0.25}, 1: {tag: 0.75}}).success_rate == 0.75


@pytest.mark.parametrize(("said", "iterations"), [(None, 3), (2, 3), (5, 5)])
def test_the_larger_of_what_was_said_and_what_was_written_counts(said: int | None, iterations: int) -> None:
    result = None if said is None else SimulatorResult(status="succeeded", iterations=said)
    assert summary(ROWS, result=result).iterations == iterations


def test_nothing_measured_is_none_and_not_zero() -> None:
    found = summary({})
    assert (found.iterations, found.checkpoints) == (0, 0)
    assert found.final_reward is found.best_reward is found.best_iteration is found.last_checkpoint is None
    assert found.final_episode_length is found.steps_per_second is None


def test_the_summary_file_leaves_out_the_list_of_files() -> None:
    written = summary_json(vams_job.outcome(paths=("summary.json",)))
    assert "files" not in written
    assert written["status"] == "succeeded"
    assert "error" not in written
