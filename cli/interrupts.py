"""What signals mean to a program that runs jobs: the first asks it to end in order, a second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from isaaclab_flows.cli.console import EXIT_INTERRUPTED

_FIRST = b"\nStopping: what is done will be saved. Ctrl-C again ends everything at once.\n"
_SECOND = b"\nEnding everything at once.\n"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a KeyboardInterrupt; a second one kills all that was started.

    Whoever ends this program means the job, so every signal that a terminal or a service manager sends is a Ctrl-C.
    """
    told = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if told:
            _tell(_SECOND)
            _kill_descendants()
            os._exit(EXIT_INTERRUPTED)
        told = True
        _tell(_FIRST)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(text: bytes) -> None:
    # No console: a signal may have come while it was being written to. The terminal may be gone.
    with contextlib.suppress(OSError):
        os.write(2, text)


def _kill_descendants() -> None:
    """Kill this process's children, theirs, and all of their sessions."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(psutil.Error):
            process.kill()
