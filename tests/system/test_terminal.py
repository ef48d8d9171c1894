"""Ctrl-C in a real terminal, which signals the program and everything in its process group."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.conftest import ROOT, wait_until
from tests.system.terminal import CTRL_C, Terminal

CONFIG = ROOT / "examples/cartpole/training/cartpole-laptop-training-config.json"
SIMULATOR = Path(__file__).with_name("stub_simulator.py")
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start a training in a terminal and wait until Prefect's server and the simulator are at work."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {SIMULATOR} "$@"\n')
    python.chmod(0o755)
    opened: list[Terminal] = []

    def open_one(**more: str) -> Terminal:
        variables = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | {
            "PREFECT_HOME": str(tmp_path / ".prefect"),
            "PYTHONPATH": str(ROOT),
            "ISAACLAB_FLOWS_SIMULATOR_PYTHON": str(python),
            "TERM": "xterm",
        }
        words = [sys.executable, "-m", "isaaclab_flows.cli.main", "run", str(CONFIG), "--device", "cpu"]
        terminal = Terminal([*words, "--output", str(tmp_path)], environment=variables | more, folder=ROOT)
        opened.append(terminal)
        terminal.wait_for("Job ", seconds=120)
        terminal.wait_until("its flow", lambda: any((tmp_path / ".jobs").glob("*/job.json")), seconds=240)
        return terminal

    yield open_one
    for terminal in opened:
        terminal.close()


def left(terminal: Terminal) -> list[psutil.Process]:
    return [p for p in terminal.family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_ctrl_c_saves_publishes_and_leaves_no_process(start: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = start()
    terminal.press(CTRL_C)
    assert len(terminal.family) >= 3, "the program, its simulator and its server"
    assert terminal.wait(seconds=120) == 130
    assert "Ctrl-C again ends everything at once" in terminal.seen
    job = re.search(r"--job (\S+)", terminal.seen)
    assert job, terminal.seen[-2000:]
    (outputs,) = tmp_path.glob(f"*-{job[1][:8]}")
    assert list((outputs / "checkpoints").glob("model_*.pt"))
    assert json.loads((outputs / "summary.json").read_text())["status"] == "cancelled"
    assert left(terminal) == []


def test_a_second_ctrl_c_ends_even_a_simulator_that_hears_nothing(start: Callable[..., Terminal]) -> None:
    terminal = start(STUB_DEAF="1")
    terminal.press(CTRL_C)
    terminal.wait_for("Ctrl-C again", seconds=30)
    terminal.press(CTRL_C)
    assert terminal.wait(seconds=30) == 130
    wait_until("the end of all", lambda: left(terminal) == [], seconds=10)
