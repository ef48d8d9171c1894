"""The local studio for real: `up`, deployments, a training, a retry, a sweep, cancelling, deleting, `down`."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from tests.system.conftest import ROOT, free_port, wait_until
from tests.system.studio import ENDED, TINY, Studio

pytestmark = [pytest.mark.server, pytest.mark.isaaclab]

SWEEP: dict[str, Any] = {
    "name": "Nightly",
    "num_envs": [8],
    "seeds": [1],
    "num_episodes": 2,
    "steps_per_episode": 40,
    "device": "cpu",
}


def train(studio: Studio) -> str:
    """Train once a session; return the flow run's id, which is the job's."""
    if not studio.trained:
        run_id = studio.start("train/isaaclab-training", TINY)
        assert studio.wait(run_id)["state_type"] == "COMPLETED", studio.logs()
        studio.trained.append(run_id)
    return studio.trained[0]


def test_a_second_up_finds_the_first_and_leaves_it(studio: Studio) -> None:
    answer = studio.cli("up", "--port", str(studio.port))
    assert answer.returncode == 0, answer.stderr
    assert f"The studio already runs: {studio.url}" in answer.stdout
    assert studio.cli("status").returncode == 0


def test_a_port_that_is_taken_is_explained(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Studio(tmp_path_factory.mktemp("other"), studio.port)
    answer = other.cli("up", "--port", str(studio.port))
    assert answer.returncode == 1
    said = " ".join(answer.stderr.split())
    assert f"Port {studio.port} is taken by a Prefect server that this folder's studio did not start" in said
    assert f"--port {studio.port + 100}" in said


def test_every_deployment_is_there_with_its_form_and_plain_prefect_deploy_works(studio: Studio) -> None:
    found = {d["name"]: d for d in studio.call("POST", "/deployments/filter", {})}
    assert set(found) == {
        "isaaclab-training",
        "isaaclab-evaluation",
        "isaaclab-pipeline",
        "isaaclab-execute",
        "evaluation-sweep",
        "handle-error",
        "clean-up",
    }
    form = found["isaaclab-training"]["parameter_openapi_schema"]["properties"]
    assert "Isaac-Cartpole-Direct" in form["task"]["enum"]
    assert (form["num_envs"]["minimum"], form["num_envs"]["maximum"]) == (1, 65_536)
    assert all(field.get("description") for field in form.values())
    assert [s["active"] for s in found["evaluation-sweep"]["schedules"]] == [False]
    file = str(ROOT / "prefect.yaml")
    answer = studio.prefect("--no-prompt", "deploy", "--all", "--prefect-file", file, seconds=300)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    triggers = {a["name"] for a in studio.call("POST", "/automations/filter", {})}
    assert {f"isaaclab handle-error after {flow}" for flow in ("train", "evaluate", "pipeline")} <= triggers


def test_a_training_ends_completed_and_shows_what_came_out(studio: Studio) -> None:
    run_id = train(studio)
    run = studio.run(run_id)
    assert run["name"] == f"Isaac-Cartpole-Direct · rsl_rl · {run_id[:8]}"
    shown = studio.artifacts(run_id)
    assert shown["progress"]["data"] == 100
    total = run["parameters"]["max_iterations"]
    assert f"{total} of {total} iterations" in shown["summary"]["data"]
    assert shown["learning-curve"]["data"].startswith("data:image/png;base64,")
    assert json.loads(shown["results"]["data"])[0]["iterations"] == f"{total} of {total}"
    assert f"-{run_id[:8]}/metrics.csv" in shown["outputs"]["data"]
    assert (studio.outputs_of(run_id) / "checkpoints").is_dir()


def killed(studio: Studio, iterations: int) -> str:
    """Train, and kill the simulator after the second checkpoint; return the failed run's id."""
    run_id = studio.start("train/isaaclab-training", TINY | {"max_iterations": iterations})
    checkpoints = studio.outputs / ".jobs" / run_id / "run/checkpoints"
    wait_until("a second checkpoint", lambda: len(list(checkpoints.glob("*.pt"))) >= 2, seconds=400, poll=0.1)
    for process in studio.simulators():
        process.kill()
    failed = studio.wait(run_id)
    assert failed["state_type"] == "FAILED"
    assert "was ended by SIGKILL" in failed["state"]["message"]
    return run_id


def went_on(studio: Studio, run_id: str, iterations: int) -> None:
    """Check that a retried run used what its first attempt had done."""
    wait_until("the retry", lambda: studio.run(run_id)["run_count"] > 1, seconds=400)
    assert studio.wait(run_id)["state_type"] == "COMPLETED", studio.logs()
    assert len(list((studio.outputs / ".jobs" / run_id / "attempts").iterdir())) == 2
    with (studio.outputs_of(run_id) / "metrics.csv").open() as file:
        assert [int(row["iteration"]) for row in csv.DictReader(file)] == list(range(iterations))
    summary = json.loads((studio.outputs_of(run_id) / "summary.json").read_text())
    assert summary["training"]["recoveries"] == 1


def test_a_retry_goes_on_from_the_job_folder(studio: Studio) -> None:
    run_id = killed(studio, 24)
    answer = studio.prefect("flow-run", "retry", run_id)
    assert answer.returncode == 0, answer.stderr
    went_on(studio, run_id, 24)


