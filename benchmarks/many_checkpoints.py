"""What one simulator process for many checkpoints saves against one process for each.

    .venv/bin/python benchmarks/many_checkpoints.py [--checkpoints 20] [--processes 20]

Trains Cartpole for as many iterations as there are checkpoints, evaluates all of them in one process, then each in a
process of its own, and prints a table. With fewer processes than checkpoints the rest is extrapolated, and marked so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from isaaclab_flows.schemas.simulator import EvaluationOrder, SimulatorJob, SimulatorResult, TrainingOrder

ROOT = Path(__file__).resolve().parents[1]
TASK = "Isaac-Cartpole-Direct"


def simulate(folder: Path, *, num_envs: int, **order: Any) -> float:
    """Run one order in a process of its own; return its wall time [s]."""
    folder.mkdir(parents=True)
    job = SimulatorJob(
        job_id="many-checkpoints",
        task=TASK,
        library="rsl_rl",
        num_envs=num_envs,
        seed=42,
        device="cpu",
        run_folder=str(folder / "run"),
        progress_file=str(folder / "progress.jsonl"),
        result_file=str(folder / "result.json"),
        **order,
    )
    (folder / "order.json").write_text(job.model_dump_json(by_alias=True))
    begun = time.monotonic()
    with (folder / "simulator.txt").open("w") as log:
        command = [sys.executable, "-m", "isaaclab_flows.container.simulator", str(folder / "order.json")]
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    seconds = time.monotonic() - begun
    result = SimulatorResult.model_validate_json((folder / "result.json").read_bytes())
    errors = [result.error, *(evaluation.error for evaluation in result.evaluations)]
    if any(errors):
        raise SystemExit(f"{folder.name} failed: {next(filter(None, errors)).sentence}; its log is {folder}")
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--processes", type=int, help="how many of them to run alone; by default all")
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    alone = min(arguments.processes or arguments.checkpoints, arguments.checkpoints)

    with tempfile.TemporaryDirectory(prefix="many-checkpoints-") as temporary:
        folder = Path(temporary)
        training = TrainingOrder(max_iterations=arguments.checkpoints, checkpoint_interval=1)
        simulate(folder / "training", num_envs=64, training=training)
        found = sorted((folder / "training/run/checkpoints").glob("model_*.pt"), key=lambda p: int(p.stem[6:]))
        paths = tuple(map(str, found))[-arguments.checkpoints :]

        def evaluate(name: str, checkpoints: tuple[str, ...]) -> float:
            order = EvaluationOrder(
                checkpoints=checkpoints, num_episodes=arguments.rounds, steps_per_episode=arguments.steps
            )
            return simulate(folder / name, num_envs=arguments.envs, evaluation=order)

        together = evaluate("together", paths)
        apart = [evaluate(f"alone-{i}", (path,)) for i, path in enumerate(paths[:alone])]

    whole = sum(apart) / alone * len(paths)
    note = "" if alone == len(paths) else f" (extrapolated from {alone})"
    print(f"{len(paths)} checkpoints of {TASK}, {arguments.envs} environments, {arguments.rounds} rounds of", end=" ")
    print(f"{arguments.steps} steps, {os.cpu_count()} cores\n")
    print("| how | wall time [s] | a checkpoint [s] |")
    print("| --- | ---: | ---: |")
    print(f"| one process for all | {together:.1f} | {together / len(paths):.2f} |")
    print(f"| one process for each{note} | {whole:.1f} | {whole / len(paths):.2f} |")
    print(f"\nOne process is {whole / together:.1f} times faster.")


if __name__ == "__main__":
    main()
