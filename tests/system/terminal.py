"""A program in a terminal of its own, as a person runs it: keys are signals to its whole foreground group."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

CTRL_C = b"\x03"


class Terminal:
    """One program in a pseudo-terminal.

    Args:
        command: Its words.
        environment: All of its variables.
        folder: Where it works.
    """

    def __init__(self, command: list[str], *, environment: dict[str, str], folder: Path) -> None:
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        self.seen = ""
        self.code: int | None = None
        self.family: list[psutil.Process] = []

    def press(self, key: bytes) -> None:
        """Press a key. Remembers which processes the program had then."""
        with contextlib.suppress(psutil.NoSuchProcess):
            program = psutil.Process(self.pid)
            self.family = [program, *program.children(recursive=True)]
        os.write(self._screen, key)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self._screen)

    def wait_for(self, pattern: str, *, seconds: float) -> None:
        """Read until the screen has shown a pattern."""
        self.wait_until(pattern, lambda: re.search(pattern, self.seen) is not None, seconds=seconds)

    def wait_until(self, what: str, check: Callable[[], bool], *, seconds: float) -> None:
        """Read until something holds."""
        end = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < end, f"waited for {what}:\n{self.seen[-4000:]}"
            assert self._read(), f"it ended with {self.code}:\n{self.seen[-4000:]}"

    def wait(self, *, seconds: float) -> int:
        """Read on until the program ends; return its exit code."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, f"it did not end:\n{self.seen[-4000:]}"
        assert self.code is not None
        return self.code

    def close(self) -> None:
        """Kill what is left."""
        for process in self.family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.code is None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        with contextlib.suppress(OSError):
            os.close(self._screen)

    def _read(self) -> bool:
        import select

        if select.select([self._screen], [], [], 0.2)[0]:
            try:
                self.seen += os.read(self._screen, 65_536).decode(errors="replace")
            except OSError:  # nobody has the other end open
                time.sleep(0.05)
        if self.code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.code = os.waitstatus_to_exitcode(status)
                return False
        return self.code is None
