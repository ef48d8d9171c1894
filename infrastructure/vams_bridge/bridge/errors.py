"""What can end a delivery, told apart by whether VAMS's own retry can help."""

from __future__ import annotations


class BridgeError(Exception):
    """A delivery failed in a way that another try may mend: raising fails the attempt, and VAMS retries it."""


class HopelessError(BridgeError):
    """Another try fails alike: VAMS is told at once, with a cause that a person understands.

    Args:
        name: At most 256 characters; Step Functions shows it as the error.
        cause: What happened, where, and what to do.
    """

    def __init__(self, name: str, cause: str) -> None:
        self.name = name
        self.cause = cause
        super().__init__(cause)
