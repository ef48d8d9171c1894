"""Prefect: Cloud or a server of our own, the workers on Fargate, and the task that creates pools and deployments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import CfnResource, CustomResource, Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr_assets as assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config, PrefectCloud
from infrastructure.nag import accept
from infrastructure.parts.network import Network, retention
from infrastructure.parts.permissions import Permissions
from infrastructure.parts.storage import DataStores
from isaaclab_flows.schemas.names import GPU_POOL, ORCHESTRATOR_POOL

_FOLDER = Path(__file__).resolve().parents[1]
_VOLUME = "jobs"
_HEALTH = (
    "python -c \"import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=5)\" || exit 1"
)


@dataclass(frozen=True)
class PrefectAccess:
    """How to speak to Prefect: its address, and the secret with `api_key` (Cloud) or `auth_string` (our own)."""

    api_url: str
    secret: secretsmanager.ISecret
    field: str
    variable: str
    """Prefect's own variable that the field's value goes into."""

    @property
    def secret_reference(self) -> str:
        """What Batch takes as a secret's `valueFrom`."""
        return f"{self.secret.secret_arn}:{self.field}::"


def cloud_access(scope: Construct, cloud: PrefectCloud) -> PrefectAccess:
    """Return how to speak to Prefect Cloud."""
    secret = secretsmanager.Secret.from_secret_complete_arn(scope, "PrefectKey", cloud.secret_arn)
    return PrefectAccess(cloud.api_url, secret, "api_key", "PREFECT_API_KEY")


