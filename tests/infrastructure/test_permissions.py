"""Least privilege: may role X do Y on Z? Asked both ways of what was synthesised."""

from __future__ import annotations

import pytest

from infrastructure import names
from tests.infrastructure.conftest import Deployment
from tests.infrastructure.iam import Policies
from tests.infrastructure.templates import Resolver, as_list

ANSWERS = ("states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat")
STATE_MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:vams-x"
ASSET = "arn:aws:s3:::vams-assets-example/xAsset/training/config.json"
AUXILIARY = "arn:aws:s3:::vams-auxiliary-example/xAsset/pipelines/p/job/model_1.pt"
REQUESTS = "arn:aws:s3:::isaaclab-requests-123456789012-us-east-1"
REQUEST = f"{REQUESTS}/requests/abc/request.json"
OTHERS = "arn:aws:s3:::somebody-elses/file"
HERE = "arn:aws:{}:us-east-1:123456789012:{}"
DEFINITION = HERE.format("batch", "job-definition/isaaclab-0123456789abcdef0123")
QUEUE = HERE.format("batch", "job-queue/isaaclab-gpu1-resumable")
JOB = HERE.format("batch", "job/00000000-0000-0000-0000-000000000000")
SECRET = HERE.format("secretsmanager", "secret:prefect-AbCdEf")
VAMS_KEY = HERE.format("kms", "key/00000000-0000-0000-0000-000000000000")
OURS = {f"aws:ResourceTag/{names.TAG}": "isaaclab", f"aws:RequestTag/{names.TAG}": "isaaclab"}
THEIRS = {f"aws:ResourceTag/{names.TAG}": "other", f"aws:RequestTag/{names.TAG}": "other"}

JOB_ROLE, STARTER, ORCHESTRATOR, WORKER, DEPLOYER, BRIDGE = (
    "PermissionsJob",
    "PermissionsJobExecution",
    "PermissionsOrchestrator",
    "PermissionsWorker",
    "PermissionsDeployer",
    "PermissionsBridge",
)


@pytest.fixture
def policies(cloud: Deployment) -> Policies:
    return Policies.of(cloud)


def _id(policies: Policies, part: str) -> str:
    """Logical ids end in a hash: PermissionsJob must not find PermissionsJobExecution."""
    return next(name for name in policies.statements if name.startswith(part) and len(name) == len(part) + 8)


@pytest.mark.parametrize(
    ("role", "action", "resource", "context"),
    [
        (JOB_ROLE, "s3:GetObject", ASSET, {}),
        (JOB_ROLE, "s3:PutObject", AUXILIARY, {}),
        (JOB_ROLE, "s3:DeleteObject", AUXILIARY, {}),
        (JOB_ROLE, "s3:ListBucket", "arn:aws:s3:::vams-assets-example", {}),
        (JOB_ROLE, "kms:GenerateDataKey", VAMS_KEY, {}),
        (STARTER, "secretsmanager:GetSecretValue", SECRET, {}),
        (STARTER, "ecr:GetAuthorizationToken", "*", {}),
        (
            STARTER,
            "logs:PutLogEvents",
            HERE.format("logs", "log-group:/isaaclab-flows/isaaclab/jobs:log-stream:x/default/y"),
            {},
        ),
        (ORCHESTRATOR, "s3:PutObject", ASSET, {}),
        (ORCHESTRATOR, "s3:GetObject", REQUEST, {}),
        (ORCHESTRATOR, "s3:PutObject", f"{REQUESTS}/requests/abc/answer-001.json", {}),
        *((ORCHESTRATOR, action, STATE_MACHINE, {}) for action in ANSWERS),
        (WORKER, "batch:SubmitJob", QUEUE, {}),
        (WORKER, "batch:SubmitJob", DEFINITION, {}),
        (WORKER, "batch:RegisterJobDefinition", DEFINITION, {}),
        (WORKER, "batch:TagResource", JOB, OURS),
        (WORKER, "batch:TerminateJob", JOB, OURS),
        (WORKER, "batch:DescribeJobs", "*", {}),
        (
            WORKER,
            "logs:GetLogEvents",
            HERE.format("logs", "log-group:/isaaclab-flows/isaaclab/jobs:log-stream:x/default/y"),
            {},
        ),
        (BRIDGE, "s3:PutObject", REQUEST, {}),
        (BRIDGE, "s3:GetObject", REQUEST, {}),
        (BRIDGE, "s3:ListBucket", REQUESTS, {"s3:prefix": "requests/abc/request.json"}),
        (BRIDGE, "secretsmanager:GetSecretValue", SECRET, {}),
        (BRIDGE, "states:SendTaskFailure", STATE_MACHINE, {}),
    ],
)
def test_each_part_may_do_its_work(
    policies: Policies, role: str, action: str, resource: str, context: dict[str, str]
) -> None:
    assert policies.may(_id(policies, role), action, resource, context)


