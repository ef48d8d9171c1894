"""`isaaclab-flows run`, as a user runs it: a real training, a stop half-way, going on, and a second call."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.conftest import ROOT

CONFIG = ROOT / "examples/cartpole/training/cartpole-laptop-training-config.json"
pytestmark = [pytest.mark.isaaclab, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def command(output: Path, *more: str) -> list[str]:
    options = ["--output", str(output), "--device", "cpu", "--set", "trainingConfig.maxIterations=14"]
    options += ["--set", "trainingConfig.numEnvs=32", "--set", "outputConfig.checkpointInterval=3"]
    return [sys.executable, "-m", "isaaclab_flows.cli.main", "run", str(CONFIG), *options, *more]


def environment(output: Path) -> dict[str, str]:
    names = {"PREFECT_HOME": str(output / ".prefect"), "PYTHONPATH": str(ROOT)}
    return {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | names


def test_ctrl_c_keeps_what_was_saved_and_the_same_job_goes_on(output: Path) -> None:
    run = subprocess.Popen(
        command(output), env=environment(output), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    seen = ""
    for line in run.stderr:
        seen += line
        if line.startswith("Iteration 6"):
            break
    run.send_signal(signal.SIGINT)
    _, rest = run.communicate(timeout=240)
    seen += rest
    assert run.returncode == 130, seen
    found = re.search(r"Job (\S+),", seen)
    assert found, seen
    job = found[1]
    assert f"--job {job}" in seen, "it says how to go on"
    (outputs,) = output.glob(f"*-{job[:8]}")
    assert (output / "latest").resolve() == outputs
    assert list((outputs / "checkpoints").glob("model_*.pt")), "what was saved was published"

    again = subprocess.run(
        command(output, "--job", job),
        env=environment(output),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert "14 of 14 iterations" in again.stdout
    with (outputs / "metrics.csv").open() as file:
        assert [int(row["iteration"]) for row in csv.DictReader(file)] == list(range(14))
    summary = json.loads((outputs / "summary.json").read_text())
    assert summary["status"] == "succeeded"
    assert summary["training"]["recoveries"] == 1
    names = {p.relative_to(outputs).as_posix() for p in outputs.rglob("*") if p.is_file()}
    assert {
        "checkpoints/model_13.pt",
        "exported/policy.onnx",
        "exported/policy.pt",
        "learning-curve.png",
        "metrics.csv",
        "params/agent.yaml",
        "params/env.yaml",
        "simulator-001.txt",
        "summary.json",
        "training-config.json",
    } <= names
    assert any(name.startswith("tensorboard/") for name in names)

    started = time.monotonic()
    third = subprocess.run(
        command(output, "--job", job),
        env=environment(output),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert third.returncode == 0, third.stderr
    assert "14 of 14 iterations" in third.stdout, (
        f"a finished job returns its result ({time.monotonic() - started:.0f} s)"
    )
    assert "Training" not in third.stderr, "and starts nothing"
