"""A simulator that was started before its flow: the flow takes over that one, or nobody does and it leaves nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.simulator import CheckpointEvent
from isaaclab_flows.tasks.job.folder import JobFolder
from isaaclab_flows.tasks.job.hand_over import load_outcome
from isaaclab_flows.tasks.job.lease import is_live, lease
from isaaclab_flows.tasks.results.conclude import keep_abandoned
from isaaclab_flows.tasks.simulator import supervise as simulator
from isaaclab_flows.tasks.simulator.order import Inputs
from isaaclab_flows.tasks.simulator.start import Start, started_early

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/cartpole/training/cartpole-training-config.json"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job whose simulator sleeps."""
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(simulator, "command", lambda attempt: words)
    return Job(
        job_id="j",
        kind="training",
        source="cli",
        config=check_config(json.loads(EXAMPLE.read_text()), source=str(EXAMPLE)),
        task="Isaac-Cartpole-Direct",
        library="rsl_rl",
        output_uri=str(tmp_path / "out"),
        staging_uri=str(tmp_path / "staging"),
        device="cpu",
    )


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path / "job")


def never(*_: object) -> None:
    pytest.fail("nothing was saved")


def test_the_flow_takes_over_what_was_started_for_its_job(job: Job, folder: JobFolder) -> None:
    said: list[str] = []
    before = time.time()
    with started_early(job, folder, abandoned=never) as early:
        assert early is not None
        # What a job took counts from here, not from when the flow took it over.
        assert before <= early.at <= time.time()
        # The flow's job knows more of who asked for it; that changes nothing of the work.
        start = early.take(job.model_copy(update={"labels": {"flowRun": "x"}}), warn=said.append)
        assert start is not None
        assert start.simulator.attempt.number == 1
        assert json.loads(start.simulator.attempt.order_file.read_text())["task"] == "Isaac-Cartpole-Direct"
        assert early.take(job, warn=said.append) is None
    assert [a.number for a in folder.attempts()] == [1]


def test_a_simulator_that_nobody_took_leaves_nothing(job: Job, folder: JobFolder) -> None:
    with started_early(job, folder, abandoned=never) as early:
        assert early is not None
        assert is_live(folder, now=time.time())
        assert early.take(job.model_copy(update={"device": "cuda"}), warn=print) is None
    assert folder.attempts() == []
    assert not is_live(folder, now=time.time())


def test_what_was_saved_before_a_flow_was_there_is_kept_published_and_counted(
    job: Job, folder: JobFolder, tmp_path: Path
) -> None:
    def keep(failure: BaseException, started: float, warnings: Sequence[str]) -> None:
        keep_abandoned(job, folder, failure=failure, started=started, warnings=warnings)

    def stop_after_a_checkpoint() -> None:
        (attempt,) = folder.attempts()
        checkpoint = folder.run / "checkpoints" / "model_3.pt"
        checkpoint.parent.mkdir(parents=True)
        torch.save({"iter": 3}, checkpoint)
        event = CheckpointEvent(path=str(checkpoint), iteration=3)
        attempt.progress_file.write_text(event.model_dump_json() + "\n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), started_early(job, folder, abandoned=keep):
        stop_after_a_checkpoint()
    assert [a.number for a in folder.attempts()] == [1]
    outcome = load_outcome(job)
    assert outcome is not None
    assert outcome.status == "cancelled"
    assert outcome.error is not None
    assert outcome.error.sentence.startswith("The job was stopped by a signal (Ctrl-C). Run the same job again")
    assert (Path(job.outputs_uri) / "checkpoints" / "model_3.pt").is_file()
    assert json.loads((Path(job.outputs_uri) / "summary.json").read_text())["status"] == "cancelled"


def test_a_damaged_checkpoint_that_was_stepped_over_is_named_once_the_flow_logs(job: Job, folder: JobFolder) -> None:
    torn = folder.run / "checkpoints" / "model_7.pt"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"")
    said: list[str] = []
    with started_early(job, folder, abandoned=never) as early:
        assert early is not None
        assert said == []
        assert early.take(job, warn=said.append) is not None
    assert "model_7.pt" in said[0]


@pytest.mark.parametrize("change", [{"again": True}, {"custom_environment_uri": "s3://robots/mine.zip"}])
def test_what_must_be_thrown_away_or_fetched_first_is_left_to_the_flow(
    job: Job, folder: JobFolder, change: dict[str, object]
) -> None:
    with started_early(job.model_copy(update=change), folder, abandoned=never) as early:
        assert early is None
        assert folder.attempts() == []


def test_an_attempt_that_could_not_start_does_not_count(
    job: Job, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "command", lambda attempt: ["/nonexistent/python"])
    with lease(folder) as held, pytest.raises(FileNotFoundError):
        Start.of(job, held, inputs=Inputs(), warn=print)
    assert folder.attempts() == []
