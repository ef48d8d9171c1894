"""How jobs go wrong: a small tree. A class decides what happens next; its words are what people read."""

from __future__ import annotations

from typing import ClassVar


class BatchError(Exception):
    """Anything that keeps a job from a good end, with what happened, where, and what to do.

    Args:
        what: One sentence: what happened.
        where: The field, queue or job it happened at.
        remedy: One sentence: what the reader can do about it.
    """

    kind: ClassVar[str] = "error"
    """One word for programs; it stands at the head of the run's state data."""
    retryable: ClassVar[bool] = False
    """Whether another attempt, on another machine, can do better."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """What, where and what to do, in one line."""
        place = f" (at {self.where})" if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{self.what.rstrip('.')}{place}.{remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling, which keyword-only arguments would otherwise prevent."""
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


def _rebuild(cls: type[BatchError], what: str, where: str, remedy: str) -> BatchError:
    return cls(what, where=where, remedy=remedy)


class ConfigurationError(BatchError):
    """The work pool, the deployment or the account is set up wrongly; another attempt ends the same way."""

    kind = "configuration"


class ImageError(BatchError):
    """The image does not exist, or may not be pulled."""

    kind = "image"


class ContainerError(BatchError):
    """The container ended by itself, with an exit code of its own."""

    kind = "container"


class OutOfMemoryError(ContainerError):
    """The container used more memory than it was given."""

    kind = "out_of_memory"


class MachineLostError(BatchError):
    """The machine went away or was not fit for work: Spot reclaim, host failure, a hiccup of its agent or registry."""

    kind = "machine_lost"
    retryable = True


class StartError(BatchError):
    """The container was never started, for a reason that another attempt would meet again or that nobody knows."""

    kind = "start"


class CannotBePlacedError(BatchError):
    """No machine that fits could be had in time."""

    kind = "cannot_be_placed"


class TimeLimitError(BatchError):
    """The job ran into its time limit."""

    kind = "time_limit"


class EndedOnRequestError(BatchError):
    """A person or a program asked for the job's end."""

    kind = "ended_on_request"
