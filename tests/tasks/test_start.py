"""A simulator that was started before its flow: the flow takes over that one, or nobody does and it leaves nothing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from schemas.config import check_config
from schemas.job import Job
from tasks import simulator
from tasks.job_folder import JobFolder, is_live
from tasks.orders import Inputs
from tasks.start import Start, begun, started_before, started_early

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/cartpole/training/cartpole-training-config.json"


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


def test_the_flow_takes_over_what_was_started_for_its_job(job: Job, folder: JobFolder) -> None:
    said: list[str] = []
    before = time.time()
    with started_early(job, folder):
        between = time.time()
        # What a job took counts from here, not from when the flow took it over.
        assert before <= begun(job) <= between
        # The flow's job knows more of who asked for it; that changes nothing of the work.
        start = started_before(job.model_copy(update={"labels": {"flowRun": "x"}}), warn=said.append)
        assert start is not None
        assert start.simulator.attempt.number == 1
        assert json.loads(start.simulator.attempt.order_file.read_text())["task"] == "Isaac-Cartpole-Direct"
        assert started_before(job, warn=said.append) is None
    assert [a.number for a in folder.attempts()] == [1]


def test_a_simulator_that_nobody_took_leaves_nothing(job: Job, folder: JobFolder) -> None:
    with started_early(job, folder):
        assert is_live(folder, now=time.time())
        assert started_before(job.model_copy(update={"device": "cuda"}), warn=print) is None
    assert folder.attempts() == []
    assert not is_live(folder, now=time.time())


def test_a_damaged_checkpoint_that_was_stepped_over_is_named_once_the_flow_logs(job: Job, folder: JobFolder) -> None:
    torn = folder.run / "checkpoints" / "model_7.pt"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"")
    said: list[str] = []
    with started_early(job, folder):
        assert said == []
        assert started_before(job, warn=said.append) is not None
    assert "model_7.pt" in said[0]


@pytest.mark.parametrize("change", [{"again": True}, {"custom_environment_uri": "s3://robots/mine.zip"}])
def test_what_must_be_thrown_away_or_fetched_first_is_left_to_the_flow(
    job: Job, folder: JobFolder, change: dict[str, object]
) -> None:
    with started_early(job.model_copy(update=change), folder):
        assert started_before(job.model_copy(update=change), warn=print) is None
        assert folder.attempts() == []


def test_an_attempt_that_could_not_start_does_not_count(
    job: Job, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "command", lambda attempt: ["/nonexistent/python"])
    with pytest.raises(FileNotFoundError):
        Start.of(job, folder, inputs=Inputs(), warn=print)
    assert folder.attempts() == []
