"""What jobs may ask of machines, and what machines cost."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.instances import (
    FAMILIES,
    ResourceRequirements,
    instance,
    known_families,
    machines_for,
    price_of,
    prices,
    requirements_for,
)

GIB = 1024


def test_32_gib_never_fit_a_32_gib_machine() -> None:
    whole = ResourceRequirements(vcpus=8, memory_mib=32 * GIB, gpus=1)
    for name in ("g5.2xlarge", "g6.2xlarge", "g6e.xlarge"):
        assert instance(name).memory_gib == 32
        assert not instance(name).fits(whole)


@pytest.mark.parametrize("gib", [16, 32, 64, 128, 192, 256, 384, 512, 768, 1536])
def test_no_machine_offers_all_of_its_memory_but_most_of_it(gib: int) -> None:
    for machine in prices().instances:
        if machine.memory_gib == gib:
            assert 0.87 * gib * GIB <= machine.usable_memory_mib <= 0.95 * gib * GIB


@pytest.mark.parametrize(
    ("gpus", "expected", "first"),
    [
        (1, ResourceRequirements(vcpus=8, memory_mib=30 * GIB, gpus=1), "g6.2xlarge"),
        (2, ResourceRequirements(vcpus=24, memory_mib=91 * GIB, gpus=2), "g6.12xlarge"),
        (4, ResourceRequirements(vcpus=48, memory_mib=182 * GIB, gpus=4), "g6.12xlarge"),
        (8, ResourceRequirements(vcpus=192, memory_mib=729 * GIB, gpus=8), "g6.48xlarge"),
    ],
)
def test_a_request_is_the_share_of_the_smallest_machine(gpus: int, expected: ResourceRequirements, first: str) -> None:
    assert requirements_for(gpus) == expected
    assert machines_for(expected)[0].name == first


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_a_request_fits_every_family_in_its_order(gpus: int) -> None:
    families = [machine.family for machine in machines_for(requirements_for(gpus))]
    assert list(dict.fromkeys(families)) == list(FAMILIES)


def test_a_four_gpu_machine_gives_four_gpus() -> None:
    for name in ("g5.12xlarge", "g6.12xlarge", "g6e.12xlarge"):
        assert instance(name).share(4).gpus == 4
        assert instance(name).share(4).vcpus == instance(name).vcpus


@given(gpus=st.integers(1, 8), families=st.permutations(FAMILIES), least=st.integers(1, 90))
def test_every_request_that_is_offered_can_be_placed(gpus: int, families: list[str], least: int) -> None:
    assert machines_for(requirements_for(gpus, families=tuple(families), least_memory_gib=least), tuple(families))


def test_more_gpus_than_a_machine_has_are_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"at most 8 GPUs a machine.*numNodes"):
        requirements_for(9)


def test_prices_carry_their_date_and_an_unknown_type_is_named() -> None:
    price = price_of("g6e.2xlarge")
    assert price is not None
    assert price.dollars_per_hour > 1
    datetime.date.fromisoformat(price.as_of)
    with pytest.raises(ConfigError, match=r"'p9\.huge'"):
        price_of("p9.huge")


def test_instance_names_are_unique_and_every_family_is_there() -> None:
    names = [machine.name for machine in prices().instances]
    assert len(names) == len(set(names))
    assert {machine.family for machine in prices().instances} == set(known_families()) > set(FAMILIES)