class Workers(Construct):
    """The cluster with the orchestrator and the Batch worker, and the deploy task.

    Attributes:
        cluster: The ECS cluster.
        deploy: The custom resource that ran the deploy task.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        network: Network,
        storage: DataStores,
        permissions: Permissions,
        access: PrefectAccess,
        cluster: ecs.Cluster,
        image: assets.DockerImageAsset,
        log_group: logs.LogGroup,
        key: kms.IKey,
        environment: Mapping[str, str],
        gpu_pool: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        self._network = network
        self._storage = storage
        self._permissions = permissions
        self._access = access
        self._image = image
        self._log_group = log_group
        self._key = key
        self.cluster = cluster
        base = {**environment, "PREFECT_API_URL": access.api_url, "AWS_DEFAULT_REGION": config.region}
        deployer = self._task(
            "Deploy",
            role=permissions.deployer,
            command=["isaaclab-flows", "deploy", "--target", "batch"],
            environment={**base, "ISAACLAB_FLOWS_GPU_POOL": gpu_pool},
        )
        self.deploy = self._run_on_deploy(deployer)
        orchestrator = self._task(
            "Orchestrator",
            role=permissions.orchestrator,
            command=[*_worker(ORCHESTRATOR_POOL, "process"), "--limit", str(config.operations.concurrent_runs)],
            environment=base,
            cpu=orchestrator_size(config.operations.concurrent_runs)[0],
            memory=orchestrator_size(config.operations.concurrent_runs)[1],
            with_files=True,
            healthy=True,
        )
        worker = self._task(
            "Worker",
            role=permissions.worker,
            command=_worker(GPU_POOL, "aws-batch"),
            environment={key: base[key] for key in ("PREFECT_API_URL", "AWS_DEFAULT_REGION")},
            healthy=True,
        )
        for name, definition in (("orchestrator", orchestrator), ("batch-worker", worker)):
            service = ecs.FargateService(
                self,
                f"{name}-service",
                cluster=cluster,
                service_name=f"{config.name}-{name}",
                task_definition=definition,
                desired_count=1,
                # The new one is healthy before the old one goes; both may work for a moment.
                min_healthy_percent=100,
                max_healthy_percent=200,
                circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
                vpc_subnets=ec2.SubnetSelection(subnets=network.compute),
                security_groups=[network.services],
                assign_public_ip=False,
                propagate_tags=ecs.PropagatedTagSource.SERVICE,
            )
            # A worker that starts before its pool exists would create it with Prefect's defaults.
            service.node.add_dependency(self.deploy)

    def _task(
        self,
        construct_id: str,
        *,
        role: iam.Role,
        command: Sequence[str],
        environment: Mapping[str, str],
        cpu: int = 512,
        memory: int = 2048,
        with_files: bool = False,
        healthy: bool = False,
    ) -> ecs.FargateTaskDefinition:
        definition = ecs.FargateTaskDefinition(
            self,
            construct_id,
            family=f"{self._config.name}-{construct_id.lower()}",
            cpu=cpu,
            memory_limit_mib=memory,
            task_role=role,
            execution_role=self._permissions.service_execution.without_policy_updates(),
        )
        container = definition.add_container(
            construct_id.lower(),
            image=ecs.ContainerImage.from_docker_image_asset(self._image),
            command=list(command),
            environment=dict(environment),
            secrets={self._access.variable: ecs.Secret.from_secrets_manager(self._access.secret, self._access.field)},
            # A pipeline that is told to end has two minutes to say so.
            stop_timeout=Duration.minutes(2),
            logging=ecs.LogDrivers.aws_logs(stream_prefix=construct_id.lower(), log_group=self._log_group),
            health_check=ecs.HealthCheck(
                command=["CMD-SHELL", _HEALTH],
                interval=Duration.seconds(30),
                timeout=Duration.seconds(10),
                start_period=Duration.seconds(120),
            )
            if healthy
            else None,
        )
        if with_files:
            definition.add_volume(
                name=_VOLUME,
                efs_volume_configuration=ecs.EfsVolumeConfiguration(
                    file_system_id=self._storage.file_system.file_system_id,
                    transit_encryption="ENABLED",
                    authorization_config=ecs.AuthorizationConfig(
                        access_point_id=self._storage.access_point.access_point_id, iam="ENABLED"
                    ),
                ),
            )
            container.add_mount_points(
                ecs.MountPoint(container_path=names.EFS_MOUNT, source_volume=_VOLUME, read_only=False)
            )
        accept(
            definition,
            {"AwsSolutions-ECS2": "They are addresses and names; the one secret comes from Secrets Manager."},
        )
        return definition

    def _run_on_deploy(self, definition: ecs.FargateTaskDefinition) -> CustomResource:
        role = iam.Role(
            self,
            "DeployRunner",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Runs the deploy task of {self._config.name}",
        )
        group = logs.LogGroup(
            self,
            "DeployRunnerLog",
            log_group_name=names.log_group(self._config, "deploy-runner"),
            retention=retention(self._config),
            encryption_key=self._key,
        )
        cluster = {"ArnEquals": {"ecs:cluster": self.cluster.cluster_arn}}
        tasks = (
            f"arn:{self._config.partition}:ecs:{self._config.region}:{self._config.account}:task/{self._config.name}/*"
        )
        revisions = (
            f"arn:{self._config.partition}:ecs:{self._config.region}:{self._config.account}"
            f":task-definition/{definition.family}:*"
        )
        for statement in (
            # Every revision: the policy of a new one would have to reach all of IAM in the second before it is run.
            iam.PolicyStatement(actions=["ecs:RunTask"], resources=[revisions], conditions=cluster),
            iam.PolicyStatement(actions=["ecs:DescribeTasks", "ecs:StopTask"], resources=[tasks], conditions=cluster),
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                resources=[self._permissions.deployer.role_arn, self._permissions.service_execution.role_arn],
                conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            ),
            iam.PolicyStatement(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[group.log_group_arn]),
        ):
            role.add_to_policy(statement)
        accept(
            role.node.find_child("DefaultPolicy"),
            {
                f"AwsSolutions-IAM5[Resource::{tasks}]": "ECS names tasks; the condition keeps to this cluster.",
                f"AwsSolutions-IAM5[Resource::{revisions}]": "Every revision of the one task that it runs.",
            },
        )
        runner = lambda_.Function(
            self,
            "DeployRunnerFunction",
            function_name=f"{self._config.name}-deploy-runner",
            runtime=lambda_.Runtime.PYTHON_3_12,
            handler="handler.handler",
            code=lambda_.Code.from_asset(str(_FOLDER / "deploy_task"), exclude=["__pycache__"]),
            timeout=Duration.minutes(15),
            role=role.without_policy_updates(),
            log_group=group,
        )
        accept(runner, {"AwsSolutions-L1": "The bridge runs on Python 3.12 as well, the version that tests run on."})
        resource = CustomResource(
            self,
            "DeployRun",
            service_token=runner.function_arn,
            properties={
                "cluster": self.cluster.cluster_arn,
                # A new revision (new image, new settings) runs the task again.
                "taskDefinition": definition.task_definition_arn,
                "subnets": [subnet.subnet_id for subnet in self._network.compute],
                "securityGroups": [self._network.services.security_group_id],
                "logGroup": self._log_group.log_group_name,
            },
        )
        # A number: the construct would write it as a string.
        plain = resource.node.default_child
        assert isinstance(plain, CfnResource)
        plain.add_property_override("ServiceTimeout", 960)
        resource.node.add_dependency(role, runner, self._permissions)
        return resource


def orchestrator_size(runs: int) -> tuple[int, int]:
    """Return the smallest size on Fargate (CPU units, MiB) that carries so many pipelines.

    Each is a process of some 200 MiB beside the worker's own 512 MiB, and waits most of its time.
    """
    needed = 512 + 200 * runs
    for cpu, smallest, largest in ((1024, 4096, 8192), (2048, 9216, 16_384), (4096, 17_408, 30_720)):
        if needed <= largest:
            return cpu, max(smallest, math.ceil(needed / 1024) * 1024)
    raise ValueError(f"no machine of Fargate carries {runs} pipelines")


def _worker(pool: str, kind: str) -> list[str]:
    return [
        "prefect", "worker", "start", "--pool", pool, "--type", kind, "--with-healthcheck",
        "--install-policy", "never", "--no-create-pool-if-not-found",
    ]  # fmt: skip
