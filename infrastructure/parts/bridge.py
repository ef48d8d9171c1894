"""VAMS bridge: the Lambda that VAMS calls, its dead letters, and the registration of both workflows."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config, PrefectSelfHosted
from infrastructure.nag import accept
from infrastructure.parts.network import Network, retention
from infrastructure.parts.permissions import Permissions
from infrastructure.parts.prefect import PrefectAccess
from infrastructure.parts.registration import Registration
from infrastructure.parts.storage import DataStores
from isaaclab_flows.schemas.names import PIPELINE_DEPLOYMENT

_SOURCE = Path(__file__).resolve().parents[1] / "vams_bridge"


class Bridge(Construct):
    """The Lambda.

    Attributes:
        function: The Lambda.
        dead_letters: Events that asynchronous callers could not get through; VAMS itself waits for the answer.
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
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        group = logs.LogGroup(
            self,
            "Log",
            log_group_name=names.log_group(config, "vams-bridge"),
            retention=retention(config),
            encryption_key=key,
        )
        # An event holds a task token: encrypted with the deployment's key, and gone after four days.
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=f"{config.name}-vams-bridge-dead-letters",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            retention_period=Duration.days(4),
            enforce_ssl=True,
        )
        accept(self.dead_letters, {"AwsSolutions-SQS3": "It is the dead-letter queue."})
        # Prefect Cloud is reached from anywhere; our own server only from inside the VPC.
        inside = isinstance(config.prefect, PrefectSelfHosted)
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=names.bridge(config),
            description=f"Starts isaaclab-flows jobs for VAMS ({config.name})",
            runtime=lambda_.Runtime.PYTHON_3_12,
            handler="handler.handler",
            code=lambda_.Code.from_asset(str(_SOURCE), exclude=["**/__pycache__", "**/*.pyc"]),
            memory_size=256,
            timeout=Duration.seconds(60),
            role=permissions.bridge.without_policy_updates(),
            log_group=group,
            dead_letter_queue=self.dead_letters,
            environment={
                "PREFECT_API_URL": access.api_url,
                "PREFECT_SECRET_ARN": access.secret.secret_arn,
                "REQUESTS_BUCKET": names.bucket(config, "requests"),
                "REQUESTS_PREFIX": names.REQUESTS_PREFIX,
                "PIPELINE_DEPLOYMENT": PIPELINE_DEPLOYMENT,
            },
            environment_encryption=key,
            vpc=network.vpc if inside else None,
            vpc_subnets=ec2.SubnetSelection(subnets=network.compute) if inside else None,
            security_groups=[network.services] if inside else None,
        )
        accept(self.function, {"AwsSolutions-L1": "Python 3.12 is the version that the project is tested on."})
        # The role is given by name only: its policies must be there before the Lambda is.
        self.function.node.add_dependency(permissions)
        permissions.bridge_queue(self.dead_letters.queue_arn)
        if config.auto_register_with_vams:
            Registration(self, "Registration", config=config, function=self.function)
