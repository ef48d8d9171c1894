"""GPU compute: Batch compute environments and job queues, one set for each size of machine.

A queue offers machines of one size (GPUs of a machine) only, the smallest of each family that gives every GPU enough
memory. In a mixed environment Batch weighs prices by vCPU and capacity, which puts one-GPU jobs on big machines.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config
from infrastructure.parts.machines import Machines
from infrastructure.parts.network import Network
from isaaclab_flows.schemas.instances import Instance, instance, machines_for, requirements_for
from isaaclab_flows.schemas.placement import Queues, QueueSet

_MOST_ENVIRONMENTS = 3
"""Compute environments that one job queue takes."""


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
        machines: Machines,
    ) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        self._network = network
        self._machines = machines
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
        first = [*self._warm(gpus, machines), *self._reserved(gpus, "Reserved")]
        on_demand = [
            *first,
            *(self._environment(f"OnDemand-{machine.name}", [machine]) for machine in machines),
        ]
        resumable, spot_queue = on_demand, None
        if self._config.compute.spot:
            spot = self._environment(f"Spot-{gpus}", machines, spot=True)
            spot_queue = self._queue(gpus, "spot", [spot], priority=10)
            resumable = [*first, spot, *on_demand[len(first) :]]
        several = None
        if self._config.compute.multi_node:
            environments = [
                *self._reserved(gpus, "ReservedNodes", side_by_side=True),
                *(self._environment(f"Nodes-{m.name}", [m], side_by_side=True) for m in machines),
            ]
            several = self._queue(gpus, "multi-node", environments, priority=10)
        return QueueSet(
            gpus=gpus,
            resumable=self._queue(gpus, "resumable", resumable, priority=10),
            on_demand=self._queue(gpus, "on-demand", on_demand, priority=20),
            spot=spot_queue,
            multi_node=several,
        )

    def _warm(self, gpus: int, machines: Sequence[Instance]) -> list[batch.CfnComputeEnvironment]:
        """Return the machine that is always there, which jobs are given before any other."""
        if not self._config.keep_warm_instance or gpus != 1:
            return []
        template = self._machines.warm()
        return [self._environment("Warm", machines[:1], template=template, least=1, most=1)]

    def _reserved(self, gpus: int, name: str, *, side_by_side: bool = False) -> list[batch.CfnComputeEnvironment]:
        """Return the machines that are paid for already."""
        made = []
        for reservation in self._config.compute.reservations:
            machine = instance(reservation.instance_type)
            if machine.gpus == gpus:
                made.append(
                    self._environment(
                        f"{name}-{machine.name}",
                        [machine],
                        side_by_side=side_by_side,
                        template=self._machines.reserved(reservation, side_by_side=side_by_side),
                        most=reservation.machines,
                        zone=reservation.availability_zone,
                    )
                )
        return made

    def _environment(
        self,
        construct_id: str,
        machines: Sequence[Instance],
        *,
        spot: bool = False,
        side_by_side: bool = False,
        template: ec2.CfnLaunchTemplate | None = None,
        least: int = 0,
        most: int | None = None,
        zone: str | None = None,
    ) -> batch.CfnComputeEnvironment:
        group = self._network.nodes if side_by_side else self._network.jobs
        subnets = [subnet.subnet_id for subnet in self._network.compute]
        if zone is not None:
            subnets = [subnets[self._config.zones.index(zone)]]
        placement_group = None
        if side_by_side:
            # A cluster placement group lies in one zone.
            subnets = subnets[:1]
            placement_group = ec2.CfnPlacementGroup(self, f"{construct_id}-Group", strategy="cluster").ref
        chosen = template or self._machines.plain()
        vcpus = machines[0].vcpus
        return batch.CfnComputeEnvironment(
            self,
            construct_id.replace(".", "-"),
            type="MANAGED",
            state="ENABLED",
            # Updated in place, machine by machine; jobs go on for six hours, the longest that Batch lets them.
            replace_compute_environment=False,
            update_policy=batch.CfnComputeEnvironment.UpdatePolicyProperty(
                terminate_jobs_on_update=False, job_execution_timeout_minutes=360
            ),
            compute_resources=batch.CfnComputeEnvironment.ComputeResourcesProperty(
                type="SPOT" if spot else "EC2",
                # Price before spare capacity: the families' order is that of their prices, and estimates are, too.
                allocation_strategy="SPOT_PRICE_CAPACITY_OPTIMIZED" if spot else "BEST_FIT_PROGRESSIVE",
                instance_types=[machine.name for machine in machines],
                minv_cpus=vcpus * least,
                maxv_cpus=vcpus * (most or self._config.compute.max_machines),
                subnets=subnets,
                security_group_ids=[group.security_group_id],
                instance_role=self._machines.profile_arn,
                placement_group=placement_group,
                launch_template=batch.CfnComputeEnvironment.LaunchTemplateSpecificationProperty(
                    launch_template_id=chosen.ref, version=chosen.attr_latest_version_number
                ),
                ec2_configuration=[
                    batch.CfnComputeEnvironment.Ec2ConfigurationObjectProperty(
                        image_type="ECS_AL2023_NVIDIA", image_id_override=self._config.compute.machine_image
                    )
                ],
                # An image of one's own changes when its id does.
                update_to_latest_image_version=self._config.compute.machine_image is None,
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
                for order, environment in enumerate(environments[:_MOST_ENVIRONMENTS], start=1)
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


def machines_of(config: Config, gpus: int) -> list[Instance]:
    """Return the smallest machine with exactly so many GPUs of each family, in the families' order."""
    request = requirements_for(gpus, families=config.compute.families)
    fitting = [machine for machine in machines_for(request, config.compute.families) if machine.gpus == gpus]
    first: dict[str, Instance] = {}
    for machine in fitting:
        first.setdefault(machine.family, machine)
    return list(first.values())
