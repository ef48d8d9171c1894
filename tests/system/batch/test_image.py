"""The image: built on a local base, introducing itself, refusing a broken GPU, passing signals on.

The layer with the dependencies is left out (it takes minutes and gigabytes): this machine's virtual environment is
mounted where it would lie. Everything else is the image as it is shipped.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.batch.engine import Answer, build, docker
from tests.system.conftest import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]


@pytest.fixture
def run_here(image: str, volumes: dict[str, tuple[str, bool]]) -> Callable[..., Answer]:
    """Run a command in a container of the image."""

    def run(*command: str, options: tuple[str, ...] = ()) -> Answer:
        mounts = [f"--volume={here}:{there}{':ro' if only else ''}" for there, (here, only) in volumes.items()]
        return docker("run", "--rm", "--network=none", *mounts, *options, image, *command, seconds=300)

    return run


def test_it_introduces_itself_and_runs_as_nobody_special(run_here: Callable[..., Any]) -> None:
    answer = run_here("id", "--user", options=("--env=PREFECT_API_KEY=pnu_secret",))
    assert answer.returncode == 0, answer.stderr
    assert "CPU cores" in answer.stdout
    assert "isaaclab 3.0.0" in answer.stdout
    assert answer.stdout.strip().endswith("1000")
    assert "secret" not in answer.stdout


def test_it_refuses_a_machine_whose_gpu_has_broken_memory(run_here: Callable[..., Any], tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA L40S, 550.54.15, 46068, 3, 7, No'\n")
    program.chmod(0o755)
    answer = run_here("true", options=(f"--volume={program}:/usr/bin/nvidia-smi:ro",))
    assert answer.returncode == 75
    assert "GPU 0 (NVIDIA L40S) has had 7 uncorrectable memory errors" in answer.stdout


def test_sigterm_reaches_what_runs_in_it(image: str, volumes: dict[str, tuple[str, bool]]) -> None:
    program = (
        "import signal, sys, time\n"
        "def end(*_):\n    print('saved', flush=True)\n    sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(60)"
    )
    environment = f"--volume={sys.prefix}:/opt/venv:ro"
    name = docker("run", "--detach", "--network=none", environment, image, "python", "-c", program).stdout.strip()
    try:
        wait_until("the program", lambda: "up" in docker("logs", name).stdout, seconds=60)
        began = time.monotonic()
        docker("stop", "--time=30", name)
        assert time.monotonic() - began < 20
        assert "saved" in docker("logs", name).stdout
        assert docker("inspect", "--format={{.State.ExitCode}}", name).stdout.strip() == "143"
    finally:
        docker("rm", "--force", name)


def test_isaac_sims_image_is_not_built_without_its_licence(image: str, base_image: str) -> None:
    recipe = (
        f"FROM {base_image}\nRUN mkdir -p /isaac-sim/kit/python/bin"
        " && ln -s /usr/local/bin/python3.12 /isaac-sim/kit/python/bin/python3"
        " && ln -s /usr/local/bin/python3.12 /isaac-sim/python.sh"
    )
    subprocess.run(
        ["docker", "build", "--tag", "isaaclab-flows-stand-in:1", "-"],
        input=recipe,
        text=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        check=True,
        timeout=120,
    )
    arguments = {
        "PYTHON_BASE": base_image,
        "DEPENDENCIES": "mounted",
        "ISAAC_LAB_BASE": "isaaclab-flows-stand-in",
        "ISAAC_LAB_VERSION": "1",
    }
    refused = build("isaac-sim", "isaaclab-flows:sim-test", **arguments)
    assert refused.returncode != 0
    assert "ACCEPT_EULA=Y" in refused.stdout + refused.stderr
    built = build("isaac-sim", "isaaclab-flows:sim-test", ACCEPT_EULA="Y", **arguments)
    assert built.returncode == 0, built.stdout + built.stderr
    environment = docker("image", "inspect", "--format={{json .Config.Env}}", "isaaclab-flows:sim-test").stdout
    assert "ISAACLAB_FLOWS_SIMULATOR_PYTHON=/isaac-sim/python.sh" in environment
