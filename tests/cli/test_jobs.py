"""`isaaclab-flows jobs`: what a person reads and what a program reads."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isaaclab_flows.cli.jobs import age_words, progress_words
from isaaclab_flows.cli.main import app
from isaaclab_flows.schemas.job_view import JobView
from isaaclab_flows.tasks import prefect_jobs
from isaaclab_flows.tasks.job import overview

LONG = "a-name-that-is-much-longer-than-any-terminal-column-would-hold-and-that-grep-must-find-whole"


def job(**more: object) -> JobView:
    values = {
        "job_id": "abcd1111-2222",
        "name": LONG,
        "kind": "training",
        "task": "Isaac-Velocity-Rough-AnymalD",
        "library": "rsl_rl",
        "state": "running",
        "iteration": 120,
        "total": 500,
        "reward": 3.25,
        "started_at": time.time() - 125,
    }
    return JobView.model_validate(values | more)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[JobView]:
    monkeypatch.setenv("ISAACLAB_FLOWS_OUTPUTS", str(tmp_path))
    found: list[JobView] = []
    monkeypatch.setattr(overview, "local_jobs", lambda: found)
    monkeypatch.setattr(prefect_jobs, "server_jobs", lambda limit: [])
    return found


def run(*words: str) -> str:
    answer = CliRunner().invoke(app, ["jobs", *words])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_a_list_that_a_program_reads_shortens_no_name(jobs: list[JobView]) -> None:
    jobs.append(job())
    line = run("list").splitlines()[1]
    for part in (LONG, "Isaac-Velocity-Rough-AnymalD", "running", "120/500", "3.25", "2 min"):
        assert part in line


def test_a_column_that_says_nothing_is_left_out(jobs: list[JobView]) -> None:
    jobs.append(job())
    assert "cost" not in run("list")
    jobs.append(job(cost=1.5, recoveries=2))
    said = run("list")
    assert "$1.50" in said
    assert "recoveries" in said


def test_the_list_as_json_has_every_field(jobs: list[JobView]) -> None:
    jobs.append(job())
    (entry,) = json.loads(run("list", "--json"))
    assert entry["jobId"] == "abcd1111-2222"
    assert entry["state"] == "running"


def test_one_job_is_shown_by_its_name(jobs: list[JobView]) -> None:
    jobs.append(job(state="failed", message="It broke. Mend it."))
    assert "failed: It broke. Mend it." in run("show", LONG)
    assert json.loads(run("show", "abcd", "--json"))["name"] == LONG


def test_a_name_is_data_and_no_markup(jobs: list[JobView]) -> None:
    jobs.append(job(name="E [/bold] [red]x"))
    assert "E [/bold] [red]x" in run("list")


def test_a_job_that_has_ended_cannot_be_cancelled(jobs: list[JobView]) -> None:
    jobs.append(job(state="succeeded"))
    answer = CliRunner().invoke(app, ["jobs", "cancel", "latest"])
    assert answer.exit_code == 2
    assert "does not run: it is succeeded" in answer.stderr.replace("\n", " ")


def test_logs_of_all_attempts_are_printed(jobs: list[JobView], tmp_path: Path) -> None:
    jobs.append(job())
    for number, text in ((1, "first\n"), (2, "second\n")):
        folder = tmp_path / ".jobs/abcd1111-2222/attempts" / f"{number:03d}"
        folder.mkdir(parents=True)
        (folder / "simulator.txt").write_text(text)
    assert run("logs", "abcd").splitlines() == ["first", "second"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d"), (-3, "0 s")]
)
def test_ages_are_told_in_their_largest_unit(seconds: float, words: str) -> None:
    assert age_words(seconds) == words


def test_progress_is_iterations_here_and_a_percentage_from_a_server() -> None:
    assert progress_words(job()) == "120/500"
    assert progress_words(job(iteration=37, total=100, kind="request")) == "37%"
    assert progress_words(job(total=None)) == "–"


def test_a_job_of_this_machine_and_of_the_server_is_one() -> None:
    here, there = job(flow_run_id="r1"), job(flow_run_id="r1", job_id="r1", name="run", page="http://page")
    other = job(flow_run_id="r2", job_id="r2")
    merged = prefect_jobs.merged([here], [there, other])
    assert [(view.name, view.page) for view in merged if view.flow_run_id == "r1"] == [(LONG, "http://page")]
    assert len(merged) == 2
