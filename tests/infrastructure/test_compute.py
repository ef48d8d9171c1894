"""GPU compute: the right machines in the right order, and requests that fit them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isaaclab_flows.schemas.config import ComputeConfig
from isaaclab_flows.schemas.instances import FAMILIES, ResourceRequirements, instance
from isaaclab_flows.schemas.placement import Queues, place
from tests.infrastructure.conftest import Deployment
from tests.infrastructure.templates import Resolver, environment_of


def _environments(deployment: Deployment) -> dict[str, dict[str, Any]]:
    found = deployment.resources("AWS::Batch::ComputeEnvironment")
    return {f"<{name}>": resource["Properties"] for name, resource in found.items()}


def _queues(deployment: Deployment) -> dict[str, list[dict[str, Any]]]:
    """Return each queue's compute resources in its order."""
    resolve, environments = Resolver(deployment), _environments(deployment)
    return {
        queue["Properties"]["JobQueueName"]: [
            environments[resolve(entry["ComputeEnvironment"])]["ComputeResources"]
            for entry in sorted(queue["Properties"]["ComputeEnvironmentOrder"], key=lambda e: e["Order"])
        ]
        for queue in deployment.resources("AWS::Batch::JobQueue").values()
    }


def _told_queues(deployment: Deployment) -> Queues:
    """Return what the code is told of the queues."""
    resolve = Resolver(deployment)
    for task in deployment.resources("AWS::ECS::TaskDefinition").values():
        for container in task["Properties"]["ContainerDefinitions"]:
            value = environment_of(container).get("ISAACLAB_FLOWS_QUEUES")
            if value:
                return Queues.model_validate_json(resolve(value))
    raise AssertionError


def test_on_demand_queues_try_g6_then_g6e_then_g5_smallest_first(cloud: Deployment) -> None:
    for name, machines in (
        ("isaaclab-gpu1-on-demand", ["g6.2xlarge", "g6e.2xlarge", "g5.2xlarge"]),
        ("isaaclab-gpu4-on-demand", ["g6.12xlarge", "g6e.12xlarge", "g5.12xlarge"]),
    ):
        order = _queues(cloud)[name]
        assert [resources["InstanceTypes"] for resources in order] == [[machine] for machine in machines]
        assert {resources["Type"] for resources in order} == {"EC2"}


def test_resumable_work_tries_spot_first_by_price_and_capacity(cloud: Deployment) -> None:
    for gpus in (1, 4):
        first, *others = _queues(cloud)[f"isaaclab-gpu{gpus}-resumable"]
        assert (first["Type"], first["AllocationStrategy"]) == ("SPOT", "SPOT_PRICE_CAPACITY_OPTIMIZED")
        assert [instance(name).family for name in first["InstanceTypes"]] == list(FAMILIES)
        assert {resources["Type"] for resources in others} == {"EC2"}


def test_without_spot_nothing_is_spot(small: Deployment) -> None:
    assert {e["ComputeResources"]["Type"] for e in _environments(small).values()} == {"EC2"}
    assert set(_queues(small)) == {"abc-gpu1-resumable", "abc-gpu1-on-demand"}


def test_several_nodes_lie_side_by_side_in_one_zone_and_are_never_spot(cloud: Deployment) -> None:
    resolve = Resolver(cloud)
    for gpus in (1, 4):
        for resources in _queues(cloud)[f"isaaclab-gpu{gpus}-multi-node"]:
            assert resources["Type"] == "EC2"
            assert len(resources["Subnets"]) == 1
            assert len(resources["InstanceTypes"]) == 1, "all nodes of a job are alike"
            group = resolve(resources["PlacementGroup"]).strip("<>")
            assert cloud.resources("AWS::EC2::PlacementGroup")[group]["Properties"]["Strategy"] == "cluster"
            (security_group,) = resolve(resources["SecurityGroupIds"])
            assert "NetworkNodes" in security_group


def test_a_queue_takes_at_most_three_environments_of_one_size(deployment: Deployment) -> None:
    for name, order in _queues(deployment).items():
        assert 1 <= len(order) <= 3, name
        sizes = {instance(machine).gpus for resources in order for machine in resources["InstanceTypes"]}
        assert len(sizes) == 1, f"{name}: a small job would get a big machine"


