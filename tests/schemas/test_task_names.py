"""Both namings of tasks map to the installed registry; what is unknown lists near names."""

from __future__ import annotations

import pytest

from isaaclab_flows.schemas.contrib_tasks import NEEDS_ISAAC_SIM, NEWTON_BY_PRESET
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.task_names import RENAMED, TASKS, former_name, installed_name, require_task


@pytest.mark.parametrize(
    ("written", "installed"),
    [
        ("Isaac-Cartpole-Direct-v0", "Isaac-Cartpole-Direct"),
        ("Isaac-Cartpole-Direct", "Isaac-Cartpole-Direct"),
        ("Isaac-Ant-Direct-v0", "Isaac-Ant-Direct"),
        ("Isaac-Humanoid-Direct-v0", "Isaac-Humanoid-Direct"),
        ("Isaac-Velocity-Flat-Anymal-D-v0", "Isaac-Velocity-Flat-AnymalD"),
        ("Isaac-Velocity-Rough-Anymal-D-v0", "Isaac-Velocity-Rough-AnymalD"),
        ("Isaac-DrLegs-Walk-v0", "Isaac-DrLegs-Walk-v0"),
        ("Isaac-Repose-Cube-Allegro-v0", "Isaac-Reorient-Cube-Allegro"),
        ("Isaac-Repose-Cube-Shadow-Vision-Direct-Play-v0", "Isaac-Reorient-Cube-Shadow-Camera-Direct"),
        ("Isaac-Cartpole-Play-v0", "Isaac-Cartpole"),
        ("Isaac-Velocity-Rough-Anymal-C-Play-v0", "IsaacContrib-Velocity-Rough-AnymalC"),
        ("Isaac-Velocity-Flat-Anymal-C-Direct-v0", "IsaacContrib-Velocity-Flat-AnymalC-Direct"),
        ("Isaac-Velocity-Flat-Unitree-A1-v0", "IsaacContrib-Velocity-Flat-UnitreeA1"),
        ("Isaac-Velocity-Flat-Spot-v0", "IsaacContrib-Velocity-Flat-Spot"),
        ("Isaac-Repose-Cube-Shadow-OpenAI-LSTM-Direct-v0", "IsaacContrib-Reorient-Cube-Shadow-OpenAI-LSTM-Direct"),
        ("Isaac-Lift-Cube-Franka-v0", "IsaacContrib-Lift-Cube-Franka"),
        ("Isaac-Factory-PegInsert-Direct-v0", "IsaacContrib-Factory-PegInsert-Direct"),
        ("Isaac-Humanoid-AMP-Walk-Direct-v0", "IsaacContrib-Humanoid-AMP-Walk-Direct"),
        ("IsaacContrib-Stack-Cube-SO101", "IsaacContrib-Stack-Cube-SO101-v0"),
    ],
)
def test_old_and_new_names_mean_the_installed_task(written: str, installed: str) -> None:
    assert installed_name(written) == installed


def test_every_renamed_task_leads_to_an_installed_one() -> None:
    assert set(RENAMED.values()) <= set(TASKS)


def test_a_former_name_leads_back_to_its_task() -> None:
    for task in TASKS:
        assert installed_name(task) == task
        former = former_name(task)
        if former is not None and f"{former}-v0" not in TASKS:
            assert installed_name(f"{former.removesuffix('-v0')}-v0") == task


def test_what_a_contributed_task_needs_is_said_of_tasks_that_there_are() -> None:
    assert set(TASKS) >= NEEDS_ISAAC_SIM | NEWTON_BY_PRESET
    assert not NEEDS_ISAAC_SIM & NEWTON_BY_PRESET


def test_a_task_for_peoples_hands_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"none, because it is made for imitation learning"):
        require_task("Isaac-Stack-Cube-Franka-v0", "rsl_rl")


def test_an_unknown_task_lists_near_names() -> None:
    with pytest.raises(ConfigError, match="Isaac-Cartpole-Direct"):
        require_task("Isaac-Cartpol-Direct-v0", "rsl_rl")


def test_a_library_that_the_task_has_no_configuration_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rl_games configuration.*rsl_rl"):
        require_task("Isaac-Velocity-Flat-Anymal-D-v0", "rl_games")


def test_a_custom_environments_own_name_is_taken_as_it_is() -> None:
    assert installed_name("My-Task-v3", extra=["My-Task-v3"]) == "My-Task-v3"
