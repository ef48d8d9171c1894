"""The machine that simulates: whether it has a GPU, and which device a job gets."""

from __future__ import annotations

import functools
import importlib.util
import subprocess

from isaaclab_flows.schemas import nvidia_smi
from isaaclab_flows.schemas.contrib_tasks import NEEDS_ISAAC_SIM, NEWTON_BY_PRESET
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.task_names import TASKS


@functools.lru_cache(maxsize=1)
def gpus() -> tuple[str, ...]:
    """Return the names of this machine's NVIDIA GPUs, empty where there are none or their driver does not answer."""
    try:
        answer = subprocess.run(
            nvidia_smi.query(["name"]),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(row[0] for row in nvidia_smi.rows(answer.stdout)) if answer.returncode == 0 else ()


def device_of(job: Job) -> str:
    """Return `cpu` or `cuda` for a job on this machine.

    Raises:
        ConfigError: A GPU was asked for by name and there is none, or there are fewer than the job has processes.
    """
    wanted = job.config.compute_config.gpus_per_node
    if job.device != "cpu" and gpus() and len(gpus()) < wanted:
        raise ConfigError(
            f"computeConfig.gpusPerNode is {wanted}, but this machine has {len(gpus())}: {', '.join(gpus())}",
            where="computeConfig.gpusPerNode",
            remedy=f"Set it to {len(gpus())} or less, or run on a larger machine.",
        )
    if job.device == "auto":
        return "cuda" if gpus() else "cpu"
    if job.device == "cuda" and not gpus():
        raise ConfigError(
            "'device' is 'cuda', but this machine has no NVIDIA GPU that answers",
            where="device",
            remedy="Use `--device cpu`, or run it on a machine with a GPU.",
        )
    return job.device


def require_simulator() -> None:
    """Check that a simulator can be started here at all.

    Raises:
        ConfigError: Isaac Lab is not installed for the Python that would start it.
    """
    if settings().simulator_python is None and importlib.util.find_spec("isaaclab") is None:
        raise ConfigError(
            "Isaac Lab is not installed here",
            where="ISAACLAB_FLOWS_SIMULATOR_PYTHON",
            remedy="Install the extra: `pip install isaaclab-flows[isaaclab]`, or name the Python that has it.",
        )


OFFLINE_TASKS = ("Isaac-Cartpole", "Isaac-Ant", "Isaac-Humanoid", "IsaacContrib-Cartpole-Showcase")
"""Beginnings of the tasks whose robot files can be made from Newton's wheel, without NVIDIA's asset server."""


def availability(task: str) -> str:
    """Say in a few words whether a task can run on this machine now."""
    if not TASKS[task]:
        return "no: it has no agent of a library"
    if settings().simulator_python is None and importlib.util.find_spec("isaaclab") is None:
        return "no: Isaac Lab is not installed"
    # Another Python may have Isaac Sim; its own check of the task says so when it starts.
    here = importlib.util.find_spec("isaacsim") is not None
    if task in NEEDS_ISAAC_SIM and not here:
        return "needs Isaac Sim"
    preset = " and physics=newton_mjwarp, or Isaac Sim" if task in NEWTON_BY_PRESET and not here else ""
    if settings().asset_root is not None:
        return f"yes, if the asset root has its files{preset.replace(' and', ', with')}"
    if task.startswith(OFFLINE_TASKS):
        return "yes, also offline"
    return f"with internet (NVIDIA's asset server){preset}"
