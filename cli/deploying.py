"""Work pools, deployments and automations on a Prefect server, all from `prefect.yaml` and from here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import isaaclab_flows
from isaaclab_flows.cli.console import say
from isaaclab_flows.schemas.errors import ConfigError, FlowsError
from isaaclab_flows.schemas.names import EXECUTE, GPU_POOL, ORCHESTRATOR_POOL, SIMULATOR_POOL
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.prefect_jobs import require_server

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

Target = Literal["local", "batch"]

# A run that reports nothing for so long is lost: its process or its machine is gone. Flow runs report every 30 s.
HEARTBEAT_SECONDS = 30
HEARTBEAT_LOST_SECONDS = 100
LOST_RUNS = "isaaclab: runs whose heartbeat stopped are crashed"


def prefect_file() -> Path:
    """Return `prefect.yaml`, which is installed with the package."""
    file = Path(isaaclab_flows.__file__).with_name("prefect.yaml")
    if not file.is_file():
        raise ConfigError("prefect.yaml is missing", where=str(file), remedy="Install isaaclab-flows again.")
    return file.resolve()


@contextlib.contextmanager
def client_of(api_url: str) -> Iterator[SyncPrefectClient]:
    """Yield a client of a Prefect server.

    Args:
        api_url: Ends in /api.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        yield client


def deploy_command(api_url: str | None, target: str) -> None:
    """`isaaclab-flows deploy`: deploy to a server and print what is there then."""
    from typing import get_args

    if not api_url:
        raise ConfigError(
            "No Prefect server is named", where="PREFECT_API_URL", remedy="Set it, or give --api-url http://…/api."
        )
    if target not in get_args(Target):
        raise ConfigError(f"'--target' is '{target}'", where="--target", remedy="Allowed: 'local', 'batch'.")
    require_server(api_url)
    for deployment in deploy_all(api_url, target="batch" if target == "batch" else "local"):
        say(deployment)


def deploy_all(
    api_url: str,
    *,
    target: Target = "local",
    working_folder: Path | None = None,
    simulator_runs: int = 1,
) -> list[str]:
    """Make the work pools, the deployments and the automations of a server what they should be.

    Args:
        api_url: The server's API, ending in /api.
        target: Where `execute` runs: the process pool of this machine, or AWS Batch.
        working_folder: Where runs of the process pools work: relative paths in forms start here.
        simulator_runs: How many simulators the local pool runs at a time.

    Returns:
        The deployments, as `flow/name`.

    Raises:
        FlowsError: `prefect deploy` failed; its output is in the details.
    """
    import yaml

    with client_of(api_url) as client:
        folder = str(working_folder or Path.cwd())
        _process_pool(client, ORCHESTRATOR_POOL, "Orchestrates: cheap CPU work.", folder, limit=None)
        if target == "local":
            _process_pool(client, SIMULATOR_POOL, "Simulates on this machine.", folder, limit=simulator_runs)
        else:
            _batch_pool(client)
    source = prefect_file()
    description = for_target(yaml.safe_load(source.read_text()), target)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "prefect.yaml"
        file.write_text(yaml.safe_dump(description, sort_keys=False))
        _prefect_deploy(api_url, file)
    with client_of(api_url) as client:
        _lost_runs_automation(client)
    return [f"{_flow_name(entry)}/{entry['name']}" for entry in description["deployments"]]


def for_target(description: dict[str, Any], target: Target) -> dict[str, Any]:
    """Return `prefect.yaml`'s content for a target: on Batch, `execute` runs in the GPU pool with GPU variables."""
    batch = description.get("definitions", {}).get("batch", {})
    deployments = []
    for entry in description["deployments"]:
        if target == "batch" and entry["name"] == EXECUTE:
            deployments.append(entry | {"work_pool": batch["work_pool"]})
        else:
            deployments.append(entry)
    return {key: value for key, value in description.items() if key != "definitions"} | {"deployments": deployments}


def _flow_name(entry: dict[str, Any]) -> str:
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(entry["entrypoint"]).name


def _process_pool(client: SyncPrefectClient, name: str, description: str, folder: str, *, limit: int | None) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["working_dir"]["default"] = folder
    pool = WorkPoolCreate(
        name=name, description=description, type="process", base_job_template=template, concurrency_limit=limit
    )
    client.create_work_pool(pool, overwrite=True)


def _batch_pool(client: SyncPrefectClient) -> None:
    """Make the GPU pool; its variables' defaults (queue, image, roles) come from the settings."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.base import BaseWorker

    worker = BaseWorker.get_worker_class_from_type("aws-batch")
    if worker is None:
        raise ConfigError(
            "The worker type 'aws-batch' is not installed",
            where=GPU_POOL,
            remedy="Install the worker for AWS Batch with: pip install 'isaaclab-flows[aws]'",
        )
    template = worker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    for name, value in settings().gpu_pool.items():
        if name not in variables:
            raise ConfigError(
                f"'{name}' is no variable of the pool",
                where="ISAACLAB_FLOWS_GPU_POOL",
                remedy=f"Its variables: {', '.join(sorted(variables))}.",
            )
        variables[name]["default"] = value
    pool = WorkPoolCreate(
        name=GPU_POOL, description="Simulates on AWS Batch.", type="aws-batch", base_job_template=template
    )
    client.create_work_pool(pool, overwrite=True)


def _prefect_deploy(api_url: str, file: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    answer = subprocess.run(
        command,
        cwd=file.parent,
        env=os.environ | {"PREFECT_API_URL": api_url, "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if answer.returncode != 0:
        raise FlowsError(
            "`prefect deploy --all` failed",
            where=api_url,
            remedy="Its output follows.",
            details=(answer.stdout + answer.stderr)[-4_000:],
        )


def _lost_runs_automation(client: SyncPrefectClient) -> None:
    """Crash runs that have stopped reporting: nothing else notices that a process died with its machine."""
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    ended = ["Completed", "Failed", "Cancelled", "Crashed"]
    automation = AutomationCore(
        name=LOST_RUNS,
        description="A flow run that was alive and says nothing any more has lost its process or its machine.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in ended)},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=HEARTBEAT_LOST_SECONDS,
        ),
        actions=[
            ChangeFlowRunState(
                state="CRASHED",
                name="Crashed",
                message=f"The run reported nothing for {HEARTBEAT_LOST_SECONDS} s: its process or machine is gone.",
            )
        ],
    )
    for existing in client.read_automations_by_name(LOST_RUNS):
        client.delete_automation(existing.id)
    client.create_automation(automation)
