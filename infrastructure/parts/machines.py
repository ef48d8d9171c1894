"""The GPU machines themselves: their launch templates, what they do when they start, and their own role."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import Fn
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr_assets as assets
from aws_cdk import aws_iam as iam
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config, Reservation
from infrastructure.nag import accept

_START = Path(__file__).resolve().parents[1] / "machine"


class Machines(Construct):
    """Launch templates and the instance profile.

    Attributes:
        role: The machines' own role.
        profile_arn: Its instance profile.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config, images: Mapping[str, assets.DockerImageAsset]
    ) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        self._images = images
        self.role = self._make_role()
        self.profile_arn = iam.CfnInstanceProfile(self, "Profile", roles=[self.role.role_name]).attr_arn
        if config.keep_warm_instance:
            self._may_pull()
        if config.compute.session_manager:
            self._may_be_entered()
        self._plain = self._template("Machine", user_data(config))

    def plain(self) -> ec2.CfnLaunchTemplate:
        """Return the template of machines that jobs start."""
        return self._plain

    def warm(self) -> ec2.CfnLaunchTemplate:
        """Return the template of a machine that fetches its image before any job comes."""
        image = next(iter(self._images.values()))
        return self._template("WarmMachine", user_data(self._config, pull=image.image_uri, region=self._config.region))

    def reserved(self, reservation: Reservation, *, side_by_side: bool) -> ec2.CfnLaunchTemplate:
        """Return the template of machines of a capacity reservation or block."""
        template = ec2.CfnLaunchTemplate
        target = template.CapacityReservationTargetProperty(capacity_reservation_id=reservation.id)
        return self._template(
            f"Reserved{'Nodes' if side_by_side else ''}-{reservation.id}",
            user_data(self._config),
            capacity_reservation_specification=template.CapacityReservationSpecificationProperty(
                capacity_reservation_target=target
            ),
            instance_market_options=template.InstanceMarketOptionsProperty(market_type="capacity-block")
            if reservation.capacity_block
            else None,
        )

    def _template(self, construct_id: str, text: str, **more: object) -> ec2.CfnLaunchTemplate:
        template = ec2.CfnLaunchTemplate
        return ec2.CfnLaunchTemplate(
            self,
            construct_id,
            launch_template_data=template.LaunchTemplateDataProperty(
                block_device_mappings=[
                    template.BlockDeviceMappingProperty(
                        device_name="/dev/xvda",
                        ebs=template.EbsProperty(
                            volume_type="gp3",
                            volume_size=self._config.compute.volume_gib,
                            iops=6_000,
                            throughput=500,
                            encrypted=True,
                            delete_on_termination=True,
                        ),
                    )
                ],
                metadata_options=template.MetadataOptionsProperty(
                    # One hop keeps out containers with a network of their own (multi-node jobs). Single-machine jobs
                    # use the host's network, where no number of hops does: metadata-guard keeps those out.
                    http_tokens="required",
                    http_put_response_hop_limit=1,
                    http_endpoint="enabled",
                ),
                monitoring=template.MonitoringProperty(enabled=True),
                user_data=Fn.base64(text),
                tag_specifications=[
                    template.TagSpecificationProperty(
                        resource_type=kind,
                        tags=[{"key": names.TAG, "value": self._config.name}],
                    )
                    for kind in ("instance", "volume")
                ],
                **more,
            ),
        )

    def _make_role(self) -> iam.Role:
        """Make the role: join the cluster that Batch makes, and say how busy the GPUs are. No data, no images."""
        config = self._config
        here = f"arn:{config.partition}:ecs:{config.region}:{config.account}"
        clusters = [f"{here}:cluster/AWSBatch-*", f"{here}:cluster/*_Batch_*"]
        machines = [f"{here}:container-instance/AWSBatch-*", f"{here}:container-instance/*_Batch_*"]
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            description=f"GPU machines of {config.name}",
        )
        for statement in (
            iam.PolicyStatement(actions=["ecs:DiscoverPollEndpoint"], resources=["*"]),
            iam.PolicyStatement(
                actions=[
                    "ecs:RegisterContainerInstance",
                    "ecs:DeregisterContainerInstance",
                    "ecs:SubmitAttachmentStateChanges",
                    "ecs:SubmitContainerStateChange",
                    "ecs:SubmitTaskStateChange",
                ],
                resources=clusters,
            ),
            iam.PolicyStatement(
                actions=["ecs:Poll", "ecs:StartTelemetrySession", "ecs:UpdateContainerInstancesState"],
                resources=machines,
            ),
            iam.PolicyStatement(
                actions=["ecs:TagResource"],
                resources=[*clusters, *machines],
                conditions={"StringEquals": {"ecs:CreateAction": "RegisterContainerInstance"}},
            ),
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],
                conditions={"StringEquals": {"cloudwatch:namespace": names.METRIC_NAMESPACE}},
            ),
        ):
            role.add_to_policy(statement)
        reason = "Batch names the clusters of its compute environments; this is the pattern of their names."
        accept(
            role.node.find_child("DefaultPolicy"),
            {
                "AwsSolutions-IAM5[Resource::*]": "AWS offers no resource level; the namespace limits metrics.",
                **{f"AwsSolutions-IAM5[Resource::{pattern}]": reason for pattern in (*clusters, *machines)},
            },
        )
        return role

    def _may_pull(self) -> None:
        """A warm machine fetches its image by itself; on all others the job's own execution role does."""
        self.role.add_to_policy(iam.PolicyStatement(actions=["ecr:GetAuthorizationToken"], resources=["*"]))
        image = next(iter(self._images.values()))
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"],
                resources=[image.repository.repository_arn],
            )
        )

    def _may_be_entered(self) -> None:
        """Session Manager's messages, and nothing else of Systems Manager."""
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=[
                    "ssm:UpdateInstanceInformation",
                    "ssmmessages:CreateControlChannel",
                    "ssmmessages:CreateDataChannel",
                    "ssmmessages:OpenControlChannel",
                    "ssmmessages:OpenDataChannel",
                ],
                resources=["*"],
            )
        )


def user_data(config: Config, *, pull: str | None = None, region: str | None = None) -> str:
    """Return what a machine does when it starts, as the MIME text that Batch adds its own part to.

    Args:
        config: The deployment.
        pull: An image that it fetches before any job comes.
        region: Where that image's repository is.
    """
    script = (_START / "start.sh").read_text()
    guard = (_START / "metadata-guard.sh").read_text()
    for marker, value in (("@NAMESPACE@", names.METRIC_NAMESPACE), ("@DEPLOYMENT@", config.name), ("@GUARD@", guard)):
        script = script.replace(marker, value)
    if config.compute.session_manager:
        script += "systemctl enable --now amazon-ssm-agent || dnf install -y amazon-ssm-agent\n"
    if pull:
        script += (_START / "pull.sh").read_text().replace("@IMAGE@", pull).replace("@REGION@", str(region))
    return (
        "MIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="==BOUNDARY=="\n\n'
        '--==BOUNDARY==\nContent-Type: text/x-shellscript; charset="us-ascii"\n\n'
        f"{script}\n--==BOUNDARY==--\n"
    )
