"""Time from starting the simulator to its first training iteration: the first job, and a second one that finds caches.

    python -m benchmarks.first_iteration [--device cpu] [--task Isaac-Cartpole-Direct] [--num-envs 16] [--cache FOLDER]

The cache folder stands for the shared file system: robot files and Warp's kernels. Start it with an empty one, or name
none. Each job is a process of its own, as in production; one JSON object is printed a job.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 900
ROOT = Path(__file__).resolve().parents[1]


def run_job(folder: Path, cache: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one training of two iterations; return the seconds to each stage and to the first iteration."""
    folder.mkdir(parents=True)
    order = {
        "jobId": folder.name,
        "task": arguments.task,
        "library": "rsl_rl",
        "numEnvs": arguments.num_envs,
        "seed": 1,
        "device": arguments.device,
        "runFolder": str(folder / "run"),
        "progressFile": str(folder / "progress.jsonl"),
        "resultFile": str(folder / "result.json"),
        "training": {"maxIterations": 2, "checkpointInterval": 2},
    }
    (folder / "order.json").write_text(json.dumps(order))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "XDG_CACHE_HOME": str(cache),
        "ISAACLAB_FLOWS_CACHE_FOLDER": str(cache / "isaaclab-flows"),
    }
    environment.pop("WARP_CACHE_PATH", None)
    start = time.time()
    with (folder / "simulator.txt").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "isaaclab_flows.container.simulator", str(folder / "order.json")],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    took: dict[str, Any] = {}
    for line in (folder / "progress.jsonl").read_text().splitlines():
        event = json.loads(line)
        name = event.get("stage") if event["event"] == "stage" else event["event"]
        if name in {"iteration", "launching", "creating_environment", "building_agent", "training"}:
            took.setdefault("first_iteration" if name == "iteration" else name, round(event["time"] - start, 2))
    result = json.loads((folder / "result.json").read_text())
    if "first_iteration" not in took:
        raise SystemExit(f"no iteration was made: {result['error']}; see {folder / 'simulator.txt'}")
    kernels = sum(file.stat().st_size for file in (cache / "warp").rglob("*") if file.is_file())
    return {"device": result["deviceName"], "seconds_to": took, "kernel_cache_mb": round(kernels / 1e6, 1)}


def main() -> None:
    """Run the first and the second job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--task", default="Isaac-Cartpole-Direct")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--cache", type=Path, help="the shared cache folder; by default a new, empty one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cache = (arguments.cache or Path(temporary) / "cache").absolute()
        for name in ("first", "second"):
            measured = run_job(Path(temporary) / name, cache, arguments)
            print(json.dumps({"job": name, "task": arguments.task, "num_envs": arguments.num_envs, **measured}))


if __name__ == "__main__":
    main()
