"""Real servers and engines for the system tests, each started once a session and skipped loudly where missing."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from isaaclab_flows.schemas.simulator import SimulatorResult
from tests.system.studio import Studio

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a system test; what it needs decides whether it can run here."""
    checks = {"isaaclab": _no_isaaclab, "docker": _no_docker, "browser": _no_browser}
    missing: dict[str, str] = {}
    for item in items:
        if not Path(item.path).is_relative_to(Path(__file__).parent):
            continue
        item.add_marker(pytest.mark.system)
        for marker, check in checks.items():
            if item.get_closest_marker(marker) is None:
                continue
            # Asked only where a test needs it: a busy Docker engine takes its time to answer.
            if marker not in missing:
                missing[marker] = check()
            if missing[marker]:
                item.add_marker(pytest.mark.skip(reason=missing[marker]))


def _no_isaaclab() -> str:
    from importlib.util import find_spec

    return "" if find_spec("isaaclab") else "Isaac Lab is not installed: run `make setup`"


def _no_docker() -> str:
    if shutil.which("docker") is None:
        return "no docker command: install docker.io (or Docker) and start its engine"
    answer = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30)
    return "" if answer.returncode == 0 else "no Docker engine answers: start dockerd"


def _no_browser() -> str:
    return "" if CHROMIUM else "no Chromium: install the package chromium"


def free_port() -> int:
    """Return a TCP port that was free a moment ago, and the next one with it: a studio takes two.

    It lies below those that the kernel gives to outgoing connections, of which the servers here have many.
    """
    while True:
        port = 20_000 + 2 * secrets.randbelow(6_000)
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port


def wait_until(what: str, check: Callable[[], bool], *, seconds: float = 60, poll: float = 0.2) -> None:
    """Wait until something holds; fail saying what never did."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(poll)
    pytest.fail(f"waited {seconds:.0f} s for {what}")


def answers(url: str) -> bool:
    """Say whether a URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server; yields its API URL."""
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "true",
    }
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}/api"
            wait_until("the Prefect server", lambda: answers(f"{url}/health"), seconds=120)
            yield url
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """moto's server (S3, Batch with real containers, Step Functions, …); yields its endpoint URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(port)]
    # Batch's containers share this machine's network: the engine may have no bridge, and they need the servers here.
    environment = {**os.environ, "MOTO_DOCKER_NETWORK_MODE": "host"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until("moto's server", lambda: answers(f"{url}/moto-api/"), seconds=60)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def aws(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point boto3, here and in child processes, at moto's server; yields its endpoint URL."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return moto_server


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A real local studio, started once by `isaaclab-flows up` and ended by `isaaclab-flows down`."""
    folder = tmp_path_factory.mktemp("studio")
    found = Studio(folder, free_port())
    command = ["up", "--port", str(found.port), "--background"]
    answer = found.cli(*command, seconds=600)
    assert answer.returncode == 0, answer.stdout + answer.stderr + found.logs()
    try:
        yield found
    finally:
        found.cli("down", seconds=200)


@pytest.fixture(autouse=True)
def _no_simulator_outlives_its_test() -> Iterator[None]:
    """A failed test may leave a simulator behind, which would take the processor from those after it."""
    yield
    from tests.system.simulator_child import STARTED

    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


@dataclass(frozen=True)
class TrainedCartpole:
    """A finished training of Isaac-Cartpole-Direct that solves the task."""

    run_folder: Path
    """With checkpoints/, params/, tensorboard/001/ and exported/."""
    checkpoint: Path
    """The last one."""
    result: SimulatorResult


@pytest.fixture(scope="session")
def trained_cartpole(tmp_path_factory: pytest.TempPathFactory) -> TrainedCartpole:
    """Cartpole trained to success by the real simulator with rsl_rl on the CPU; about a minute, once a session."""
    from tests.system.simulator_child import Child, training

    child = Child.start(tmp_path_factory.mktemp("cartpole"), num_envs=256, training=training(80, interval=20))
    result = child.success(seconds=900)
    assert result.last_checkpoint is not None
    return TrainedCartpole(child.folder / "run", Path(result.last_checkpoint), result)
