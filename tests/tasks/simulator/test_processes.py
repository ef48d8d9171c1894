"""How a simulation becomes processes, and what the main node learns of the other nodes."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import ConfigError, InfrastructureLostError, SimulatorKilledError
from isaaclab_flows.schemas.nodes import (
    BEFORE_ANY_CALL,
    EXIT_UNHEALTHY_GPU,
    Call,
    Departure,
    Node,
    call_file,
    departure_file,
)
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.job.folder import Attempt, JobFolder
from isaaclab_flows.tasks.simulator import processes
from isaaclab_flows.tasks.simulator.processes import Layout, Together, own_address

MAIN = {
    "AWS_BATCH_JOB_ID": "9f1c",
    "AWS_BATCH_JOB_NUM_NODES": "2",
    "AWS_BATCH_JOB_NODE_INDEX": "0",
    "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
}


@pytest.fixture
def main_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Node:
    """Make this process the main node of two."""
    for name, value in MAIN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ISAACLAB_FLOWS_JOBS_FOLDER", str(tmp_path))
    settings.cache_clear()
    monkeypatch.setattr(processes, "LOOK_SECONDS", 0.0)
    node = Node.from_environment(MAIN)
    assert node is not None
    return node


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return JobFolder(tmp_path / "job").new_attempt()


def test_one_gpu_is_one_process() -> None:
    assert not Layout().distributed
    assert Layout(1, 4).distributed
    assert Layout(2, 1).distributed


def test_the_gpus_of_one_machine_need_no_other_node(attempt: Attempt) -> None:
    words = Together(Layout(1, 4), attempt).command()
    assert words[1:4] == ["-m", "torch.distributed.run", "--standalone"]
    assert "--nproc-per-node=4" in words
    assert words[-3:] == ["-m", "isaaclab_flows.container.simulator", str(attempt.order_file)]


def test_the_main_node_calls_the_others_to_start_what_it_starts(
    main_node: Node, attempt: Attempt, tmp_path: Path
) -> None:
    words = Together(Layout(2, 8), attempt).command()
    call = Call.model_validate_json(call_file(tmp_path, main_node).read_bytes())
    assert (call.number, call.processes, call.log_folder) == (attempt.number, 8, str(attempt.folder))
    assert tuple(words[-len(call.arguments) :]) == call.arguments
    assert {"--nnodes=2", "--nproc-per-node=8"} <= set(words)


def test_several_nodes_need_the_main_node_of_a_job_of_so_many(attempt: Attempt, main_node: Node) -> None:
    with pytest.raises(ConfigError, match=r"numNodes is 3, but this machine is node 0 of 2"):
        Together(Layout(3, 1), attempt)


def test_several_nodes_need_a_multi_node_job(attempt: Attempt) -> None:
    with pytest.raises(ConfigError, match="is no node of a multi-node job"):
        Together(Layout(2, 1), attempt)


def test_a_node_whose_processes_failed_ends_the_simulation_with_its_logs_last_lines(
    main_node: Node, attempt: Attempt, tmp_path: Path
) -> None:
    together = Together(Layout(2, 1), attempt)
    together.command()
    together.require_complete()
    file = departure_file(tmp_path, main_node, call=attempt.number, index=1)
    file.write_text(Departure(code=1, log_tail="NCCL WARN no route").model_dump_json())
    with pytest.raises(SimulatorKilledError, match="node 1 of 2 ended with exit code 1") as caught:
        together.require_complete()
    assert caught.value.details == "NCCL WARN no route"
    attempt.result_file.write_text("{}")  # the one that failed has said more than its exit code
    together.require_complete()


def test_a_node_that_refuses_its_gpu_ends_the_simulation_before_the_others_wait_for_it(
    main_node: Node, attempt: Attempt, tmp_path: Path
) -> None:
    together = Together(Layout(2, 1), attempt)
    together.command()
    file = departure_file(tmp_path, main_node, call=BEFORE_ANY_CALL, index=1)
    file.write_text(Departure(code=EXIT_UNHEALTHY_GPU, log_tail="it fell off the bus").model_dump_json())
    with pytest.raises(InfrastructureLostError, match="GPU of node 1 of 2 must not be used: it fell off the bus"):
        together.require_complete()


def test_a_node_that_ended_well_is_no_failure(main_node: Node, attempt: Attempt, tmp_path: Path) -> None:
    together = Together(Layout(2, 1), attempt)
    together.command()
    departure_file(tmp_path, main_node, call=attempt.number, index=1).write_text(Departure(code=0).model_dump_json())
    together.require_complete()


def test_this_machine_has_an_address() -> None:
    assert ipaddress.IPv4Address(own_address())
