"""Everything around one VAMS execution: buckets, Prefect's server and worker, the Lambda, Step Functions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3

from isaaclab_flows.cli.deploying import client_of, deploy_all
from tests.infrastructure.vams_event import vams_event
from tests.system.vams.lambda_process import LambdaProcess
from tests.system.vams.step_functions import Execution, StepFunctions, step_functions

ROOT = Path(__file__).resolve().parents[3]
ASSETS, AUXILIARY, REQUESTS = "asset-bkt", "aux-bkt", "requests-bkt"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


@dataclass
class Order:
    """One execution under way.

    Attributes:
        execution: Its attempts and end.
        event: The body of its latest event.
        job_id: VAMS's execution id.
    """

    job_id: str
    thread: threading.Thread
    execution: Execution
    body: dict[str, Any] = field(default_factory=dict)

    def wait(self, seconds: float) -> Execution:
        """Wait for its end."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"no answer after {seconds:.0f} s"
        return self.execution


@dataclass
class World:
    """A VAMS with this project beside it."""

    aws: StepFunctions
    s3: Any
    prefect_url: str
    bridge: LambdaProcess
    folder: Path
    environment: dict[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def upload(self, key: str, content: dict[str, Any] | bytes) -> None:
        """Put a file into the asset."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.s3.put_object(Bucket=ASSETS, Key=f"xAsset/{key}", Body=body)

    def start(
        self,
        *,
        kind: str = "training",
        timeout: float = 600,
        heartbeat: float | None = 120,
        retries: int = 2,
        **changes: Any,
    ) -> Order:
        """Start a workflow execution; it runs in a thread of its own."""
        job_id = str(uuid4())
        execution = Execution()
        order = Order(job_id, threading.Thread(), execution)

        def event_of(token: str) -> dict[str, Any]:
            event = vams_event(execution=job_id, token=token, kind=kind, bucket=ASSETS, **changes)
            order.body = event["body"]
            return event

        def adopt(made: Execution) -> None:
            order.execution = made

        def run() -> None:
            self.aws.run(
                event_of,
                self.bridge.invoke,
                timeout=timeout,
                heartbeat=heartbeat,
                retries=retries,
                on_execution=adopt,
            )

        order.thread = threading.Thread(target=run, daemon=True)
        order.thread.start()
        return order

    def runs(self, job_id: str) -> list[Any]:
        """Return Prefect's flow runs of a job that the bridge or the pipeline started, oldest first."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

        tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"job:{job_id}"]))
        with client_of(self.prefect_url) as client:
            found = client.read_flow_runs(flow_run_filter=tagged)
        return sorted(found, key=lambda run: run.created)

    def everything_prefect_knows(self) -> str:
        """Return all flow runs, their logs and artifacts as text, to look for what must not be there."""
        from prefect.client.schemas.filters import LogFilter

        texts: list[str] = []
        with client_of(self.prefect_url) as client:
            texts += [run.model_dump_json() for run in client.read_flow_runs(limit=200)]
            texts += [artifact.model_dump_json() for artifact in client.read_artifacts()]
            offset = 0
            while page := client.read_logs(LogFilter(), limit=200, offset=offset):
                texts += [log.message for log in page]
                offset += 200
        texts += [path.read_text(errors="replace") for path in self.folder.glob("*.log")]
        return "\n".join([*texts, self.bridge.log])

    def objects_with(self, secret: str) -> list[str]:
        """Return the objects of all buckets that hold a text."""
        found: list[str] = []
        for bucket in (ASSETS, AUXILIARY, REQUESTS):
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", []):
                    body = self.s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                    if secret.encode() in body:
                        found.append(f"{bucket}/{entry['Key']}")
        return found

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """List a bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    @contextmanager
    def worker(self, pool: str = "isaaclab-orchestrator", **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process worker of a pool."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
        log = self.folder / f"worker-{pool}-{len(self.workers)}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--install-policy", "never"],
                env={**self.environment, **environment},
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )
            self.workers.append(process)
            try:
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def world(moto_url: str, prefect_url: str, folder: Path, *, interval: float = 5.0) -> Iterator[World]:
    """Make the buckets, deploy the flows and the Lambda.

    Args:
        moto_url: moto's server.
        prefect_url: A Prefect server's API.
        folder: For job folders, logs and the Lambda's package.
        interval: Seconds before VAMS's first retry.
    """
    with step_functions(interval=interval) as stand_in:
        s3 = boto3.client(
            "s3",
            endpoint_url=moto_url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
        )
        for bucket in (ASSETS, AUXILIARY, REQUESTS):
            s3.create_bucket(Bucket=bucket)
        aws = {**CREDENTIALS, "AWS_ENDPOINT_URL": moto_url, "AWS_ENDPOINT_URL_SFN": stand_in.url}
        bridge = LambdaProcess.deploy(
            folder,
            {
                **aws,
                "PREFECT_API_URL": prefect_url,
                "PREFECT_SECRET_ARN": "",
                "REQUESTS_BUCKET": REQUESTS,
                "REQUESTS_PREFIX": "requests/",
                "PIPELINE_DEPLOYMENT": "pipeline/isaaclab-pipeline",
            },
        )
        environment = {
            **os.environ,
            **aws,
            "PREFECT_API_URL": prefect_url,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "ISAACLAB_FLOWS_JOBS_FOLDER": str(folder / "jobs"),
            "ISAACLAB_FLOWS_DEVICE": "cpu",
            "PYTHONPATH": str(ROOT),
        }
        deploy_all(prefect_url, working_folder=folder)
        yield World(stand_in, s3, prefect_url, bridge, folder, environment)


def wait_for(what: str, check: Callable[[], Any], *, seconds: float, poll: float = 0.5) -> Any:
    """Wait until something is true and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(poll)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")
