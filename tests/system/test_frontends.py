"""Both of Isaac Lab's frontends give a task the same steps, its sensors included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.isaaclab
FEET = slice(28, 52)
"""Where an ant's observation holds the wrenches at its four feet."""


def test_a_twin_in_warp_steps_like_its_task(tmp_path: Path) -> None:
    started = {
        frontend: subprocess.Popen(
            [sys.executable, "-m", "tests.system.frontend_steps", frontend, str(tmp_path / f"{frontend}.npy")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for frontend in ("torch", "warp")
    }
    for process in started.values():
        told, _ = process.communicate(timeout=600)
        assert process.returncode == 0, told.decode()[-3000:]
    torch, warp = (np.load(tmp_path / f"{frontend}.npy") for frontend in started)
    assert np.abs(torch[..., FEET]).max() > 0.01
    np.testing.assert_allclose(warp, torch, atol=1e-4)
