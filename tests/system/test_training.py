"""The real simulator trains on this machine's CPU, stops, goes on, and says what is wrong."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from isaaclab_flows.schemas.simulator import CheckpointEvent, IterationEvent, SimulatorJob, StageEvent
from isaaclab_flows.schemas.task_names import CONTRIB, TASKS
from tests.system.conftest import TrainedCartpole, wait_until
from tests.system.simulator_child import ROOT, Child, curve, newest_checkpoint, training

pytestmark = pytest.mark.isaaclab


def test_cartpole_is_trained_to_success(trained_cartpole: TrainedCartpole) -> None:
    success = curve(trained_cartpole.run_folder.parent, "Metrics/success_rate")
    assert sorted(success) == list(range(80))
    assert max(list(success.values())[-10:]) > 0.95
    assert trained_cartpole.result.iterations == 80
    assert trained_cartpole.result.step_dt == pytest.approx(1 / 60)
    assert {"isaaclab", "torch", "newton", "warp-lang", "rsl-rl-lib"} <= set(trained_cartpole.result.versions)


def test_checkpoints_parameters_and_exports_lie_where_they_should(trained_cartpole: TrainedCartpole) -> None:
    run = trained_cartpole.run_folder
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {"model_0.pt", "model_20.pt", "model_40.pt", "model_60.pt", "model_79.pt"}
    assert {path.name for path in (run / "params").iterdir()} == {"env.yaml", "agent.yaml"}
    assert {Path(path).name for path in trained_cartpole.result.exported} == {"policy.pt", "policy.onnx"}


def test_what_was_exported_gives_the_checkpoints_actions(trained_cartpole: TrainedCartpole) -> None:
    check = json.loads((trained_cartpole.run_folder / "exported" / "check.json").read_text())
    assert check["checkpoint"] == "model_79.pt"
    assert {file["file"]: file["agrees"] for file in check["files"]} == {"policy.pt": True, "policy.onnx": True}
    assert all(file["maxAbsDifference"] < 1e-4 for file in check["files"])


@pytest.mark.parametrize("task", ["Isaac-Ant-Direct", "Isaac-Humanoid-Direct"])
def test_the_other_robots_of_the_pack_train_as_well(task: str, tmp_path: Path) -> None:
    child = Child.start(tmp_path, task=task, num_envs=16, training=training(2))
    assert child.success().iterations == 2


def test_killed_and_told_to_stop_a_training_still_reaches_its_total(tmp_path: Path) -> None:
    """Attempt 1 is killed at a random iteration, attempt 2 told to stop, attempt 3 finishes."""
    total, interval = 12, 3
    first = Child.start(tmp_path, training=training(total, interval=interval))
    first.wait_for_iteration(random.randint(interval, 2 * interval))
    first.process.kill()
    first.process.wait()
    assert not (first.own / "result.json").exists()
    done = first.events(IterationEvent)[-1].iteration

    second = Child.start(
        tmp_path, attempt=2, training=training(total, interval=interval, resume=newest_checkpoint(first))
    )
    second.wait_for_iteration(done + 1)
    second.process.send_signal(signal.SIGTERM)
    result = second.result()
    assert result.status == "interrupted"
    assert result.iterations < total
    resumed_at = second.events(IterationEvent)[0].iteration
    assert resumed_at == first.events(CheckpointEvent)[-1].iteration + 1
    assert done + 1 - resumed_at < interval + 1
    stopped = newest_checkpoint(second)
    assert stopped.name == f"model_{result.iterations - 1}.pt"

    third = Child.start(tmp_path, attempt=3, training=training(total, interval=interval, resume=stopped))
    assert third.success().iterations == total
    assert third.events(IterationEvent)[0].iteration == result.iterations
    assert sorted(curve(tmp_path, "Train/mean_reward")) == list(range(total))
    assert _progress_of(newest_checkpoint(third)) == pytest.approx(
        tuple(total / result.iterations * value for value in _progress_of(stopped))
    )


def _progress_of(checkpoint: Path) -> tuple[float, ...]:
    """What grows by the same with each iteration, so that it shows whether a resume restored it."""
    import torch

    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    return (
        float(state["optimizer_state_dict"]["state"][0]["step"]),
        float(state["infos"]["common_step_counter"]),
        float(state["infos"]["total_timesteps"]),
    )


def test_a_checkpoint_of_another_shape_is_refused_in_a_sentence(
    trained_cartpole: TrainedCartpole, tmp_path: Path
) -> None:
    child = Child.start(
        tmp_path,
        training=training(100, resume=trained_cartpole.checkpoint),
        hydra_overrides=("agent.actor.hidden_dims=[16,16]",),
    )
    result = child.result()
    assert result.error is not None
    assert result.error.kind == "checkpoint"
    assert "another shape ('mlp.0.weight' is 32x4 there, and 16x4 here)" in result.error.sentence


def test_a_simulator_whose_supervisor_is_killed_saves_and_ends(tmp_path: Path) -> None:
    """Nobody else would end it, and a later attempt would write into the same folder."""
    job = SimulatorJob(
        job_id="j",
        task="Isaac-Cartpole-Direct",
        library="rsl_rl",
        num_envs=16,
        seed=1,
        device="cpu",
        run_folder=str(tmp_path / "run"),
        progress_file=str(tmp_path / "progress.jsonl"),
        result_file=str(tmp_path / "result.json"),
        training=training(100_000),
    )
    order = tmp_path / "order.json"
    order.write_text(job.model_dump_json())
    script = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-m', 'isaaclab_flows.container.simulator', {str(order)!r}]\n"
        "child = subprocess.Popen(command, stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = Path("/proc") / parent.stdout.readline().strip()
    progress = tmp_path / "progress.jsonl"
    wait_until(
        "an iteration", lambda: progress.exists() and '"iteration"' in progress.read_text(), seconds=300, poll=0.2
    )
    parent.kill()
    parent.wait()
    wait_until("the child's end", lambda: not child.exists(), seconds=120)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "interrupted"
    assert any((tmp_path / "run" / "checkpoints").glob("model_*.pt"))


def test_missing_robot_files_are_known_before_anything_is_launched(tmp_path: Path) -> None:
    child = Child.start(
        tmp_path, task="Isaac-Velocity-Flat-AnymalD", training=training(2), asset_root=str(tmp_path / "no-assets")
    )
    result = child.result()
    assert result.error is not None
    assert result.error.kind == "input_missing"
    assert "anymal_d.usd" in result.error.sentence
    assert [event.stage for event in child.events(StageEvent)] == ["importing"]


def test_the_table_of_tasks_is_the_installed_registrys() -> None:
    script = """
import json, gymnasium, isaaclab_tasks
libraries = ("rl_games", "rsl_rl", "skrl")
print("TABLE" + json.dumps({
    name: [library for library in libraries if f"{library}_cfg_entry_point" in spec.kwargs]
    for name, spec in gymnasium.registry.items() if "env_cfg_entry_point" in spec.kwargs
}))
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("TABLE"))
    installed: dict[str, list[str]] = json.loads(line.removeprefix("TABLE"))
    known = {name: tuple(libraries) for name, libraries in installed.items() if libraries or name.startswith(CONTRIB)}
    assert known == TASKS
