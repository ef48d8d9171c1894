"""What the simulator tells its supervisor: events appended line by line, and one result by rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pydantic import BaseModel

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
    """Write result.json whole: to a temporary name, then by rename."""
    write_whole(path, result.model_dump_json(by_alias=True, indent=2).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete or not at all, even when the machine dies."""
    with _whole(path) as file:
        file.write(content)


def save_whole(path: Path, state: Any) -> None:
    """Save tensors with ``torch.save`` so that the file appears complete or not at all."""
    import torch

    with _whole(path) as file:
        torch.save(state, file)


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A dotted name with another suffix is nobody's checkpoint.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
