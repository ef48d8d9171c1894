"""Train and evaluate robot policies with NVIDIA Isaac Lab, orchestrated by Prefect.

    import isaaclab_flows

    outcome = isaaclab_flows.train(task="Isaac-Cartpole-Direct", num_envs=256, max_iterations=60, output="outputs")
    print(outcome.training.final_reward, outcome.folder)

:func:`train`, :func:`evaluate`, :func:`sweep` and :func:`validate` work in scripts and notebooks; what they return and
raise is here too. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isaaclab_flows.api import evaluate, sweep, train, validate
    from isaaclab_flows.schemas.errors import (
        CancelledError,
        CannotBePlacedError,
        CheckpointError,
        ConfigError,
        CustomEnvironmentError,
        DivergedError,
        ErrorRecord,
        FlowsError,
        InfrastructureLostError,
        InputMissingError,
        LimitReachedError,
        OutOfMemoryError,
        OutputsMissingError,
        SimulatorError,
        SimulatorHungError,
        SimulatorKilledError,
        StorageError,
    )
    from isaaclab_flows.schemas.job import CheckpointSource, Job, Price
    from isaaclab_flows.schemas.outcome import EvaluationSummary, Interval, Outcome, OutputFile, TrainingSummary
    from isaaclab_flows.schemas.sweep import BestCheckpoint, SweepSummary

    __version__: str

__all__ = [
    "BestCheckpoint",
    "CancelledError",
    "CannotBePlacedError",
    "CheckpointError",
    "CheckpointSource",
    "ConfigError",
    "CustomEnvironmentError",
    "DivergedError",
    "ErrorRecord",
    "EvaluationSummary",
    "FlowsError",
    "InfrastructureLostError",
    "InputMissingError",
    "Interval",
    "Job",
    "LimitReachedError",
    "OutOfMemoryError",
    "Outcome",
    "OutputFile",
    "OutputsMissingError",
    "Price",
    "SimulatorError",
    "SimulatorHungError",
    "SimulatorKilledError",
    "StorageError",
    "SweepSummary",
    "TrainingSummary",
    "__version__",
    "evaluate",
    "sweep",
    "train",
    "validate",
]

_HOMES = (
    ("isaaclab_flows.api", ("evaluate", "sweep", "train", "validate")),
    ("isaaclab_flows.schemas.job", ("CheckpointSource", "Job", "Price")),
    (
        "isaaclab_flows.schemas.outcome",
        ("EvaluationSummary", "Interval", "Outcome", "OutputFile", "TrainingSummary"),
    ),
    ("isaaclab_flows.schemas.sweep", ("BestCheckpoint", "SweepSummary")),
)
"""Modules and what of them is shown here; every other name is an error's."""

if Path(__file__).with_name("schemas").is_file():
    raise ImportError(
        f"{Path(__file__).parent} holds links to the folders beside it, and they came as plain files. On Windows, turn"
        " on developer mode and clone again with `git clone -c core.symlinks=true`; an archive has to be unpacked by a"
        " program that makes links; or install the wheel."
    )


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("isaaclab-flows")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES if name in names), "isaaclab_flows.schemas.errors")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
