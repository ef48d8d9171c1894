"""Which machine a job asks for: the queue, and a share of a machine that the queue really has."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from isaaclab_flows.schemas.config import CamelModel, ComputeConfig
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.instances import FAMILIES, Instance, ResourceRequirements, machines_for, requirements_for


class QueueSet(CamelModel):
    """The Batch job queues of machines with so many GPUs. One set for each size keeps small jobs off big machines:
    Batch prefers the lowest price for a vCPU, which a 48xlarge has."""

    gpus: Annotated[int, Field(ge=1)]
    """GPUs of each machine."""
    resumable: str
    """What a job gets that asks for nothing else: Spot first where the deployment has it, then on demand."""
    on_demand: str
    """Never Spot."""
    spot: str | None = None
    """Nothing but Spot; None where the deployment has none."""
    multi_node: str | None = None
    """Machines side by side in a placement group, never Spot; None where the deployment has none."""


class Queues(CamelModel):
    """Everything that a deployment has to run jobs on."""

    sets: Annotated[tuple[QueueSet, ...], Field(strict=False, min_length=1)]
    families: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = FAMILIES
    """Instance families in the order in which they are tried."""


class Placement(CamelModel):
    """What one job asks Batch for."""

    job_queue: str
    nodes: int
    requirements: ResourceRequirements
    """Of each node."""
    machine: Instance
    """The smallest machine of the first family, which is tried first; estimates are made with its price."""

    def job_variables(self) -> dict[str, str | int]:
        """Return the aws-batch pool's variables (prefect_aws_batch's configuration) that send a flow run there."""
        return {
            "job_queue": self.job_queue,
            "num_nodes": self.nodes,
            "vcpu": self.requirements.vcpus,
            "memory": self.requirements.memory_mib,
            "gpus": self.requirements.gpus,
        }


def place(compute: ComputeConfig, queues: Queues) -> Placement:
    """Return where a job goes and what it asks for there.

    Raises:
        ConfigError: The deployment has no machines with so many GPUs, or none for several nodes.
    """
    sizes = sorted(queues.sets, key=lambda found: found.gpus)
    size = next((found for found in sizes if found.gpus >= compute.gpus_per_node), None)
    if size is None:
        raise ConfigError(
            f"computeConfig.gpusPerNode is {compute.gpus_per_node}, but no machine of this deployment has so many GPUs",
            where="computeConfig.gpusPerNode",
            remedy=f"Allowed: up to {sizes[-1].gpus}. The deployment's gpusPerMachine adds bigger machines.",
        )
    queue = _queue(compute, size)
    requirements = requirements_for(compute.gpus_per_node, families=queues.families)
    # A 2-GPU job lands in the queue of the 4-GPU machines; what it asks for fits every family there.
    machine = next(found for found in machines_for(requirements, queues.families) if found.gpus == size.gpus)
    return Placement(job_queue=queue, nodes=compute.num_nodes, requirements=requirements, machine=machine)


def _queue(compute: ComputeConfig, size: QueueSet) -> str:
    if compute.num_nodes > 1:
        if compute.capacity == "spot":
            raise ConfigError(
                f"computeConfig.capacity is 'spot' for {compute.num_nodes} nodes, which are never Spot: one that is"
                " taken away ends them all",
                where="computeConfig.capacity",
                remedy="Set it to 'on-demand' or 'auto', or numNodes to 1.",
            )
        if size.multi_node is None:
            raise ConfigError(
                f"computeConfig.numNodes is {compute.num_nodes}, but this deployment has no queue for several nodes",
                where="computeConfig.numNodes",
                remedy="Set it to 1, or enable multiNode in the deployment's configuration.",
            )
        return size.multi_node
    if compute.capacity == "spot" and size.spot is None:
        raise ConfigError(
            "computeConfig.capacity is 'spot', but this deployment has no Spot machines",
            where="computeConfig.capacity",
            remedy="Set it to 'auto' or 'on-demand', or enable spot in the deployment's configuration.",
        )
    by_capacity = {"auto": size.resumable, "on-demand": size.on_demand, "spot": size.spot}
    return by_capacity[compute.capacity] or size.resumable
