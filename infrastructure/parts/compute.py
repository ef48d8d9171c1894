"""GPU compute: Batch compute environments and job queues, one set for each size of machine.

A queue offers machines of one size (GPUs of a machine) only, the smallest of each family that gives every GPU enough
memory. In a mixed environment Batch weighs prices by vCPU and capacity, which puts one-GPU jobs on big machines.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Fn
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config
from infrastructure.nag import accept
from infrastructure.parts.network import Network
from isaaclab_flows.schemas.instances import Instance, machines_for, requirements_for
from isaaclab_flows.schemas.placement import Queues, QueueSet

_MOST_ENVIRONMENTS = 3
"""Compute environments that one job queue takes."""

# Every machine: use an image that is already there (tags are hashes of the content), keep containers away from the
# machine's own role, tell CloudWatch how busy the GPUs are.
_USER_DATA = """MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="==BOUNDARY=="

--==BOUNDARY==
Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/bash
cat >>/etc/ecs/ecs.config <<'END'
ECS_IMAGE_PULL_BEHAVIOR=prefer-cached
ECS_IMAGE_CLEANUP_INTERVAL=30m
ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=10m
ECS_AWSVPC_BLOCK_IMDS=true
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
ECS_CONTAINER_STOP_TIMEOUT=110s
END
mkdir -p /opt/aws/amazon-cloudwatch-agent/etc
cat >/opt/aws/amazon-cloudwatch-agent/etc/gpu.json <<'END'
{"metrics": {"namespace": "%(namespace)s", "append_dimensions": {"InstanceType": "${aws:InstanceType}"},
 "aggregation_dimensions": [["Deployment"]],
 "metrics_collected": {"nvidia_gpu": {"measurement": ["utilization_gpu", "memory_used"],
  "metrics_collection_interval": 60, "append_dimensions": {"Deployment": "%(name)s"}}}}}
END
(dnf install -y amazon-cloudwatch-agent && /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl \\
  -a fetch-config -m ec2 -s -c file:/opt/aws/amazon-cloudwatch-agent/etc/gpu.json) &

