"""The nodes of a job find each other beside the decoy that ECS gives every container."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from isaaclab_flows.container.start.interfaces import NOT_BETWEEN_NODES, interface_of, network_variables
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.nodes import Node

ROOT = Path(__file__).resolve().parents[3]
SPACES = {"ilf-node-0": "10.77.0.1", "ilf-node-1": "10.77.0.2"}
DECOY = "169.254.172.2/22"


def test_the_interface_is_the_one_with_the_address_that_leads_to_the_main_node() -> None:
    interfaces = {"lo": ["127.0.0.1"], "ecs-eth0": ["169.254.172.2"], "eth0": ["10.0.3.7", "fe80::1"]}
    assert interface_of("10.0.3.7", interfaces) == "eth0"
    with pytest.raises(ConfigError, match=r"10\.9\.9\.9.*one of ecs-eth0, eth0, lo"):
        interface_of("10.9.9.9", interfaces)


def test_what_somebody_set_stays() -> None:
    node = Node("job", 1, 1, 2, 0, "127.0.0.1")
    assert network_variables({}, node) == {"NCCL_SOCKET_IFNAME": NOT_BETWEEN_NODES, "GLOO_SOCKET_IFNAME": "lo"}
    assert network_variables({"GLOO_SOCKET_IFNAME": "eth7", "NCCL_SOCKET_IFNAME": "eth7"}, node) == {}


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@pytest.fixture
def two_nodes() -> Iterator[None]:
    """Two network namespaces with an interface between them, and in each ECS's link-local one, alike in both."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2 (.ci/run installs it)")
    try:
        for space in SPACES:
            _ip("netns", "add", space)
        first, second = SPACES
        _ip("link", "add", "eth0", "netns", first, "type", "veth", "peer", "name", "eth0", "netns", second)
        for space, address in SPACES.items():
            _ip("-n", space, "link", "add", "ecs-eth0", "type", "veth", "peer", "name", "ecs-bridge")
            for name, given in (("lo", None), ("ecs-eth0", DECOY), ("ecs-bridge", None), ("eth0", f"{address}/24")):
                if given:
                    _ip("-n", space, "address", "add", given, "dev", name)
                _ip("-n", space, "link", "set", name, "up")
            _ip("-n", space, "route", "add", "default", "dev", "eth0")
        yield
    finally:
        for space in SPACES:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False, timeout=30)


# What torch does for a job of two nodes, with the variables that the entry point sets. The container's host name
# leads to the decoy, which is where gloo goes when nobody tells it otherwise.
PROGRAM = """
import os, sys
from datetime import timedelta
from isaaclab_flows.container.start.interfaces import network_variables
from isaaclab_flows.schemas.nodes import Node
rank, told = int(sys.argv[1]), sys.argv[2]
node = Node("job", 1, rank, 2, 0, None if rank == 0 else "10.77.0.1")
os.environ.update(network_variables(os.environ, node) if told == "found" else {"GLOO_SOCKET_IFNAME": told})
import torch, torch.distributed as dist
dist.init_process_group("gloo", init_method="tcp://10.77.0.1:29400", rank=rank, world_size=2,
                        timeout=timedelta(seconds=float(sys.argv[3])))
value = torch.ones(1) * (rank + 1)
dist.all_reduce(value)
print(os.environ["GLOO_SOCKET_IFNAME"], int(value.item()))
"""


def _sum(told: str, *, seconds: float) -> list[tuple[int, str]]:
    processes = [
        subprocess.Popen(
            ["ip", "netns", "exec", space, sys.executable, "-c", PROGRAM, str(rank), told, str(seconds)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, space in enumerate(SPACES)
    ]
    answers = [process.communicate(timeout=240)[0] for process in processes]
    return [(process.returncode, answer) for process, answer in zip(processes, answers, strict=True)]


@pytest.mark.system
@pytest.mark.isaaclab
@pytest.mark.usefixtures("two_nodes")
def test_two_nodes_connect_beside_the_decoy_and_only_through_their_own_interface() -> None:
    assert [(code, said.split()[-2:]) for code, said in _sum("found", seconds=60)] == [(0, ["eth0", "3"])] * 2
    assert all(code for code, _ in _sum("ecs-eth0", seconds=8))
