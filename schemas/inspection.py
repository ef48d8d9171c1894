"""What can be told of a checkpoint file alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from isaaclab_flows.schemas.config import CamelModel
from isaaclab_flows.schemas.task_names import Library

Memory = Literal["lstm", "gru", "rnn"]


class NetworkReport(CamelModel):
    """One network of a checkpoint."""

    part: str
    """``actor``, ``critic``, ``student``, ``teacher`` or ``policy``."""
    inputs: int
    """Size of the observations."""
    hidden: Annotated[tuple[int, ...], Field(strict=False)]
    """Sizes of the hidden layers."""
    outputs: int
    """Size of the actions, or 1 of a value."""
    memory: Memory | None = None
    """What a recurrent network remembers with."""
    normaliser: bool = False
    """Whether the observations' mean and spread are kept with it."""


class CheckpointReport(CamelModel):
    """What a checkpoint file is."""

    library: Library
    written_by: str
    """The library with the versions that write such files."""
    iterations: int | None = None
    """Iterations that it has behind it, where the file says so."""
    steps: int | None = None
    """Steps of each environment, where only the file's name says how far it came."""
    networks: Annotated[tuple[NetworkReport, ...], Field(strict=False)]
    tasks: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Tasks of Isaac Lab that it could be of, by sizes and layers; None where Isaac Lab is not installed to say."""
