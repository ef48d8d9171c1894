"""Shapes in which people have their agents, environments and checkpoints, tried in one simulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.isaaclab, pytest.mark.timeout(1_200)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each of the laboratory's scenarios gave."""
    from isaaclab_flows.container.simulator.assets import choose_root
    from isaaclab_flows.schemas.settings import settings

    folder = tmp_path_factory.mktemp("laboratory")
    root = choose_root(None, cache_folder=settings().cache_folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"ISAACSIM_ASSET_ROOT": root} if root else {})
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "tests.system.laboratory", str(folder)]
        subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, timeout=900, check=False)
    results = folder / "results.json"
    assert results.is_file(), (folder / "log.txt").read_text()[-4_000:]
    found = json.loads(results.read_text())
    broken = {name: result["broken"] for name, result in found.items() if "broken" in result}
    assert not broken, "\n".join(broken.values())
    return found


@pytest.mark.parametrize(
    ("library", "kept", "said"),
    [
        ("rsl_rl", "model_1.pt", "iteration 2"),
        ("seen by rsl_rl itself", "model_1.pt", "What the environment returned contains NaN: its rewards"),
        ("rl_games", "last_cartpole_direct_ep_1.pth", "'losses/a_loss' is nan"),
        ("skrl", "agent_32.pt", "is nan"),
    ],
)
def test_a_training_whose_numbers_are_none_fails_where_they_begin(
    laboratory: Any, library: str, kept: str, said: str
) -> None:
    found = laboratory["numbers_that_are_none"][library]
    assert found["error"] == "diverged"
    assert found["checkpoints"][-1] == kept
    assert f"{kept} is the last finite checkpoint" in found["sentence"]
    assert "the reward of 1 of 8 environments is not a number" in found["sentence"]
    assert said in found["sentence"]


def test_a_training_goes_back_to_its_last_finite_checkpoint_where_that_is_wanted(laboratory: Any) -> None:
    found = laboratory["numbers_that_are_none"]["rolled back"]
    assert (found["status"], found["iterations"], found["rollbacks"]) == ("succeeded", 5, 1)
    assert "Back to agent_32.pt with half the learning rate" in found["warnings"][0]


def test_a_student_begins_at_its_own_iteration_whatever_its_teacher_had(laboratory: Any) -> None:
    found = laboratory["distillation"]
    student = found["student"]
    assert (student["status"], student["iterations"]) == ("succeeded", 3)
    assert student["checkpoints"] == ["model_0.pt", "model_1.pt", "model_2.pt"]
    assert "(1,500 iterations); the student begins at iteration 0" in student["warnings"][0]
    assert (found["goes on"]["iterations"], found["goes on"]["checkpoints"]) == (4, ["model_3.pt"])
    assert found["evaluated"]["evaluations"][0]["error"] is None
    assert "learns from a teacher, and none is given" in found["without a teacher"]["sentence"]


def test_an_agent_that_the_task_has_not_is_named_with_those_that_it_has(laboratory: Any) -> None:
    found = laboratory["distillation"]["no such agent"]
    assert found["error"] == "config"
    assert "It has: recurrent, privileged, teacher, distillation" in found["sentence"]


@pytest.mark.parametrize("agent", ["recurrent", "privileged"])
def test_recurrent_actors_and_critics_that_see_more_train_and_evaluate(laboratory: Any, agent: str) -> None:
    found = laboratory["other_networks"][agent]
    assert (found["status"], found["iterations"]) == ("succeeded", 2)
    assert [e["error"] for e in found["evaluated"]["evaluations"]] == [None]
    if agent == "recurrent":
        assert "a recurrent network has a memory" in found["warnings"][0]
    else:
        assert {Path(path).name for path in found["exported"]} == {"policy.pt", "policy.onnx"}


@pytest.mark.parametrize(("library", "versions"), [("rsl_rl", 4), ("skrl", 1), ("rl_games", 1)])
def test_a_policy_plays_the_same_episodes_whatever_version_wrote_its_file(
    laboratory: Any, library: str, versions: int
) -> None:
    found = laboratory["old_checkpoints"][library]
    assert found["episodes"] == [found["episodes"][0]] * (versions + 1)
    assert found["episodes"][0].startswith("round,environment,return")
    said = [warning for warning in found["warnings"] if "is converted" in warning]
    assert len(said) == versions
    assert all("trained with PhysX, and this is Newton" in warning for warning in said)


def test_an_old_training_goes_on_where_its_networks_agree(laboratory: Any) -> None:
    found = laboratory["old_checkpoints"]["resumed"]
    assert (found["status"], found["iterations"], found["checkpoints"]) == ("succeeded", 3, ["model_2.pt"])
    assert any("its averages begin anew" in warning for warning in found["warnings"])


def test_a_normaliser_that_only_the_file_has_is_named_with_its_override(laboratory: Any) -> None:
    error = laboratory["old_checkpoints"]["no normaliser here"]["evaluations"][0]["error"]
    assert "normalises its observations, and the task's agent does not" in error["what"]
    assert "agent.actor.obs_normalization=true" in error["remedy"]
