"""The orchestrator's image, as the stack's deploy task runs it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient

from tests.system.batch.engine import build, docker
from tests.system.conftest import free_port, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def image(base_image: str) -> str:
    """The image, without its dependencies."""
    tag = "isaaclab-flows:orchestrator-test"
    built = build(None, tag, "infrastructure/orchestrator.Dockerfile", PYTHON_BASE=base_image, DEPENDENCIES="mounted")
    assert built.returncode == 0, built.stdout + built.stderr
    return tag


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
    image: str,
    client: SyncPrefectClient,
    prefect_server: str,
) -> None:
    """As the stack's deploy task runs it."""
    environment = (
        "--env",
        f"PREFECT_API_URL={prefect_server}",
        "--env",
        'ISAACLAB_FLOWS_GPU_POOL={"job_queue": "one"}',
    )
    mounted = ("--network=host", f"--volume={sys.prefix}:/opt/venv:ro")
    for _ in range(2):
        words = ("python", "-m", "isaaclab_flows.cli.main", "deploy", "--target", "batch")
        answer = docker("run", "--rm", *mounted, *environment, image, *words)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    deployments = {d.name: d.work_pool_name for d in client.read_deployments()}
    assert deployments["isaaclab-execute"] == "isaaclab-gpu"
    assert deployments["isaaclab-training"] == "isaaclab-orchestrator"
    gpu_pool = client.read_work_pool("isaaclab-gpu")
    assert gpu_pool.type == "aws-batch"
    assert gpu_pool.base_job_template["variables"]["properties"]["job_queue"]["default"] == "one"


def test_our_own_server_shows_its_ui_in_a_read_only_container(image: str) -> None:
    """As the stack runs it: the image's user, nothing to write to but the volume."""
    port = free_port()
    name = f"prefect-ui-{port}"
    words = ("python", "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    given = (
        "--read-only",
        "--detach",
        "--rm",
        f"--name={name}",
        "--network=host",
        f"--volume={sys.prefix}:/opt/venv:ro",
    )
    started = docker("run", *given, "--env", "PREFECT_SERVER_ANALYTICS_ENABLED=false", image, *words)
    assert started.returncode == 0, started.stderr
    try:
        wait_until("the server", lambda: _answers(f"http://127.0.0.1:{port}/api/health"), seconds=240, poll=1)
        user = docker("exec", name, "id", "-un")
        assert user.stdout.strip() == "isaaclab"
        page = httpx.get(f"http://127.0.0.1:{port}/", headers={"Accept": "text/html"}, follow_redirects=True)
        assert page.status_code == 200, docker("logs", name).stderr[-2_000:]
        (script,) = re.findall(r'<script type="module"[^>]* src="([^"]+\.js)"', page.text)
        assert httpx.get(f"http://127.0.0.1:{port}{script}").status_code == 200
    finally:
        docker("rm", "--force", name)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
