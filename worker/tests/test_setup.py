"""The setup command against moto's AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.batch.models import BatchBackend
from moto.iam.models import iam_backends

from prefect_aws_batch import setup_batch
from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.definitions import job_definition
from prefect_aws_batch.events import EventReader
from prefect_aws_batch.main import main
from prefect_aws_batch.poller import Poller

REGION = "eu-central-1"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key"


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(setup_batch, "_LOOK_EVERY", 0.01)
    for name, value in {"AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(setup_batch, "_ROLE_KNOWN_WITHIN", 1.0)
    create = BatchBackend.create_compute_environment

    def with_service_role(self: BatchBackend, **request: Any) -> Any:
        # moto asks for a service role; AWS makes, and uses, its service-linked one.
        name = f"service-{request['compute_environment_name']}"
        role = iam_backends[self.account_id]["aws"].create_role(name, "{}", "/", None, "", [], "3600")
        return create(self, **(request | {"service_role": role.arn}))

    monkeypatch.setattr(BatchBackend, "create_compute_environment", with_service_role)
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield


def everything_in_the_account() -> dict[str, list[str]]:
    batch, iam, logs = boto3.client("batch"), boto3.client("iam"), boto3.client("logs")
    return {
        "queues": [one["jobQueueName"] for one in batch.describe_job_queues()["jobQueues"]],
        "machines": [
            one["computeEnvironmentName"] for one in batch.describe_compute_environments()["computeEnvironments"]
        ],
        "roles": sorted(
            role for one in iam.list_roles()["Roles"] if not (role := one["RoleName"]).startswith("service")
        ),
        "profiles": [one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]],
        "logs": [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]],
        "events": boto3.client("sqs").list_queues().get("QueueUrls", []),
        "rules": [rule["Name"] for rule in boto3.client("events").list_rules()["Rules"]],
    }


def values_in(output: str) -> dict[str, Any]:
    return dict(json.loads(output.rpartition("values:\n")[2]))


@pytest.mark.parametrize("kind", ["fargate", "fargate-spot", "ec2", "spot"])
def test_a_setup_is_made_once_and_taken_away_again(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything_in_the_account()
    command = ["setup", "demo", "--kind", kind, "--events"]
    assert main(command) == 0
    made = everything_in_the_account()
    assert made["queues"] == made["machines"] == ["demo"]
    assert made["logs"] == ["/prefect-aws-batch/demo"]
    assert {"demo-jobs", "demo-execution"} <= set(made["roles"])
    assert made["rules"] == ["demo-events"]
    (environment,) = boto3.client("batch").describe_compute_environments()["computeEnvironments"]
    assert environment["computeResources"]["type"] == kind.upper().replace("-", "_")
    assert main(command) == 0
    assert capsys.readouterr().out.count("is there") >= 6
    assert everything_in_the_account() == made
    assert main(["setup", "demo", "--remove", "--dry-run"]) == 0
    assert everything_in_the_account() == made
    assert main(["setup", "demo", "--remove"]) == 0
    assert everything_in_the_account() == before


def test_a_dry_run_makes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = everything_in_the_account()
    assert main(["setup", "demo", "--kind", "spot", "--instance-types", "g6e.xlarge", "--events", "--dry-run"]) == 0
    assert everything_in_the_account() == before
    assert capsys.readouterr().out.count("would be made") == 7


def test_what_somebody_else_made_is_neither_used_nor_removed(capsys: pytest.CaptureFixture[str]) -> None:
    boto3.client("logs").create_log_group(logGroupName="/prefect-aws-batch/demo")
    before = everything_in_the_account()
    assert main(["setup", "demo"]) == 1
    assert "this setup did not make it" in capsys.readouterr().err
    assert main(["setup", "demo", "--remove"]) == 0
    assert "left: not made by this setup" in capsys.readouterr().out
    assert everything_in_the_account() == before


def test_a_setup_of_another_name_is_left_alone() -> None:
    assert main(["setup", "one"]) == main(["setup", "two"]) == 0
    assert main(["setup", "one", "--remove"]) == 0
    assert everything_in_the_account()["queues"] == ["two"]


def test_rights_are_those_that_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    secret = ["--secret", f"PREFECT_API_KEY={SECRET}"]
    assert main(["setup", "demo", "--bucket", "results", *secret, "--events"]) == 0
    iam = boto3.client("iam")
    execution = iam.get_role_policy(RoleName="demo-execution", PolicyName="execution")["PolicyDocument"]
    assert execution["Statement"][0]["Resource"] == [SECRET]
    jobs = iam.get_role_policy(RoleName="demo-jobs", PolicyName="jobs")["PolicyDocument"]
    assert jobs["Statement"][0]["Resource"] == ["arn:aws:s3:::results", "arn:aws:s3:::results/*"]
    output = capsys.readouterr().out
    policy, _ = json.JSONDecoder().raw_decode(output[output.index("{") :])
    passed = next(one["Resource"] for one in policy["Statement"] if one["Action"] == "iam:PassRole")
    values = values_in(output)
    assert passed == [values["job_role_arn"], values["execution_role_arn"]]
    url = values["event_queue_url"]
    written_by = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    (statement,) = json.loads(written_by["Policy"])["Statement"]
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"].endswith("rule/demo-events")


def test_the_values_make_a_job_that_batch_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", "demo", "--image", "busybox"]) == 0
    configuration = BatchJobConfiguration(**values_in(capsys.readouterr().out))
    configuration.check()
    definition = job_definition(configuration)
    assert "linuxParameters" not in definition["containerProperties"]
    batch = boto3.client("batch")
    arn = batch.register_job_definition(jobDefinitionName="d", **definition)["jobDefinitionArn"]
    assert configuration.job_queue
    batch.submit_job(jobName="job", jobQueue=configuration.job_queue, jobDefinition=arn)


@pytest.mark.anyio
async def test_the_event_queue_hears_of_its_job_queue_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", "demo", "--events"]) == 0
    (queue,) = boto3.client("batch").describe_job_queues()["jobQueues"]
    for name, job in ((queue["jobQueueArn"], "mine"), ("arn:aws:batch:eu-central-1:1:job-queue/x", "another")):
        detail = json.dumps({"jobId": job, "status": "FAILED", "jobQueue": name})
        entry = {"Source": "aws.batch", "DetailType": "Batch Job State Change", "Detail": detail}
        boto3.client("events").put_events(Entries=[entry])
    sqs = boto3.client("sqs")
    url = values_in(capsys.readouterr().out)["event_queue_url"]
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(message["Body"])["detail"]["jobId"] for message in received] == ["mine"]
    api = BatchApi(boto3.client("batch"), sqs=sqs)
    await EventReader(api, Poller(api.describe), url, "pool", slow_poll=300).read()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["no spaces"], "cannot be the name"), (["demo", "--secret", "KEY=value"], "names no secret")],
)
def test_what_cannot_be_set_up_is_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", *arguments]) == 1
    assert words in capsys.readouterr().err
    assert not everything_in_the_account()["logs"]


def test_a_region_without_a_default_vpc_needs_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    try:
        ec2.delete_vpc(VpcId=vpc)
    except ClientError as error:
        pytest.fail(f"{error}")
    assert main(["setup", "demo"]) == 1
    assert "--subnets" in capsys.readouterr().err
