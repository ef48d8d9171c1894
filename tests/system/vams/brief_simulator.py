"""Speaks the simulator's contract without simulating: one checkpoint, and a wait while the file `hold` is
there; or four episodes for each checkpoint of an evaluation.

Made executable by its test, and given as ``ISAACLAB_FLOWS_SIMULATOR_PYTHON``;
called as ``… -m isaaclab_flows.container.simulator order.json``.
"""

from __future__ import annotations

import json
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOLD = Path(__file__).parent / "hold"


def main() -> None:
    """Obey one order."""
    order_file = Path(sys.argv[3])
    order = json.loads(order_file.read_text())

    def event(**fields: object) -> None:
        with Path(order["progressFile"]).open("a") as file:
            file.write(json.dumps({"time": time.time(), **fields}) + "\n")

    result = evaluate(order, event) if order.get("evaluation") else train(order, event)
    Path(order["resultFile"]).write_text(json.dumps(result))


def train(order: dict[str, Any], event: Callable[..., None]) -> dict[str, Any]:
    """Leave one checkpoint, and report two iterations."""
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
    return {"status": "succeeded", "iterations": 2, "lastCheckpoint": str(checkpoint), "deviceName": "cpu"}


def evaluate(order: dict[str, Any], event: Callable[..., None]) -> dict[str, Any]:
    """Give each checkpoint four episodes, each with another return."""
    event(event="stage", stage="evaluating")
    evaluations = []
    for number, checkpoint in enumerate(order["evaluation"]["checkpoints"]):
        episodes = Path(order["runFolder"]) / "evaluations" / str(number) / "episodes.csv"
        episodes.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"0,{k},{number + k}.5,10,time_out,1" for k in range(4)]
        episodes.write_text("\n".join(["round,environment,return,length,outcome,success", *rows, ""]))
        evaluations.append({"checkpoint": checkpoint, "episodesFile": str(episodes), "environmentSteps": 40})
    return {"status": "succeeded", "evaluations": evaluations, "deviceName": "cpu"}


if __name__ == "__main__":
    main()
