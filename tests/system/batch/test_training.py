"""Trainings that the worker gives to Batch: lost and gone on with, cancelled, on two nodes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest
import torch
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from isaaclab_flows.flows.execute import execute
from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.request import Request, new_job_id
from isaaclab_flows.schemas.simulator import SimulatorResult
from isaaclab_flows.tasks.job.hand_over import hand_over, load_outcome
from isaaclab_flows.tasks.request.resolve import resolve
from tests.system.batch.engine import container_of, docker, wait_for_state, wait_while_running
from tests.system.conftest import ROOT, wait_until

BUCKET = "robots"

pytestmark = [pytest.mark.docker, pytest.mark.isaaclab, pytest.mark.timeout(1500)]


@pytest.fixture
def train_in_batch(
    image: str,
    volumes: dict[str, tuple[str, bool]],
    client: SyncPrefectClient,
    pool: str,
    queue: str,
    start_worker: Callable[[str], Any],
    aws: str,
    tmp_path: Path,
) -> Callable[[int], tuple[Job, UUID]]:
    """Hand a Cartpole training over and start the deployment's flow run for it in the GPU pool."""
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    # In AWS the job role gives credentials; the worker lets none into the environment.
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
    tmp_path.chmod(0o755)
    mounted = {**volumes, "/home/isaaclab/.aws": (str(tmp_path), True)}
    paths = {f"v{number}": (path, *mount) for number, (path, mount) in enumerate(mounted.items())}
    template = {
        "containerProperties": {
            "volumes": [{"name": name, "host": {"sourcePath": here}} for name, (_, here, _) in paths.items()],
            "mountPoints": [
                {"sourceVolume": name, "containerPath": there, "readOnly": only}
                for name, (there, _, only) in paths.items()
            ],
        }
    }
    deployment = client.create_deployment(
        flow_id=client.create_flow(execute),
        name="isaaclab-execute",
        entrypoint="isaaclab_flows.flows.execute.execute",
        work_pool_name=pool,
        job_variables={
            "image": image,
            "job_queue": queue,
            "gpus": 0,
            "attempts": 2,
            "poll_interval": 0.5,
            "env": {
                "AWS_ENDPOINT_URL": aws,
                "AWS_DEFAULT_REGION": "us-east-1",
                "ISAACLAB_FLOWS_DEVICE": "cpu",
            },
            "job_definition_template": template,
        },
    )

    def start(iterations: int) -> tuple[Job, UUID]:
        config = {
            "name": "Cartpole",
            "description": "Balance a pole",
            "trainingConfig": {
                "mode": "train",
                "task": "Isaac-Cartpole-Direct",
                "numEnvs": 16,
                "maxIterations": iterations,
                "rlLibrary": "rsl_rl",
            },
            "computeConfig": {"numNodes": 1},
            "outputConfig": {"checkpointInterval": 2},
        }
        request = Request(
            job_id=new_job_id(),
            source="cli",
            config=config,
            output_uri=f"s3://{BUCKET}/out",
            auxiliary_uri=f"s3://{BUCKET}/aux",
            device="cpu",
        )
        job = resolve(request)
        start_worker(f"worker-{job.job_id[:8]}")
        run = client.create_flow_run_from_deployment(deployment, parameters={"job_uri": hand_over(job)})
        return job, run.id

    return start


def uploaded_checkpoints(job: Job) -> list[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"aux/{job.job_id}/")
    return [
        item["Key"] for item in listed.get("Contents", []) if item["Key"].endswith(".pt") and "model" in item["Key"]
    ]


@pytest.mark.server
def test_a_training_whose_container_is_killed_goes_on_in_another_from_the_shared_folder(
    train_in_batch: Callable[[int], tuple[Job, UUID]],
    client: SyncPrefectClient,
    efs: Path,
) -> None:
    job, run_id = train_in_batch(12)
    checkpoints = efs / "jobs" / job.job_id / "run" / "checkpoints"
    wait_while_running(client, run_id, "a checkpoint", lambda: any(checkpoints.glob("model_[1-9]*.pt")))
    docker("kill", container_of(run_id))
    wait_for_state(client, run_id, StateType.COMPLETED, seconds=600)
    outcome = load_outcome(job)
    assert outcome is not None
    assert outcome.status == "succeeded"
    assert outcome.training is not None
    assert outcome.training.iterations == 12
    assert outcome.training.recoveries == 1
    assert any(key.endswith("model_11.pt") for key in uploaded_checkpoints(job))
    assert (efs / "cache" / "warp").is_dir()


