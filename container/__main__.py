"""``python -m container ORDER.json``: the simulator, a child of the supervising flow. See ``schemas/simulator.py``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from schemas.settings import settings
from schemas.simulator import SimulatorJob

_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 3600.0
"""An order that has not come by then never will: the parent may have ended before it could be told from another."""


def main() -> int:
    """Run one order; the exit code says nothing, result.json does."""
    parser = argparse.ArgumentParser(prog="python -m container", description=__doc__)
    parser.add_argument("order", type=Path, help="the SimulatorJob, a JSON file")
    parser.add_argument(
        "--wait-for-order",
        action="store_true",
        help="import what every job needs at once, then wait for the file; ends when the parent process does",
    )
    arguments = parser.parse_args()
    root: str | None = None
    if arguments.wait_for_order:
        parent = os.getppid()
        root = _prepare_imports(settings().asset_root)
        if not _wait_for(arguments.order, parent=parent):
            return 0
    job = SimulatorJob.model_validate_json(arguments.order.read_bytes())
    wanted = job.asset_root or settings().asset_root
    if arguments.wait_for_order and wanted not in (None, root):
        # Isaac Lab fixed the asset root when it was imported, so another one takes another start.
        os.execv(sys.executable, [sys.executable, "-m", "container", str(arguments.order)])
    from container.runner import run

    run(job, asset_root=wanted)
    # The result is written and the environment closed; taking torch, Warp and USD apart in order only costs time.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _prepare_imports(wanted: str | None) -> str | None:
    """Import what is slow and the same for every job; return the asset root that Isaac Lab was given."""
    from container.runner import import_simulator, set_asset_root

    set_asset_root(wanted)
    import_simulator()
    return os.environ.get("ISAACSIM_ASSET_ROOT")


def _wait_for(order: Path, *, parent: int) -> bool:
    """Wait until the order appears; False when the parent ended first, or nothing came for very long."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not order.is_file():
        if os.getppid() != parent or time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


if __name__ == "__main__":
    sys.exit(main())
