"""``python -m container ORDER.json``: the simulator, a child of the supervising flow. See ``schemas/simulator.py``."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import MutableMapping
from pathlib import Path

from container.runner import run
from schemas.settings import settings
from schemas.simulator import SimulatorJob


def main() -> int:
    """Run one order; the exit code says nothing, result.json does."""
    parser = argparse.ArgumentParser(prog="python -m container", description=__doc__)
    parser.add_argument("order", type=Path, help="the SimulatorJob, a JSON file")
    limit_threads(os.environ)
    job = SimulatorJob.model_validate_json(parser.parse_args().order.read_bytes())
    # torchrun ends its processes itself, unless it is killed; a lone one may save what it has.
    _end_with_parent(signal.SIGKILL if job.distributed else signal.SIGTERM)
    run(job, asset_root=job.asset_root or settings().asset_root)
    # The result is written and the environment closed; taking torch, Warp and USD apart in order only costs time.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def limit_threads(environment: MutableMapping[str, str]) -> None:
    """Give torch one thread, unless the environment already says how many; before torch is loaded, which reads it once.

    Physics runs in Warp's kernels and the networks are small: more threads would mostly spin, waiting for each other.
    Two simulations that shared two cores were 6.7 times slower for it, and one alone is no faster with two.
    """
    environment.setdefault("OMP_NUM_THREADS", "1")


def _end_with_parent(number: signal.Signals) -> None:
    """Let the kernel signal this process when its parent is gone: nobody else would, and it holds folder and GPU."""
    pr_set_pdeathsig = 1  # linux/prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)


if __name__ == "__main__":
    sys.exit(main())
