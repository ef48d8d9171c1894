"""Which process somebody is: told, on this machine, from a later one with the same number."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of some machine."""

    host: str
    machine: str
    """This boot of a machine, and the namespace that the number counts in."""
    pid: int
    started: str
    """The kernel's start time of the process [ticks since boot]."""

    @classmethod
    def own(cls) -> ProcessIdentity:
        """Return this process's."""
        return cls.here(os.getpid())

    @classmethod
    def here(cls, pid: int) -> ProcessIdentity:
        """Return the identity of a process of this machine."""
        return cls(socket.gethostname(), _machine(), pid, _started(pid))

    @classmethod
    def of(cls, facts: Mapping[str, object]) -> ProcessIdentity | None:
        """Read one from a file's facts; None where they are none."""
        host, machine, pid, started = (facts.get(name) for name in ("host", "machine", "pid", "started"))
        if not isinstance(machine, str) or not isinstance(pid, int) or not isinstance(started, str) or pid <= 0:
            return None
        return cls(str(host), machine, pid, started)

    def facts(self) -> dict[str, object]:
        """Return what a file keeps of it."""
        return asdict(self)

    def is_alive(self) -> bool:
        """Say whether it runs on this machine now; what runs elsewhere cannot be seen from here."""
        return self.machine == _machine() and bool(self.started) and _started(self.pid) == self.started

    def is_gone(self) -> bool:
        """Say whether it ran on this machine and no longer does."""
        return self.machine == _machine() and _started(self.pid) != self.started


def _machine() -> str:
    return f"{_first_line('/proc/sys/kernel/random/boot_id')} {_link('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    fields = _first_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().partition("\n")[0]
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
