"""What is refused before synthesis because AWS would refuse it an hour later. Each raises one sentence."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from isaaclab_flows.schemas.instances import families_in, prices, requirements_for

SUBNETS = (("public", 26), ("compute", 24), ("data", 26))
"""A new VPC's subnets in each zone, in the order in which they are laid out, with the length of their prefix."""


def each_once(key: str, values: Sequence[str]) -> None:
    """Refuse a list that names something twice."""
    twice = sorted({value for value in values if list(values).count(value) > 1})
    if twice:
        raise ValueError(f"{key} names {twice[0]!r} twice: name each once")


def address_range(key: str, text: str) -> ipaddress.IPv4Network:
    """Read an IPv4 range."""
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"{key} is {text!r}: {error}; give the first address of a range, as 10.42.0.0/16") from error


def new_network(found: ipaddress.IPv4Network, zones: int) -> None:
    """Refuse a range that a new VPC's subnets do not fit into."""
    if not 2 <= zones <= 3:
        raise ValueError(f"network.availabilityZones names {zones}: name two or three")
    used = 0
    for _, prefix in SUBNETS:
        size = 2 ** (32 - prefix)
        # A subnet begins at a multiple of its own size.
        used = -(-used // size) * size + zones * size
    if used > found.num_addresses:
        enough = 32 - (used - 1).bit_length()
        raise ValueError(
            f"network.cidr is {str(found)!r}: {found.num_addresses:,} addresses, but the subnets of {zones} zones take"
            f" {used:,}; give a /{enough} or larger, or fewer zones"
        )


def supported_region(region: str) -> None:
    """Refuse partitions in which parts of the deployment do not exist, and regions that nothing is known of."""
    why = {
        "us-gov-": "AWS GovCloud has no Budgets",
        "cn-": "AWS China has neither Budgets nor these GPU machines",
        "us-iso": "isolated regions have neither Budgets nor these GPU machines",
        "eu-iso": "isolated regions have neither Budgets nor these GPU machines",
        "eusc-": "the European Sovereign Cloud is a partition of its own",
    }
    for prefix, reason in why.items():
        if region.startswith(prefix):
            raise ValueError(
                f"region is {region!r}, which is not supported: {reason}; take a region of AWS's own cloud"
            )
    known = sorted({found for family in prices().families for found in family.regions})
    if region not in known:
        raise ValueError(f"region is {region!r}, which has no GPU machines that are known; allowed: {', '.join(known)}")


def zones_of(region: str, zones: Sequence[str]) -> None:
    """Refuse zones of another region."""
    for zone in zones:
        if not zone.startswith(region) or not zone.removeprefix(region).strip("-"):
            raise ValueError(f"network.availabilityZones has {zone!r}, which is not in the region {region!r}")


def families_there(region: str, families: Sequence[str]) -> None:
    """Refuse instance families that a region does not have."""
    there = families_in(region)
    for family in families:
        if family not in there:
            raise ValueError(
                f"compute.families has {family!r}, which {region} does not have; there are {', '.join(there)}"
                f" (as of {prices().regions_as_of})"
            )


def arn_is_here(key: str, arn: str, *, region: str, account: str | None = None) -> None:
    """Refuse an ARN of another region or, where one is given, of another account."""
    _, _, service, its_region, its_account, _ = arn.split(":", 5)
    if its_region != region:
        raise ValueError(
            f"{key} is in {its_region or 'no region'}, but the deployment is in {region}: {service} is used from its"
            " own region only; make one there"
        )
    if account is not None and its_account != account:
        raise ValueError(
            f"{key} belongs to the account {its_account or 'of nobody'}, but the deployment to {account}: name one of"
            " the same account"
        )


def can_render(families: Sequence[str]) -> None:
    """Refuse Isaac Sim on GPUs that cannot render for it."""
    for family in prices().families:
        if family.name in families and not family.ray_tracing:
            raise ValueError(
                f"compute.families has {family.name!r}, whose GPUs have no ray tracing, but jobs run in 'isaac-sim',"
                " which needs it: put 'newton' first in compute.images, or take a g family"
            )


def sizes_there(families: Sequence[str], sizes: Sequence[int]) -> None:
    """Refuse a size of machine that none of the families has."""
    has = sorted({machine.gpus for machine in prices().instances if machine.family in families})
    for gpus in sizes:
        if gpus not in has:
            raise ValueError(
                f"compute.gpusPerMachine has {gpus}, but machines of {', '.join(families)} have"
                f" {' or '.join(map(str, has))} GPUs: leave it out, or add a family"
            )


def reservation_fits(
    instance_type: str, zone: str, zones: Sequence[str], sizes: Sequence[int], families: Sequence[str]
) -> None:
    """Refuse reserved machines that no queue could use."""
    machine = next((found for found in prices().instances if found.name == instance_type), None)
    if machine is None:
        known = ", ".join(found.name for found in prices().instances)
        raise ValueError(f"compute.reservations has the instance type {instance_type!r}; allowed are {known}")
    if machine.gpus not in sizes:
        raise ValueError(
            f"compute.reservations has {instance_type!r} with {machine.gpus} GPUs, but compute.gpusPerMachine is"
            f" {list(sizes)}: add {machine.gpus} to it"
        )
    if not machine.fits(requirements_for(machine.gpus, families=tuple(families))):
        raise ValueError(
            f"compute.reservations has {instance_type!r}, which is smaller than the machines of"
            f" {', '.join(families)} that jobs are measured by: add {machine.family!r} to compute.families"
        )
    if zone not in zones:
        raise ValueError(
            f"compute.reservations has {instance_type!r} in the zone {zone!r}, but the deployment is in"
            f" {', '.join(zones)}: name its zone in network.availabilityZones"
        )
