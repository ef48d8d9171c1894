"""The worker for AWS Batch against a real Prefect server and moto's Batch, which starts real containers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from tests.system.conftest import ROOT, wait_until
from worker.definitions import RUN_ID_TAG
from worker.logs import LOGGER

IMAGE = "isaaclab-flows-base:bookworm"
POOL = "gpu"
QUEUE = "gpu-queue"


@pytest.fixture(scope="session")
def base_image() -> str:
    """A small image with this machine's Python; made of Debian's packages where it is missing."""
    known = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False)
    if known.returncode:
        subprocess.run([str(ROOT / "container" / "base" / "make"), IMAGE], check=True, timeout=900)
    return IMAGE


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        yield client


def prefect(server: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "prefect", *arguments]
    environment = {**os.environ, "PREFECT_API_URL": server}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=180).stdout


@pytest.fixture
def pool(prefect_server: str, client: SyncPrefectClient) -> str:
    if not any(pool.name == POOL for pool in client.read_work_pools()):
        prefect(prefect_server, "work-pool", "create", POOL, "--type", "aws-batch")
    return POOL


@pytest.fixture
def queue(aws: str) -> str:
    batch = boto3.client("batch")
    if not batch.describe_job_queues(jobQueues=[QUEUE])["jobQueues"]:
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        role = boto3.client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        environment = batch.create_compute_environment(
            computeEnvironmentName="machines", type="UNMANAGED", state="ENABLED", serviceRole=role
        )
        batch.create_job_queue(
            jobQueueName=QUEUE,
            state="ENABLED",
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment["computeEnvironmentArn"]}],
        )
    return QUEUE


@pytest.fixture
def start_worker(
    prefect_server: str, pool: str, queue: str, tmp_path: Path
) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start workers as people do, and end them with the test."""
    workers: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
        environment = {
            **os.environ,
            "PREFECT_API_URL": prefect_server,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",
            "PREFECT_LOGGING_LEVEL": "INFO",
        }
        with (tmp_path / f"{name}-{len(workers)}.log").open("w") as log:
            worker = subprocess.Popen(
                [*command, "--install-policy", "never"], env=environment, cwd=tmp_path, stdout=log, stderr=log
            )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()
        worker.wait(10)
    for log in sorted(tmp_path.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text()}")


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
        steps = flow.from_source(source=str(ROOT), entrypoint="tests/system/batch_flows.py:steps")
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


def jobs_of(run_id: UUID) -> list[dict[str, Any]]:
    batch = boto3.client("batch")
    found = batch.list_jobs(jobQueue=QUEUE, filters=[{"name": "JOB_NAME", "values": [f"steps-{run_id}*"]}])
    ids = [job["jobId"] for job in found["jobSummaryList"]]
    return [dict(job) for job in batch.describe_jobs(jobs=ids)["jobs"]] if ids else []


def container_of(run_id: UUID) -> str:
    command = ["docker", "ps", "--quiet", "--filter", f"name={run_id}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def wait_for_state(client: SyncPrefectClient, run_id: UUID, wanted: StateType, *, seconds: float = 180) -> Any:
    def there() -> bool:
        state = client.read_flow_run(run_id).state
        return state is not None and state.type == wanted

    wait_until(f"the run to be {wanted.value}", there, seconds=seconds, poll=0.5)
    return client.read_flow_run(run_id).state


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
def test_a_run_completes_in_a_container_and_its_log_arrives_once(
    client: SyncPrefectClient, run: Callable[..., UUID], start_worker: Callable[[str], Any], tmp_path: Path
) -> None:
    start_worker("first")
    # What the shell prints comes from CloudWatch alone; what the flow prints, its engine sends itself.
    run_id = run("quick", command=f"sh -c 'echo before; {sys.executable} -m prefect flow-run execute; echo after'")
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