--==BOUNDARY==--
"""


class Compute(Construct):
    """Compute environments and queues.

    Attributes:
        queues: What the code is told of the queues, by name.
        job_queues: The queues themselves.
        first_machine: What most jobs get, for estimates.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        network: Network,
        instance_role: iam.Role,
    ) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        self._network = network
        self._profile = iam.CfnInstanceProfile(self, "Profile", roles=[instance_role.role_name])
        self._template = self._launch_template()
        self._shares = batch.CfnSchedulingPolicy(
            self,
            "Shares",
            name=config.name,
            fairshare_policy=batch.CfnSchedulingPolicy.FairsharePolicyProperty(
                share_decay_seconds=3_600, compute_reservation=0
            ),
            tags={names.TAG: config.name},
        )
        self.job_queues: list[batch.CfnJobQueue] = []
        sizes = sorted(config.compute.gpus_per_machine)
        self.queues = Queues(sets=tuple(self._size(gpus) for gpus in sizes), families=config.compute.families)
        self.first_machine = machines_of(config, sizes[0])[0]

    def _size(self, gpus: int) -> QueueSet:
        machines = machines_of(self._config, gpus)
        on_demand = [self._environment(f"OnDemand-{machine.name}", [machine]) for machine in machines]
        resumable = on_demand
        if self._config.compute.spot:
            spot = self._environment(f"Spot-{gpus}", machines, spot=True)
            resumable = [spot, *on_demand][:_MOST_ENVIRONMENTS]
        several = None
        if self._config.compute.multi_node:
            environments = [self._environment(f"Nodes-{m.name}", [m], side_by_side=True) for m in machines]
            several = self._queue(gpus, "multi-node", environments, priority=10)
        return QueueSet(
            gpus=gpus,
            resumable=self._queue(gpus, "resumable", resumable, priority=10),
            on_demand=self._queue(gpus, "on-demand", on_demand, priority=20),
            multi_node=several,
        )

    def _environment(
        self, construct_id: str, machines: Sequence[Instance], *, spot: bool = False, side_by_side: bool = False
    ) -> batch.CfnComputeEnvironment:
        group = self._network.nodes if side_by_side else self._network.jobs
        subnets = [subnet.subnet_id for subnet in self._network.compute]
        placement_group = None
        if side_by_side:
            # A cluster placement group lies in one zone.
            subnets = subnets[:1]
            placement_group = ec2.CfnPlacementGroup(self, f"{construct_id}-Group", strategy="cluster").ref
        warm = (
            self._config.keep_warm_instance
            and not spot
            and not side_by_side
            and machines[0] == machines_of(self._config, 1)[0]
        )
        return batch.CfnComputeEnvironment(
            self,
            construct_id.replace(".", "-"),
            type="MANAGED",
            state="ENABLED",
            # Updated in place, machine by machine, jobs left to end.
            replace_compute_environment=False,
            update_policy=batch.CfnComputeEnvironment.UpdatePolicyProperty(
                terminate_jobs_on_update=False, job_execution_timeout_minutes=360
            ),
            compute_resources=batch.CfnComputeEnvironment.ComputeResourcesProperty(
                type="SPOT" if spot else "EC2",
                allocation_strategy="SPOT_CAPACITY_OPTIMIZED" if spot else "BEST_FIT_PROGRESSIVE",
                instance_types=[machine.name for machine in machines],
                minv_cpus=machines[0].vcpus if warm else 0,
                maxv_cpus=machines[0].vcpus * self._config.compute.max_machines,
                subnets=subnets,
                security_group_ids=[group.security_group_id],
                instance_role=self._profile.attr_arn,
                placement_group=placement_group,
                launch_template=batch.CfnComputeEnvironment.LaunchTemplateSpecificationProperty(
                    launch_template_id=self._template.ref, version=self._template.attr_latest_version_number
                ),
                ec2_configuration=[
                    batch.CfnComputeEnvironment.Ec2ConfigurationObjectProperty(image_type="ECS_AL2023_NVIDIA")
                ],
                update_to_latest_image_version=True,
                tags={"Name": f"{self._config.name}-gpu", names.TAG: self._config.name},
            ),
            tags={names.TAG: self._config.name},
        )

    def _queue(
        self, gpus: int, purpose: str, environments: Sequence[batch.CfnComputeEnvironment], *, priority: int
    ) -> str:
        name = names.queue(self._config, gpus, purpose)
        limit = self._config.compute.cannot_be_placed_minutes * 60
        queue = batch.CfnJobQueue(
            self,
            f"Queue-{gpus}-{purpose}",
            job_queue_name=name,
            state="ENABLED",
            priority=priority,
            scheduling_policy_arn=self._shares.attr_arn,
            compute_environment_order=[
                batch.CfnJobQueue.ComputeEnvironmentOrderProperty(order=order, compute_environment=environment.ref)
                for order, environment in enumerate(environments, start=1)
            ],
            job_state_time_limit_actions=[
                batch.CfnJobQueue.JobStateTimeLimitActionProperty(
                    action="CANCEL", state="RUNNABLE", reason=reason, max_time_seconds=limit if waits else 600
                )
                for reason, waits in (
                    ("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", True),
                    # Waiting mends neither of these.
                    ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE", False),
                    ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT", False),
                )
            ],
            tags={names.TAG: self._config.name},
        )
        self.job_queues.append(queue)
        return name

    def _launch_template(self) -> ec2.CfnLaunchTemplate:
        template = ec2.CfnLaunchTemplate
        user_data = _USER_DATA % {"namespace": names.METRIC_NAMESPACE, "name": self._config.name}
        return ec2.CfnLaunchTemplate(
            self,
            "Machine",
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
                    # One hop: containers have their own role and do not reach the machine's.
                    http_tokens="required",
                    http_put_response_hop_limit=1,
                    http_endpoint="enabled",
                ),
                monitoring=template.MonitoringProperty(enabled=True),
                user_data=Fn.base64(user_data),
                tag_specifications=[
                    template.TagSpecificationProperty(
                        resource_type=kind,
                        tags=[{"key": names.TAG, "value": self._config.name}],
                    )
                    for kind in ("instance", "volume")
                ],
            ),
        )


def machines_of(config: Config, gpus: int) -> list[Instance]:
    """Return the smallest machine with exactly so many GPUs of each family, in the families' order."""
    request = requirements_for(gpus, families=config.compute.families)
    fitting = [machine for machine in machines_for(request, config.compute.families) if machine.gpus == gpus]
    first: dict[str, Instance] = {}
    for machine in fitting:
        first.setdefault(machine.family, machine)
    return list(first.values())


def instance_role(scope: Construct, config: Config) -> iam.Role:
    """Return the machines' own role: join the cluster that Batch makes, and say how busy the GPUs are."""
    role = iam.Role(
        scope,
        "InstanceRole",
        assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
        description=f"GPU machines of {config.name}",
        managed_policies=[
            iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AmazonEC2ContainerServiceforEC2Role")
        ],
    )
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["cloudwatch:PutMetricData"],
            resources=["*"],
            conditions={"StringEquals": {"cloudwatch:namespace": names.METRIC_NAMESPACE}},
        )
    )
    accept(
        role,
        {
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
            "AmazonEC2ContainerServiceforEC2Role]": "AWS keeps it in step with the ECS agent; the cluster is made by"
            " Batch, so its name is not known here.",
        },
    )
    accept(
        role.node.find_child("DefaultPolicy"),
        {"AwsSolutions-IAM5[Resource::*]": "PutMetricData has no resource level; the namespace limits it."},
    )
    return role
