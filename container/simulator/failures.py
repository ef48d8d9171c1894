"""Turns whatever ends the simulator into one error of the tree, with a sentence for people."""

from __future__ import annotations

import traceback
from urllib.parse import urlsplit

from isaaclab_flows.schemas.errors import ConfigError, FlowsError, InputMissingError, OutOfMemoryError, SimulatorError
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


def bad_overrides(error: BaseException, job: SimulatorJob) -> ConfigError:
    """Return the error for Hydra overrides that do not fit the task."""
    return ConfigError(
        f"The overrides {', '.join(job.hydra_overrides)} do not fit the task: {_first_line(str(error)) or error!r}",
        where="trainingConfig.hydraOverrides",
        remedy="Write env.… or agent.… and a key of the task's configuration (params/env.yaml and params/agent.yaml of"
        " a training list them all).",
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
