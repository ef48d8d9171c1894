"""Whether this machine's GPUs may be used: asked of the driver before any work starts, so that a broken one costs
seconds and another machine gets the job.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from isaaclab_flows.schemas import nvidia_smi

QUERY_SECONDS: Final = 60.0
"""A driver that does not answer for so long is hung."""
MOST_MEMORY_USED: Final = 0.5
"""Fraction of a GPU's memory that somebody else may hold; a desktop takes little, a process left behind takes most."""

_FIELDS: Final = (
    "index",
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "ecc.errors.uncorrected.volatile.total",
    "remapped_rows.failure",
)
_BASIC_FIELDS: Final = _FIELDS[:5]

# The smallest program that needs everything between here and the GPU; prints cuInit's answer and the GPUs it sees.
_CUDA_PROGRAM: Final = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
count = ctypes.c_int(0)
answer = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
print(answer, count.value)
"""


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it."""

    index: int
    name: str
    driver: str
    memory_mib: int | None
    """None where the driver does not say."""
    memory_used_mib: int | None
    uncorrected_errors: int | None
    """Uncorrectable memory errors since the driver was loaded; None without ECC."""
    remapping_failed: bool
    """The memory has more broken rows than it has spare ones."""


@dataclass(frozen=True)
class GpuReport:
    """What the driver said."""

    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""
    """Why the GPUs must not be used; empty when they may, or when there are none and none is needed."""


def examine(*, needed: bool) -> GpuReport:
    """Ask the driver for this machine's GPUs and judge them.

    Args:
        needed: A machine without any is trouble; otherwise the CPU simulates.
    """
    try:
        answer = _ask(nvidia_smi.query(_FIELDS))
        if answer.returncode and "not a valid field" in answer.stdout + answer.stderr:
            answer = _ask(nvidia_smi.query(_BASIC_FIELDS))
    except FileNotFoundError:
        return GpuReport(trouble="there is no NVIDIA driver here (nvidia-smi was not found)" if needed else "")
    except subprocess.TimeoutExpired:
        return GpuReport(trouble=f"the driver did not answer within {QUERY_SECONDS:.0f} s (nvidia-smi hung)")
    if answer.returncode:
        said = (answer.stdout + answer.stderr).strip().partition("\n")[0]
        return GpuReport(trouble=f"the driver does not answer (nvidia-smi exited with {answer.returncode}: {said})")
    gpus = parse(answer.stdout)
    if not gpus:
        return GpuReport(trouble="the driver knows no GPU" if needed else "")
    return GpuReport(gpus, judge(gpus) or _cuda_trouble(len(gpus)))


def parse(text: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's rows; what it cannot tell (``[N/A]``, ``ERR!``) becomes None."""
    return tuple(
        Gpu(
            index=_number(row[0]) or 0,
            name=row[1],
            driver=row[2],
            memory_mib=_number(row[3]),
            memory_used_mib=_number(row[4]),
            uncorrected_errors=_number(row[5]) if len(row) > 5 else None,
            remapping_failed=len(row) > 6 and row[6].casefold() in {"yes", "1"},
        )
        for row in nvidia_smi.rows(text, fields=len(_BASIC_FIELDS))
    )


def judge(gpus: Sequence[Gpu]) -> str:
    """Return why the GPUs must not be used, or an empty string."""
    for gpu in gpus:
        which = f"GPU {gpu.index} ({gpu.name})"
        if gpu.memory_mib is None:
            return f"{which} does not say how much memory it has: it has likely fallen off the bus"
        if gpu.uncorrected_errors:
            return f"{which} has had {gpu.uncorrected_errors} uncorrectable memory errors"
        if gpu.remapping_failed:
            return f"{which} has broken memory that could not be remapped"
        if gpu.memory_used_mib is not None and gpu.memory_used_mib > MOST_MEMORY_USED * gpu.memory_mib:
            return f"{which} has {gpu.memory_used_mib:,} of its {gpu.memory_mib:,} MiB taken by another process"
    return ""


def _cuda_trouble(expected: int) -> str:
    """Start CUDA in a process of its own: the driver may answer while CUDA does not (a fabric manager not running)."""
    # Whatever part of the machine a job was given, all of it is examined: nvidia-smi does not know that variable.
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        answer = _ask((sys.executable, "-c", _CUDA_PROGRAM), environment)
    except subprocess.TimeoutExpired:
        return f"CUDA did not start within {QUERY_SECONDS:.0f} s"
    if answer.returncode:
        return f"CUDA cannot be loaded ({answer.stderr.strip().rpartition(chr(10))[2]})"
    code, _, count = answer.stdout.strip().partition(" ")
    if code != "0":
        return f"CUDA does not start (error {code})"
    return "" if count == str(expected) else f"the driver has {expected} GPUs, but CUDA sees {count}"


def _ask(command: tuple[str, ...], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS, check=False, env=environment)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
