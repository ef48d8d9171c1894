"""Batch as moto plays it, with real containers, a real Prefect server and our worker between them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.system.batch.engine import QUEUE, build
from tests.system.conftest import ROOT

BASE_IMAGE = "isaaclab-flows-base:bookworm"
IMAGE = "isaaclab-flows:test"
POOL = "gpu"


@pytest.fixture(scope="session")
def base_image() -> str:
    """A small image with this machine's Python; made of Debian's packages where it is missing."""
    known = subprocess.run(["docker", "image", "inspect", BASE_IMAGE], capture_output=True, check=False)
    if known.returncode:
        subprocess.run([str(ROOT / "container" / "image" / "base" / "make"), BASE_IMAGE], check=True, timeout=900)
    return BASE_IMAGE


@pytest.fixture(scope="session")
def image(base_image: str) -> str:
    """The `newton` target without its dependencies."""
    built = build("newton", IMAGE, PYTHON_BASE=base_image, DEPENDENCIES="mounted")
    assert built.returncode == 0, built.stdout + built.stderr
    return IMAGE


@pytest.fixture(scope="session")
def efs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared file system of the session's jobs, so that later ones find the kernels of the first."""
    folder = tmp_path_factory.mktemp("efs")
    kernels = Path("~/.cache/warp").expanduser()
    if kernels.is_dir():  # compiled by earlier tests on this machine: minutes less
        half_made = shutil.ignore_patterns("*_p[0-9]*_t[0-9]*")  # by a test that runs beside this one
        shutil.copytree(kernels, folder / "cache" / "warp", ignore=half_made)
    subprocess.run(["chmod", "-R", "a+rwX", str(folder)], check=True, timeout=60)
    return folder


@pytest.fixture
def volumes(efs: Path) -> dict[str, tuple[str, bool]]:
    """What is mounted into a container: path in it, to path here and whether it is read-only."""
    return {
        "/opt/venv": (sys.prefix, True),
        "/mnt/efs": (str(efs), False),
    }


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
