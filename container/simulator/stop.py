"""The wish to stop: SIGTERM and SIGINT set it, the stages and the training loops look at it."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StoppedError(Exception):
    """Somebody asked the simulator to end, and it has reached a place where it can."""


class StopRequest:
    """Set by a signal, read between iterations and stages."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def install(self) -> None:
        """Let SIGTERM and SIGINT set this instead of ending the process where it stands."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._event.set()

    @property
    def wanted(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise :class:`StoppedError` when somebody asked."""
        if self.wanted:
            raise StoppedError
