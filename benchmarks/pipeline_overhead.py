"""What the pipeline costs: a training through it against bare `isaaclab train` with the same arguments, alternating.

    python benchmarks/pipeline_overhead.py --device cpu --rounds 2
    python benchmarks/pipeline_overhead.py --device cuda --task Isaac-Ant-Direct --envs 4096 --iterations 300

The steady state compares the median steps per second of the second half of the iterations, read from the TensorBoard
events of both. The overhead is the difference of the wall times, start of the program to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from isaaclab_flows.tasks.results.metrics import Metrics, read_metrics  # noqa: E402


@dataclass(frozen=True)
class Run:
    """One timed training: wall time [s], steady speed [steps/s]."""

    seconds: float
    speed: float


def steady_speed(metrics: Metrics) -> float:
    """Return the median speed of the second half of the iterations."""
    _, speeds = metrics.series("steps_per_second")
    return statistics.median(speeds[len(speeds) // 2 :])


def bare(arguments: argparse.Namespace, folder: Path, environment: dict[str, str]) -> Run:
    """Train with Isaac Lab's own command."""
    command = [sys.executable, "-m", "isaaclab", "train", "--rl_library", "rsl_rl", "--task", arguments.task]
    command += ["--num_envs", str(arguments.envs), "--max_iterations", str(arguments.iterations), "--seed", "42"]
    command += ["--device", arguments.device, f"agent.device={'cpu' if arguments.device == 'cpu' else 'cuda:0'}"]
    seconds = timed(command, folder, environment)
    events = next((folder / "logs").rglob("events.out.tfevents*")).parent
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "001").symlink_to(events)
    return Run(seconds, steady_speed(read_metrics(folder / "tensorboard")))


def pipeline(arguments: argparse.Namespace, folder: Path, environment: dict[str, str]) -> Run:
    """Train through the flows, as `isaaclab-flows run` does."""
    config = {
        "name": "Benchmark",
        "description": "",
        "trainingConfig": {
            "acceleration": "off",  # like with like: Isaac Lab's own trainer on both sides
            "mode": "train",
            "task": arguments.task,
            "numEnvs": arguments.envs,
            "maxIterations": arguments.iterations,
            "rlLibrary": "rsl_rl",
            "seed": 42,
        },
        # Isaac Lab's own interval for these tasks.
        "outputConfig": {"checkpointInterval": 50},
        "computeConfig": {"numNodes": 1},
    }
    path = folder / "benchmark-training-config.json"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "isaaclab_flows.cli.main", "run", str(path), "--output", str(folder / "outputs")]
    seconds = timed([*command, "--device", arguments.device], folder, environment | {"PYTHONPATH": python_path()})
    summary = next(p for p in (folder / "outputs").glob("*/summary.json"))
    if json.loads(summary.read_text())["status"] != "succeeded":
        raise SystemExit(f"the pipeline's run failed: {summary}")
    return Run(seconds, steady_speed(read_metrics(summary.parent / "tensorboard")))


def python_path() -> str:
    """Return PYTHONPATH with the project in front."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """Run a command to its end and return its wall time [s]."""
    started = time.monotonic()
    with (folder / "log.txt").open("w") as log:
        code = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=False).returncode
    if code != 0:
        raise SystemExit(f"{' '.join(command)} ended with {code}:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return time.monotonic() - started


def main() -> None:
    """Run both, alternating, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="Isaac-Cartpole-Direct")
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    environment = dict(os.environ)
    if "ISAACSIM_ASSET_ROOT" not in environment:
        pack = Path("~/.cache/isaaclab-flows/benchmark-assets").expanduser()
        subprocess.run(
            [sys.executable, "-m", "isaaclab_flows.container.simulator.assets", str(pack)], cwd=ROOT, check=True
        )
        environment["ISAACSIM_ASSET_ROOT"] = str(pack)
    runs: dict[str, list[Run]] = {"bare": [], "pipeline": []}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(arguments.rounds):
            for name, run in (("bare", bare), ("pipeline", pipeline)):
                folder = Path(scratch) / f"{name}-{number}"
                folder.mkdir()
                runs[name].append(run(arguments, folder, environment))
                print(f"round {number + 1}, {name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    print(f"{arguments.task}, {arguments.envs} environments, {arguments.iterations} iterations, {arguments.device}")
    print(f"{'':12} {'wall [s]':>10} {'steady [steps/s]':>18}")
    medians = {}
    for name, all_runs in runs.items():
        medians[name] = Run(
            statistics.median(r.seconds for r in all_runs), statistics.median(r.speed for r in all_runs)
        )
        print(f"{name:12} {medians[name].seconds:10.1f} {medians[name].speed:18,.0f}")
    ratio = medians["pipeline"].speed / medians["bare"].speed
    print(f"steady-state ratio {ratio:.3f} (goal: at least 0.98)")
    pace = medians["pipeline"].seconds - medians["bare"].seconds
    print(f"fixed overhead {pace:.1f} s (goal: at most 5 s)")


if __name__ == "__main__":
    main()
