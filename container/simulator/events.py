"""What the simulator tells its supervisor: events appended line by line, and one result by rename."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from isaaclab_flows.schemas.files import renamed_into, write_whole
from isaaclab_flows.schemas.simulator import AliveEvent, SimulatorResult, Stage, StageEvent, WarningEvent


class Events(Protocol):
    """Where events go."""

    def write(self, event: BaseModel) -> None:
        """Append one event."""

    def stage(self, stage: Stage, message: str = "") -> None:
        """Say that a stage begins."""

    def alive(self, message: str = "") -> None:
        """Give a sign of life."""

    def warn(self, message: str) -> None:
        """Tell people something, with its remedy."""


class EventFile:
    """Appends events to ``progress.jsonl``, each with one write, so that a reader never sees half a line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, event: BaseModel) -> None:
        """Append one event."""
        os.write(self._file, event.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")

    def stage(self, stage: Stage, message: str = "") -> None:
        """Say that a stage begins."""
        self.write(StageEvent(stage=stage, message=message))

    def alive(self, message: str = "") -> None:
        """Give a sign of life."""
        self.write(AliveEvent(message=message))

    def warn(self, message: str) -> None:
        """Tell people something, with its remedy."""
        self.write(WarningEvent(message=message))


class NoEvents:
    """The silence of every distributed process but the first."""

    def write(self, event: BaseModel) -> None:
        """Drop the event."""

    def stage(self, stage: Stage, message: str = "") -> None:
        """Drop the event."""

    def alive(self, message: str = "") -> None:
        """Drop the event."""

    def warn(self, message: str) -> None:
        """Drop the event."""


def write_result(path: Path, result: SimulatorResult) -> None:
    """Write result.json whole."""
    write_whole(path, result.model_dump_json(by_alias=True, indent=2).encode())


def save_whole(path: Path, state: Any) -> None:
    """Save tensors with ``torch.save`` so that the file appears complete or not at all."""
    import torch

    # A path instead of a file would leave the partial name inside the archive.
    with renamed_into(path) as partial, partial.open("wb") as file:
        torch.save(state, file)
