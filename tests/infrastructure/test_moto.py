"""Deploys what moto's CloudFormation can take, and runs the bridge with what was deployed.

The bridge runs as Lambda runs it: its own process, its own package, the deployed function's variables. moto has no
custom resources, ECS services, EFS, placement groups or scheduling policies through CloudFormation; they are left out.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from moto.server import ThreadedMotoServer

from infrastructure import names
from tests.infrastructure.conftest import Deployment, Template

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
TAKEN = {
    "AWS::Batch::ComputeEnvironment",
    "AWS::Batch::JobQueue",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::LaunchTemplate",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::VPC",
    "AWS::ECS::Cluster",
    "AWS::IAM::InstanceProfile",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::KMS::Key",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
}


def prune(template: Template) -> Template:
    """Leave the resources that moto takes, and of them everything that points at nothing that was left out."""
    resources = {
        name: r | {"Properties": _for_moto(r["Type"], r.get("Properties", {}))}
        for name, r in template["Resources"].items()
        if r["Type"] in TAKEN
    }
    while dangling := [name for name, r in resources.items() if _references(r["Properties"]) - resources.keys()]:
        for name in dangling:
            del resources[name]
    kept = {name: {k: v for k, v in r.items() if k != "DependsOn"} for name, r in resources.items()}
    outputs = {
        name: output
        for name, output in template.get("Outputs", {}).items()
        if not _references(output["Value"]) - resources.keys()
    }
    return {"Resources": kept, "Outputs": outputs}


def _for_moto(kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Return a resource's properties as moto wants them, where it differs from CloudFormation."""
    match kind:
        case "AWS::KMS::Key":
            # A key's tags have other names there.
            return {key: value for key, value in properties.items() if key != "Tags"}
        case "AWS::Batch::JobQueue":
            return {key: value for key, value in properties.items() if key != "SchedulingPolicyArn"}
        case "AWS::Batch::ComputeEnvironment":
            # On AWS the service's own role is taken where none is named.
            return properties | {"ServiceRole": "arn:aws:iam::123456789012:role/batch"}
    return properties


def _references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for item in value for name in _references(item)}
    if not isinstance(value, dict):
        return set()
    if isinstance(value.get("Ref"), str):
        return set() if value["Ref"].startswith("AWS::") else {value["Ref"]}
    if "Fn::GetAtt" in value:
        return {value["Fn::GetAtt"][0]}
    return {name for item in value.values() for name in _references(item)}


def _without_unexported(template: Template, exports: set[str]) -> Template:
    """Leave out what imports something that the pruned data stack does not export."""
    resources = {name: r for name, r in template["Resources"].items() if _imports(r.get("Properties", {})) <= exports}
    return prune({"Resources": resources, "Outputs": {}})


def _imports(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for item in value for name in _imports(item)}
    if not isinstance(value, dict):
        return set()
    if "Fn::ImportValue" in value:
        return {value["Fn::ImportValue"]}
    return {name for item in value.values() for name in _imports(item)}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A moto server, reached over HTTP by the bridge's own process as well."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def clients(endpoint: str) -> Any:
    """boto3 clients of that server."""
    session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION)
    return lambda service: session.client(service, endpoint_url=endpoint)


@pytest.fixture(scope="module")
def deployed(deployments: dict[str, Deployment], clients: Any) -> Deployment:
    """Both stacks, as far as moto takes them."""
    deployment = deployments["cloud"]
    assets = "cdk-hnb659fds-assets-123456789012-us-east-1"
    clients("s3").create_bucket(Bucket=assets)
    for function in deployment.resources("AWS::Lambda::Function").values():
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("handler.py", "")
        clients("s3").put_object(Bucket=assets, Key=function["Properties"]["Code"]["S3Key"], Body=archive.getvalue())
    clients("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")
    data = prune(deployment.data)
    exports = {output["Export"]["Name"] for output in data["Outputs"].values() if "Export" in output}
    service = _without_unexported(deployment.service, exports)
    for part, template in (("data", data), ("service", service)):
        clients("cloudformation").create_stack(
            StackName=f"isaaclab-{part}", TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"]
        )
    return deployment


class Prefect(BaseHTTPRequestHandler):
    """The two calls of Prefect's API that the bridge makes."""

    asked: ClassVar[list[tuple[str, str, Any]]] = []

    def do_GET(self) -> None:
        self._answer(200, {"id": "deployment"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        self._answer(201, {"id": "run", "state": {"type": "SCHEDULED"}})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def prefect() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Prefect)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    thread.join()


def test_both_stacks_are_made(deployed: Deployment, clients: Any) -> None:
    for part in ("data", "service"):
        (stack,) = clients("cloudformation").describe_stacks(StackName=f"isaaclab-{part}")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
    buckets = {bucket["Name"] for bucket in clients("s3").list_buckets()["Buckets"]}
    assert names.bucket(deployed.config, "requests") in buckets
    queues = {queue["jobQueueName"] for queue in clients("batch").describe_job_queues()["jobQueues"]}
    assert queues == {
        f"isaaclab-gpu{gpus}-{purpose}" for gpus in (1, 4) for purpose in ("resumable", "on-demand", "spot")
    }


def test_the_deployed_bridge_starts_a_run_and_keeps_the_token_to_the_document(
    deployed: Deployment, clients: Any, endpoint: str, prefect: str
) -> None:
    function = clients("lambda").get_function_configuration(FunctionName=names.bridge(deployed.config))
    variables: dict[str, str] = function["Environment"]["Variables"]
    secret = clients("secretsmanager").create_secret(Name="prefect", SecretString='{"api_key": "pnu_x"}')
    execution = "0123456789abcdef"
    folder = f"s3://vams-assets-example/pipelines/isaaclab-training/abcde-isaaclab-training/output/{execution}"
    event = {
        "body": {
            "inputS3AssetFilePath": "s3://vams-assets-example/xAsset/training/config.json",
            "outputS3AssetFilesPath": f"{folder}/files/",
            "outputS3AssetPreviewPath": f"{folder}/previews/",
            "outputS3AssetMetadataPath": f"{folder}/metadata/",
            "inputOutputS3AssetAuxiliaryFilesPath": "s3://vams-auxiliary-example/xAsset/pipelines/isaaclab-training/",
            "inputAssetLocationKey": "xAsset/",
            "inputMetadata": "{}",
            "inputParameters": "",
            "TaskToken": "a-very-secret-token",
        }
    }
    # Two addresses are the test's: moto's own secret, and a Prefect that answers here.
    overrides = {"PREFECT_SECRET_ARN": secret["ARN"], "PREFECT_API_URL": prefect}
    answer = subprocess.run(
        [sys.executable, "-c", "import handler, json, sys; print(json.dumps(handler.handler(json.load(sys.stdin))))"],
        input=json.dumps(event),
        env={
            "PATH": os.environ["PATH"],
            **variables,
            **overrides,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        },
        cwd=ROOT / "infrastructure" / "vams_bridge",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["flowRunId"] == "run"
    key = f"{variables['REQUESTS_PREFIX']}{execution}/request.json"
    document = clients("s3").get_object(Bucket=variables["REQUESTS_BUCKET"], Key=key)
    assert json.loads(document["Body"].read())["callback"]["taskToken"] == "a-very-secret-token"
    ((path, authorization, body),) = Prefect.asked
    assert path == "/api/deployments/deployment/create_flow_run"
    assert authorization == "Bearer pnu_x"
    assert body["parameters"] == {"request_uri": f"s3://{variables['REQUESTS_BUCKET']}/{key}"}
    assert "a-very-secret-token" not in answer.stdout + answer.stderr + json.dumps(body)
