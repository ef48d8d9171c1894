"""The image: built on a local base, refusing a broken GPU, and running Batch jobs that moto starts as containers.

The layer with the dependencies is left out (it takes minutes and gigabytes): this machine's virtual environment is
mounted where it would lie. Everything else is the image as it is shipped.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest
import torch
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from flows.execute import execute
from schemas.config import check_config
from schemas.job import Job
from schemas.request import Request, new_job_id
from schemas.simulator import SimulatorResult
from tasks.resolve import resolve
from tasks.staging import hand_over, load_outcome
from tests.system.conftest import ROOT, wait_until
from tests.system.test_batch_worker import (  # noqa: F401 - fixtures
    base_image,
    client,
    container_of,
    pool,
    queue,
    start_worker,
    wait_for_state,
)

IMAGE = "isaaclab-flows:test"
BUCKET = "robots"

Answer = subprocess.CompletedProcess[str]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]


def docker(*arguments: str, seconds: float = 120) -> Answer:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=seconds)


def build(target: str | None, tag: str, file: str = "container/Dockerfile", **arguments: str) -> Answer:
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


@pytest.fixture(scope="session")
def image(base_image: str) -> str:  # noqa: F811
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
        shutil.copytree(kernels, folder / "cache" / "warp")
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
def run_here(image: str, volumes: dict[str, tuple[str, bool]]) -> Callable[..., Answer]:
    """Run a command in a container of the image."""

    def run(*command: str, options: tuple[str, ...] = ()) -> Answer:
        mounts = [f"--volume={here}:{there}{':ro' if only else ''}" for there, (here, only) in volumes.items()]
        return docker("run", "--rm", "--network=none", *mounts, *options, image, *command, seconds=300)

    return run


def test_it_introduces_itself_and_runs_as_nobody_special(run_here: Callable[..., Any]) -> None:
    answer = run_here("id", "--user", options=("--env=PREFECT_API_KEY=pnu_secret",))
    assert answer.returncode == 0, answer.stderr
    assert "CPU cores" in answer.stdout
    assert "isaaclab 3.0.0" in answer.stdout
    assert answer.stdout.strip().endswith("1000")
    assert "secret" not in answer.stdout


def test_it_refuses_a_machine_whose_gpu_has_broken_memory(run_here: Callable[..., Any], tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA L40S, 550.54.15, 46068, 3, 7, No'\n")
    program.chmod(0o755)
    answer = run_here("true", options=(f"--volume={program}:/usr/bin/nvidia-smi:ro",))
    assert answer.returncode == 75
    assert "GPU 0 (NVIDIA L40S) has had 7 uncorrectable memory errors" in answer.stdout


def test_sigterm_reaches_what_runs_in_it(image: str, volumes: dict[str, tuple[str, bool]]) -> None:
    program = (
        "import signal, sys, time\n"
        "def end(*_):\n    print('saved', flush=True)\n    sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(60)"
    )
    environment = f"--volume={sys.prefix}:/opt/venv:ro"
    name = docker("run", "--detach", "--network=none", environment, image, "python", "-c", program).stdout.strip()
    try:
        wait_until("the program", lambda: "up" in docker("logs", name).stdout, seconds=60)
        began = time.monotonic()
        docker("stop", "--time=30", name)
        assert time.monotonic() - began < 20
        assert "saved" in docker("logs", name).stdout
        assert docker("inspect", "--format={{.State.ExitCode}}", name).stdout.strip() == "143"
    finally:
        docker("rm", "--force", name)


def test_isaac_sims_image_is_not_built_without_its_licence(image: str, base_image: str) -> None:  # noqa: F811
    recipe = (
        f"FROM {base_image}\nRUN mkdir -p /isaac-sim/kit/python/bin"
        " && ln -s /usr/local/bin/python3.12 /isaac-sim/kit/python/bin/python3"
        " && ln -s /usr/local/bin/python3.12 /isaac-sim/python.sh"
    )
    subprocess.run(
        ["docker", "build", "--tag", "isaaclab-flows-stand-in:1", "-"],
        input=recipe,
        text=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        check=True,
        timeout=120,
    )
    arguments = {
        "PYTHON_BASE": base_image,
        "DEPENDENCIES": "mounted",
        "ISAAC_LAB_BASE": "isaaclab-flows-stand-in",
        "ISAAC_LAB_VERSION": "1",
    }
    refused = build("isaac-sim", "isaaclab-flows:sim-test", **arguments)
    assert refused.returncode != 0
    assert "ACCEPT_EULA=Y" in refused.stdout + refused.stderr
    built = build("isaac-sim", "isaaclab-flows:sim-test", ACCEPT_EULA="Y", **arguments)
    assert built.returncode == 0, built.stdout + built.stderr
    environment = docker("image", "inspect", "--format={{json .Config.Env}}", "isaaclab-flows:sim-test").stdout
    assert "ISAACLAB_FLOWS_SIMULATOR_PYTHON=/isaac-sim/python.sh" in environment


@pytest.fixture
def deployed_by_nobody(client: SyncPrefectClient) -> Iterator[None]:  # noqa: F811
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
    base_image: str,  # noqa: F811
    client: SyncPrefectClient,  # noqa: F811
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
        words = ("python", "-m", "cli.main", "deploy", "--target", "batch")
        answer = docker("run", "--rm", *mounted, *environment, tag, *words)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    deployments = {d.name: d.work_pool_name for d in client.read_deployments()}
    assert deployments["isaaclab-execute"] == "isaaclab-gpu"
    assert deployments["isaaclab-training"] == "isaaclab-orchestrator"
    gpu_pool = client.read_work_pool("isaaclab-gpu")
    assert gpu_pool.type == "aws-batch"
    assert gpu_pool.base_job_template["variables"]["properties"]["job_queue"]["default"] == "one"


@pytest.fixture
def train_in_batch(
    image: str,
    volumes: dict[str, tuple[str, bool]],
    client: SyncPrefectClient,  # noqa: F811
    pool: str,  # noqa: F811
    queue: str,  # noqa: F811
    start_worker: Callable[[str], Any],  # noqa: F811
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
        entrypoint="flows.execute.execute",
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


def wait_while_running(client: SyncPrefectClient, run_id: UUID, what: str, check: Callable[[], bool]) -> None:  # noqa: F811
    """Wait for something that a run does; a run that ends before fails at once, with its state's words."""

    def there() -> bool:
        state = client.read_flow_run(run_id).state
        assert state is None or not state.is_final(), state
        return check()

    wait_until(what, there, seconds=600, poll=0.5)


