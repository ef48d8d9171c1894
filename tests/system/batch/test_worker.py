"""The worker for AWS Batch against a real Prefect server and moto's Batch, which starts real containers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from prefect_aws_batch.definitions import RUN_ID_TAG
from prefect_aws_batch.logs import LOGGER
from tests.system.batch.engine import container_of, jobs_of, wait_for_state
from tests.system.conftest import ROOT, wait_until


@pytest.fixture
def run(
    client: SyncPrefectClient, pool: str, queue: str, base_image: str, tmp_path: Path
) -> Iterator[Callable[..., UUID]]:
    """Deploy the flow with its code and environment mounted, and start a run of it."""
    from prefect import flow

    folder = tmp_path / "efs"
    folder.mkdir()
    paths = {"project": str(ROOT), "environment": sys.prefix, "efs": str(folder)}
    template = {
        "containerProperties": {
            "volumes": [{"name": name, "host": {"sourcePath": path}} for name, path in paths.items()],
            "mountPoints": [
                {"sourceVolume": name, "containerPath": path, "readOnly": name != "efs"} for name, path in paths.items()
            ],
        }
    }

    started: list[UUID] = []

    def start(mode: str, **variables: Any) -> UUID:
        steps = flow.from_source(source=str(ROOT), entrypoint="tests/system/batch/flows.py:steps")
        deployment_id = steps.deploy(
            name=mode,
            work_pool_name=pool,
            image=base_image,
            build=False,
            push=False,
            print_next_steps=False,
            ignore_warnings=True,
            job_variables={
                "job_queue": queue,
                "gpus": 0,
                "attempts": 2,
                "poll_interval": 0.5,
                "command": f"{sys.executable} -m prefect flow-run execute",
                "env": {"PYTHONDONTWRITEBYTECODE": "1", "PREFECT_HOME": "/tmp/prefect"},
                "job_definition_template": template,
                **variables,
            },
        )
        started.append(
            client.create_flow_run_from_deployment(deployment_id, parameters={"folder": str(folder), "mode": mode}).id
        )
        return started[-1]

    yield start
    for run_id in started:
        if container := container_of(run_id):
            subprocess.run(["docker", "kill", container], check=False, capture_output=True, timeout=60)


def container_lines(client: SyncPrefectClient, run_id: UUID) -> list[str]:
    logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])), limit=200)
    return [log.message for log in logs if log.name == LOGGER]


@pytest.mark.server
def test_prefect_finds_the_pool_type_and_gives_it_a_form(client: SyncPrefectClient, pool: str) -> None:
    created = client.read_work_pool(pool)
    form = created.base_job_template["variables"]["properties"]
    assert created.type == "aws-batch"
    assert all(field.get("title") and field.get("description") for field in form.values())


@pytest.mark.server
@pytest.mark.docker
def test_a_run_of_two_workers_of_one_name_has_one_job_and_its_log_arrives_once(
    client: SyncPrefectClient, run: Callable[..., UUID], start_worker: Callable[[str], Any], tmp_path: Path
) -> None:
    for _ in range(2):
        start_worker("first")
    # What the shell prints comes from CloudWatch alone; what the flow prints, its engine sends itself.
    execute = f"{sys.executable} -m prefect flow-run execute"
    run_id = run("quick", command=f"sh -c 'echo before; sleep 8; {execute}; echo after'")  # some sweeps of both
    wait_for_state(client, run_id, StateType.COMPLETED)
    assert (tmp_path / "efs" / "done").read_text() == "1"
    (job,) = jobs_of(run_id)
    assert job["tags"][RUN_ID_TAG] == str(run_id)
    assert client.read_flow_run(run_id).infrastructure_pid == job["jobId"]
    wait_until("the container's lines", lambda: "after" in container_lines(client, run_id), seconds=30)
    lines = container_lines(client, run_id)
    assert lines.count("before") == lines.count("after") == 1
    assert not [line for line in lines if "says hello" in line]


@pytest.mark.server
@pytest.mark.docker
def test_a_cancelled_run_ends_its_container(
    client: SyncPrefectClient, run: Callable[..., UUID], start_worker: Callable[[str], Any]
) -> None:
    start_worker("second")
    run_id = run("wait", cancel_grace_seconds=0)
    wait_for_state(client, run_id, StateType.RUNNING)
    client.set_flow_run_state(run_id, Cancelling())
    wait_for_state(client, run_id, StateType.CANCELLED)
    wait_until("the container's end", lambda: not container_of(run_id), seconds=20)


@pytest.mark.server
@pytest.mark.docker
def test_a_lost_container_is_followed_by_another_that_goes_on(
    client: SyncPrefectClient, run: Callable[..., UUID], start_worker: Callable[[str], Any], tmp_path: Path
) -> None:
    start_worker("third")
    run_id = run("lost_once")
    wait_until("the first attempt", (tmp_path / "efs" / "attempts").exists, seconds=180)
    wait_for_state(client, run_id, StateType.RUNNING)
    subprocess.run(["docker", "kill", container_of(run_id)], check=True, capture_output=True, timeout=30)
    wait_for_state(client, run_id, StateType.COMPLETED)
    assert (tmp_path / "efs" / "done").read_text() == "2"
    assert len(jobs_of(run_id)) == 2


@pytest.mark.server
@pytest.mark.docker
def test_a_worker_killed_and_started_again_adopts_its_job_and_reports_a_lost_one(
    client: SyncPrefectClient, run: Callable[..., UUID], start_worker: Callable[[str], Any], tmp_path: Path
) -> None:
    worker = start_worker("fourth")
    run_id = run("wait", attempts=1)
    wait_for_state(client, run_id, StateType.RUNNING)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(10)
    container = container_of(run_id)
    start_worker("fourth")
    subprocess.run(["docker", "kill", container], check=True, capture_output=True, timeout=30)
    state = wait_for_state(client, run_id, StateType.CRASHED)
    assert "lost" in state.message
    assert "Run it again" in state.message


@pytest.mark.server
@pytest.mark.docker
def test_a_run_cancelled_while_no_worker_was_there_is_ended_by_the_next_though_it_never_started(
    client: SyncPrefectClient, run: Callable[..., UUID], start_worker: Callable[[str], Any]
) -> None:
    worker = start_worker("fifth")
    run_id = run("quick", command="sleep 600")
    wait_until("the container", lambda: bool(container_of(run_id)), seconds=120)
    wait_until("its id to be noted", lambda: client.read_flow_run(run_id).infrastructure_pid is not None)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(10)
    client.set_flow_run_state(run_id, Cancelling())
    start_worker("fifth")
    wait_for_state(client, run_id, StateType.CANCELLED)
    wait_until("the container's end", lambda: not container_of(run_id), seconds=20)
