"""Turns whatever ends the simulator into one error of the tree, with a sentence for people."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from isaaclab_flows.schemas.errors import (
    ConfigError,
    DivergedError,
    FlowsError,
    InputMissingError,
    OutOfMemoryError,
    SimulatorError,
)
from isaaclab_flows.schemas.simulator import SimulatorJob

_MEMORY_SIGNS = (
    "out of memory",
    "failed to allocate",
    "cannot allocate memory",
    "bad_alloc",
    "cuda error 2:",
    "cublas_status_alloc_failed",
)
_DETAIL_LINES = 30
ISAAC_SIM_MODULES = ("omni", "isaacsim", "carb")
"""Modules that come with Isaac Sim only."""


@dataclass(frozen=True)
class _Known:
    """A complaint of a library, its cause and what to do."""

    pattern: re.Pattern[str]
    what: str
    remedy: str
    kind: type[FlowsError] = SimulatorError


_KNOWN = (
    _Known(
        re.compile(r"normal expects all elements of std >= 0"),
        "The spread of the policy's actions is negative or no number, so the training has diverged",
        "Resume from an earlier checkpoint with a lower learning rate, or bound the spread"
        " (agent.actor.distribution_cfg.std_type=log).",
        DivergedError,
    ),
    _Known(
        re.compile(r"tensor has nans", re.IGNORECASE),
        "The environment gave values that are no numbers (NaN)",
        "Look for a division by zero or a root of a negative number in its rewards and observations, and for bodies"
        " that the physics threw away: a smaller sim.dt, or softer contacts.",
        DivergedError,
    ),
    _Known(
        re.compile(r"only supports 1D observations"),
        "The agent's network takes vectors, and a group of observations is an image or is not concatenated",
        "Choose an agent with a convolutional network (class_name CNNModel), leave the group out of agent.obs_groups,"
        " or set concatenate_terms=True in it.",
        ConfigError,
    ),
)


def explain(error: BaseException, job: SimulatorJob) -> FlowsError:
    """Return the error of the tree that an exception stands for; one of the tree is returned as it is."""
    if isinstance(error, FlowsError):
        return error
    text = str(error)
    details = "".join(traceback.format_exception(error)[-_DETAIL_LINES:])
    if isinstance(error, MemoryError) or any(sign in text.lower() for sign in _MEMORY_SIGNS):
        return OutOfMemoryError(
            f"The simulator ran out of memory with {job.num_envs:,} environments",
            where=job.device,
            remedy=f"Lower trainingConfig.numEnvs, e.g. to {max(1, job.num_envs // 2):,}, or use a machine with more.",
            details=details,
        )
    for known in _KNOWN:
        if known.pattern.search(text):
            return known.kind(
                f"{known.what}: {_first_line(text)}", where=job.task, remedy=known.remedy, details=details
            )
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in ISAAC_SIM_MODULES:
        return needs_isaac_sim(job, [f"it imports {error.name}"])
    if _speaks_of_nan(text):
        return SimulatorError(
            f"The simulation of '{job.task}' produced values that are not numbers (NaN): {_first_line(text)}",
            where=job.task,
            remedy="Resume from an earlier checkpoint, lower the learning rate, or mend the environment.",
            details=details,
        )
    if isinstance(error, FileNotFoundError):
        return InputMissingError(
            f"A file that the task needs cannot be had: {_first_line(text)}",
            where=job.task,
            remedy="Set ISAACSIM_ASSET_ROOT to a folder with Isaac Sim's assets, or let the machine reach NVIDIA's"
            " asset server.",
            details=details,
        )
    if isinstance(error, SystemExit):
        return SimulatorError(
            f"Isaac Lab ended the process (exit code {error.code})",
            where=job.task,
            remedy="The log's last lines say why.",
            details=details,
        )
    return SimulatorError(
        f"The simulator failed: {type(error).__name__}: {_first_line(text)}",
        where=job.task,
        remedy="The log's last lines say more.",
        details=details,
    )


NEWTON_LINES = """\
from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg

sim = SimulationCfg(dt=1 / 120, physics=NewtonCfg(solver_cfg=MJWarpSolverCfg()))
"""
"""What gives an environment of Isaac Lab 2.x a physics engine that needs no Isaac Sim."""


def needs_isaac_sim(job: SimulatorJob, parts: Sequence[str]) -> ConfigError:
    """Return the error for a task that only Isaac Sim can simulate, where it is not installed.

    Args:
        job: The order.
        parts: What of the task needs it, as Isaac Lab calls it.
    """
    chosen = [text for text in job.hydra_overrides if "physx" in text.lower()]
    remedy = (
        f"Leave out {', '.join(chosen)}: the task has Newton's physics as well."
        if chosen
        else "Give its configuration Newton's physics (sim = SimulationCfg(…, physics=NewtonCfg(solver_cfg="
        "MJWarpSolverCfg())), both of isaaclab_newton.physics)."
    )
    return ConfigError(
        f"The task '{job.task}' needs Isaac Sim ({', '.join(parts)}), which is not installed here",
        where="trainingConfig.task",
        remedy=f"{remedy} Or run it in the image isaac-sim, which has PhysX.",
        details="" if chosen else NEWTON_LINES,
    )


def bad_overrides(error: BaseException, job: SimulatorJob) -> ConfigError:
    """Return the error for Hydra overrides that do not fit the task."""
    return ConfigError(
        f"The overrides {', '.join(job.hydra_overrides)} do not fit the task: {_first_line(str(error)) or error!r}",
        where="trainingConfig.hydraOverrides",
        remedy="Write env.… or agent.… and a key of the task's configuration (params/env.yaml and params/agent.yaml of"
        " a training list them all).",
    )


def no_twin(error: BaseException, job: SimulatorJob) -> ConfigError:
    """Return the error for a task that has no, or no complete, twin in Warp."""
    return ConfigError(
        f"The task '{job.task}' cannot run on the warp frontend: {_first_line(str(error))}",
        where="trainingConfig.frontend",
        remedy='Set trainingConfig.frontend to "auto" or "torch".',
        details=str(error),
    )


def missing_file(path: str, job: SimulatorJob, *, reason: str) -> InputMissingError:
    """Return the error for a robot file, a network or a scene that the task names and nobody has."""
    place = urlsplit(path).path.rsplit("/", 1)[-1]
    return InputMissingError(
        f"The task '{job.task}' needs the file {place}, which {reason}",
        where=path,
        remedy="Let the machine reach NVIDIA's asset server, or set ISAACSIM_ASSET_ROOT to a folder that has the file."
        " Offline, Cartpole, Ant and Humanoid can be trained.",
    )


def _speaks_of_nan(text: str) -> bool:
    words = text.replace("(", " ").replace(")", " ").replace("'", " ").split()
    return any(word.strip(".,:;") in ("NaN", "nan", "NaNs") for word in words)


def _first_line(text: str, most: int = 300) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= most else f"{line[:most]}…"
