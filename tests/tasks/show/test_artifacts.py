"""What a run shows: words, tables and addresses; faults of the server do not end the work."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.errors import CancelledError, ErrorRecord, OutOfMemoryError
from isaaclab_flows.schemas.forms import training_config
from isaaclab_flows.schemas.job import Job, Price
from isaaclab_flows.schemas.outcome import EvaluationSummary, Interval, Outcome, OutputFile, TrainingSummary
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.simulator import EvaluationEvent, IterationEvent, StageEvent
from isaaclab_flows.tasks.show.artifact_writer import ArtifactWriter
from isaaclab_flows.tasks.show.artifacts import RunArtifacts, links_markdown
from isaaclab_flows.tasks.show.texts import progress_text, results_table, summary_markdown, web_address


def job(**more: Any) -> Job:
    config = training_config(
        task="Isaac-Cartpole-Direct", library="rsl_rl", num_envs=8, max_iterations=10, seed=1, hydra_overrides=()
    )
    values: dict[str, Any] = {
        "job_id": "abcdefgh-1",
        "kind": "training",
        "source": "ui",
        "config": check_config(config, source="test"),
        "task": "Isaac-Cartpole-Direct",
        "library": "rsl_rl",
        "output_uri": "/out",
        "staging_uri": "/staging",
        "device": "cpu",
    }
    return Job(**(values | more))


def outcome(**more: Any) -> Outcome:
    values: dict[str, Any] = {
        "job_id": "abcdefgh-1",
        "kind": "training",
        "status": "succeeded",
        "task": "Isaac-Cartpole-Direct",
        "library": "rsl_rl",
        "output_uri": "/out/abcdefgh-1",
    }
    return Outcome(**(values | more))


def text(**more: Any) -> str:
    values: dict[str, Any] = {
        "stage": "Training",
        "last": IterationEvent(iteration=4, total=10, reward=3.14159, steps_per_second=7000.0),
        "left": 65.0,
        "seconds": 1800.0,
        "machine": "here (cpu)",
        "outcome": None,
    }
    return summary_markdown(more.pop("job", job()), **(values | more))


def test_a_running_summary_says_how_far_how_fast_and_how_much() -> None:
    said = text(job=job(price=Price(instance_type="g5.2xlarge", dollars_per_hour=1.2, as_of="2026-01-01")))
    for part in ("Iteration 5 of 10", "3.14", "7,000 steps/s", "1 min 05 s", "here (cpu)", "$0.60 (g5.2xlarge"):
        assert part in said


def test_an_ended_summary_says_what_came_out_or_why_nothing_did() -> None:
    trained = TrainingSummary(iterations=10, total_iterations=10, final_reward=4.9, success_rate=1.0)
    assert "success rate 100%" in text(outcome=outcome(training=trained))
    error = ErrorRecord.of(OutOfMemoryError("The GPU ran out of memory", remedy="Lower trainingConfig.numEnvs."))
    assert "**The GPU ran out of memory. Lower trainingConfig.numEnvs.**" in text(
        outcome=outcome(status="failed", error=error)
    )


def test_progress_counts_iterations_and_rounds() -> None:
    assert progress_text(None) == ""
    event = EvaluationEvent(checkpoint="a.pt", position=1, checkpoints=3, round=2, rounds=4)
    assert progress_text(event) == "Checkpoint 2 of 3, round 2 of 4"


def test_one_bad_checkpoint_is_one_row_of_the_results() -> None:
    good = EvaluationSummary(checkpoint="/x/a.pt", mean_return=1.23456, mean_return_ci=Interval(low=1, high=2))
    bad = EvaluationSummary(checkpoint="/x/b.pt", error=ErrorRecord(kind="checkpoint", what="It is torn"))
    first, second = results_table(outcome(kind="evaluation", evaluations=(good, bad)))
    assert (first["checkpoint"], first["mean return"], first["95 % interval"]) == ("a.pt", 1.235, "1.00 … 2.00")
    assert second["reason"] == "It is torn."


def test_addresses_are_ones_that_a_browser_opens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert web_address("s3://b/a/x.mp4") == "https://s3.console.aws.amazon.com/s3/object/b?prefix=a/x.mp4"
    assert web_address("s3://b/a/", folder=True) == "https://s3.console.aws.amazon.com/s3/buckets/b?prefix=a/"
    assert web_address("/elsewhere/x") is None
    monkeypatch.setenv("ISAACLAB_FLOWS_OUTPUTS", str(tmp_path))
    monkeypatch.setenv("ISAACLAB_FLOWS_FILES_URL", "http://127.0.0.1:4201")
    settings.cache_clear()
    assert web_address(f"{tmp_path}/j/a b.mp4") == "http://127.0.0.1:4201/j/a%20b.mp4"
    assert web_address("/elsewhere/x") is None
    files = (OutputFile(path="videos/x.mp4", size=1), OutputFile(path="params/agent.yaml", size=1))
    links = links_markdown(outcome(output_uri=f"{tmp_path}/j", files=files))
    assert "[videos/x.mp4](http://127.0.0.1:4201/j/videos/x.mp4)" in links
    assert "agent.yaml" not in links


def test_artifacts_follow_the_events_every_few_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put: list[tuple[str, Any]] = []
    monkeypatch.setattr(ArtifactWriter, "put", lambda self, name, kind, data, description: put.append((name, data)))
    now = [0.0]
    shown = RunArtifacts(job(), logging.getLogger(), clock=lambda: now[0])
    shown(StageEvent(stage="training"))
    for iteration in range(10):
        now[0] += 1.0
        shown(IterationEvent(iteration=iteration, total=10, reward=float(iteration)))
    assert [data for name, data in put if name == "progress"] == [0.0, 50.0, 100.0]
    assert sum(name == "learning-curve" for name, _ in put) == 1
    put.clear()
    shown.finish(outcome(training=TrainingSummary(iterations=10, total_iterations=10)), out=tmp_path)
    assert [name for name, _ in put] == ["progress", "summary", "results"]


def test_a_run_that_was_deleted_ends_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ArtifactWriter, "put", lambda *_: None)
    looks: list[float] = []
    now = [0.0]

    def look(self: ArtifactWriter) -> None:
        looks.append(now[0])
        self.gone = now[0] > 20

    monkeypatch.setattr(ArtifactWriter, "look", look)
    shown = RunArtifacts(job(), logging.getLogger(), clock=lambda: now[0])
    for now[0] in (0.0, 16.0, 17.0):
        shown(StageEvent(stage="training"))
    assert looks == [16.0]
    now[0] = 32.0
    with pytest.raises(CancelledError, match="deleted"):
        shown(StageEvent(stage="training"))
