import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isaaclab_flows.container.start.entry_point import command, introduction, shared_folders
from isaaclab_flows.schemas.nodes import (
    BEFORE_ANY_CALL,
    EXIT_UNHEALTHY_GPU,
    Call,
    Departure,
    Node,
    call_file,
    departure_file,
)

ROOT = Path(__file__).resolve().parents[3]
SECOND_OF_TWO = {
    "AWS_BATCH_JOB_ID": "9f1c#1",
    "AWS_BATCH_JOB_NUM_NODES": "2",
    "AWS_BATCH_JOB_NODE_INDEX": "1",
    "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "127.0.0.1",
}


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The entry point as a process, on the CPU unless told otherwise."""
    return subprocess.Popen(
        [sys.executable, "-m", "isaaclab_flows.container.start.entry_point", *arguments],
        cwd=ROOT,
        env={**os.environ, "ISAACLAB_FLOWS_DEVICE": "cpu", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("arguments", [[], ["run"], ["prefect", "flow-run", "execute"]])
def test_a_container_executes_its_flow_run_by_default(arguments):
    assert command(arguments) == [sys.executable, "-m", "prefect", "flow-run", "execute"]


def test_any_other_words_are_a_command():
    assert command(["isaaclab", "train"]) == ["isaaclab", "train"]


def test_without_a_shared_file_system_nothing_is_placed_on_it():
    assert shared_folders({}, mounted=False) == {}


def test_jobs_and_caches_go_to_the_shared_file_system_where_it_is_mounted():
    assert shared_folders({}, mounted=True) == {
        "ISAACLAB_FLOWS_JOBS_FOLDER": "/mnt/efs/jobs",
        "ISAACLAB_FLOWS_CACHE_FOLDER": "/mnt/efs/cache/isaaclab-flows",
        "XDG_CACHE_HOME": "/mnt/efs/cache",
    }


def test_caches_go_beside_a_jobs_folder_that_was_named():
    placed = shared_folders({"ISAACLAB_FLOWS_JOBS_FOLDER": "/data/jobs", "XDG_CACHE_HOME": "/tmp/c"}, mounted=True)
    assert placed == {"ISAACLAB_FLOWS_CACHE_FOLDER": "/data/cache/isaaclab-flows"}


def test_the_introduction_names_the_job_and_the_versions_and_no_other_variable():
    environment = {
        "PREFECT__FLOW_RUN_ID": "8e6f",
        "AWS_BATCH_JOB_ID": "j-1",
        "AWS_BATCH_JOB_ATTEMPT": "2",
        "AWS_BATCH_JOB_NODE_INDEX": "1",
        "PREFECT_API_KEY": "pnu_secret",
    }
    text = "\n".join(introduction(environment, ()))
    assert "flow run 8e6f, Batch job j-1, attempt 2, node 1" in text
    assert "python 3.12" in text
    assert "prefect 3." in text
    assert "secret" not in text


def test_the_commands_exit_code_is_the_containers():
    child = start("sh", "-c", "exit 7")
    assert child.wait(60) == 7
    child.communicate()


def test_a_container_that_was_told_to_end_says_so_by_its_exit_code():
    program = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(1))\nprint('up', flush=True)\ntime.sleep(30)"
    )
    child = start(sys.executable, "-c", program)
    assert child.stdout is not None
    assert any("up" in line for line in iter(child.stdout.readline, ""))
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 143
    assert time.monotonic() - began < 25
    child.communicate()


def test_a_container_that_ends_well_although_told_to_end_is_a_success():
    program = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\nprint('up', flush=True)\ntime.sleep(30)"
    )
    child = start(sys.executable, "-c", program)
    assert child.stdout is not None
    assert any("up" in line for line in iter(child.stdout.readline, ""))
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0
    child.communicate()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["true"], {"ISAACLAB_FLOWS_DEVICE": "cuda", "PATH": "/nonexistent"}, 75, "no NVIDIA driver here"),
        (["no-such-program"], {}, 64, "'no-such-program' cannot be started"),
        (["join"], {}, 64, "is for a node of a multi-node job"),
        (["join"], {"AWS_BATCH_JOB_NUM_NODES": "2"}, 64, "AWS_BATCH_JOB_NODE_INDEX is missing"),
    ],
)
def test_what_cannot_work_ends_at_once_with_a_sentence(arguments, environment, code, said):
    child = start(*arguments, **environment)
    output, _ = child.communicate(timeout=60)
    assert said in output
    assert child.returncode == code


def test_a_node_that_refuses_its_gpu_tells_the_main_node(tmp_path):
    node = Node.from_environment(SECOND_OF_TWO)
    assert node is not None
    broken = {"ISAACLAB_FLOWS_DEVICE": "cuda", "PATH": "/nonexistent"}
    child = start("join", **SECOND_OF_TWO, **broken, ISAACLAB_FLOWS_JOBS_FOLDER=str(tmp_path))
    child.communicate(timeout=60)
    assert child.returncode == EXIT_UNHEALTHY_GPU
    file = departure_file(tmp_path, node, call=BEFORE_ANY_CALL, index=1)
    assert "no NVIDIA driver here" in Departure.model_validate_json(file.read_bytes()).log_tail


def test_a_node_whose_processes_fail_says_so_and_waits_for_another_call(tmp_path):
    node = Node.from_environment(SECOND_OF_TWO)
    assert node is not None
    simulator = tmp_path / "python"
    simulator.write_text("#!/bin/sh\necho 'NCCL WARN no route'\nexit 3\n")
    simulator.chmod(0o755)
    call = Call(
        number=1,
        processes=1,
        arguments=("-m", "isaaclab_flows.container.simulator"),
        log_folder=str(tmp_path / "attempt"),
    )
    call_file(tmp_path, node).parent.mkdir()
    call_file(tmp_path, node).write_text(call.model_dump_json())
    folders = {"ISAACLAB_FLOWS_JOBS_FOLDER": str(tmp_path), "ISAACLAB_FLOWS_SIMULATOR_PYTHON": str(simulator)}
    child = start("join", **SECOND_OF_TWO, **folders)
    assert child.stdout is not None
    assert any("waiting for the main node to call again" in line for line in iter(child.stdout.readline, ""))
    departure = Departure.model_validate_json(departure_file(tmp_path, node, call=1, index=1).read_bytes())
    assert (departure.code, departure.log_tail) == (3, "NCCL WARN no route")
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 143
    child.communicate()
