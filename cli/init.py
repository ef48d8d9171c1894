"""`isaaclab-flows init`: a configuration by a few questions, or by options."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isaaclab_flows.cli.console import console, say
from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.task_names import TASKS, require_task

_STEPS = {"Isaac-Cartpole": 500, "Isaac-Ant": 900, "Isaac-Humanoid": 1000}
_STEPS_ELSE = 1000


@dataclass(frozen=True)
class Answers:
    """What was told by options; None is asked for on a terminal, and otherwise taken from the machine."""

    file: Path | None = None
    task: str | None = None
    library: str | None = None
    num_envs: int | None = None
    iterations: int | None = None
    evaluation: bool = False
    force: bool = False


def init(answers: Answers, *, ask: Callable[[str, str], str] | None = None) -> None:
    """Write a configuration and say how to run it.

    Args:
        answers: The options.
        ask: Asks a question with a default; a terminal's by default, nobody elsewhere.

    Raises:
        ConfigError: A task or library is unknown, or the file is there already.
    """
    if ask is None:
        ask = _ask if sys.stdin.isatty() else _take
    task = answers.task or ask("Task (`isaaclab-flows tasks` lists them)", "Isaac-Cartpole-Direct")
    known = TASKS.get(require_task_anywhere(task)) or ("rsl_rl",)  # which is then refused with the reason
    default = "rsl_rl" if "rsl_rl" in known else known[0]
    library = answers.library or ask(f"Library ({', '.join(known)})", default)
    task = require_task(task, library)  # type: ignore[arg-type]
    config = _evaluation(task, library, answers) if answers.evaluation else _training(task, library, answers, ask)
    check_config(config, source="isaaclab-flows init")
    kind = "evaluation" if answers.evaluation else "training"
    slug = re.sub(r"[^a-z0-9]+", "-", task.removeprefix("Isaac-").lower()).strip("-")
    file = answers.file or Path(kind) / f"{slug}-{kind}-config.json"
    if file.exists() and not answers.force:
        raise ConfigError(f"{file} is there already", where=str(file), remedy="Name another file, or use --force.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(config, indent=2) + "\n")
    say(str(file))
    console().print(f"Check it: isaaclab-flows validate {file}\nRun it:   isaaclab-flows run {file}", markup=False)


def require_task_anywhere(task: str) -> str:
    """Return the installed name of a task, whichever library trains it. Raises ConfigError with near names."""
    from isaaclab_flows.schemas.task_names import installed_name

    found = installed_name(task)
    return found if found is not None else require_task(task, "rsl_rl")


def _training(task: str, library: str, answers: Answers, ask: Callable[[str, str], str]) -> dict[str, Any]:
    from isaaclab_flows.tasks.simulator.machine import gpus

    usual = (4096, 1500) if gpus() else (256, 100)
    envs = answers.num_envs or _whole(ask("Environments in parallel", str(usual[0])), "Environments in parallel")
    iterations = answers.iterations or _whole(ask("Iterations", str(usual[1])), "Iterations")
    return {
        "name": task.removeprefix("Isaac-"),
        "description": "",
        "trainingConfig": {
            "mode": "train",
            "task": task,
            "numEnvs": envs,
            "maxIterations": iterations,
            "rlLibrary": library,
        },
        "outputConfig": {"checkpointInterval": max(1, iterations // 10)},
        "computeConfig": {"numNodes": 1},
    }


def _evaluation(task: str, library: str, answers: Answers) -> dict[str, Any]:
    steps = next((number for start, number in _STEPS.items() if task.startswith(start)), _STEPS_ELSE)
    return {
        "name": f"{task.removeprefix('Isaac-')}, evaluated",
        "description": "",
        "trainingConfig": {
            "mode": "evaluate",
            "task": task,
            "numEnvs": answers.num_envs or 16,
            "numEpisodes": 2,
            "stepsPerEpisode": steps,
            "rlLibrary": library,
        },
        "computeConfig": {"numNodes": 1},
    }


def _whole(text: str, what: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigError(f"'{what}' is '{text}'", where="init", remedy="Allowed: a whole number from 1.")
    return int(text)


def _ask(question: str, default: str) -> str:
    from rich.prompt import Prompt

    return Prompt.ask(question, default=default, console=console())


def _take(_: str, default: str) -> str:
    return default
