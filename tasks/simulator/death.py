"""What it means when a simulator has died: which error, from its exit code, its log and the kernel."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

from isaaclab_flows.schemas.errors import (
    FlowsError,
    OutOfMemoryError,
    SimulatorError,
    SimulatorKilledError,
)
from isaaclab_flows.tasks.storage.regular import open_regular

LOG_TAIL_LINES = 30


_HINTS: tuple[tuple[re.Pattern[str], type[SimulatorError], str, str], ...] = (
    (
        re.compile(
            r"CUDA out of memory|cudaErrorMemoryAllocation|OutOfMemoryError|CUDA error 2\b|Failed to allocate \d+"
        ),
        OutOfMemoryError,
        "The simulator ran out of GPU memory",
        "Lower trainingConfig.numEnvs, or choose a machine with more GPU memory.",
    ),
    (
        re.compile(r"^MemoryError|Cannot allocate memory|std::bad_alloc", re.MULTILINE),
        OutOfMemoryError,
        "The simulator ran out of main memory",
        "Lower trainingConfig.numEnvs, or ask for more memory.",
    ),
    (
        re.compile(r"No space left on device"),
        SimulatorError,
        "The disk is full",
        "Free space in the jobs folder (the clean-up flow does), or make the disk larger.",
    ),
    (
        re.compile(r"CUDA (driver|error).*(insufficient|unknown error)|no CUDA-capable device|Found no NVIDIA driver"),
        SimulatorError,
        "The GPU cannot be used",
        "Check the machine's NVIDIA driver, or simulate on the CPU (`--device cpu`).",
    ),
)


def died(code: int, tail: str, *, where: str, oom_killed: bool) -> SimulatorError:
    """Return the error for a child that left no result.

    Args:
        code: Its return code; negative is a signal.
        tail: Its log's last lines.
        where: Its log.
        oom_killed: The kernel's out-of-memory killer struck in our control group meanwhile.
    """
    if oom_killed:
        return OutOfMemoryError(
            "The simulator was ended by the kernel because main memory ran out",
            where=where,
            remedy="Lower trainingConfig.numEnvs, or ask for more memory.",
            details=tail,
        )
    killer = _killer(code, tail)
    if killer is not None:
        return SimulatorKilledError(
            f"The simulator was ended by {killer}",
            where=where,
            remedy="Run the job again: it goes on from its last checkpoint. SIGKILL often means that memory ran out:"
            " then lower trainingConfig.numEnvs. SIGSEGV is a fault of the simulator: its log is the place to look.",
            details=tail,
        )
    plain = SimulatorError(
        f"The simulator ended with exit code {code} and left no result",
        where=where,
        remedy="Its log's last lines say why.",
        details=tail,
    )
    return hinted(plain, tail)


def _killer(code: int, tail: str) -> str | None:
    """Return the signal that ended a child, None when none did; torchrun names the one that ended its process."""
    if code < 0 or code in (128 + signal.SIGKILL, 128 + signal.SIGTERM):
        return signal.Signals(-code if code < 0 else code - 128).name
    told = re.search(r"Signal \d+ \((SIG[A-Z]+)\) received by PID", tail)
    return told[1] if told else None


def hinted(error: FlowsError, tail: str) -> SimulatorError:
    """Say it better where the log shows a known cause."""
    for pattern, kind, what, remedy in _HINTS:
        if pattern.search(f"{error.what}\n{tail}"):
            return kind(what, where=error.where, remedy=remedy, details=error.details or tail)
    if isinstance(error, SimulatorError):
        return error
    return SimulatorError(error.what, where=error.where, remedy=error.remedy, details=error.details)


def log_tail(path: Path, *, lines: int = LOG_TAIL_LINES, most_bytes: int = 16_384) -> str:
    """Return a log's last lines, without terminal colours."""
    try:
        with open_regular(path) as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most_bytes))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return "\n".join(plain.splitlines()[-lines:])


def oom_kills() -> int:
    """Return how often the out-of-memory killer struck in this control group; 0 where that cannot be read."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError):
            found = re.search(r"^oom_kill (\d+)", Path(path).read_text(), re.MULTILINE)
            if found:
                return int(found[1])
    return 0
