"""Both namings of tasks map to the installed registry; what is unknown lists near names."""

from __future__ import annotations

import pytest

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.task_names import RENAMED, TASKS, installed_name, require_task


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
    ],
)
def test_old_and_new_names_mean_the_installed_task(written: str, installed: str) -> None:
    assert installed_name(written) == installed


def test_every_renamed_task_leads_to_an_installed_one() -> None:
    assert set(RENAMED.values()) <= set(TASKS)


def test_an_unknown_task_lists_near_names() -> None:
    with pytest.raises(ConfigError, match="Isaac-Cartpole-Direct"):
        require_task("Isaac-Cartpol-Direct-v0", "rsl_rl")


def test_a_library_that_the_task_has_no_configuration_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rl_games configuration.*rsl_rl"):
        require_task("Isaac-Velocity-Flat-Anymal-D-v0", "rl_games")


def test_a_custom_environments_own_name_is_taken_as_it_is() -> None:
    assert installed_name("My-Task-v3", extra=["My-Task-v3"]) == "My-Task-v3"
