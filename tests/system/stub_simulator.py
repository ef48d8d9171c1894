"""Speaks a simulator's contract without simulating: a checkpoint soon, an iteration every tenth of a second.

``STUB_DEAF=1``: SIGTERM is not heard. ``STUB_ITERATIONS``: how many there are, by default without end.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import sys
import time
import zipfile
from pathlib import Path
from types import FrameType

order = json.loads(Path(sys.argv[-1]).read_text())
run = Path(order["runFolder"])
stopped: list[int] = []


def say(event: str, **more: object) -> None:
    with Path(order["progressFile"]).open("a") as file:
        file.write(json.dumps({"event": event, "time": time.time(), **more}) + "\n")


def save(iteration: int) -> Path:
    path = run / "checkpoints" / f"model_{iteration}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"iter": iteration}))
    path.write_bytes(content.getvalue())
    say("checkpoint", path=str(path), iteration=iteration)
    return path


def on_term(number: int, frame: FrameType | None) -> None:
    if os.environ.get("STUB_DEAF") != "1":
        stopped.append(number)


signal.signal(signal.SIGTERM, on_term)
say("stage", stage="training")
total = int(os.environ.get("STUB_ITERATIONS", "1000000"))
first = 0
given = (order.get("training") or {}).get("resumeCheckpoint")
if given:
    first = int(Path(given).stem.rpartition("_")[2]) + 1
for iteration in range(first, total):
    if stopped:
        break
    say("iteration", iteration=iteration, total=total, reward=float(iteration))
    if iteration % 5 == 0 or iteration == total - 1:
        save(iteration)
    time.sleep(0.1)
else:
    iteration = total - 1
last = save(iteration)
result = {"status": "interrupted" if stopped else "succeeded", "iterations": iteration + 1, "lastCheckpoint": str(last)}
Path(order["resultFile"]).write_text(json.dumps(result))
