"""How training scales from one GPU to two: through the supervisor, side by side in one run.

    python -m benchmarks.scaling --device cuda --rounds 2
    python -m benchmarks.scaling --device cpu --task Isaac-Cartpole-Direct --envs 16 --iterations 10 --rounds 1

The layouts, each with the same environments a GPU:

- one: one process on the first GPU;
- apart: two such trainings at the same time, one a GPU, that know nothing of each other: what the machine itself costs;
- nodes: two nodes of one GPU each, as a multi-node Batch job is (a meeting folder, torchrun, c10d);
- machine: one node with two GPUs, as `computeConfig.gpusPerNode: 2` asks for.

An iteration's time runs from one's end to the next one's, logging included, and is the median over the second half of
the iterations; collecting and learning are its parts as rsl_rl measures them on the first process, waiting for the
other one included. The efficiency is a layout's steps per second over those of as many single GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.nodes import EXIT_UNHEALTHY_GPU
from isaaclab_flows.schemas.simulator import IterationEvent
from isaaclab_flows.tasks.job.events import EventTail
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.job.lease import lease
from isaaclab_flows.tasks.results.metrics import read_metrics
from isaaclab_flows.tasks.simulator.attempts import run_attempts

ROOT = Path(__file__).resolve().parents[1]
LAYOUTS = ("one", "apart", "nodes", "machine")
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Speed:
    """One training in its steady state.

    Args:
        steps: Environment steps a second, over all its GPUs.
        iteration: Seconds from one iteration's end to the next one's.
        collecting: Seconds of an iteration spent in the environments.
        learning: Seconds of an iteration spent on the networks.
    """

    steps: float
    iteration: float
    collecting: float
    learning: float


def job_of(arguments: argparse.Namespace, folder: Path, *, nodes: int = 1, per_node: int = 1) -> Job:
    """Return the training that is measured."""
    config = {
        "name": "Scaling",
        "description": "How training scales with GPUs",
        "trainingConfig": {
            "mode": "train",
            "task": arguments.task,
            "numEnvs": arguments.envs,
            "maxIterations": arguments.iterations,
            "rlLibrary": "rsl_rl",
        },
        "outputConfig": {"checkpointInterval": 50},
        "computeConfig": {"numNodes": nodes, "gpusPerNode": per_node},
    }
    return Job(
        job_id=folder.name,
        kind="training",
        source="cli",
        config=check_config(config, source="benchmark"),
        task=arguments.task,
        library="rsl_rl",
        output_uri=str(folder / "published"),
        staging_uri=str(folder / "staged"),
        device=arguments.device,
    )


class Training:
    """One supervised training, started."""

    def __init__(self, job: Job, folder: Path, *, gpu: int | None, told: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(job.model_dump_json())
        self.folder = folder
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._main = self.start([sys.executable, "-m", "benchmarks.scaling", "--job", str(folder)], gpu, told)

    def start(self, command: list[str], gpu: int | None, told: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program that sees one GPU, or all."""
        environment = {**os.environ, "ISAACLAB_FLOWS_JOBS_FOLDER": str(self.folder / "jobs"), **told}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def join(self, gpu: int | None, told: Mapping[str, str]) -> None:
        """Add a second node."""
        self._helpers.append(
            self.start([sys.executable, "-m", "isaaclab_flows.container.start.entry_point", "join"], gpu, told)
        )

    def speed(self) -> Speed:
        """Wait for the end; return how fast it was."""
        code = self._main.wait(LIMIT_SECONDS)
        for helper in self._helpers:
            if helper.wait(60) == EXIT_UNHEALTHY_GPU:
                raise SystemExit("the second node refused its GPU")
        if code != 0:
            raise SystemExit(f"a training failed:\n{(self.folder / 'log.txt').read_text()[-4000:]}")
        metrics = read_metrics(next(self.folder.rglob("tensorboard")))
        events = EventTail(next(self.folder.rglob("progress.jsonl"))).new()
        ends = [event.time for event in events if isinstance(event, IterationEvent)]
        iteration = steady([after - before for before, after in pairwise(ends)])
        collecting, learning = (steady(metrics.series(f"Perf/{part}_time")[1]) for part in ("collection", "learning"))
        steps_each = steady(metrics.series("steps_per_second")[1]) * (collecting + learning)
        return Speed(steps_each / iteration, iteration, collecting, learning)


