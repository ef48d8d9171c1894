"""Pictures: drawn from whatever thread, and never broken by a Ctrl-C that came while matplotlib was imported."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from isaaclab_flows.tasks.results.pictures import new_figure

ROOT = Path(__file__).resolve().parents[3]
INTERRUPTED = """
import io, os, signal, threading
from isaaclab_flows.tasks.results.pictures import new_figure
threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
stopped = 0
for _ in range(2):
    try:
        figure = new_figure(2, 1, dpi=50)
    except KeyboardInterrupt:
        stopped += 1
figure.add_subplot().plot([1, 2])
figure.savefig(io.BytesIO(), format="png")
print("stopped", stopped)
"""


def test_a_figure_has_its_size() -> None:
    figure = new_figure(4, 2, dpi=50)
    figure.add_subplot().plot([1, 2], [3, 4])
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    assert picture.getvalue()[16:24] == bytes.fromhex("000000c8") + bytes.fromhex("00000064")


def test_a_ctrl_c_during_the_first_picture_leaves_the_second_one_whole() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.stdout == "stopped 1\n", answer.stderr
