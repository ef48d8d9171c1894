"""The supervisor: every way a simulator can die is an error of its own, with the log's last lines and a remedy.

The simulator here is a few lines of Python that speak the real contract; the real one runs in the system tests.
"""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import (
    CheckpointError,
    LimitReachedError,
    OutOfMemoryError,
    SimulatorError,
    SimulatorHungError,
    SimulatorKilledError,
)
from isaaclab_flows.schemas.simulator import IterationEvent, SimulatorEvent, SimulatorJob, TrainingOrder
from isaaclab_flows.tasks.job.events import EventTail
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder
from isaaclab_flows.tasks.simulator import supervise as simulator
from isaaclab_flows.tasks.simulator.death import died
from isaaclab_flows.tasks.simulator.supervise import AttemptLimits, Simulator

PRELUDE = """
import json, os, signal, sys, time
order_file = sys.argv[1]
order = json.load(open(order_file))
def event(**e): open(order["progressFile"], "a").write(json.dumps({"time": time.time()} | e) + chr(10))
def result(**r): open(order["resultFile"], "w").write(json.dumps(r))
"""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Replace the simulator by a script."""

    def use(script: str) -> Simulator:
        attempt = JobFolder(tmp_path / "job").new_attempt()
        path = tmp_path / "child.py"
        path.write_text(PRELUDE + textwrap.dedent(script))
        monkeypatch.setattr(simulator, "command", lambda attempt: [sys.executable, str(path), str(attempt.order_file)])
        return Simulator(attempt, order_of(attempt))

    return use


def order_of(attempt: Attempt) -> SimulatorJob:
    return SimulatorJob(
        job_id="j",
        task="T",
        library="rsl_rl",
        num_envs=1,
        seed=1,
        device="cpu",
        run_folder=str(attempt.folder),
        progress_file=str(attempt.progress_file),
        result_file=str(attempt.result_file),
        training=TrainingOrder(max_iterations=3, checkpoint_interval=1),
    )


def run(process: Simulator, limits: AttemptLimits | None = None) -> list[SimulatorEvent]:
    events: list[SimulatorEvent] = []
    result = process.run(on_event=events.append, limits=limits or AttemptLimits(hang_seconds=30, stop_grace_seconds=5))
    assert result.status in ("succeeded", "interrupted")
    return events


def test_events_and_result_come_through(child) -> None:  # type: ignore[no-untyped-def]
    script = 'for i in range(3): event(event="iteration", iteration=i, total=3)\nresult(status="succeeded")'
    events = run(child(script))
    assert [e.iteration for e in events if isinstance(e, IterationEvent)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ('print("last words"); os.kill(os.getpid(), 9)', SimulatorKilledError, "SIGKILL"),
        ('print("last words"); os.kill(os.getpid(), signal.SIGSEGV)', SimulatorKilledError, "SIGSEGV"),
        ('print("last words"); sys.exit(0)', SimulatorError, "exit code 0 and left no result"),
        ('print("last words"); sys.exit(3)', SimulatorError, "exit code 3"),
        (
            'print("last words"); print("torch.OutOfMemoryError: CUDA out of memory."); sys.exit(1)',
            OutOfMemoryError,
            "",
        ),
        ('print("last words"); raise MemoryError', OutOfMemoryError, "main memory"),
        ('print("last words"); open(order["resultFile"], "w").write("{")', SimulatorError, "cannot be read"),
    ],
)
def test_each_death_is_its_own_error(child, script: str, error: type[SimulatorError], words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error) as caught:
        run(child(script))
    assert type(caught.value) is error
    assert words in caught.value.sentence
    assert caught.value.remedy
    assert "last words" in caught.value.details or "cannot be read" in words


def test_an_error_that_the_simulator_reports_keeps_its_kind(child) -> None:  # type: ignore[no-untyped-def]
    script = 'result(status="failed", error={"kind": "checkpoint", "what": "Other shape", "remedy": "Do x."})'
    with pytest.raises(CheckpointError, match="Other shape"):
        run(child(script))


def test_silence_is_a_hang(child) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SimulatorHungError, match="reported nothing"):
        run(child("time.sleep(60)"), AttemptLimits(hang_seconds=0.5, stop_grace_seconds=1))


def test_a_time_limit_ends_the_run(child) -> None:  # type: ignore[no-untyped-def]
    script = 'while True: event(event="alive"); time.sleep(0.05)'
    with pytest.raises(LimitReachedError, match="timeoutMinutes"):
        run(child(script), AttemptLimits(hang_seconds=30, seconds=0.7, stop_grace_seconds=1))


def test_a_stop_reaches_the_simulator_which_saves(child) -> None:  # type: ignore[no-untyped-def]
    process = child(
        """
        def stop(*_):
            event(event="checkpoint", path="/x/model_7.pt", iteration=7)
            result(status="interrupted")
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        event(event="alive")
        time.sleep(60)
        """
    )
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run(process)
    assert '"checkpoint"' in process.attempt.progress_file.read_text()
    assert process.attempt.result_file.exists()


def test_helpers_of_a_dead_simulator_die_with_it(child) -> None:  # type: ignore[no-untyped-def]
    process = child(
        """
        import subprocess
        helper = subprocess.Popen(["sleep", "60"])
        open(order["runFolder"] + "/helper", "w").write(str(helper.pid))
        result(status="succeeded")
        """
    )
    run(process)
    helper = int((process.attempt.folder / "helper").read_text())
    time.sleep(0.2)
    assert not Path(f"/proc/{helper}").exists() or " Z " in Path(f"/proc/{helper}/stat").read_text()


def test_no_credential_reaches_the_simulator(child, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    for name in (
        "PREFECT_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_PROFILE",
        "ECS_CONTAINER_METADATA_URI_V4",
        "MY_DATABASE_PASSWORD",
        "GITHUB_TOKEN",
        "SOME_API_KEY",
    ):
        monkeypatch.setenv(name, "secret-value")
    monkeypatch.setenv("AWS_BATCH_JOB_NODE_INDEX", "7")
    process = child('print(dict(os.environ)); result(status="succeeded")')
    run(process)
    log = process.attempt.log_file.read_text()
    assert "PATH" in log
    assert "AWS_BATCH_JOB_NODE_INDEX" in log
    assert "secret-" not in log


def test_an_oom_kill_of_the_kernel_is_told_apart() -> None:
    assert isinstance(died(-9, "", where="x", oom_killed=True), OutOfMemoryError)


def test_a_torn_line_waits_for_its_end_and_rubbish_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    tail = EventTail(path)
    assert list(tail.new()) == []
    path.write_text('{"event":"alive","time":1.0}\nrubbish\n{"event":"al')
    assert len(list(tail.new())) == 1
    with path.open("a") as file:
        file.write('ive","time":2.0}\n')
    assert [e.time for e in tail.new()] == [2.0]
