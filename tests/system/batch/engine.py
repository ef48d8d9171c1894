"""The Docker engine, and the runs and jobs that the tests of AWS Batch wait for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any
from uuid import UUID

import boto3
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType

from tests.system.conftest import ROOT, wait_until

QUEUE = "gpu-queue"

Answer = subprocess.CompletedProcess[str]


def docker(*arguments: str, seconds: float = 120) -> Answer:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=seconds)


def build(target: str | None, tag: str, file: str = "container/image/Dockerfile", **arguments: str) -> Answer:
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    given += ["--target", target] if target else []
    return subprocess.run(
        ["docker", "build", "--network", "host", *given, "--file", file, "--tag", tag, "."],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def container_of(run_id: UUID) -> str:
    command = ["docker", "ps", "--quiet", "--filter", f"name={run_id}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def jobs_of(run_id: UUID) -> list[dict[str, Any]]:
    batch = boto3.client("batch")
    found = batch.list_jobs(jobQueue=QUEUE, filters=[{"name": "JOB_NAME", "values": [f"steps-{run_id}*"]}])
    ids = [job["jobId"] for job in found["jobSummaryList"]]
    return [dict(job) for job in batch.describe_jobs(jobs=ids)["jobs"]] if ids else []


def wait_for_state(client: SyncPrefectClient, run_id: UUID, wanted: StateType, *, seconds: float = 180) -> Any:
    def there() -> bool:
        state = client.read_flow_run(run_id).state
        return state is not None and state.type == wanted

    wait_until(f"the run to be {wanted.value}", there, seconds=seconds, poll=0.5)
    return client.read_flow_run(run_id).state


def wait_while_running(client: SyncPrefectClient, run_id: UUID, what: str, check: Callable[[], bool]) -> None:
    """Wait for something that a run does; a run that ends before fails at once, with its state's words."""

    def there() -> bool:
        state = client.read_flow_run(run_id).state
        assert state is None or not state.is_final(), state
        return check()

    wait_until(what, there, seconds=600, poll=0.5)
