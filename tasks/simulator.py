"""Supervises the simulator: starts it, follows its events, ends it, and turns every way it can die into an error.

The simulator is a child process with a job file (schemas/simulator.py). Its exit code says nothing; its result file,
its log and the artifacts do.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from schemas.errors import (
    FlowsError,
    LimitReachedError,
    OutOfMemoryError,
    SimulatorError,
    SimulatorHungError,
    SimulatorKilledError,
)
from schemas.settings import settings
from schemas.simulator import EVENTS, SimulatorEvent, SimulatorJob, SimulatorResult
from tasks.files import write_whole
from tasks.job_folder import Attempt
from tasks.processes import Layout, Together, simulator_python, simulator_words

POLL_SECONDS = 0.2
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


@dataclass
class Limits:
    """Bounds of one attempt, on the monotonic clock.

    Args:
        hang_seconds: Longest silence.
        seconds: Longest run; None has no end.
        stop_grace_seconds: From SIGTERM to SIGKILL.
    """

    hang_seconds: float = field(default_factory=lambda: settings().hang_seconds)
    seconds: float | None = None
    stop_grace_seconds: float = field(default_factory=lambda: settings().stop_grace_seconds)


class Simulator:
    """One simulation, from its start. Its process, or torchrun with the processes of a distributed one, is its child.

    Args:
        attempt: Where its files lie.
        order: What to do.
        layout: How many processes do it; one by default.

    Raises:
        ConfigError: The layout asks for more nodes than there are.
    """

    def __init__(self, attempt: Attempt, order: SimulatorJob, *, layout: Layout | None = None) -> None:
        self.attempt = attempt
        self._oom_before = _oom_kills()
        self._together = Together(layout, attempt) if layout is not None and layout.distributed else None
        # Before anybody looks for it: a shared file system may hide a new file from those who looked too early.
        write_whole(attempt.order_file, order.model_dump_json(indent=2).encode())
        words = self._together.command() if self._together else command(attempt)
        with attempt.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=attempt.folder,
                env=child_environment(),
                # A session of its own: Ctrl-C in the terminal reaches the supervisor, which ends the child in order.
                start_new_session=True,
            )

    def run(self, *, on_event: Callable[[SimulatorEvent], None], limits: Limits | None = None) -> SimulatorResult:
        """Supervise until the end. Whatever ends this call ends the child first.

        Args:
            on_event: Called with each event, in order.
            limits: Bounds; the settings' by default.

        Raises:
            SimulatorError: It failed, hung, was killed, or ended without a result; details hold its log's last lines.
            LimitReachedError: It ran longer than it may.
        """
        limits = limits or Limits()
        try:
            self._follow(on_event, limits)
        except BaseException:
            self.stop(limits.stop_grace_seconds)
            for event in self._drain():
                on_event(event)
            raise
        return self._judge()

    def stop(self, grace_seconds: float | None = None) -> None:
        """End the child: SIGTERM, so that it saves; SIGKILL to its whole group after the grace."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(settings().stop_grace_seconds if grace_seconds is None else grace_seconds)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _follow(self, on_event: Callable[[SimulatorEvent], None], limits: Limits) -> None:
        self._tail = EventTail(self.attempt.progress_file)
        started = heard = time.monotonic()
        while True:
            ended = self._process.poll() is not None
            events = list(self._drain())
            for event in events:
                on_event(event)
            if ended:
                return
            if self._together is not None:
                self._together.require_complete()
            now = time.monotonic()
            if events:
                heard = now
            if now - heard > limits.hang_seconds:
                raise SimulatorHungError(
                    f"The simulator reported nothing for {now - heard:.0f} s",
                    where=str(self.attempt.log_file),
                    remedy="Run the job again: it goes on from its last checkpoint. A task that is slow to compile"
                    " needs a larger ISAACLAB_FLOWS_HANG_SECONDS.",
                    details=log_tail(self.attempt.log_file),
                )
            if limits.seconds is not None and now - started > limits.seconds:
                raise LimitReachedError(
                    f"The job ran for {now - started:.0f} s, its time limit",
                    where="computeConfig.timeoutMinutes",
                    remedy="Raise computeConfig.timeoutMinutes and run it again: it goes on from its last checkpoint.",
                )
            time.sleep(POLL_SECONDS)

    def _drain(self) -> Iterator[SimulatorEvent]:
        yield from self._tail.new()

    def _judge(self) -> SimulatorResult:
        """Turn what the ended child left into a result or an error."""
        code = self._process.returncode
        self._signal(signal.SIGKILL)  # helpers that outlive it hold the GPU
        tail = log_tail(self.attempt.log_file)
        where = str(self.attempt.log_file)
        try:
            result = SimulatorResult.model_validate_json(self.attempt.result_file.read_bytes())
        except FileNotFoundError:
            raise died(code, tail, where=where, oom_killed=_oom_kills() > self._oom_before) from None
        except ValidationError as error:
            raise SimulatorError(
                "The simulator's result cannot be read", where=where, remedy="Run the job again.", details=str(error)
            ) from error
        if result.status == "failed":
            failure = result.error.to_error() if result.error else SimulatorError("The simulator failed", where=where)
            if type(failure) is FlowsError or type(failure) is SimulatorError:
                failure = _hinted(failure, tail)
            failure.details = failure.details or tail
            raise failure
        return result


def command(attempt: Attempt) -> list[str]:
    """Return the child's command line."""
    return [simulator_python(), *simulator_words(attempt)]


def child_environment() -> dict[str, str]:
    """Return the child's environment: ours, less what is secret or Prefect's, plus where the project lies."""
    project = str(Path(__file__).resolve().parents[1])
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "AWS_SECRET", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY"))
    }
    path = os.pathsep.join(part for part in (project, kept.get("PYTHONPATH", "")) if part)
    return kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


class EventTail:
    """Reads the complete new lines of progress.jsonl; a torn last line waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[SimulatorEvent]:
        """Yield the events that were appended since the last call; lines that are none are passed over."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValidationError):
                yield EVENTS.validate_json(line)


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
    return _hinted(plain, tail)


def _killer(code: int, tail: str) -> str | None:
    """Return the signal that ended a child, None when none did; torchrun names the one that ended its process."""
    if code < 0 or code in (128 + signal.SIGKILL, 128 + signal.SIGTERM):
        return signal.Signals(-code if code < 0 else code - 128).name
    told = re.search(r"Signal \d+ \((SIG[A-Z]+)\) received by PID", tail)
    return told[1] if told else None


def _hinted(error: FlowsError, tail: str) -> SimulatorError:
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
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most_bytes))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return "\n".join(plain.splitlines()[-lines:])


def _oom_kills() -> int:
    """Return how often the out-of-memory killer struck in this control group; 0 where that cannot be read."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError):
            found = re.search(r"^oom_kill (\d+)", Path(path).read_text(), re.MULTILINE)
            if found:
                return int(found[1])
    return 0
