"""When a simulator is started again, when it is not, and what the attempts add up to."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.errors import (
    FlowsError,
    InfrastructureLostError,
    SimulatorError,
    SimulatorHungError,
    SimulatorKilledError,
)
from isaaclab_flows.schemas.settings import replaced_settings
from isaaclab_flows.schemas.simulator import IterationEvent, SimulatorJob, SimulatorResult, StageEvent
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder
from isaaclab_flows.tasks.job.lease import Lease
from isaaclab_flows.tasks.simulator import attempts
from isaaclab_flows.tasks.simulator.attempts import History, history, run_attempts
from isaaclab_flows.tasks.simulator.start import newest_checkpoint
from tests.tasks.vams import vams_job

DONE = SimulatorResult(status="succeeded")


class Simulators:
    """Stands in for simulator processes: each saves as many checkpoints as it is told, then ends as it is told."""

    def __init__(self, folder: JobFolder, ends: list[tuple[int, FlowsError | SimulatorResult]]) -> None:
        self.folder, self.ends, self.started = folder, ends, 0

    def start(self, *_: Any, **__: Any) -> Any:
        self.started += 1
        newest = newest_checkpoint(self.folder)
        saved, end = self.ends.pop(0)
        attempt = self.folder.new_attempt()

        class One:
            simulator: Any
            newest_before = newest

        def run(**_: Any) -> SimulatorResult:
            for _ in range(saved):
                self.save()
            if isinstance(end, FlowsError):
                raise end
            return end

        one = One()
        one.simulator = type("Simulator", (), {"run": staticmethod(run), "attempt": attempt})()
        return one

    def save(self) -> None:
        folder = self.folder.run / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / f"model_{len(list(folder.iterdir()))}.pt", "w") as archive:
            archive.writestr("model/data.pkl", b"weights")


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def held_by_us(folder: JobFolder) -> Lease:
    return Lease(folder, 1, clock=time.monotonic)


KILLED, HUNG, BROKEN = SimulatorKilledError("Killed"), SimulatorHungError("Hung"), SimulatorError("Broken")


@pytest.mark.parametrize(
    ("kind", "ends", "outcome", "started"),
    [
        ("training", [(1, DONE)], DONE, 1),
        ("training", [(1, KILLED), (1, DONE)], DONE, 2),
        ("training", [(1, HUNG), (1, KILLED), (1, DONE)], DONE, 3),
        ("training", [(1, KILLED), (1, KILLED), (1, KILLED), (1, DONE)], KILLED, 3),
        ("training", [(0, KILLED), (1, DONE)], KILLED, 1),
        ("training", [(1, KILLED), (0, HUNG), (1, DONE)], HUNG, 2),
        ("training", [(1, BROKEN), (1, DONE)], BROKEN, 1),
        ("evaluation", [(1, KILLED), (1, DONE)], KILLED, 1),
    ],
    ids=[
        "succeeds",
        "killed once",
        "as often as allowed",
        "once too often",
        "killed before it saved anything",
        "no further than the start before",
        "fails by itself",
        "an evaluation",
    ],
)
def test_a_training_goes_on_only_where_that_gets_it_further(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, kind: str, ends: list[Any], outcome: Any, started: int
) -> None:
    simulators = Simulators(folder, list(ends))
    monkeypatch.setattr(attempts.Start, "of", simulators.start)
    monkeypatch.setattr(attempts, "fetch_inputs", lambda *_: None)
    said: list[str] = []

    def run() -> SimulatorResult:
        with replaced_settings(simulator_restarts=2):
            return run_attempts(
                vams_job.job(kind), held_by_us(folder), early=None, on_event=pytest.fail, warn=said.append
            )

    if isinstance(outcome, FlowsError):
        with pytest.raises(type(outcome)) as caught:
            run()
        assert caught.value is outcome
    else:
        assert run() == outcome
    assert (simulators.started, len(said)) == (started, started - 1)
    if len(said) == 2:
        assert said[1].endswith("Starting it again from its newest checkpoint (2 of 2).")


def test_a_simulator_that_was_asked_to_end_is_lost_infrastructure(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulators = Simulators(folder, [(1, SimulatorResult(status="interrupted"))])
    monkeypatch.setattr(attempts.Start, "of", simulators.start)
    monkeypatch.setattr(attempts, "fetch_inputs", lambda *_: None)
    with pytest.raises(InfrastructureLostError, match=r"goes on from its last checkpoint"):
        run_attempts(vams_job.job(), held_by_us(folder), early=None, on_event=pytest.fail, warn=pytest.fail)


def attempt(folder: JobFolder, start: float, iterations: range, *, device: str = "cpu", tail: float = 0.0) -> Attempt:
    """One event a second."""
    made = folder.new_attempt()
    events: list[Any] = [StageEvent(stage="training", time=start)]
    events += [IterationEvent(iteration=i, total=99, time=start + 1 + k) for k, i in enumerate(iterations)]
    if tail:
        events.append(StageEvent(stage="finishing", time=start + len(iterations) + tail))
    made.progress_file.write_text("".join(f"{event.model_dump_json()}\n" for event in events))
    order = SimulatorJob(
        job_id="j",
        task="t",
        library="rsl_rl",
        num_envs=1,
        seed=0,
        device=device,
        run_folder="r",
        progress_file="p",
        result_file="q",
    )
    made.order_file.write_text(order.model_dump_json())
    return made


def test_a_job_that_was_never_started_has_no_history(folder: JobFolder) -> None:
    assert history(folder) == History()


def test_what_was_done_twice_is_counted_where_an_attempt_went_on(folder: JobFolder) -> None:
    attempt(folder, 100.0, range(10))
    attempt(folder, 500.0, range(7, 12), device="cuda:0", tail=2.0)
    folder.new_attempt()
    attempt(folder, 900.0, range(12, 14), device="cuda")
    found = history(folder, gpus=4)
    assert (found.attempts, found.recoveries, found.resumed_at) == (4, 2, (7, 12))
    assert found.iterations_lost == 3, "7, 8 and 9; nothing was lost the second time"
    assert found.seconds == 10 + 7 + 2
    assert found.gpu_seconds == 4 * (7 + 2)


def test_an_attempt_without_a_readable_order_took_no_gpu(folder: JobFolder) -> None:
    attempt(folder, 0.0, range(3), device="cuda").order_file.write_text("{torn")
    attempt(folder, 9.0, range(3), device="cuda").order_file.unlink()
    assert (history(folder).seconds, history(folder).gpu_seconds) == (6.0, 0.0)
