"""Hydra overrides: how they are written, and which keys of Isaac Lab's a key of ours owns.

An override of an owned key would be overwritten without a word, so it is refused where the configuration is read. What
only a task's own configuration can tell is checked by the simulator before anything is launched.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

PATTERN: Final = r"^\+{0,2}(env|agent|physics|renderer|presets)[\w.\-/@]*=.*$"
_FORM: Final = re.compile(PATTERN, re.DOTALL)
_SELECTORS: Final = ("physics", "renderer", "presets")

_OWNED: Final = {
    "env.scene.num_envs": "trainingConfig.numEnvs",
    "agent.params.config.num_actors": "trainingConfig.numEnvs",
    "env.seed": "trainingConfig.seed",
    "agent.seed": "trainingConfig.seed",
    "agent.params.seed": "trainingConfig.seed",
    "agent.max_iterations": "trainingConfig.maxIterations",
    "agent.params.config.max_epochs": "trainingConfig.maxIterations",
    "agent.params.config.max_frames": "trainingConfig.maxIterations",
    "agent.params.config.score_to_win": "trainingConfig.maxIterations",
    "agent.trainer.timesteps": "trainingConfig.maxIterations",
    "agent.save_interval": "outputConfig.checkpointInterval",
    "agent.params.config.save_frequency": "outputConfig.checkpointInterval",
    "agent.params.config.save_best_after": "outputConfig.checkpointInterval",
    "agent.agent.experiment.checkpoint_interval": "outputConfig.checkpointInterval",
    "agent.resume": "trainingConfig.resumeCheckpoint",
    "agent.load_run": "trainingConfig.resumeCheckpoint",
    "agent.load_checkpoint": "trainingConfig.resumeCheckpoint",
    "agent.params.load_checkpoint": "trainingConfig.resumeCheckpoint",
    "agent.params.load_path": "trainingConfig.resumeCheckpoint",
    "env.sim.device": "the option --device, or the machine that computeConfig asks for",
    "agent.device": "the option --device, or the machine that computeConfig asks for",
    "agent.params.config.device": "the option --device, or the machine that computeConfig asks for",
    "agent.params.config.device_name": "the option --device, or the machine that computeConfig asks for",
    "agent.params.config.multi_gpu": "computeConfig.gpusPerNode and computeConfig.numNodes",
    "agent.class_name": "trainingConfig.agent",
}
_FOLDER: Final = "the job's own folder, which is named by the job's id"
_RECORDED: Final = "the job itself: metrics go to TensorBoard's files and metrics.csv once an iteration"
_OURS: Final = {
    "env.log_dir": _FOLDER,
    "agent.experiment_name": _FOLDER,
    "agent.run_name": _FOLDER,
    "agent.params.config.train_dir": _FOLDER,
    "agent.params.config.full_experiment_name": _FOLDER,
    "agent.agent.experiment.directory": _FOLDER,
    "agent.agent.experiment.experiment_name": _FOLDER,
    "agent.logger": _RECORDED,
    "agent.neptune_project": _RECORDED,
    "agent.wandb_project": _RECORDED,
    "agent.agent.experiment.write_interval": _RECORDED,
    "agent.trainer.close_environment_at_exit": "the job itself",
    "agent.trainer.disable_progressbar": "the job itself",
}


_RESOLVER = re.compile(r"\$\{[^}]*(:|\$\{)")
"""``${oc.env:NAME}`` would read the environment; a resolver can also be put together of parts."""


def selects_preset(override: str) -> bool:
    """Whether an override is one of Isaac Lab's selectors, such as ``physics=newton_mjwarp``."""
    return override.partition("=")[0] in _SELECTORS


def key_of(override: str) -> str:
    """Return an override's key without the signs that add: ``env.x`` for ``++env.x=1``."""
    return override.partition("=")[0].lstrip("+")


def only_learning_reads(key: str) -> bool:
    """Whether a key means nothing to an evaluation, which has no curriculum: each episode is to be like the others."""
    return f"{key}.".startswith("env.curriculum.")


def check_override(override: str) -> str:
    """Return an override that is written as one and leaves our own keys alone.

    Raises:
        ValueError: With a sentence that names the override and what to write instead.
    """
    name, equals, value = override.partition("=")
    if _RESOLVER.search(value):
        raise ValueError(
            f"'hydraOverrides' has '{override}', and only values of the configuration itself may be referred to."
            " Allowed: a value, or ${env.…} and ${agent.…}"
        )
    if override.startswith("~"):
        key = name.lstrip("~").partition("@")[0]
        raise ValueError(
            f"'hydraOverrides' has '{override}', and Isaac Lab removes nothing for it."
            f" Write '{key}=null' to switch an entity or a term off"
        )
    if equals and (name != name.strip() or value != value.strip()):
        raise ValueError(
            f"'hydraOverrides' has '{override}' with spaces around '='."
            f" Write no spaces: '{name.strip()}={value.strip()}'"
        )
    if name.startswith("--"):
        raise ValueError(
            f"'hydraOverrides' has '{override}', an option of Isaac Lab's command line."
            " Allowed: env.…=value, agent.…=value, physics=…, renderer=… and presets=…"
        )
    key = key_of(override)
    if not _FORM.match(override) or (key not in _SELECTORS and not key.startswith(("env.", "agent."))):
        raise ValueError(
            f"'hydraOverrides' has '{override}'."
            " Allowed: env.…=value, agent.…=value, physics=…, renderer=… and presets=…"
        )
    if key in _OWNED:
        raise ValueError(f"'hydraOverrides' has '{override}', which would not take effect. Set {_OWNED[key]} instead")
    if key in _OURS:
        raise ValueError(f"'hydraOverrides' has '{override}', which would not take effect: it belongs to {_OURS[key]}")
    return override


HydraOverride = Annotated[
    str,
    Field(max_length=500, json_schema_extra={"pattern": PATTERN}, examples=["env.episode_length_s=10"]),
    AfterValidator(check_override),
]
"""One of Isaac Lab's Hydra overrides."""