def uploaded_checkpoints(job: Job) -> list[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"aux/{job.job_id}/")
    return [
        item["Key"] for item in listed.get("Contents", []) if item["Key"].endswith(".pt") and "model" in item["Key"]
    ]


@pytest.mark.server
@pytest.mark.isaaclab
def test_a_training_whose_container_is_killed_goes_on_in_another_from_the_shared_folder(
    train_in_batch: Callable[[int], tuple[Job, UUID]],
    client: SyncPrefectClient,  # noqa: F811
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
@pytest.mark.isaaclab
def test_a_cancelled_training_stops_and_keeps_its_checkpoints(
    train_in_batch: Callable[[int], tuple[Job, UUID]],
    client: SyncPrefectClient,  # noqa: F811
) -> None:
    job, run_id = train_in_batch(10_000)
    wait_while_running(client, run_id, "a checkpoint in S3", lambda: bool(uploaded_checkpoints(job)))
    client.set_flow_run_state(run_id, Cancelling())
    wait_for_state(client, run_id, StateType.CANCELLED, seconds=300)
    wait_until("the container's end", lambda: not container_of(run_id), seconds=60)
    assert uploaded_checkpoints(job)


@pytest.mark.isaaclab
def test_two_nodes_train_together_and_the_main_node_writes(
    image: str,
    volumes: dict[str, tuple[str, bool]],
    efs: Path,
    queue: str,  # noqa: F811
) -> None:
    mounted = {**volumes, "/opt/stand-in": (str(ROOT / "tests" / "system"), True)}
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
    join = ("env", address, "python", "-m", "container.entry_point", "join")
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
