"""The orchestrator's image, as the stack's deploy task runs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient

from tests.system.batch.engine import build, docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]


@pytest.fixture
def deployed_by_nobody(client: SyncPrefectClient) -> Iterator[None]:
    """Take away what is deployed meanwhile: its automations would judge the runs of other tests."""
    known = {d.id for d in client.read_deployments()} | {a.id for a in client.read_automations()}
    yield
    for automation in client.read_automations():
        if automation.id not in known:
            client.delete_automation(automation.id)
    for deployment in client.read_deployments():
        if deployment.id not in known:
            client.delete_deployment(deployment.id)


@pytest.mark.server
@pytest.mark.usefixtures("deployed_by_nobody")
def test_the_orchestrators_image_makes_pools_and_deployments_again_and_again(
    base_image: str,
    client: SyncPrefectClient,
    prefect_server: str,
) -> None:
    """As the stack's deploy task runs it."""
    tag = "isaaclab-flows:orchestrator-test"
    file = "infrastructure/orchestrator.Dockerfile"
    built = build(None, tag, file, PYTHON_BASE=base_image, DEPENDENCIES="mounted")
    assert built.returncode == 0, built.stdout + built.stderr
    environment = (
        "--env",
        f"PREFECT_API_URL={prefect_server}",
        "--env",
        'ISAACLAB_FLOWS_GPU_POOL={"job_queue": "one"}',
    )
    mounted = ("--network=host", f"--volume={sys.prefix}:/opt/venv:ro")
    for _ in range(2):
        words = ("python", "-m", "isaaclab_flows.cli.main", "deploy", "--target", "batch")
        answer = docker("run", "--rm", *mounted, *environment, tag, *words)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    deployments = {d.name: d.work_pool_name for d in client.read_deployments()}
    assert deployments["isaaclab-execute"] == "isaaclab-gpu"
    assert deployments["isaaclab-training"] == "isaaclab-orchestrator"
    gpu_pool = client.read_work_pool("isaaclab-gpu")
    assert gpu_pool.type == "aws-batch"
    assert gpu_pool.base_job_template["variables"]["properties"]["job_queue"]["default"] == "one"
