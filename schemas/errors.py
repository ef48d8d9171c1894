"""The error tree. A class decides what happens next; its words are what VAMS, Prefect and the terminal print."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict


class FlowsError(Exception):
    """Anything that ends a job without success, with what happened, where, and what to do.

    Args:
        what: One sentence: what happened.
        where: The key, file, URI or stage it happened at.
        remedy: One sentence: what the reader can do about it.
        details: Longer material such as a log's last lines; never a secret.
    """

    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str = "", remedy: str = "", details: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        self.details = details
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """What, where and what to do, in one line and without the details."""
        place = f" (at {self.where})" if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{self.what.rstrip('.')}{place}.{remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling, which keyword-only arguments would otherwise prevent."""
        return (_rebuild, (type(self), self.what, self.where, self.remedy, self.details))


def _rebuild(cls: type[FlowsError], what: str, where: str, remedy: str, details: str) -> FlowsError:
    return cls(what, where=where, remedy=remedy, details=details)


class ConfigError(FlowsError):
    """The user's configuration is wrong: fail now, never retry."""

    kind = "config"


class InputMissingError(FlowsError):
    """A file, checkpoint, robot asset or package that the job names cannot be had."""

    kind = "input_missing"


class SimulatorError(FlowsError):
    """The simulator failed; details hold the last lines of its log."""

    kind = "simulator"


class SimulatorKilledError(SimulatorError):
    """The simulator's process was ended by a signal that nobody here sent."""

    kind = "simulator_killed"


class SimulatorHungError(SimulatorError):
    """The simulator reported nothing for longer than the hang limit."""

    kind = "simulator_hung"


class OutOfMemoryError(SimulatorError):
    """The simulator ran out of GPU or main memory."""

    kind = "out_of_memory"


class DivergedError(SimulatorError):
    """A training's losses, rewards or weights are no numbers any more."""

    kind = "diverged"
    checkpoint: Path | None = None
    """The last one whose weights are numbers, where the training itself says so."""


class CustomEnvironmentError(SimulatorError):
    """The user's environment package cannot be unpacked, installed or imported, or registers no such task."""

    kind = "custom_environment"


class CheckpointError(SimulatorError):
    """A checkpoint is torn, or belongs to another task, library or network shape."""

    kind = "checkpoint"


class InfrastructureLostError(FlowsError):
    """The machine went away (Spot reclaim, host failure): retry and resume."""

    kind = "infrastructure_lost"
    retryable = True


class CannotBePlacedError(FlowsError):
    """No machine that fits could be had in time."""

    kind = "cannot_be_placed"


class LimitReachedError(FlowsError):
    """A time limit or a budget was reached."""

    kind = "limit_reached"


class OutputsMissingError(FlowsError):
    """The work ended without the artifacts that make it a success."""

    kind = "outputs_missing"


class StorageError(FlowsError):
    """A file could not be read, written or verified, after retries."""

    kind = "storage"
    retryable = True


class CancelledError(FlowsError):
    """A person or a program asked for the job to end."""

    kind = "cancelled"


def was_cancelled(error: BaseException) -> bool:
    """Say whether an exception means that somebody ended the work, by Prefect, a signal or Ctrl-C."""
    # Prefect's signal is known by its name: the simulator's side has no Prefect.
    return isinstance(error, CancelledError | KeyboardInterrupt | SystemExit) or type(error).__name__ in (
        "CancelledError",
        "TerminationSignal",
    )


def _tree(cls: type[FlowsError]) -> dict[str, type[FlowsError]]:
    found = {cls.kind: cls}
    for child in cls.__subclasses__():
        found |= _tree(child)
    return found


class ErrorRecord(BaseModel):
    """An error as it is kept in result.json, outcome.json and answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    what: str
    where: str = ""
    remedy: str = ""
    details: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Record any exception; one from outside the tree keeps its type's name in the sentence."""
        if isinstance(error, FlowsError):
            return cls(kind=error.kind, what=error.what, where=error.where, remedy=error.remedy, details=error.details)
        if isinstance(error, KeyboardInterrupt):
            remedy = "Run the same job again: it goes on from its last checkpoint."
            return cls(kind=CancelledError.kind, what="The job was stopped by a signal (Ctrl-C)", remedy=remedy)
        if was_cancelled(error):
            what = "The job's process was told to end: it was cancelled, or its machine is going away"
            remedy = "Run the same job again: it goes on from its last checkpoint."
            return cls(kind=CancelledError.kind, what=what, remedy=remedy)
        return cls(kind="error", what=f"{type(error).__name__}: {error}")

    def to_error(self) -> FlowsError:
        """Return the exception this record was made of; an unknown kind becomes the base class."""
        return _tree(FlowsError).get(self.kind, FlowsError)(
            self.what, where=self.where, remedy=self.remedy, details=self.details
        )

    @property
    def sentence(self) -> str:
        """What, where and what to do, in one line."""
        return self.to_error().sentence
