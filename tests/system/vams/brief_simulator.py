"""Speaks the simulator's contract without simulating: one checkpoint, and a wait while the file `hold` is there.

Made executable by its test, and given as ``ISAACLAB_FLOWS_SIMULATOR_PYTHON``;
called as ``… -m isaaclab_flows.container.simulator order.json``.
"""

from __future__ import annotations

import json
import sys
import time
import zipfile
from pathlib import Path

HOLD = Path(__file__).parent / "hold"


def main() -> None:
    """Obey one order."""
    order_file = Path(sys.argv[3])
    order = json.loads(order_file.read_text())

    def event(**fields: object) -> None:
        with Path(order["progressFile"]).open("a") as file:
            file.write(json.dumps({"time": time.time(), **fields}) + "\n")

    event(event="stage", stage="training")
    while HOLD.exists():
        event(event="alive", message="held")
        time.sleep(0.2)
    checkpoint = Path(order["runFolder"]) / "checkpoints" / "model_1.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(checkpoint, "w") as archive:
        archive.writestr("model_1/data.pkl", b"weights")
    event(event="iteration", iteration=1, total=2, reward=1.0)
    event(event="checkpoint", path=str(checkpoint), iteration=1)
    result = {"status": "succeeded", "iterations": 2, "lastCheckpoint": str(checkpoint), "deviceName": "cpu"}
    Path(order["resultFile"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
