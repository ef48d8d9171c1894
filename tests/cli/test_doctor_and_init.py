"""What a new user types first: `init` writes what `validate` accepts, `doctor` says what this machine can run."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isaaclab_flows.cli import doctor
from isaaclab_flows.cli.doctor import Finding, can_work, server_findings, simulator_findings
from isaaclab_flows.cli.init import Answers, init
from isaaclab_flows.cli.main import app
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.task_names import TASKS
from isaaclab_flows.tasks.simulator import machine


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "answers", lambda host, port: False)
    monkeypatch.setattr(machine, "gpus", lambda: ())


@pytest.mark.parametrize("evaluation", [False, True])
def test_what_init_writes_is_accepted_for_every_task(evaluation: bool, tmp_path: Path) -> None:
    for task in (name for name, libraries in TASKS.items() if libraries):
        file = tmp_path / f"{task}.json"
        init(Answers(file, task, evaluation=evaluation), ask=lambda _, default: default)
        config = json.loads(file.read_text())
        assert config["trainingConfig"]["task"] == task
        assert config["trainingConfig"]["rlLibrary"] in TASKS[task]


def test_init_refuses_a_task_that_no_library_trains() -> None:
    with pytest.raises(ConfigError, match="made for imitation learning"):
        init(Answers(Path("x.json"), "Isaac-Stack-Cube-Franka-v0"), ask=lambda _, default: default)


def test_a_machine_without_a_gpu_gets_a_training_that_it_can_bear() -> None:
    answer = CliRunner().invoke(app, ["init", "--task", "Isaac-Ant-Direct-v0"])
    assert answer.exit_code == 0, answer.output
    written = json.loads(Path(answer.stdout.strip()).read_text())["trainingConfig"]
    assert (written["numEnvs"], written["maxIterations"]) == (256, 100)
    assert CliRunner().invoke(app, ["validate", answer.stdout.strip()]).exit_code == 0


def test_init_replaces_no_file_unless_told_to() -> None:
    words = ["init", "mine.json", "--task", "Isaac-Ant"]
    assert CliRunner().invoke(app, words).exit_code == 0
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "there already" in again.stderr
    assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0


def test_init_asks_for_what_no_option_told() -> None:
    asked = []

    def ask(question: str, default: str) -> str:
        asked.append(question)
        return {"Iterations": "7"}.get(question, default)

    init(Answers(Path("mine.json"), "Isaac-Cartpole-Direct", num_envs=8), ask=ask)
    assert json.loads(Path("mine.json").read_text())["trainingConfig"]["maxIterations"] == 7
    assert len(asked) == 2


@pytest.mark.parametrize(("words", "said"), [(["--task", "Isaac-Anto"], "Isaac-Ant"), (["--library", "x"], "rl_games")])
def test_init_names_what_it_does_not_know(words: list[str], said: str) -> None:
    answer = CliRunner().invoke(app, ["init", *words])
    assert answer.exit_code == 2
    assert said in answer.stderr


def verdict(findings: list[Finding], what: str) -> Finding:
    return next(finding for finding in findings if finding.what == what)


def test_without_isaac_lab_the_doctor_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    for system, words in (("Linux", "isaaclab-flows[isaaclab]"), ("Darwin", "container image")):
        monkeypatch.setattr(doctor.platform, "system", lambda system=system: system)
        found = verdict(simulator_findings(), "train and evaluate here")
        assert found.verdict == "no"
        assert words in found.remedy


def test_a_simulator_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISAACLAB_FLOWS_SIMULATOR_PYTHON", "/nowhere/python.sh")
    settings.cache_clear()
    assert "SIMULATOR_PYTHON" in verdict(simulator_findings(), "train and evaluate here").remedy


def test_a_dead_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
    monkeypatch.setattr("isaaclab_flows.tasks.prefect_jobs.server_url", lambda: url)
    (found,) = server_findings()
    assert (found.verdict, found.seen) == ("no", f"{url} does not answer")


@pytest.mark.parametrize(
    ("here", "server", "works"), [("yes", "no", True), ("no", "yes", True), ("no", "no", False), ("partly", "no", True)]
)
def test_a_machine_is_of_use_if_it_simulates_or_reaches_a_server(here: str, server: str, works: bool) -> None:
    found = [Finding("train and evaluate here", here, ""), Finding("jobs through a Prefect server", server, "")]  # type: ignore[arg-type]
    assert can_work(found) is works


def test_the_doctor_answers_as_json_too() -> None:
    answer = CliRunner().invoke(app, ["doctor", "--json"])
    assert {finding["what"] for finding in json.loads(answer.stdout)} >= {"system", "memory", "GPU", "robot files"}