def steady(series: Sequence[float]) -> float:
    """Return the median of the second half."""
    return statistics.median(series[len(series) // 2 :])


def train(layout: str, folder: Path, arguments: argparse.Namespace) -> list[Speed]:
    """Run one layout; return the speed of each training in it."""
    gpus: list[int | None] = [0, 1] if arguments.device == "cuda" else [None, None]
    device = {"ISAACLAB_FLOWS_DEVICE": arguments.device}
    if layout == "machine":
        return [Training(job_of(arguments, folder, per_node=2), folder, gpu=None, told=device).speed()]
    if layout == "nodes":
        batch = {
            "AWS_BATCH_JOB_ID": folder.name,
            "AWS_BATCH_JOB_NUM_NODES": "2",
            "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
            "AWS_BATCH_JOB_NODE_INDEX": "0",
        }
        training = Training(job_of(arguments, folder, nodes=2), folder, gpu=gpus[0], told=device | batch)
        other = {"AWS_BATCH_JOB_NODE_INDEX": "1", "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "127.0.0.1"}
        training.join(gpus[1], device | batch | other)
        return [training.speed()]
    folders = [folder / "a", folder / "b"][: 1 if layout == "one" else 2]
    trainings = [Training(job_of(arguments, f), f, gpu=gpus[i], told=device) for i, f in enumerate(folders)]
    return [training.speed() for training in trainings]


def supervise(folder: Path) -> None:
    """Run the job of a folder to its end; the main node of a layout is a process of its own."""
    job = Job.model_validate_json((folder / "job.json").read_bytes())
    with lease(folder_of(job)) as held:
        run_attempts(job, held, early=None, on_event=lambda event: None, warn=print)


def report(runs: Mapping[str, list[list[Speed]]], arguments: argparse.Namespace) -> None:
    """Print the table: medians over the rounds."""
    totals = {name: [sum(speed.steps for speed in speeds) for speeds in rounds] for name, rounds in runs.items()}
    print(f"{arguments.task}, {arguments.envs} environments a GPU, {arguments.iterations} iterations, rsl_rl")
    print(
        f"{'layout':10}{'GPUs':>5}{'steps/s':>12}{'iteration':>12}{'collecting':>12}{'learning':>12}{'efficiency':>12}"
        "  steps/s of each round"
    )
    for name, rounds in runs.items():
        gpus = 1 if name == "one" else 2
        steps = statistics.median(totals[name])
        times = [
            statistics.median(getattr(speed, part) for speeds in rounds for speed in speeds)
            for part in ("iteration", "collecting", "learning")
        ]
        efficiency = f"{steps / (gpus * statistics.median(totals['one'])):.1%}" if "one" in totals else "-"
        shown = "".join(f"{seconds:10.3f} s" for seconds in times)
        print(
            f"{name:10}{gpus:5}{steps:12,.0f}{shown}{efficiency:>12}  " + ", ".join(f"{t:,.0f}" for t in totals[name])
        )


def main() -> None:
    """Measure the layouts in turn, round by round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="Isaac-Ant-Direct")
    parser.add_argument("--envs", type=int, default=4096)
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        supervise(arguments.job)
        return
    runs: dict[str, list[list[Speed]]] = {name: [] for name in arguments.layouts}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(arguments.rounds):
            for name, measured in runs.items():
                speeds = train(name, Path(scratch) / f"{name}-{number}", arguments)
                measured.append(speeds)
                print(json.dumps({"round": number + 1, "layout": name, "speeds": [vars(s) for s in speeds]}))
                sys.stdout.flush()
    report(runs, arguments)


if __name__ == "__main__":
    main()
