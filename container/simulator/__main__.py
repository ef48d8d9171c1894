"""``python -m isaaclab_flows.container.simulator ORDER.json``: a child of the supervising flow, as
``schemas/simulator.py`` says."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import MutableMapping
from pathlib import Path

from isaaclab_flows.container.simulator.runner import run
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.schemas.simulator import SimulatorJob


def main() -> int:
    """Run one order; the exit code says nothing, result.json does."""
    parser = argparse.ArgumentParser(prog="python -m isaaclab_flows.container.simulator", description=__doc__)
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
