"""Storage: the key, EFS for job folders, and the buckets. All of it stays when the stacks go."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_efs as efs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config, ExistingBucket
from infrastructure.nag import accept
from infrastructure.parts.network import Network

_IA_AFTER = {7: "AFTER_7_DAYS", 14: "AFTER_14_DAYS", 30: "AFTER_30_DAYS", 60: "AFTER_60_DAYS", 90: "AFTER_90_DAYS"}
# The images' user: the access point makes every file theirs, whatever user a container runs as.
_USER = "1000"


@dataclass(frozen=True)
class DataBucket:
    """A bucket that jobs use: its name, and the key it is encrypted with, if that is a customer's."""

    name: str
    arn: str
    key_arn: str | None


def make_key(scope: Construct, config: Config) -> kms.Key:
    """Return the deployment's key, which CloudWatch's logs and topics, S3, EFS and the database use."""
    key = kms.Key(
        scope,
        "Key",
        alias=f"alias/{config.name}",
        description=f"isaaclab-flows deployment {config.name}",
        enable_key_rotation=True,
        removal_policy=RemovalPolicy.RETAIN,
    )
    groups = f"arn:{config.partition}:logs:{config.region}:{config.account}:log-group:"
    arns = [f"{groups}{names.log_group(config, purpose)}" for purpose in ("*", "jobs")]
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal(f"logs.{config.region}.amazonaws.com")],
            actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
            resources=["*"],
            conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": arns}},
        )
    )
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal(name) for name in ("cloudwatch.amazonaws.com", "budgets.amazonaws.com")],
            actions=["kms:Decrypt", "kms:GenerateDataKey*"],
            resources=["*"],
            conditions={"StringEquals": {"aws:SourceAccount": config.account}},
        )
    )
    # EventBridge says no source account when it publishes to an encrypted topic: with a condition its messages vanish.
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("events.amazonaws.com")],
            actions=["kms:Decrypt", "kms:GenerateDataKey*"],
            resources=["*"],
        )
    )
    return key


class DataStores(Construct):
    """EFS and buckets.

    Attributes:
        file_system: Job folders and caches.
        access_point: The part of it that jobs and services see.
        requests: Request documents and answers; the only place where VAMS's tokens lie.
        assets: Buckets with configurations and outputs; new outputs without a place of their own go to the first.
        auxiliary: What running jobs save.
    """

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, network: Network, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        self._key = key
        self.access_logs = self._make_access_logs()
        self.file_system, self.access_point = self._make_file_system(network)
        # Unversioned on purpose: a new attempt's token replaces the old one, which must not stay behind.
        self._bucket(
            "Requests", "requests", lifecycle=[s3.LifecycleRule(id="requests-go", expiration=Duration.days(30))]
        )
        self.requests = self._made("requests")
        # Made even where others are used: a kept bucket's name would stand in the way of one that comes back.
        self._bucket("Assets", "assets", versioned=True)
        expiry = s3.LifecycleRule(id="work-goes", expiration=Duration.days(config.storage.auxiliary_days))
        self._bucket("Auxiliary", "auxiliary", lifecycle=[expiry])
        existing = tuple(self._existing(found) for found in config.storage.asset_buckets)
        self.assets = existing or (self._made("assets"),)
        given = config.storage.auxiliary_bucket
        self.auxiliary = self._existing(given) if given else self._made("auxiliary")

    def _make_file_system(self, network: Network) -> tuple[efs.FileSystem, efs.AccessPoint]:
        file_system = efs.FileSystem(
            self,
            "FileSystem",
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnets=network.isolated),
            security_group=network.file_system,
            file_system_name=self._config.name,
            encrypted=True,
            kms_key=self._key,
            performance_mode=efs.PerformanceMode.GENERAL_PURPOSE,
            throughput_mode=efs.ThroughputMode.ELASTIC,
            lifecycle_policy=getattr(efs.LifecyclePolicy, _IA_AFTER[self._config.storage.infrequent_access_days]),
            out_of_infrequent_access_policy=efs.OutOfInfrequentAccessPolicy.AFTER_1_ACCESS,
            enable_automatic_backups=self._config.storage.backup,
            # Mounting needs TLS, IAM and a mount target: nobody gets in by the network alone.
            allow_anonymous_access=False,
            removal_policy=RemovalPolicy.RETAIN,
        )
        access_point = file_system.add_access_point(
            "Jobs",
            path="/isaaclab-flows",
            create_acl=efs.Acl(owner_uid=_USER, owner_gid=_USER, permissions="750"),
            posix_user=efs.PosixUser(uid=_USER, gid=_USER),
        )
        return file_system, access_point

    def _make_access_logs(self) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "AccessLogs",
            bucket_name=names.bucket(self._config, "logs"),
            # Server access logging can write with S3's own keys only.
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="logs-go", expiration=Duration.days(max(self._config.operations.log_retention_days, 1))
                )
            ],
            removal_policy=RemovalPolicy.RETAIN,
        )
        accept(bucket, {"AwsSolutions-S1": "It is the bucket that the access logs of the others go to."})
        return bucket

    def _bucket(
        self,
        construct_id: str,
        purpose: str,
        *,
        versioned: bool = False,
        lifecycle: list[s3.LifecycleRule] | None = None,
    ) -> s3.Bucket:
        abort = s3.LifecycleRule(id="torn-uploads-go", abort_incomplete_multipart_upload_after=Duration.days(7))
        return s3.Bucket(
            self,
            construct_id,
            bucket_name=names.bucket(self._config, purpose),
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self._key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=versioned,
            lifecycle_rules=[abort, *(lifecycle or [])],
            server_access_logs_bucket=self.access_logs,
            server_access_logs_prefix=f"{purpose}/",
            removal_policy=RemovalPolicy.RETAIN,
        )

    def _made(self, purpose: str) -> DataBucket:
        # Written out rather than imported from the other stack: policies stay readable, and buckets free to move.
        name = names.bucket(self._config, purpose)
        return DataBucket(name, f"arn:{self._config.partition}:s3:::{name}", self._key.key_arn)

    def _existing(self, found: ExistingBucket) -> DataBucket:
        return DataBucket(found.name, f"arn:{self._config.partition}:s3:::{found.name}", found.kms_key_arn)
