"""GPU machines that jobs can run on: their size, what a job can really ask of them, and what they cost.

The numbers live in ``prices.json``, one file with one date, that the cost tables of docs/costs.md are made from too.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from isaaclab_flows.schemas.config import CamelModel
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.job import Price

FAMILIES: Final = ("g6", "g6e", "g5")
"""Families in the order in which they are tried."""

LEAST_MEMORY_GIB: Final = 28
"""Main memory that one GPU's process is given at least: Isaac Sim asks for 32 GB machines."""

LEAST_VCPUS: Final = 8
"""vCPUs that one GPU's process is given at least."""

_RESERVED_SHARE = 0.05
_RESERVED_MIB = 256


class ResourceRequirements(CamelModel):
    """What a Batch job asks of one machine."""

    vcpus: Annotated[int, Field(ge=1)]
    memory_mib: Annotated[int, Field(ge=4)]
    gpus: Annotated[int, Field(ge=0)]


class Instance(CamelModel):
    """One EC2 instance type."""

    name: str
    vcpus: int
    memory_gib: int
    """Installed memory; jobs get :attr:`usable_memory_mib` of it."""
    gpus: int
    gpu: str
    gpu_memory_gb: int
    """Of each GPU."""
    dollars_per_hour: float | None
    """On demand; None where it is not known."""
    efa: Annotated[int, Field(ge=0)] = 0
    """Elastic Fabric Adapters that it takes."""

    @property
    def family(self) -> str:
        """The part before the dot."""
        return self.name.partition(".")[0]

    @property
    def usable_memory_mib(self) -> int:
        """Memory that jobs can be placed in [MiB], in whole GiB.

        The ECS agent registers what the kernel leaves: 7,985 MiB of an 8 GiB machine in AWS's own example, and AWS
        advises a buffer of 5 % for the agent and the system. A request of all 32 GiB therefore fits no 32 GiB machine.
        """
        return math.floor((self.memory_gib * 1024 * (1 - _RESERVED_SHARE) - _RESERVED_MIB) / 1024) * 1024

    def fits(self, requirements: ResourceRequirements) -> bool:
        """Say whether a job with these requirements can be placed on an empty machine of this type."""
        return (
            requirements.vcpus <= self.vcpus
            and requirements.memory_mib <= self.usable_memory_mib
            and requirements.gpus <= self.gpus
        )

    def share(self, gpus: int) -> ResourceRequirements:
        """Return what a job with so many of the machine's GPUs gets: all of it for all of them, else its part."""
        if not 1 <= gpus <= self.gpus:
            raise ValueError(f"{self.name} has {self.gpus} GPUs, not {gpus}")
        memory_gib = self.usable_memory_mib * gpus // self.gpus // 1024
        return ResourceRequirements(vcpus=self.vcpus * gpus // self.gpus, memory_mib=memory_gib * 1024, gpus=gpus)


class Family(CamelModel):
    """One family of instance types."""

    name: str
    ray_tracing: bool
    """Whether its GPUs can render for Isaac Sim."""
    regions: Annotated[tuple[str, ...], Field(strict=False)]
    """Regions in which EC2 offers it."""


class ServicePrice(CamelModel):
    """What one unit of an AWS service costs."""

    name: str
    dollars: float
    meaning: str


class PriceFile(CamelModel):
    """``prices.json``."""

    as_of: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    region: str
    regions_as_of: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """When the families' regions were looked up."""
    note: str
    families: Annotated[tuple[Family, ...], Field(strict=False)]
    instances: Annotated[tuple[Instance, ...], Field(strict=False)]
    services: Annotated[tuple[ServicePrice, ...], Field(strict=False)]

    def service(self, name: str) -> float:
        """Return one unit's price [$]; a KeyError names an unknown one."""
        return {service.name: service.dollars for service in self.services}[name]


@lru_cache(maxsize=1)
def prices() -> PriceFile:
    """Return the price file, read once."""
    return PriceFile.model_validate_json(Path(__file__).with_name("prices.json").read_bytes())


def instance(name: str) -> Instance:
    """Return an instance type.

    Raises:
        ConfigError: It is not in the price file.
    """
    for found in prices().instances:
        if found.name == name:
            return found
    raise ConfigError(
        f"The instance type {name!r} is not in the price file",
        where="schemas/prices.json",
        remedy=f"Known: {', '.join(i.name for i in prices().instances)}.",
    )


def known_families() -> tuple[str, ...]:
    """Return every family that the price file has."""
    return tuple(family.name for family in prices().families)


def families_in(region: str) -> tuple[str, ...]:
    """Return the families that EC2 offers in a region, as of the price file."""
    return tuple(family.name for family in prices().families if region in family.regions)


def price_of(name: str) -> Price | None:
    """Return what an hour of an instance type costs, with the price's date; None where that is not known.

    Raises:
        ConfigError: The type is not in the price file.
    """
    dollars = instance(name).dollars_per_hour
    return None if dollars is None else Price(instance_type=name, dollars_per_hour=dollars, as_of=prices().as_of)


def machines_for(requirements: ResourceRequirements, families: tuple[str, ...] = FAMILIES) -> tuple[Instance, ...]:
    """Return the instance types that have what is required, family by family in their order, the smallest first."""
    return tuple(
        found
        for family in families
        for found in sorted(prices().instances, key=lambda i: (i.vcpus, i.memory_gib))
        if found.family == family and found.fits(requirements)
    )


def requirements_for(
    gpus: int, *, families: tuple[str, ...] = FAMILIES, least_memory_gib: int = LEAST_MEMORY_GIB
) -> ResourceRequirements:
    """Return what a job with so many GPUs on one machine should ask for, so that it fits every allowed family.

    It is the job's share of the smallest machine that gives each GPU's process enough of both: all of a four-GPU
    machine for four GPUs, half of one for two.

    Args:
        gpus: GPUs of one machine.
        families: Instance families that the deployment allows.
        least_memory_gib: Main memory for each GPU's process [GiB].

    Raises:
        ConfigError: No machine of these families has so many GPUs with so much memory each.
    """
    shares = []
    for family in families:
        candidates = sorted(
            (i for i in prices().instances if i.family == family and i.gpus >= gpus),
            key=lambda i: (i.gpus, i.vcpus),
        )
        enough = (
            share
            for share in (machine.share(gpus) for machine in candidates)
            if share.memory_mib >= gpus * least_memory_gib * 1024 and share.vcpus >= gpus * LEAST_VCPUS
        )
        smallest = next(enough, None)
        if smallest is not None:
            shares.append(smallest)
    if not shares:
        most = max((i.gpus for i in prices().instances if i.family in families), default=0)
        raise ConfigError(
            f"No machine of {', '.join(families)} has {gpus} GPUs with {least_memory_gib} GiB of memory each",
            where="computeConfig.gpusPerNode",
            remedy=f"Ask for at most {most} GPUs a machine, and for more machines with computeConfig.numNodes.",
        )
    return ResourceRequirements(
        vcpus=min(s.vcpus for s in shares), memory_mib=min(s.memory_mib for s in shares), gpus=gpus
    )
