"""The pipeline's own process dies or is cancelled: Prefect notices, the handler ends the job and answers VAMS."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.cli.deploying import client_of
from tests.system.test_vams import TRAINING
from tests.system.vams import brief_simulator
from tests.system.vams.world import Order, World, wait_for, world

pytestmark = [pytest.mark.server, pytest.mark.isaaclab]


@pytest.fixture(scope="module")
def lab(moto_server: str, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose simulator waits while the file `hold` is there."""
    folder = tmp_path_factory.mktemp("lost")
    simulator = folder / "simulator"
    source = Path(brief_simulator.__file__)
    simulator.write_text(f"#!{sys.executable}\n{source.read_text()}")
    shutil.copymode(sys.executable, simulator)
    settings = {"ISAACLAB_FLOWS_SIMULATOR_PYTHON": str(simulator)}
    with (
        world(moto_server, prefect_server, folder, interval=1.0) as made,
        made.worker(ISAACLAB_FLOWS_EXECUTE_DEPLOYMENT="execute/isaaclab-execute", **settings),
        made.worker("isaaclab-simulator", **settings),
    ):
        made.upload("training/cartpole-training-config.json", TRAINING)
        yield made


def started(lab: World, order: Order) -> tuple[Any, Any]:
    """Wait until the simulator of an order is held; return the pipeline's and execute's flow runs."""
    hold = lab.folder / "hold"
    hold.touch()

    def both() -> list[Any] | None:
        runs = lab.runs(order.job_id)
        running = [run for run in runs if run.state and run.state.is_running()]
        return running if len(running) == 2 and _held(lab, order.job_id) else None

    pipeline, execute = wait_for("a running execute", both, seconds=600)
    assert "vams" in pipeline.tags
    return pipeline, execute


def _held(lab: World, job_id: str) -> bool:
    progress = list((lab.folder / "jobs" / job_id).glob("attempts/*/progress.jsonl"))
    return bool(progress) and "held" in progress[-1].read_text()


def ended(lab: World, run_id: Any) -> Any:
    with client_of(lab.prefect_url) as client:
        state = client.read_flow_run(run_id).state
    return state if state is not None and state.is_final() else None


def test_a_killed_pipeline_is_noticed_its_job_ended_vams_told_and_the_retry_goes_on(lab: World) -> None:
    order = lab.start(timeout=1500, heartbeat=600)
    pipeline, execute = started(lab, order)
    os.kill(_pid_of(pipeline), signal.SIGKILL)
    first = wait_for("the handler's answer", lambda: order.execution.attempts[0].result, seconds=600)
    assert first["error"] == "isaaclab.infrastructure_lost"
    assert "goes on from the last checkpoint" in first["cause"]
    (lab.folder / "hold").unlink()
    execution = order.wait(600)
    assert execution.status == "SUCCEEDED", (execution.error, execution.cause)
    assert [attempt.by_token for attempt in execution.attempts] == [True, True]
    assert ended(lab, pipeline.id).is_crashed()
    assert ended(lab, execute.id) is not None
    _no_secrets(lab, order)


def test_a_run_cancelled_in_prefect_answers_that_it_was_cancelled_and_ends_the_job(lab: World) -> None:
    from prefect.states import Cancelling

    order = lab.start(timeout=1500, heartbeat=600, retries=0)
    pipeline, execute = started(lab, order)
    with client_of(lab.prefect_url) as client:
        client.set_flow_run_state(pipeline.id, Cancelling())
    execution = order.wait(600)
    assert execution.status == "FAILED"
    assert execution.error == "isaaclab.cancelled"
    assert "cancelled by somebody in Prefect" in execution.cause
    wait_for("the job's end", lambda: ended(lab, execute.id), seconds=300)
    (lab.folder / "hold").unlink()
    _no_secrets(lab, order)


def _pid_of(run: Any) -> int:
    assert run.infrastructure_pid, "the worker names the process"
    return int(run.infrastructure_pid.rpartition(":")[2])


def _no_secrets(lab: World, order: Order) -> None:
    known = lab.everything_prefect_knows()
    for token in order.execution.tokens:
        assert token not in known
        assert all(name.endswith("/request.json") for name in lab.objects_with(token))