def test_a_rerun_with_changed_parameters_is_a_new_job(studio: Studio) -> None:
    first = train(studio)
    # Refused at once, so that nothing is trained: what counts is whose job folder it was.
    other = studio.start("train/isaaclab-training", TINY | {"task": "Isaac-Velocity-Flat-G1", "library": "rl_games"})
    assert studio.wait(other)["state_type"] == "FAILED"
    assert "has no rl_games configuration" in studio.run(other)["state"]["message"]
    assert other != first
    assert len(list((studio.outputs / ".jobs" / first / "attempts").iterdir())) == 1


def sweep(studio: Studio) -> str:
    """Sweep over a training's checkpoints and a torn one, once a session; return the flow run's id."""
    if not studio.swept:
        job = train(studio)
        (studio.outputs_of(job) / "checkpoints/model_77.pt").write_bytes(b"no checkpoint")
        run_id = studio.start("evaluation-sweep/evaluation-sweep", SWEEP | {"checkpoints": [job]})
        assert studio.wait(run_id)["state_type"] == "COMPLETED", studio.logs()
        studio.swept.append(run_id)
    return studio.swept[0]


def test_a_sweep_ranks_the_checkpoints_and_the_next_one_finds_nothing_new(studio: Studio) -> None:
    run_id = sweep(studio)
    results = studio.outputs / "sweeps/nightly"
    with (results / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    reasons = {row["checkpoint"].rpartition("/")[2]: row["error_kind"] for row in rows}
    assert reasons.pop("model_77.pt") == "checkpoint"
    assert set(reasons.values()) == {""}
    (leaderboard,) = (a for k, a in studio.artifacts(run_id).items() if k == "leaderboard-nightly")
    assert "95 % interval" in leaderboard["data"]
    assert (results / "best/Isaac-Cartpole-Direct/why.json").is_file()
    again = studio.start("evaluation-sweep/evaluation-sweep", SWEEP | {"checkpoints": [train(studio)]})
    assert studio.wait(again)["state_type"] == "COMPLETED", studio.logs()
    assert not studio.children(again)
    assert len(list((results / "parts").iterdir())) == 1


def test_cancelling_a_sweep_ends_its_children(studio: Studio) -> None:
    parameters = SWEEP | {"name": "Long", "checkpoints": [train(studio)], "num_episodes": 5000}
    run_id = studio.start("evaluation-sweep/evaluation-sweep", parameters)
    wait_until("the simulator", lambda: bool(studio.simulators()), seconds=400)
    studio.call("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
    assert studio.wait(run_id, seconds=400)["state_type"] == "CANCELLED"
    wait_until("the simulator's end", lambda: not studio.simulators(), seconds=400)
    wait_until(
        "the end of the sweep's children",
        lambda: all(child["state_type"] in ENDED for child in studio.children(run_id)),
        seconds=400,
    )


def test_cancelling_one_job_of_a_sweep_leaves_the_others_to_it(studio: Studio) -> None:
    folder = studio.outputs_of(train(studio)) / "checkpoints"
    checkpoints = sorted(map(str, folder.glob("model_*.pt")))[:2]
    parameters = SWEEP | {"name": "Halved", "jobs": {"checkpoints_per_job": 1}, "checkpoints": checkpoints}
    run_id = studio.start("evaluation-sweep/evaluation-sweep", parameters)
    wait_until("the first job's simulator", lambda: bool(studio.simulators()), seconds=400)
    (job,) = (run for run in studio.children(run_id) if run["state_type"] == "RUNNING")
    studio.call("POST", f"/flow_runs/{job['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
    assert studio.wait(run_id)["state_type"] == "COMPLETED", studio.logs()
    assert studio.run(job["id"])["state_type"] == "CANCELLED"
    with (studio.outputs / "sweeps/halved/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["error_kind"] for row in rows] == ["cancelled", ""]


def test_deleting_a_run_leaves_nothing_running(studio: Studio) -> None:
    run_id = studio.start("train/isaaclab-training", TINY | {"max_iterations": 100_000})
    wait_until("the simulator", lambda: bool(studio.simulators()), seconds=400)
    studio.call("DELETE", f"/flow_runs/{run_id}")
    wait_until("the simulator's end", lambda: not studio.simulators(), seconds=400)


def test_a_paused_schedule_starts_nothing(studio: Studio) -> None:
    deployment = studio.call("GET", "/deployments/name/clean-up/clean-up")
    path = f"/deployments/{deployment['id']}/schedules/{deployment['schedules'][0]['id']}"

    def scheduled() -> list[Any]:
        body = {
            "deployments": {"id": {"any_": [deployment["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }
        found: list[Any] = studio.call("POST", "/flow_runs/filter", body)
        return found

    studio.call("PATCH", path, {"active": True})
    studio.call("POST", f"/deployments/{deployment['id']}/schedule", {})
    assert scheduled()
    studio.call("PATCH", path, {"active": False})
    assert not scheduled()


def test_ctrl_c_ends_all_of_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    import signal

    other = Studio(tmp_path_factory.mktemp("ctrl-c"), free_port())
    command = [sys.executable, "-m", "isaaclab_flows.cli.main", "up", "--port", str(other.port)]
    with subprocess.Popen(command, cwd=other.folder, env=other.environment(), stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert b"The studio is up" in program.stdout.readline(), other.logs()
        parts = [json.loads(f.read_text())["pid"] for f in (other.outputs / ".studio").glob("*.json")]
        assert len(parts) == 4
        time.sleep(1)
        program.send_signal(signal.SIGINT)
        assert program.wait(120) == 0
    assert not [pid for pid in parts if psutil.pid_exists(pid)]
    assert not list((other.outputs / ".studio").glob("*.json"))
