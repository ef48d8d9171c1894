"""A Prefect server of our own: Fargate behind an internal load balancer with TLS, Aurora PostgreSQL, basic auth."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr_assets as assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_rds as rds
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config, PrefectSelfHosted
from infrastructure.nag import accept
from infrastructure.parts.network import Network
from infrastructure.parts.prefect import PrefectAccess

_PORT = 4200
_DATABASE = "prefect"
SCRATCH = "/scratch"
"""The one folder that the image's user may write to (infrastructure/orchestrator.Dockerfile)."""
_NOT_ROTATED = "Prefect reads it when it starts: rotating it needs a restart, see docs/deploy.md."


class PrefectServer(Construct):
    """The server.

    Attributes:
        access: How the others speak to it.
        service: The ECS service; what calls the API at deploy time waits for it.
        database: Its database.
        targets: The load balancer's target group.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        network: Network,
        key: kms.IKey,
        access_logs: s3.IBucket,
        cluster: ecs.Cluster,
        image: assets.DockerImageAsset,
        log_group: logs.LogGroup,
    ) -> None:
        super().__init__(scope, construct_id)
        assert isinstance(config.prefect, PrefectSelfHosted)
        self._config = config
        self._settings = config.prefect
        self._network = network
        self._key = key
        self._authentication = secretsmanager.Secret(
            self,
            "Authentication",
            description=f"Prefect's basic auth, {config.name}",
            encryption_key=key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template="{}",  # noqa: S106
                generate_string_key="auth_string",
                password_length=40,
                exclude_punctuation=True,
            ),
        )
        accept(self._authentication, {"AwsSolutions-SMG4": _NOT_ROTATED})
        database = self._make_database()
        self.database = database
        self.service = self._serve(cluster, image, log_group, database)
        self.targets = self._balance(access_logs)
        self.access = PrefectAccess(
            f"https://{config.prefect.host_name}/api", self._authentication, "auth_string", "PREFECT_API_AUTH_STRING"
        )

    def _make_database(self) -> rds.DatabaseCluster:
        database = rds.DatabaseCluster(
            self,
            "Database",
            engine=rds.DatabaseClusterEngine.aurora_postgres(version=rds.AuroraPostgresEngineVersion.VER_16_11),
            writer=rds.ClusterInstance.serverless_v2("Writer"),
            serverless_v2_min_capacity=self._settings.database_min_acu,
            serverless_v2_max_capacity=self._settings.database_max_acu,
            default_database_name=_DATABASE,
            credentials=rds.Credentials.from_generated_secret(
                _DATABASE, encryption_key=self._key, exclude_characters=" %+~`#$&*()|[]{}:;<>?!'/@\"\\=^,."
            ),
            vpc=self._network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnets=self._network.isolated),
            security_groups=[self._network.database],
            storage_encrypted=True,
            storage_encryption_key=self._key,
            iam_authentication=True,
            backup=rds.BackupProps(retention=Duration.days(14)),
            deletion_protection=True,
            removal_policy=RemovalPolicy.SNAPSHOT,
            parameters={"rds.force_ssl": "1"},
        )
        accept(database, {"AwsSolutions-SMG4": _NOT_ROTATED})
        return database

    def _serve(
        self,
        cluster: ecs.Cluster,
        image: assets.DockerImageAsset,
        log_group: logs.LogGroup,
        database: rds.DatabaseCluster,
    ) -> ecs.FargateService:
        secret = database.secret
        assert secret is not None
        execution = iam.Role(
            self,
            "Execution",
            assumed_by=iam.ServicePrincipal(
                "ecs-tasks.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": self._config.account}}
            ),
            description=f"Starting Prefect's server of {self._config.name}",
        )
        image.repository.grant_pull(execution)
        # Both secrets are encrypted with it; an imported key adds nothing to whoever may read them.
        execution.add_to_policy(iam.PolicyStatement(actions=["kms:Decrypt"], resources=[self._key.key_arn]))
        definition = ecs.FargateTaskDefinition(
            self,
            "Task",
            family=f"{self._config.name}-prefect-server",
            cpu=1024,
            memory_limit_mib=2048,
            execution_role=execution,
        )
        # An empty volume that belongs to the image's user: everything else of the container is read-only.
        definition.add_volume(name="scratch")
        container = definition.add_container(
            "server",
            readonly_root_filesystem=True,
            image=ecs.ContainerImage.from_docker_image_asset(image),
            command=["prefect", "server", "start", "--host", "0.0.0.0", "--port", str(_PORT)],  # noqa: S104
            environment={
                "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
                "PREFECT_SERVER_DATABASE_HOST": database.cluster_endpoint.hostname,
                "PREFECT_SERVER_DATABASE_PORT": "5432",
                "PREFECT_SERVER_DATABASE_NAME": _DATABASE,
                "PREFECT_SERVER_DATABASE_USER": _DATABASE,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "PREFECT_SERVER_UI_API_URL": f"https://{self._settings.host_name}/api",
            },
            secrets={
                "PREFECT_SERVER_DATABASE_PASSWORD": ecs.Secret.from_secrets_manager(secret, "password"),
                "PREFECT_SERVER_API_AUTH_STRING": ecs.Secret.from_secrets_manager(self._authentication, "auth_string"),
            },
            logging=ecs.LogDrivers.aws_logs(stream_prefix="prefect-server", log_group=log_group),
            port_mappings=[ecs.PortMapping(container_port=_PORT)],
            stop_timeout=Duration.seconds(60),
        )
        container.add_mount_points(ecs.MountPoint(container_path=SCRATCH, source_volume="scratch", read_only=False))
        accept(
            definition,
            {"AwsSolutions-ECS2": "They are addresses and names; passwords come from Secrets Manager."},
        )
        accept(
            execution.node.find_child("DefaultPolicy"),
            {"AwsSolutions-IAM5[Resource::*]": "ecr:GetAuthorizationToken has no resource level."},
        )
        service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            service_name=f"{self._config.name}-prefect-server",
            task_definition=definition,
            desired_count=1,
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            health_check_grace_period=Duration.minutes(3),
            vpc_subnets=ec2.SubnetSelection(subnets=self._network.compute),
            security_groups=[self._network.server],
        )
        service.node.add_dependency(database)
        return service

    def _balance(self, access_logs: s3.IBucket) -> elb.ApplicationTargetGroup:
        balancer = elb.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            load_balancer_name=names.load_balancer(self._config),
            vpc=self._network.vpc,
            internet_facing=False,
            security_group=self._network.load_balancer,
            vpc_subnets=ec2.SubnetSelection(subnets=self._network.compute),
            deletion_protection=False,
            drop_invalid_header_fields=True,
        )
        balancer.log_access_logs(access_logs, "load-balancer")
        listener = balancer.add_listener(
            "Https",
            port=443,
            open=False,
            certificates=[acm.Certificate.from_certificate_arn(self, "Certificate", self._settings.certificate_arn)],
            ssl_policy=elb.SslPolicy.TLS13_RES,
        )
        group = listener.add_targets(
            "Server",
            port=_PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            targets=[self.service],
            deregistration_delay=Duration.seconds(30),
            health_check=elb.HealthCheck(path="/api/health", healthy_threshold_count=2, interval=Duration.seconds(15)),
        )
        zone = route53.PrivateHostedZone(self, "Zone", zone_name=self._settings.host_name, vpc=self._network.vpc)
        route53.ARecord(
            self,
            "Name",
            zone=zone,
            target=route53.RecordTarget.from_alias(targets.LoadBalancerTarget(balancer)),
        )
        return group