@pytest.mark.parametrize("gpus", [1, 2, 4])
@pytest.mark.parametrize("nodes", [1, 3])
def test_what_the_code_asks_for_fits_every_machine_of_its_queue(cloud: Deployment, gpus: int, nodes: int) -> None:
    placement = place(ComputeConfig(num_nodes=nodes, gpus_per_node=gpus), _told_queues(cloud))
    for resources in _queues(cloud)[placement.job_queue]:
        for machine in resources["InstanceTypes"]:
            assert instance(machine).fits(placement.requirements), f"{machine} cannot take {placement.requirements}"
            assert instance(machine).gpus >= gpus


def test_the_pools_defaults_fit_too(deployment: Deployment) -> None:
    resolve = Resolver(deployment)
    pool = gpu_pool(deployment, resolve)
    request = ResourceRequirements(vcpus=pool["vcpu"], memory_mib=pool["memory"], gpus=pool["gpus"])
    for resources in _queues(deployment)[pool["job_queue"]]:
        assert all(instance(machine).fits(request) for machine in resources["InstanceTypes"])


def gpu_pool(deployment: Deployment, resolve: Resolver) -> dict[str, Any]:
    """Return what the deploy task is told of the GPU pool."""
    (container,) = (
        container
        for task in deployment.resources("AWS::ECS::TaskDefinition").values()
        for container in task["Properties"]["ContainerDefinitions"]
        if "ISAACLAB_FLOWS_GPU_POOL" in environment_of(container)
    )
    pool: dict[str, Any] = json.loads(resolve(environment_of(container)["ISAACLAB_FLOWS_GPU_POOL"]))
    return pool


def test_every_queue_shares_fairly_and_gives_up_on_what_cannot_be_placed(deployment: Deployment) -> None:
    for queue in deployment.resources("AWS::Batch::JobQueue").values():
        properties = queue["Properties"]
        assert properties["SchedulingPolicyArn"]
        limits = {a["Reason"]: a["MaxTimeSeconds"] for a in properties["JobStateTimeLimitActions"]}
        assert set(limits) == {
            "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
            "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
            "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        }
        assert all(600 <= seconds <= 86_400 for seconds in limits.values())


def test_a_warm_machine_is_one_small_on_demand_machine(own: Deployment, cloud: Deployment) -> None:
    warm = [e["ComputeResources"] for e in _environments(own).values() if e["ComputeResources"]["MinvCpus"]]
    assert [(r["InstanceTypes"], r["MinvCpus"], r["Type"]) for r in warm] == [(["g6.2xlarge"], 8, "EC2")]
    assert not any(e["ComputeResources"]["MinvCpus"] for e in _environments(cloud).values())


def test_environments_are_updated_in_place(deployment: Deployment) -> None:
    for environment in _environments(deployment).values():
        assert environment["ReplaceComputeEnvironment"] is False
        assert "ComputeEnvironmentName" not in environment, "a named one cannot be replaced should it ever have to"


def test_machines_are_encrypted_and_keep_their_role_to_themselves(deployment: Deployment) -> None:
    template, *_ = deployment.resources("AWS::EC2::LaunchTemplate").values()
    data = template["Properties"]["LaunchTemplateData"]
    volume = data["BlockDeviceMappings"][0]["Ebs"]
    assert (volume["Encrypted"], volume["VolumeType"], volume["VolumeSize"]) == (True, "gp3", 100)
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    user_data = Resolver(deployment)(data["UserData"])
    assert "ECS_IMAGE_PULL_BEHAVIOR=prefer-cached" in user_data
    assert "ECS_CONTAINER_STOP_TIMEOUT=110s" in user_data, "a Spot machine has two minutes to save"
    assert user_data.startswith("MIME-Version: 1.0\n"), "Batch merges user data of this kind only"
    for environment in _environments(deployment).values():
        assert environment["ComputeResources"]["Ec2Configuration"] == [{"ImageType": "ECS_AL2023_NVIDIA"}]