@pytest.mark.server
def test_a_cancelled_training_stops_and_keeps_its_checkpoints(
    train_in_batch: Callable[[int], tuple[Job, UUID]],
    client: SyncPrefectClient,
) -> None:
    job, run_id = train_in_batch(10_000)
    wait_while_running(client, run_id, "a checkpoint in S3", lambda: bool(uploaded_checkpoints(job)))
    client.set_flow_run_state(run_id, Cancelling())
    wait_for_state(client, run_id, StateType.CANCELLED, seconds=300)
    wait_until("the container's end", lambda: not container_of(run_id), seconds=60)
    assert uploaded_checkpoints(job)


def test_two_nodes_train_together_and_the_main_node_writes(
    image: str,
    volumes: dict[str, tuple[str, bool]],
    efs: Path,
    queue: str,
) -> None:
    mounted = {**volumes, "/opt/stand-in": (str(ROOT / "tests" / "system" / "batch"), True)}
    jobs = efs / "nodes"
    jobs.mkdir()
    jobs.chmod(0o777)
    training = json.loads((ROOT / "examples/cartpole/training/cartpole-training-config.json").read_text())
    training["trainingConfig"] |= {"numEnvs": 16, "maxIterations": 3}
    training["computeConfig"] |= {"numNodes": 2}
    training["outputConfig"] = {"checkpointInterval": 1}
    job = Job(
        job_id="two-nodes",
        kind="training",
        source="cli",
        config=check_config(training, source="cartpole-training-config.json"),
        task="Isaac-Cartpole-Direct",
        library="rsl_rl",
        output_uri="/tmp/out",
        staging_uri="/tmp/staging",
        device="cpu",
    )
    (jobs / "job.json").write_text(job.model_dump_json())
    container = {
        "image": image,
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "6144"}],
        "volumes": [{"name": f"v{i}", "host": {"sourcePath": here}} for i, (here, _) in enumerate(mounted.values())],
        "mountPoints": [
            {"sourceVolume": f"v{i}", "containerPath": there, "readOnly": only}
            for i, (there, (_, only)) in enumerate(mounted.items())
        ],
    }
    # Unlike Batch, moto tells a node neither its number nor, on the network that is shared here, the main node's
    # address, for which it sets an empty one: `env` puts it right inside the container.
    address = "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS=127.0.0.1"
    join = ("env", address, "python", "-m", "isaaclab_flows.container.start.entry_point", "join")
    told = {
        "AWS_BATCH_JOB_ID": "two-nodes",
        "AWS_BATCH_JOB_NUM_NODES": "2",
        "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
        "ISAACLAB_FLOWS_JOBS_FOLDER": "/mnt/efs/nodes",
        "ISAACLAB_FLOWS_DEVICE": "cpu",
    }

    def node(index: int, *command: str) -> dict[str, Any]:
        variables = {**told, "AWS_BATCH_JOB_NODE_INDEX": str(index)}
        environment = [{"name": name, "value": value} for name, value in variables.items()]
        return {
            "targetNodes": f"{index}:{index}",
            "container": {**container, "command": list(command), "environment": environment},
        }

    batch = boto3.client("batch")
    definition = batch.register_job_definition(
        jobDefinitionName="two-nodes",
        type="multinode",
        nodeProperties={
            "numNodes": 2,
            "mainNode": 0,
            "nodeRangeProperties": [
                node(0, "python", "/opt/stand-in/multi_node.py", "/mnt/efs/nodes/job.json"),
                node(1, *join),
            ],
        },
    )["jobDefinitionArn"]
    submitted = batch.submit_job(jobName="two-nodes", jobQueue=queue, jobDefinition=definition)["jobId"]

    def status() -> str:
        return str(batch.describe_jobs(jobs=[submitted])["jobs"][0]["status"])

    wait_until("the two nodes", lambda: status() in {"SUCCEEDED", "FAILED"}, seconds=400, poll=0.5)
    attempt = jobs / "two-nodes/attempts/001"
    logs = json.dumps([file.read_text()[-4000:] for file in attempt.glob("*.txt")])
    assert status() == "SUCCEEDED", logs
    result = SimulatorResult.model_validate_json((jobs / "two-nodes/result.json").read_bytes())
    assert (result.status, result.iterations) == ("succeeded", 3)
    assert {p.name for p in (jobs / "two-nodes/run/checkpoints").glob("*.pt")} == {f"model_{i}.pt" for i in range(3)}
    assert (attempt / "node-1.txt").exists()
    # Both nodes' environments count: 2 x 16, over 16 steps of an iteration.
    speeds = (jobs / "two-nodes/run/checkpoints/model_2.pt").read_bytes()
    steps = torch.load(io.BytesIO(speeds), weights_only=False)["infos"]["total_timesteps"]
    assert steps == 3 * 16 * 2 * 16
