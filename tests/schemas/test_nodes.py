from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.nodes import Call, Node, call_file, torchrun_command

BATCH = {
    "AWS_BATCH_JOB_ID": "9f1c#3",
    "AWS_BATCH_JOB_ATTEMPT": "2",
    "AWS_BATCH_JOB_NUM_NODES": "4",
    "AWS_BATCH_JOB_NODE_INDEX": "3",
    "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
    "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "10.0.0.7",
}
CALL = Call(
    number=1,
    processes=8,
    arguments=("-m", "isaaclab_flows.container.simulator", "/mnt/efs/o.json"),
    log_folder="/mnt/efs/l",
)


def test_a_job_of_one_machine_has_no_nodes():
    assert Node.from_environment({"AWS_BATCH_JOB_ID": "9f1c"}) is None
    assert Node.from_environment(BATCH | {"AWS_BATCH_JOB_NUM_NODES": "1"}) is None


def test_a_child_node_knows_its_job_by_the_id_that_all_nodes_share():
    assert Node.from_environment(BATCH) == Node("9f1c", 2, 3, 4, 0, "10.0.0.7")


def test_the_main_node_is_told_no_address():
    node = Node.from_environment(BATCH | {"AWS_BATCH_JOB_NODE_INDEX": "0"})
    assert node is not None
    assert node.is_main
    assert node.main_address is None


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"AWS_BATCH_JOB_NODE_INDEX": "4"}, "AWS_BATCH_JOB_NODE_INDEX"),
        ({"AWS_BATCH_JOB_NODE_INDEX": "one"}, "AWS_BATCH_JOB_NODE_INDEX"),
        ({"AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": ""}, "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"),
        ({"AWS_BATCH_JOB_ID": ""}, "AWS_BATCH_JOB_ID"),
        ({"AWS_BATCH_JOB_NUM_NODES": "many"}, "AWS_BATCH_JOB_NUM_NODES"),
    ],
)
def test_variables_that_make_no_sense_are_named(changed, where):
    with pytest.raises(ConfigError) as caught:
        Node.from_environment(BATCH | changed)
    assert caught.value.where == where


def test_every_node_starts_the_same_torchrun_at_the_main_nodes_address():
    child = torchrun_command("python", Node("j", 1, 3, 4, 0, "10.0.0.7"), CALL)
    main = torchrun_command("python", Node("j", 1, 0, 4, 0, None), CALL, own_address="10.0.0.7")
    for words in (child, main):
        assert words[:3] == ["python", "-m", "torch.distributed.run"]
        assert {"--nnodes=4", "--nproc-per-node=8", "--rdzv-endpoint=10.0.0.7:29400", "--rdzv-id=j-1-1"} <= set(words)
        assert words[-3:] == ["-m", "isaaclab_flows.container.simulator", "/mnt/efs/o.json"]
    assert "is_host=true" in next(w for w in main if w.startswith("--rdzv-conf"))
    assert "is_host=false" in next(w for w in child if w.startswith("--rdzv-conf"))


def test_the_main_node_must_know_its_own_address():
    with pytest.raises(ConfigError, match="main node's address"):
        torchrun_command("python", Node("j", 1, 0, 2, 0, None), CALL)


@given(count=st.integers(2, 64), main=st.integers(0, 63), address=st.ip_addresses(v=4).map(str))
def test_torch_ranks_the_main_node_first_whatever_its_index_and_address(count, main, address):
    main %= count
    nodes = [Node("j", 1, i, count, main, None if i == main else address) for i in range(count)]
    names = {
        n.index: next(w for w in torchrun_command("p", n, CALL, own_address=address) if w.startswith("--local-addr"))
        for n in nodes
    }
    assert min(names, key=lambda i: names[i]) == main
    assert len(set(names.values())) == count


def test_a_new_attempt_takes_no_old_call():
    first, second = (call_file(Path("/jobs"), Node("j", attempt, 0, 2, 0, None)) for attempt in (1, 2))
    assert first == Path("/jobs/.nodes/j-1.json")
    assert first != second
