"""Accelerated trainings against Isaac Lab's own trainer: speed, and whether the policies are the same.

    python -m benchmarks.acceleration speed  [--tasks …] [--iterations N] [--repeat 2]   one training at a time
    python -m benchmarks.acceleration parity [--tasks …] [--iterations N] [--seeds 5]    all seeds, then an evaluation

Bare is `isaaclab train` in a process of its own, with its torch and its warp frontend. Speeds are medians of the steps
a second that either reports, without the first third of the iterations. Parity trains every seed with the bare torch
frontend and with the accelerated one, evaluates each last policy here on the torch frontend, and compares the two
groups of policies. Made for one GPU; `--device cpu --num-envs 64` tries it on a laptop.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("Isaac-Cartpole-Direct", "Isaac-Ant-Direct", "Isaac-Humanoid-Direct")
LIMIT_SECONDS = 1800
_SPEED = re.compile(r"Steps per second:\s+(\d+)")
_NUMBER = re.compile(r"model_(\d+)\.pt$")


@dataclass(frozen=True)
class Variant:
    """One way to train: bare, or an order of ours."""

    name: str
    bare: bool
    frontend: str
    acceleration: str = "auto"


BARE_TORCH = Variant("bare torch", bare=True, frontend="torch")
BARE_WARP = Variant("bare warp", bare=True, frontend="warp")
CAPTURED = Variant("captured, torch", bare=False, frontend="torch")
ACCELERATED = Variant("captured, warp", bare=False, frontend="warp")
VARIANTS = {v.name: v for v in (BARE_TORCH, BARE_WARP, CAPTURED, ACCELERATED)}


@dataclass(frozen=True)
class Trained:
    """What one training left."""

    variant: str
    task: str
    seed: int
    steps_per_second: float | None
    """Median, without the first third of the iterations."""
    seconds: float
    """Of the whole process."""
    first_iteration: float | None
    """Seconds from the start to the end of the first iteration; ours only."""
    checkpoint: Path | None
    engine: str = ""
    error: str = ""


def train(
    variant: Variant, task: str, folder: Path, *, num_envs: int, iterations: int, seed: int, device: str
) -> Trained:
    """Run one training to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    command = (
        _bare(variant, task, num_envs=num_envs, iterations=iterations, seed=seed, device=device)
        if variant.bare
        else _ours(
            folder,
            task,
            num_envs,
            seed,
            device,
            training={
                "maxIterations": iterations,
                "checkpointInterval": max(iterations, 1),
                "frontend": variant.frontend,
                "acceleration": variant.acceleration,
            },
        )
    )
    begun = time.time()
    log = _run(command, folder)
    seconds = time.time() - begun
    if variant.bare:
        speeds = [float(found) for found in _SPEED.findall(log)]
        checkpoints = sorted(folder.glob("logs/**/model_*.pt"), key=_iteration)
        error = "" if checkpoints else log[-300:]
        return Trained(
            variant.name,
            task,
            seed,
            _steady(speeds),
            seconds,
            None,
            checkpoints[-1] if checkpoints else None,
            "",
            error,
        )
    events = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    done = [event for event in events if event["event"] == "iteration"]
    result = json.loads((folder / "result.json").read_text())
    return Trained(
        variant.name,
        task,
        seed,
        _steady([event["stepsPerSecond"] for event in done]),
        seconds,
        done[0]["time"] - begun if done else None,
        Path(result["lastCheckpoint"]) if result["lastCheckpoint"] else None,
        " ".join(str(value) for value in (result["engine"] or {}).values()),
        (result["error"] or {}).get("message", "") if result["error"] else "",
    )


def evaluate(task: str, checkpoints: Sequence[Path], folder: Path, *, num_envs: int, device: str) -> list[list[float]]:
    """Return each policy's mean return, success rate (NaN without one) and number of episodes."""
    folder.mkdir(parents=True, exist_ok=True)
    evaluation = {"checkpoints": [str(c) for c in checkpoints], "numEpisodes": 1, "stepsPerEpisode": 2000}
    _run(_ours(folder, task, num_envs, 4242, device, evaluation=evaluation), folder)
    result = json.loads((folder / "result.json").read_text())
    found = []
    for one in result["evaluations"]:
        with Path(one["episodesFile"]).open() as file:
            rows = list(csv.DictReader(file))
        successes = [float(row["success"]) for row in rows if row["success"]]
        rate = statistics.fmean(successes) if successes else float("nan")
        found.append([statistics.fmean(float(row["return"]) for row in rows), rate, float(len(rows))])
    return found


