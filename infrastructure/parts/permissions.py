"""Permissions: one role for each part, each statement with its reason. Only here are identity policies written.

Nothing but the answering side (orchestrator and bridge) may send answers to VAMS; only the Batch worker may submit
jobs; the GPU job reaches data and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import aws_iam as iam
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config, PrefectSelfHosted
from infrastructure.nag import accept
from infrastructure.parts.storage import DataBucket, DataStores

_READ_OBJECTS = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging"]
_WRITE_OBJECTS = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
_NO_RESOURCE_LEVEL = "AWS offers no resource level for this action"


class Permissions(Construct):
    """The roles.

    Attributes:
        job: What runs on the GPU machines.
        job_execution: Pulls the job's image, reads its secret, writes its log, before the job's own code runs.
        orchestrator: The pipeline: reads requests, publishes outputs, answers VAMS.
        worker: Submits and ends Batch jobs.
        deployer: Creates pools and deployments in Prefect; nothing in AWS.
        service_execution: Pulls the services' image, reads the secret, writes the logs.
        bridge: The Lambda.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        storage: DataStores,
        key_arn: str,
        secret_arn: str,
        secret_key_arn: str | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        self._storage = storage
        self._key_arn = key_arn
        self._prefix = f"arn:{config.partition}"
        self._here = f"{config.region}:{config.account}"

        tasks = self._for_tasks()
        self.job = self._role("Job", tasks, "GPU jobs")
        self.job_execution = self._role("JobExecution", tasks, "Starting GPU jobs")
        self.orchestrator = self._role("Orchestrator", tasks, "The pipeline")
        self.worker = self._role("Worker", tasks, "The Batch worker")
        self.deployer = self._role("Deployer", tasks, "Creating Prefect's pools and deployments")
        self.service_execution = self._role("ServiceExecution", tasks, "Starting services")
        self.bridge = self._role("Bridge", iam.ServicePrincipal("lambda.amazonaws.com"), "The VAMS bridge")

        for role in (self.job, self.orchestrator):
            self._data(role)
            self._file_system(role)
        self._requests(self.orchestrator)
        self._requests(self.bridge)
        self._answers(self.orchestrator)
        self._answers(self.bridge)
        if config.vams.version != "2.5":
            self._vams_bus(self.orchestrator)
        self._batch(self.worker)
        for role, purpose in ((self.job_execution, "jobs"), (self.service_execution, "services")):
            self._start(role, purpose)
        for role in (self.job_execution, self.service_execution, self.bridge):
            self._secret(role, secret_arn, secret_key_arn)
        self._bridge_runs()

    def _for_tasks(self) -> iam.PrincipalBase:
        # Only tasks of this account: the service cannot be made a deputy for another one.
        return iam.ServicePrincipal(
            "ecs-tasks.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": self._config.account}}
        )

    def _role(self, construct_id: str, principal: iam.IPrincipal, description: str) -> iam.Role:
        return iam.Role(self, construct_id, assumed_by=principal, description=f"{description} of {self._config.name}")

    def _allow(
        self,
        role: iam.Role,
        actions: Sequence[str],
        resources: Sequence[str],
        *,
        conditions: Mapping[str, Mapping[str, str | list[str]]] | None = None,
        why: str = "",
    ) -> None:
        """Add a statement; one with a star says why, and cdk-nag is told the same."""
        role.add_to_policy(
            iam.PolicyStatement(actions=list(actions), resources=list(resources), conditions=conditions or {})
        )
        if not why:
            return
        policy = role.node.find_child("DefaultPolicy")
        for action in actions:
            if "*" in action:
                accept(policy, {f"AwsSolutions-IAM5[Action::{action}]": why})
        for resource in resources:
            if "*" in resource:
                accept(policy, {f"AwsSolutions-IAM5[Resource::{resource}]": why})

    def _data(self, role: iam.Role) -> None:
        buckets = (*self._storage.assets, self._storage.auxiliary)
        objects = [f"{bucket.arn}/*" for bucket in buckets]
        self._allow(role, ["s3:ListBucket", "s3:GetBucketLocation"], [bucket.arn for bucket in buckets])
        self._allow(
            role, [*_READ_OBJECTS, *_WRITE_OBJECTS], objects, why="Assets and their outputs have names of the users'."
        )
        # Only what running jobs saved may be deleted; assets and outputs are the users'.
        self._allow(
            role,
            ["s3:DeleteObject"],
            [f"{self._storage.auxiliary.arn}/*"],
            why="Job ids are not known beforehand.",
        )
        self._keys(role, buckets)
        for shared in self._config.storage.shared_prefixes:
            bucket, _, prefix = shared.removeprefix("s3://").partition("/")
            below = f"{prefix.rstrip('/')}/*" if prefix.strip("/") else "*"
            arn = f"{self._prefix}:s3:::{bucket}"
            self._allow(
                role, _READ_OBJECTS, [f"{arn}/{below}"], why="storage.sharedPrefixes: the operator's own choice."
            )
            self._allow(
                role, ["s3:ListBucket"], [arn], conditions={"StringLike": {"s3:prefix": [below, prefix.rstrip("/")]}}
            )

    def _keys(self, role: iam.Role, buckets: Sequence[DataBucket]) -> None:
        keys = sorted({bucket.key_arn for bucket in buckets if bucket.key_arn})
        if keys:
            self._allow(role, ["kms:Decrypt", "kms:GenerateDataKey"], keys)

    def _file_system(self, role: iam.Role) -> None:
        self._allow(
            role,
            ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
            [self._storage.file_system.file_system_arn],
            conditions={
                "StringEquals": {"elasticfilesystem:AccessPointArn": self._storage.access_point.access_point_arn},
                "Bool": {"aws:SecureTransport": "true"},
            },
        )

    def _requests(self, role: iam.Role) -> None:
        bucket = self._storage.requests
        objects = f"{bucket.arn}/{names.REQUESTS_PREFIX}*"
        self._allow(
            role, ["s3:GetObject", "s3:PutObject"], [objects], why="Documents are named after VAMS's executions."
        )
        # Without it, S3 answers 403 instead of 404 for a document that is not there yet.
        self._allow(
            role,
            ["s3:ListBucket"],
            [bucket.arn],
            conditions={"StringLike": {"s3:prefix": [f"{names.REQUESTS_PREFIX}*"]}},
        )
        self._allow(role, ["kms:Decrypt", "kms:GenerateDataKey"], [self._key_arn])

    def _answers(self, role: iam.Role) -> None:
        self._allow(
            role,
            ["states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"],
            ["*"],
            why=f"{_NO_RESOURCE_LEVEL}; the task token is what limits an answer to its task.",
        )

    def _vams_bus(self, role: iam.Role) -> None:
        # VAMS names its bus in each run's manifest; it is one of its own account and region.
        self._allow(
            role,
            ["events:PutEvents"],
            [f"{self._prefix}:events:{self._here}:event-bus/*"],
            conditions={"StringEquals": {"events:detail-type": "pipeline.execution.register"}},
            why="Each run of VAMS 2.6 names the bus.",
        )

    def _batch(self, role: iam.Role) -> None:
        definitions = f"{self._prefix}:batch:{self._here}:job-definition/{names.job_definitions(self._config)}*"
        queues = f"{self._prefix}:batch:{self._here}:job-queue/{self._config.name}-gpu*"
        jobs = f"{self._prefix}:batch:{self._here}:job/*"
        self._allow(
            role,
            ["batch:DescribeJobs", "batch:ListJobs", "batch:DescribeJobDefinitions", "batch:DescribeJobQueues"],
            ["*"],
            why=f"{_NO_RESOURCE_LEVEL}; they only read.",
        )
        self._allow(
            role,
            ["batch:RegisterJobDefinition", "batch:DeregisterJobDefinition"],
            [definitions],
            why="Definitions are named by a hash of their content, after the deployment's prefix.",
        )
        self._allow(
            role,
            ["batch:SubmitJob"],
            [definitions, queues],
            why="Definitions are named by a hash of their content; this deployment's queues.",
        )
        own = {"StringEquals": {f"aws:ResourceTag/{names.TAG}": self._config.name}}
        self._allow(role, ["batch:TerminateJob"], [jobs], conditions=own, why="Batch names jobs; their tag limits it.")
        self._allow(
            role,
            ["batch:TagResource"],
            [jobs, definitions],
            conditions={"StringEquals": {f"aws:RequestTag/{names.TAG}": self._config.name}},
            why="SubmitJob with tags needs it; only with this deployment's tag.",
        )
        self._allow(
            role,
            ["iam:PassRole"],
            [self.job.role_arn, self.job_execution.role_arn],
            conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        )
        self._allow(
            role,
            ["logs:GetLogEvents"],
            [f"{self._prefix}:logs:{self._here}:log-group:{names.log_group(self._config, 'jobs')}:log-stream:*"],
            why="Batch names the streams.",
        )

    def _start(self, role: iam.Role, purpose: str) -> None:
        group = f"{self._prefix}:logs:{self._here}:log-group:{names.log_group(self._config, purpose)}:*"
        self._allow(role, ["logs:CreateLogStream", "logs:PutLogEvents"], [group], why="ECS names the streams.")
        self._allow(role, ["ecr:GetAuthorizationToken"], ["*"], why=f"{_NO_RESOURCE_LEVEL}.")

    def _secret(self, role: iam.Role, secret_arn: str, key_arn: str | None) -> None:
        self._allow(role, ["secretsmanager:GetSecretValue"], [secret_arn])
        if key_arn:
            self._allow(role, ["kms:Decrypt"], [key_arn])

    def _bridge_runs(self) -> None:
        group = f"{self._prefix}:logs:{self._here}:log-group:{names.log_group(self._config, 'vams-bridge')}:*"
        self._allow(
            self.bridge, ["logs:CreateLogStream", "logs:PutLogEvents"], [group], why="Lambda names the streams."
        )
        if isinstance(self._config.prefect, PrefectSelfHosted):
            self._allow(
                self.bridge,
                ["ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"],
                ["*"],
                why="Lambda in a VPC needs them, and checks them before the interfaces exist.",
            )

    def bridge_queue(self, queue_arn: str) -> None:
        """Let the bridge's service put what failed into its dead-letter queue."""
        self._allow(self.bridge, ["sqs:SendMessage"], [queue_arn])
