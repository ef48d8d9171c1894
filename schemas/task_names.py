"""Isaac Lab's task names: the installed registry, and the 2.x names that configs in the field still use.

The table is committed because the orchestrating side has no Isaac Lab; a system test compares it with the
installed registry (isaaclab 3.0.0).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from isaaclab_flows.schemas.contrib_tasks import CONTRIB_TASKS
from isaaclab_flows.schemas.contrib_tasks import Library as Library  # noqa: PLC0414
from isaaclab_flows.schemas.errors import ConfigError

CORE_TASKS: Final[dict[str, tuple[Library, ...]]] = {
    "Isaac-Ant": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Ant-Direct": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Cartpole": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Cartpole-Camera": ("rl_games", "rsl_rl"),
    "Isaac-Cartpole-Camera-Direct": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Cartpole-Direct": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-DrLegs-HoldPose-v0": ("rsl_rl",),
    "Isaac-DrLegs-Walk-v0": ("rsl_rl",),
    "Isaac-Fourbar-Pole-Swingup": ("rsl_rl",),
    "Isaac-Humanoid": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Humanoid-Direct": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Lift-Cable-Franka": ("rsl_rl",),
    "Isaac-Lift-Cable-Franka-Camera": ("rsl_rl",),
    "Isaac-Lift-Cloth-Franka": ("rsl_rl",),
    "Isaac-Lift-Cloth-Franka-Camera": ("rsl_rl",),
    "Isaac-Lift-Franka": ("rsl_rl",),
    "Isaac-Lift-KukaAllegro": ("rsl_rl",),
    "Isaac-Lift-KukaAllegro-Camera": ("rsl_rl",),
    "Isaac-Lift-Soft-Franka": ("rsl_rl",),
    "Isaac-Lift-Soft-Franka-Camera": ("rsl_rl",),
    "Isaac-Open-Drawer-Franka": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Open-Drawer-Franka-Direct": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Pendulum-MARL-Direct": ("rl_games", "skrl"),
    "Isaac-Reach-Franka": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Reach-Franka-OSC": ("rsl_rl",),
    "Isaac-Reach-UR10": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Reorient-Cube-Allegro": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Reorient-Cube-Allegro-Direct": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Reorient-Cube-Shadow": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Reorient-Cube-Shadow-Camera": ("rl_games", "rsl_rl"),
    "Isaac-Reorient-Cube-Shadow-Camera-Direct": ("rl_games", "rsl_rl"),
    "Isaac-Reorient-Cube-Shadow-Direct": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Reorient-KukaAllegro": ("rsl_rl",),
    "Isaac-Reorient-KukaAllegro-Camera": ("rsl_rl",),
    "Isaac-Shadow-Handover": ("rsl_rl",),
    "Isaac-Shadow-Handover-Direct": ("rl_games", "rsl_rl", "skrl"),
    "Isaac-Velocity-Flat-AnymalD": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Flat-Cassie": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Flat-G1": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Flat-H1": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Flat-UnitreeGo2": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Rough-AnymalD": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Rough-Cassie": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Rough-G1": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Rough-H1": ("rsl_rl", "skrl"),
    "Isaac-Velocity-Rough-UnitreeGo2": ("rsl_rl", "skrl"),
}
"""Registered task name to the libraries that it has an agent configuration for."""

TASKS: Final[dict[str, tuple[Library, ...]]] = CORE_TASKS | CONTRIB_TASKS
"""All tasks of Isaac Lab; contributed ones may have no agent for any of the libraries."""
CONTRIB: Final = "IsaacContrib-"

RENAMED: Final[dict[str, str]] = {
    "Isaac-Cart-Double-Pendulum-Direct": "Isaac-Pendulum-MARL-Direct",
    "Isaac-Franka-Cabinet-Direct": "Isaac-Open-Drawer-Franka-Direct",
    "Isaac-Reorient-Cube-Shadow-Vision-Direct": "Isaac-Reorient-Cube-Shadow-Camera-Direct",
    "Isaac-Shadow-Hand-Over-Direct": "Isaac-Shadow-Handover-Direct",
}
"""2.x names (without their version, and spelt as in 3.0) whose 3.0 name differs by more than that."""

_SPELLINGS: Final = (
    (re.compile(r"-Anymal-([A-D])\b"), r"-Anymal\1"),
    (re.compile(r"-Unitree-(A1|Go1|Go2)\b"), r"-Unitree\1"),
    (re.compile(r"-Repose-"), "-Reorient-"),
)
"""What names of 2.x spelt otherwise."""

ENTRY_POINT: Final = "_cfg_entry_point"
"""How the keys of configurations end in Gymnasium's registry of tasks."""

_VERSION = re.compile(r"-v\d+$")


def installed_name(task: str, *, extra: Iterable[str] = ()) -> str | None:
    """Return the installed registry's name of a task written in either naming, or None when there is none.

    Args:
        task: A name such as ``Isaac-Cartpole-Direct-v0`` or ``Isaac-Cartpole-Direct``.
        extra: Names that a custom environment registers, taken as they are.
    """
    known = {*TASKS, *extra}
    bare = _VERSION.sub("", task)
    for written in (bare, bare.replace("-Play", "")):
        spelt = written
        for old, new in _SPELLINGS:
            spelt = old.sub(new, spelt)
        # What 2.x had and 3.0 left to its contributors bears their prefix.
        contributed = spelt.replace("Isaac-", CONTRIB, 1)
        for candidate in (task, written, spelt, RENAMED.get(spelt, ""), contributed, f"{contributed}-v0"):
            if candidate in known:
                return candidate
    return None


def former_name(task: str) -> str | None:
    """Return the name that a task had in 2.x (without its version) where it is more than another spelling."""
    if task.startswith(CONTRIB):
        return task.replace(CONTRIB, "Isaac-", 1)
    return next((old for old, new in RENAMED.items() if new == task), None)


def agent_entry_point(library: Library, agent: str | None) -> str:
    """Return the key of an agent's configuration in the task registry.

    Args:
        library: The reinforcement-learning library.
        agent: ``recurrent``, or the whole key; None for the library's first agent.
    """
    if agent is None:
        return f"{library}{ENTRY_POINT}"
    return agent if agent.endswith(ENTRY_POINT) else f"{library}_{agent}{ENTRY_POINT}"


def near_names(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """Return the known names nearest to one that is not known, best first."""
    by_folded = {k.casefold(): k for k in known}
    return [by_folded[m] for m in difflib.get_close_matches(name.casefold(), by_folded, n=most, cutoff=0.4)]


def require_task(task: str, library: Library) -> str:
    """Return the installed name of a task that the library can train.

    Raises:
        ConfigError: The task is not registered (near names are listed) or has no configuration for the library.
    """
    name = installed_name(task)
    if name is None:
        near = near_names(task, TASKS)
        raise ConfigError(
            f"'{task}' is not a task of Isaac Lab 3.0",
            where="trainingConfig.task",
            remedy=f"Near names: {', '.join(near) or 'none'}. `isaaclab-flows tasks` lists all; a task of your own"
            " needs customEnvironmentPath or customEnvironmentS3Uri.",
        )
    if library not in TASKS[name]:
        none = "none, because it is made for imitation learning or for people's hands. Choose another task"
        raise ConfigError(
            f"The task '{name}' has no {library} configuration",
            where="trainingConfig.rlLibrary",
            remedy=f"Libraries that this task has: {', '.join(TASKS[name]) or none}.",
        )
    return name