def compare(bare: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    """Compare the seeds' means: Welch's interval of the difference, and a verdict."""
    from scipy import stats

    test = stats.ttest_ind(ours, bare, equal_var=False)
    interval = test.confidence_interval(0.95)
    return {
        "bare": [statistics.fmean(bare), *_t_interval(bare)],
        "accelerated": [statistics.fmean(ours), *_t_interval(ours)],
        "difference": [statistics.fmean(ours) - statistics.fmean(bare), float(interval.low), float(interval.high)],
        "p": float(test.pvalue),
        "verdict": "worse" if interval.high < 0 else "better" if interval.low > 0 else "no difference seen",
    }


def _t_interval(values: Sequence[float]) -> list[float]:
    from scipy import stats

    if len(set(values)) < 2:
        return [values[0], values[0]]
    found = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return [float(found.low), float(found.high)]


def _bare(variant: Variant, task: str, *, num_envs: int, iterations: int, seed: int, device: str) -> list[str]:
    command = [sys.executable, "-m", "isaaclab", "train", "--rl_library", "rsl_rl", "--task", task]
    command += ["--num_envs", str(num_envs), "--max_iterations", str(iterations), "--seed", str(seed)]
    if variant.frontend == "warp":
        command += ["--frontend", "warp", "physics=newton_mjwarp"]
    return command + (["--device", "cpu", "agent.device=cpu"] if device == "cpu" else [])


def _ours(folder: Path, task: str, num_envs: int, seed: int, device: str, **order: Any) -> list[str]:
    document = {
        "jobId": folder.name,
        "task": task,
        "library": "rsl_rl",
        "numEnvs": num_envs,
        "seed": seed,
        "device": device,
        "runFolder": str(folder / "run"),
        "progressFile": str(folder / "progress.jsonl"),
        "resultFile": str(folder / "result.json"),
        **order,
    }
    (folder / "order.json").write_text(json.dumps(document))
    return [sys.executable, "-m", "isaaclab_flows.container.simulator", str(folder / "order.json")]


def _run(command: Sequence[str], folder: Path) -> str:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path}
    with (folder / "log.txt").open("wb") as log:
        subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    return (folder / "log.txt").read_text(errors="replace")


def _iteration(path: Path) -> int:
    found = _NUMBER.search(path.name)
    return int(found[1]) if found else -1


def _steady(speeds: Sequence[float]) -> float | None:
    return statistics.median(speeds[len(speeds) // 3 :]) if speeds else None


def _print(row: dict[str, Any]) -> None:
    print(json.dumps(row, default=str), flush=True)


def speed(arguments: argparse.Namespace) -> None:
    """Train each task with each variant, alternating, one at a time."""
    base: dict[str, float] = {}
    for repeat in range(arguments.repeat):
        for task in arguments.tasks:
            for name in arguments.variants:
                folder = arguments.folder / f"speed-{task}-{name.replace(', ', '-').replace(' ', '-')}-{repeat}"
                done = train(
                    VARIANTS[name],
                    task,
                    folder,
                    num_envs=arguments.num_envs,
                    iterations=arguments.iterations * (1 if VARIANTS[name].bare else arguments.longer),
                    seed=arguments.first_seed + repeat,
                    device=arguments.device,
                )
                base.setdefault(f"{task} {name}", done.steps_per_second or 0.0)
                times = {
                    other: round((done.steps_per_second or 0.0) / base[f"{task} {other}"], 2)
                    for other in ("bare torch", "bare warp")
                    if base.get(f"{task} {other}")
                }
                _print({**vars(done), "times": times})


def parity(arguments: argparse.Namespace) -> None:
    """Train all seeds of each task both ways, evaluate the policies, and compare."""
    variants = (BARE_TORCH, VARIANTS[arguments.against])
    for task in arguments.tasks:
        jobs = [
            (variant, seed)
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
            for variant in variants
        ]

        def run(job: tuple[Variant, int], task: str = task) -> Trained:
            variant, seed = job
            folder = arguments.folder / f"parity-{task}-{variant.name.replace(', ', '-').replace(' ', '-')}-{seed}"
            return train(
                variant,
                task,
                folder,
                num_envs=arguments.num_envs,
                iterations=arguments.iterations,
                seed=seed,
                device=arguments.device,
            )

        with ThreadPoolExecutor(arguments.parallel) as pool:
            done = list(pool.map(run, jobs))
        for one in done:
            _print(vars(one))
        whole = [one for one in done if one.checkpoint is not None]
        scores = evaluate(
            task,
            [one.checkpoint for one in whole if one.checkpoint],
            arguments.folder / f"evaluation-{task}",
            num_envs=arguments.evaluation_envs,
            device=arguments.device,
        )
        groups = {
            variant.name: [score for one, score in zip(whole, scores, strict=True) if one.variant == variant.name]
            for variant in variants
        }
        bare, ours = (groups[variant.name] for variant in variants)
        row: dict[str, Any] = {"task": task, "iterations": arguments.iterations, "scores": groups}
        row["return"] = compare([s[0] for s in bare], [s[0] for s in ours])
        if bare[0][1] == bare[0][1]:
            row["success"] = compare([s[1] for s in bare], [s[1] for s in ours])
        _print(row)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "parity"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--against", default=ACCELERATED.name, choices=list(VARIANTS))
    parser.add_argument("--num-envs", type=int, default=4096)
    parser.add_argument("--evaluation-envs", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--longer", type=int, default=1, help="so many times the iterations for ours, which are short")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=1, help="trainings at a time; speeds count with one only")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--folder", type=Path, default=Path("outputs/acceleration"))
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.absolute()
    {"speed": speed, "parity": parity}[arguments.what](arguments)


if __name__ == "__main__":
    main()
