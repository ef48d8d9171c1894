"""The list of jobs: every job folder is told as what it is, whatever state it is in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.errors import ErrorRecord, InputMissingError
from isaaclab_flows.schemas.job import Job, Price
from isaaclab_flows.schemas.job_view import JobView
from isaaclab_flows.schemas.outcome import EvaluationSummary, Outcome, TrainingSummary
from isaaclab_flows.schemas.simulator import AliveEvent, IterationEvent
from isaaclab_flows.tasks.job.folder import JobFolder, folder_of
from isaaclab_flows.tasks.job.hand_over import hand_over
from isaaclab_flows.tasks.job.lease import lease
from isaaclab_flows.tasks.job.overview import find_job, local_jobs

CONFIG = {
    "name": "my-ablation",
    "description": "",
    "trainingConfig": {
        "mode": "train",
        "task": "Isaac-Cartpole-Direct",
        "numEnvs": 8,
        "maxIterations": 500,
        "rlLibrary": "rsl_rl",
    },
    "computeConfig": {"numNodes": 1},
}


@pytest.fixture(autouse=True)
def _outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISAACLAB_FLOWS_OUTPUTS", str(tmp_path / "outputs"))


def a_job(job_id: str, **more: Any) -> JobFolder:
    folder = folder_of(job_id)
    values: dict[str, Any] = {
        "job_id": job_id,
        "kind": "training",
        "source": "cli",
        "config": check_config(CONFIG, source="test"),
        "task": "Isaac-Cartpole-Direct",
        "library": "rsl_rl",
        "output_uri": "/out",
        "staging_uri": str(folder.out),
        "device": "cpu",
    }
    hand_over(Job(**(values | more)))
    return folder


def attempt_with(folder: JobFolder, *events: Any) -> None:
    attempt = folder.new_attempt()
    attempt.order_file.write_text("{}")
    attempt.progress_file.write_text("".join(event.model_dump_json(by_alias=True) + "\n" for event in events))


def ended(folder: JobFolder, status: str, **more: Any) -> None:
    values = {"job_id": folder.path.name, "kind": "training", "status": status, "task": "t", "library": "rsl_rl"}
    folder.save(folder.outcome_file, Outcome.model_validate(values | more))


def only() -> JobView:
    (view,) = local_jobs()
    return view


def test_a_job_that_nobody_began_waits() -> None:
    a_job("job-1")
    assert (only().state, only().name, only().progress) == ("waiting", "my-ablation", None)


def test_a_running_job_says_how_far_it_is_and_what_it_cost_so_far() -> None:
    price = Price(instance_type="g6.2xlarge", dollars_per_hour=3600.0, as_of="2026-01-01")
    folder = a_job("job-1", price=price)
    attempt_with(folder, IterationEvent(iteration=0, total=500), IterationEvent(iteration=119, total=500, reward=3.5))
    attempt_with(folder, IterationEvent(iteration=149, total=500, reward=4.5), AliveEvent())
    with lease(folder):
        view = only()
    assert (view.state, view.iteration, view.total, view.reward) == ("running", 150, 500, 4.5)
    assert view.recoveries == 1
    assert view.cost == pytest.approx(view.seconds)


def test_a_job_that_was_killed_is_stopped() -> None:
    attempt_with(a_job("job-1"), IterationEvent(iteration=9, total=500))
    assert (only().state, only().iteration) == ("stopped", 10)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_job_that_has_ended_says_how(status: str) -> None:
    folder = a_job("job-1")
    attempt_with(folder, IterationEvent(iteration=499, total=500))
    training = TrainingSummary(iterations=500, total_iterations=500, final_reward=4.9, success_rate=1.0, recoveries=2)
    error = ErrorRecord(kind="error", what="It broke", remedy="Mend it.") if status == "failed" else None
    ended(folder, status, training=training, error=error, seconds=90.0, output_uri="/out/job-1", device="H100")
    view = only()
    assert (view.state, view.reward, view.success_rate, view.recoveries) == (status, 4.9, 1.0, 2)
    assert (view.seconds, view.where, view.machine) == (90.0, "/out/job-1", "H100")
    assert view.message == ("It broke. Mend it." if status == "failed" else "")


def test_an_evaluation_shows_its_mean_return() -> None:
    folder = a_job("job-1")
    ended(folder, "succeeded", evaluations=(EvaluationSummary(checkpoint="c", mean_return=4.5, success_rate=0.5),))
    assert (only().reward, only().success_rate) == (4.5, 0.5)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"version": 99}', b"\xff\x00"])
def test_a_torn_or_foreign_file_hides_no_job(content: bytes) -> None:
    folder = a_job("job-1")
    folder.outcome_file.write_bytes(content)
    attempt = folder.new_attempt()
    attempt.progress_file.write_bytes(content)
    strange = folder_of("strange")
    strange.path.mkdir()
    (strange.path / "job.json").write_bytes(content)
    assert [view.job_id for view in local_jobs()] == ["job-1"]


def view(job_id: str, name: str = "n") -> JobView:
    return JobView(job_id=job_id, name=name, kind="training", task="t", library="rsl_rl", state="succeeded")


JOBS = [view("abcd1111", "latest-one"), view("abcd2222", "twice"), view("ef012345", "twice")]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("latest", "abcd1111"),
        ("abcd2222", "abcd2222"),
        ("ef01", "ef012345"),
        ("twice", "abcd2222"),
        ("latest-one", "abcd1111"),
    ],
)
def test_a_job_is_found_by_what_people_type(reference: str, found: str) -> None:
    assert find_job(reference, JOBS).job_id == found


@pytest.mark.parametrize(
    ("reference", "words"), [("abcd", "2 jobs' ids"), ("nope", "'twice' (abcd2222)"), ("ef", "ef")]
)
def test_what_fits_none_or_several_names_the_newest(reference: str, words: str) -> None:
    with pytest.raises(InputMissingError) as caught:
        find_job(reference, JOBS)
    assert words in caught.value.sentence


def test_the_newest_job_comes_first() -> None:
    now = time.time()
    for number, age in enumerate((300, 10, 60)):
        ended(a_job(f"job-{number}"), "succeeded", started_at=now - age)
    assert [view.job_id for view in local_jobs(now=now)] == ["job-1", "job-2", "job-0"]
