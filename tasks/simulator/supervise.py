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

import isaaclab_flows
from isaaclab_flows.schemas.errors import (
    FlowsError,
    SimulatorError,
    SimulatorHungError,
)
from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.reading import read_model
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.simulator import SimulatorEvent, SimulatorJob, SimulatorResult
from isaaclab_flows.tasks.job.events import LOOK_BYTES, EventTail
from isaaclab_flows.tasks.job.folder import Attempt
from isaaclab_flows.tasks.request.budget import End
from isaaclab_flows.tasks.simulator.death import died, hinted, log_tail, oom_kills
from isaaclab_flows.tasks.simulator.idle import IdleWatch
from isaaclab_flows.tasks.simulator.leftovers import ATTEMPT_VARIABLE, end_attempt, remember
from isaaclab_flows.tasks.simulator.processes import Layout, Together, simulator_python, simulator_words
from isaaclab_flows.tasks.storage.regular import open_regular

POLL_SECONDS = 0.2
MOST_RESULT_BYTES = 16 << 20
LOOK_SECONDS = 1.0
"""How often it is made sure that the job's folder is still ours."""


@dataclass
class AttemptLimits:
    """Bounds of one attempt, on the monotonic clock.

    Args:
        hang_seconds: Longest silence.
        seconds: Longest run; None has no end.
        end: What a run that is longer is told; the configuration's time limit by default.
        idle: Watches over the GPU; None watches over none.
        stop_grace_seconds: From SIGTERM to SIGKILL.
    """

    hang_seconds: float = field(default_factory=lambda: settings().hang_seconds)
    seconds: float | None = None
    end: End | None = None
    idle: IdleWatch | None = None
    stop_grace_seconds: float = field(default_factory=lambda: settings().stop_grace_seconds)


class Simulator:
    """One simulation, from its start. Its process, or torchrun with the processes of a distributed one, is its child.

    Args:
        attempt: Where its files lie.
        order: What to do.
        layout: How many processes do it; one by default.
        require: Called at every look; what it raises ends the simulator without mercy: its folder is somebody else's.

    Raises:
        ConfigError: The layout asks for more nodes than there are.
    """

    def __init__(
        self,
        attempt: Attempt,
        order: SimulatorJob,
        *,
        layout: Layout | None = None,
        require: Callable[[], None] = lambda: None,
    ) -> None:
        self.attempt = attempt
        self._require = require
        self._oom_before = oom_kills()
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
                env=child_environment() | {ATTEMPT_VARIABLE: str(attempt.folder)},
                # A session of its own: Ctrl-C in the terminal reaches the supervisor, which ends the child in order.
                start_new_session=True,
            )
        remember(attempt, self._process.pid)

    def run(
        self, *, on_event: Callable[[SimulatorEvent], None], limits: AttemptLimits | None = None
    ) -> SimulatorResult:
        """Supervise until the end. Whatever ends this call ends the child first.

        Args:
            on_event: Called with each event, in order.
            limits: Bounds; the settings' by default.

        Raises:
            SimulatorError: It failed, hung, was killed, or ended without a result; details hold its log's last lines.
            LimitReachedError: It ran longer than it may.
        """
        limits = limits or AttemptLimits()
        try:
            self._follow(on_event, limits)
        except _NotOursError as error:
            self.stop(0.0)
            raise error.reason from None
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
        end_attempt(self.attempt)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _follow(self, on_event: Callable[[SimulatorEvent], None], limits: AttemptLimits) -> None:
        self._tail = EventTail(self.attempt.progress_file)
        started = heard = looked = time.monotonic()
        while True:
            ended = self._process.poll() is not None
            events = list(self._drain() if ended else self._tail.new(most_bytes=LOOK_BYTES))
            for event in events:
                on_event(event)
            if ended:
                return
            if self._together is not None:
                self._together.require_complete()
            now = time.monotonic()
            if now - looked >= LOOK_SECONDS:
                looked = now
                self._require_ours()
            if events:
                heard = now
            if limits.idle is not None:
                if events:
                    limits.idle.progressed(now)
                limits.idle.look(now)
            if now - heard > limits.hang_seconds:
                raise SimulatorHungError(
                    f"The simulator reported nothing for {now - heard:.0f} s",
                    where=str(self.attempt.log_file),
                    remedy="Run the job again: it goes on from its last checkpoint. A task that is slow to compile"
                    " needs a larger ISAACLAB_FLOWS_HANG_SECONDS.",
                    details=log_tail(self.attempt.log_file),
                )
            if limits.seconds is not None and now - started > limits.seconds:
                raise (limits.end or _time_limit(limits.seconds)).error()
            time.sleep(POLL_SECONDS)

    def _require_ours(self) -> None:
        try:
            self._require()
        except FlowsError as error:
            raise _NotOursError(error) from error

    def _drain(self) -> Iterator[SimulatorEvent]:
        yield from self._tail.new()

    def _judge(self) -> SimulatorResult:
        """Turn what the ended child left into a result or an error."""
        code = self._process.returncode
        self._signal(signal.SIGKILL)  # helpers that outlive it hold the GPU
        end_attempt(self.attempt)  # and those that left its session
        tail = log_tail(self.attempt.log_file)
        where = str(self.attempt.log_file)
        try:
            with open_regular(self.attempt.result_file) as file:
                result = read_model(SimulatorResult, file.read(MOST_RESULT_BYTES))
        except OSError:
            raise died(code, tail, where=where, oom_killed=oom_kills() > self._oom_before) from None
        except ValidationError as error:
            raise SimulatorError(
                "The simulator's result cannot be read", where=where, remedy="Run the job again.", details=str(error)
            ) from error
        if result.status == "failed":
            failure = result.error.to_error() if result.error else SimulatorError("The simulator failed", where=where)
            if type(failure) is FlowsError or type(failure) is SimulatorError:
                failure = hinted(failure, tail)
            failure.details = failure.details or tail
            raise failure
        return result


def _time_limit(seconds: float) -> End:
    return End(
        seconds,
        "computeConfig.timeoutMinutes",
        f"it ran for {seconds:.0f} s, its time limit",
        "Raise computeConfig.timeoutMinutes and run it again: it goes on from its last checkpoint.",
    )


class _NotOursError(Exception):
    """The job's folder is somebody else's now."""

    def __init__(self, reason: FlowsError) -> None:
        super().__init__(reason.sentence)
        self.reason = reason


def command(attempt: Attempt) -> list[str]:
    """Return the child's command line."""
    return [simulator_python(), *simulator_words(attempt)]


def child_environment() -> dict[str, str]:
    """Return the child's environment: ours, less what is secret or leads to a secret, plus where the project lies."""
    project = str(Path(isaaclab_flows.__file__).parents[1])
    kept = {name: value for name, value in os.environ.items() if not _is_secret(name)}
    path = os.pathsep.join(part for part in (project, kept.get("PYTHONPATH", "")) if part)
    return kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "AWS_EC2_METADATA_DISABLED": "true"}


_NEEDED = ("AWS_BATCH_", "AWS_EC2_METADATA_DISABLED")
"""What torchrun's processes read of a multi-node job."""
_SECRET = re.compile(
    r"^(PREFECT_|AWS_|ECS_|DOCKER_|GITHUB_|GITLAB_|CI_JOB_|KUBERNETES_|SSH_AUTH|MLFLOW_TRACKING_|WANDB_API|HF_TOKEN"
    r"|DATABASE_URL|PG)|PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH_STRING",
    re.IGNORECASE,
)


def _is_secret(name: str) -> bool:
    return not name.startswith(_NEEDED) and _SECRET.search(name) is not None
