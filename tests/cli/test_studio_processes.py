"""The studio's processes are remembered, found again and ended with their descendants; prefect.yaml fits its target."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import yaml

from isaaclab_flows.cli.deploying import for_target, prefect_file
from isaaclab_flows.cli.studio_processes import PartsFolder, is_running, listener_on
from isaaclab_flows.schemas.names import (
    EXECUTE_DEPLOYMENT,
    GPU_POOL,
    ORCHESTRATOR_POOL,
    PIPELINE_DEPLOYMENT,
    SIMULATOR_POOL,
)

PARENT = (
    "import subprocess, sys, time, pathlib;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); time.sleep(60)"
)


def test_a_part_is_found_again_and_ended_with_what_it_started(tmp_path: Path) -> None:
    parts, note = PartsFolder(tmp_path), tmp_path / "child"
    started = parts.start("server", ["-c", PARENT, str(note)], environment={}, port=7)
    while not (note.exists() and note.read_text()):
        time.sleep(0.02)
    child = int(note.read_text())
    assert PartsFolder(tmp_path).find("server") == started
    assert is_running(started)
    parts.stop([started], grace_seconds=5)
    assert not is_running(started)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert parts.find("server") is None


def test_a_later_process_with_the_same_number_is_not_taken_for_the_part(tmp_path: Path) -> None:
    own = psutil.Process()
    (tmp_path / "server.json").write_text(json.dumps({"name": "server", "pid": own.pid, "created": 1.0}))
    assert PartsFolder(tmp_path).find("server") is None
    assert not (tmp_path / "server.json").exists()


def test_a_torn_note_is_no_part(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"pid"')
    assert PartsFolder(tmp_path).find("server") is None
    assert PartsFolder(tmp_path).log_tail("server") == ""
    assert listener_on(1) is None


def test_on_batch_only_execute_moves_to_the_gpu_pool() -> None:
    description = yaml.safe_load(prefect_file().read_text())
    pools = {
        target: {entry["name"]: entry["work_pool"]["name"] for entry in for_target(description, target)["deployments"]}
        for target in ("local", "batch")
    }
    assert pools["local"]["isaaclab-execute"] == SIMULATOR_POOL
    assert pools["batch"].pop("isaaclab-execute") == GPU_POOL
    assert pools["batch"].items() <= pools["local"].items()


def test_the_file_has_the_pools_and_deployments_that_the_code_names() -> None:
    description = yaml.safe_load(prefect_file().read_text())
    pools = {entry["work_pool"]["name"] for entry in description["deployments"]}
    assert pools | {description["definitions"]["batch"]["work_pool"]["name"]} == {
        ORCHESTRATOR_POOL,
        SIMULATOR_POOL,
        GPU_POOL,
    }
    names = {f"{entry['entrypoint'].rpartition('.')[2]}/{entry['name']}" for entry in description["deployments"]}
    assert {EXECUTE_DEPLOYMENT, PIPELINE_DEPLOYMENT} <= names


def test_schedules_wait_to_be_switched_on_and_every_deployment_is_described() -> None:
    for entry in yaml.safe_load(prefect_file().read_text())["deployments"]:
        assert entry["description"].strip()
        assert "isaaclab" in entry["tags"]
        assert not any(schedule["active"] for schedule in entry.get("schedules", []))
