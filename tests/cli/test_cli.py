"""The program: what is wrong shows in seconds as a message with a remedy, never as a stack trace."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from isaaclab_flows.cli.main import app
from isaaclab_flows.cli.overrides import parse_overrides
from isaaclab_flows.cli.run import RunOptions, command_to_go_on
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.task_names import TASKS
from isaaclab_flows.tasks.simulator.machine import availability

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ROOT / "examples/cartpole/training/cartpole-training-config.json"


def test_a_valid_config_is_confirmed() -> None:
    answer = CliRunner().invoke(app, ["validate", str(TRAINING)])
    assert answer.exit_code == 0
    assert "valid training configuration: Isaac-Cartpole-Direct with rsl_rl" in answer.stdout


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainingConfig.numEnvz=64", "Did you mean 'numEnvs'?"),
        ("trainingConfig.task=Isaac-Cartpol-Direct-v0", "Isaac-Cartpole-Direct"),
        ("trainingConfig.numEnvs", "--set trainingConfig.numEnvs=64"),
    ],
)
def test_a_wrong_config_is_explained_before_anything_starts(
    command: str, override: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, [command, str(TRAINING), "--set", override])
    assert answer.exit_code == 2
    assert words in answer.stderr.replace("\n", " ")
    assert "Traceback" not in answer.output
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["validate", str(tmp_path / "no.json")])
    assert answer.exit_code == 1
    assert "no.json" in answer.stderr.replace("\n", "")


def test_tasks_lists_what_can_run_one_name_a_line_where_no_person_reads() -> None:
    answer = CliRunner().invoke(app, ["tasks", "cartpole"])
    assert answer.exit_code == 0
    assert answer.stdout.split("\n")[:-1] == [name for name in TASKS if "Cartpole" in name]


def test_an_unknown_search_lists_near_names() -> None:
    answer = CliRunner().invoke(app, ["tasks", "Isaac-Antt-Direct"])
    assert answer.exit_code == 2
    assert "Isaac-Ant-Direct" in answer.stderr


@given(st.dictionaries(st.sampled_from(["a", "b.c", "d.e.f"]), st.integers() | st.booleans() | st.text(), max_size=3))
def test_any_value_can_be_set(values: dict[str, object]) -> None:
    parsed = parse_overrides([f"{key}={json.dumps(value)}" for key, value in values.items()])
    for key, value in values.items():
        found: object = parsed
        for part in key.split("."):
            assert isinstance(found, dict)
            found = found[part]
        assert found == value


def test_a_value_that_is_no_json_is_a_string() -> None:
    assert parse_overrides(["a.b=Isaac-Ant-Direct"]) == {"a": {"b": "Isaac-Ant-Direct"}}
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_overrides(["=1"])


def test_going_on_takes_the_same_options() -> None:
    options = RunOptions(Path("x.json"), output="out dir", overrides=("a=1",), device="cpu")
    assert command_to_go_on("j-1", options) == (
        "isaaclab-flows run x.json --output 'out dir' --device cpu --set a=1 --job j-1"
    )


def test_help_answers_without_importing_prefect_torch_or_boto3() -> None:
    script = (
        "import sys; from isaaclab_flows.cli.main import app; "
        "heavy = {'prefect', 'torch', 'boto3', 'matplotlib', 'scipy', 'isaaclab'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


SWEEP = ROOT / "examples/cartpole/evaluation/cartpole-sweep-config.json"


def test_a_sweep_is_validated_like_every_configuration() -> None:
    answer = CliRunner().invoke(app, ["validate", str(SWEEP)])
    assert answer.exit_code == 0, answer.output
    assert "is a valid sweep of Isaac-Cartpole-Direct" in answer.stdout


def test_a_sweep_given_to_run_is_told_its_command() -> None:
    answer = CliRunner().invoke(app, ["run", str(SWEEP)])
    assert answer.exit_code == 2
    assert "isaaclab-flows sweep" in answer.stderr.replace("\n", " ")


@pytest.mark.parametrize("words", [["deploy", "--api-url", "{url}"], ["run", str(TRAINING)]])
def test_a_server_that_does_not_answer_is_an_error_with_its_address(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
    answer = subprocess.run(
        [sys.executable, "-m", "isaaclab_flows.cli.main", *(word.format(url=url) for word in words)],
        env=os.environ | {"PREFECT_API_URL": url, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1, answer.stderr
    assert "The Prefect server does not answer" in answer.stderr
    assert url in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("Isaac-Cartpole-Direct", "yes, also offline"),
        ("IsaacContrib-Cartpole-Showcase-Direct", "yes, also offline"),
        ("Isaac-Velocity-Flat-AnymalD", "with internet"),
        ("IsaacContrib-Velocity-Flat-UnitreeA1", "physics=newton_mjwarp, or Isaac Sim"),
        ("IsaacContrib-Factory-PegInsert-Direct", "needs Isaac Sim"),
        ("IsaacContrib-Stack-Cube-Franka", "no: it has no agent"),
    ],
)
def test_a_task_says_what_it_needs_to_run_here(task: str, words: str) -> None:
    assert words in availability(task)