@pytest.mark.parametrize(
    ("role", "action", "resource", "context"),
    [
        # The GPU job: its data, nothing of Batch, no answers, no requests with their tokens, no secrets.
        (JOB_ROLE, "s3:GetObject", OTHERS, {}),
        (JOB_ROLE, "s3:DeleteObject", ASSET, {}),
        (JOB_ROLE, "s3:GetObject", REQUEST, {}),
        (JOB_ROLE, "batch:SubmitJob", QUEUE, OURS),
        (JOB_ROLE, "batch:DescribeJobs", "*", {}),
        (JOB_ROLE, "batch:TerminateJob", JOB, OURS),
        (JOB_ROLE, "secretsmanager:GetSecretValue", SECRET, {}),
        *((JOB_ROLE, action, STATE_MACHINE, {}) for action in ANSWERS),
        # Whatever starts it: no data.
        (STARTER, "s3:GetObject", ASSET, {}),
        (STARTER, "secretsmanager:GetSecretValue", HERE.format("secretsmanager", "secret:other-AbCdEf"), {}),
        # The pipeline: no machines, no other secrets.
        (ORCHESTRATOR, "batch:SubmitJob", QUEUE, OURS),
        (ORCHESTRATOR, "s3:DeleteObject", ASSET, {}),
        (ORCHESTRATOR, "s3:DeleteObject", REQUEST, {}),
        (ORCHESTRATOR, "secretsmanager:GetSecretValue", SECRET, {}),
        # The worker: this deployment's queues and jobs only, no data, no answers.
        (WORKER, "batch:SubmitJob", HERE.format("batch", "job-queue/production"), OURS),
        (WORKER, "batch:TerminateJob", JOB, THEIRS),
        (WORKER, "batch:TerminateJob", JOB, {}),
        (WORKER, "batch:RegisterJobDefinition", HERE.format("batch", "job-definition/other-1"), OURS),
        (WORKER, "s3:GetObject", ASSET, {}),
        (WORKER, "iam:PassRole", "<PermissionsOrchestrator>", {"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
        *((WORKER, action, STATE_MACHINE, {}) for action in ANSWERS),
        # The bridge: request documents and one secret.
        (BRIDGE, "s3:GetObject", ASSET, {}),
        (BRIDGE, "s3:PutObject", AUXILIARY, {}),
        (BRIDGE, "s3:PutObject", f"{REQUESTS}/other/file", {}),
        (BRIDGE, "s3:DeleteObject", REQUEST, {}),
        (BRIDGE, "secretsmanager:GetSecretValue", HERE.format("secretsmanager", "secret:other-AbCdEf"), {}),
        (BRIDGE, "batch:SubmitJob", QUEUE, OURS),
        # The deploy task: Prefect's API needs nothing of AWS.
        (DEPLOYER, "s3:GetObject", ASSET, {}),
        (DEPLOYER, "batch:DescribeJobs", "*", {}),
    ],
)
def test_no_part_may_do_anothers(
    policies: Policies, role: str, action: str, resource: str, context: dict[str, str]
) -> None:
    role_id = next((n for n in policies.statements if n.startswith(role) and len(n) == len(role) + 8), "")
    assert not (role_id and policies.statements[role_id] and policies.may(role_id, action, resource, context))


def test_only_the_answering_side_may_answer(deployment: Deployment) -> None:
    policies = Policies.of(deployment)
    able = {
        role[:-8] for role in policies.statements for action in ANSWERS if policies.may(role, action, STATE_MACHINE)
    }
    assert able == {ORCHESTRATOR, BRIDGE}


def test_only_the_worker_may_submit_jobs(deployment: Deployment) -> None:
    policies = Policies.of(deployment)
    queue = f"arn:aws:batch:{deployment.config.region}:123456789012:job-queue/{deployment.config.name}-gpu1-on-demand"
    assert {r[:-8] for r in policies.statements if policies.may(r, "batch:SubmitJob", queue)} == {WORKER}


@pytest.mark.parametrize("role", [JOB_ROLE, ORCHESTRATOR])
def test_the_file_system_opens_through_its_access_point_and_tls_only(policies: Policies, role: str) -> None:
    statement = next(
        s for s in policies.statements[_id(policies, role)] if "elasticfilesystem:ClientMount" in as_list(s["Action"])
    )
    (file_system,) = as_list(statement["Resource"])
    point = statement["Condition"]["StringEquals"]["elasticfilesystem:AccessPointArn"]
    right = {"elasticfilesystem:AccessPointArn": point, "aws:SecureTransport": "true"}
    for context, allowed in (
        (right, True),
        (right | {"aws:SecureTransport": "false"}, False),
        (right | {"elasticfilesystem:AccessPointArn": "arn:other"}, False),
        ({}, False),
    ):
        assert policies.may(_id(policies, role), "elasticfilesystem:ClientWrite", file_system, context) is allowed
    assert not policies.may(_id(policies, role), "elasticfilesystem:ClientRootAccess", file_system, right)


def test_no_statement_allows_every_action_of_a_service(deployment: Deployment) -> None:
    for role, statements in Policies.of(deployment).statements.items():
        for statement in statements:
            for action in as_list(statement["Action"]):
                assert not action.endswith(":*"), f"{role}: {action}"
                assert action != "*", role


def test_roles_are_assumed_by_services_of_this_account_only(deployment: Deployment) -> None:
    resolve = Resolver(deployment)
    for name, role in deployment.resources("AWS::IAM::Role").items():
        for statement in resolve(role["Properties"]["AssumeRolePolicyDocument"])["Statement"]:
            service = statement["Principal"]["Service"]
            assert service.endswith(".amazonaws.com"), name
            if service.startswith("ecs-tasks") and name.startswith("Permissions"):
                assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == deployment.config.account


def test_nobody_may_read_the_requests_bucket_without_tls(deployment: Deployment) -> None:
    resolve = Resolver(deployment)
    buckets = deployment.resources("AWS::S3::Bucket")
    protected = set()
    for policy in deployment.resources("AWS::S3::BucketPolicy").values():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny" and statement.get("Condition") == {
                "Bool": {"aws:SecureTransport": "false"}
            }:
                protected.add(resolve(policy["Properties"]["Bucket"]).strip("<>"))
    assert protected == set(buckets)
