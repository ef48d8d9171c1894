"""Measures sweeps: one simulator process for many checkpoints against one for each, and what Prefect costs.

    python -m benchmarks.sweep checkpoints [--count 20] [--singles 20]
    python -m benchmarks.sweep overhead [--rows 1000] [--per-job 100]

`checkpoints` trains Cartpole briefly for as many checkpoints, then evaluates them through a sweep and, alternating in
the same run, one by one. `overhead` runs a sweep whose evaluations are stubbed out, against a Prefect server of its
own, and counts the calls to the server.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

TASK = "Isaac-Cartpole-Direct"
SHARED = {"task": TASK, "rlLibrary": "rsl_rl", "numEnvs": 64, "seed": 1}
EVALUATION = {"numEpisodes": 1, "stepsPerEpisode": 100}


def write(path: Path, content: dict[str, Any]) -> Path:
    """Write a configuration file."""
    heading = {"name": "Benchmark", "description": "", "computeConfig": {"numNodes": 1}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(heading | content))
    return path


def program(folder: Path, *arguments: str) -> float:
    """Run `isaaclab-flows` and return its wall time [s]."""
    start = time.monotonic()
    environment = os.environ | {"ISAACLAB_FLOWS_OUTPUTS": str(folder / "outputs"), "ISAACLAB_FLOWS_DEVICE": "cpu"}
    answer = subprocess.run(
        [sys.executable, "-m", "isaaclab_flows.cli.main", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        sys.exit(answer.stdout + answer.stderr)
    return time.monotonic() - start


def measure_checkpoints(count: int, singles: int) -> None:
    """Evaluate `count` checkpoints in a sweep, and `singles` of them one by one, half before and half after."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        training = {"mode": "train", "maxIterations": count, **SHARED}
        output = {"checkpointInterval": 1}
        program(
            folder,
            "run",
            str(
                write(folder / "training/x-training-config.json", {"trainingConfig": training, "outputConfig": output})
            ),
        )
        checkpoints = sorted((folder / "outputs").glob("*/checkpoints/*.pt"))[:count]
        config = {
            "checkpoints": [str(path) for path in checkpoints],
            "tasks": [TASK],
            "rlLibrary": "rsl_rl",
            "seeds": [SHARED["seed"]],
            "numEnvs": [SHARED["numEnvs"]],
            **EVALUATION,
        }
        sweep = write(folder / "evaluation/x-sweep-config.json", {"sweepConfig": config})

        def one_by_one(paths: Sequence[Path]) -> list[float]:
            single = {"mode": "evaluate", "recordVideo": False, **SHARED, **EVALUATION}
            return [
                program(
                    folder,
                    "run",
                    str(
                        write(
                            folder / "evaluation/x-evaluation-config.json",
                            {"trainingConfig": single | {"checkpointPath": str(path)}},
                        )
                    ),
                )
                for path in paths
            ]

        some = checkpoints[:singles]
        before = one_by_one(some[: len(some) // 2])
        together = program(folder, "sweep", str(sweep))
        alone = before + one_by_one(some[len(some) // 2 :])
        all_alone = sum(alone) / len(alone) * len(checkpoints)
        print(f"{len(checkpoints)} checkpoints in one sweep: {together:.1f} s")
        measured = "" if len(alone) == len(checkpoints) else f" (from {len(alone)} measured)"
        print(f"{len(checkpoints)} single evaluations: {all_alone:.1f} s{measured}")
        print(f"the sweep is {all_alone / together:.1f} times faster")


@contextmanager
def counted_calls() -> Iterator[dict[str, int]]:
    """Count this process's calls to Prefect's server."""
    import httpx

    counts = {"calls": 0}
    sends = (httpx.Client.send, httpx.AsyncClient.send)

    def send(self: httpx.Client, *arguments: Any, **options: Any) -> httpx.Response:
        counts["calls"] += 1
        return sends[0](self, *arguments, **options)

    async def asend(self: httpx.AsyncClient, *arguments: Any, **options: Any) -> httpx.Response:
        counts["calls"] += 1
        return await sends[1](self, *arguments, **options)

    httpx.Client.send, httpx.AsyncClient.send = send, asend  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        httpx.Client.send, httpx.AsyncClient.send = sends  # type: ignore[method-assign]


def measure_overhead(rows: int, per_job: int) -> None:
    """Sweep `rows` checkpoints whose evaluations cost nothing."""
    from prefect.testing.utilities import prefect_test_harness

    import isaaclab_flows.flows.evaluation_sweep as sweeps
    from isaaclab_flows.schemas.forms import Places, SweepJobs
    from isaaclab_flows.schemas.outcome import EvaluationSummary, Outcome
    from isaaclab_flows.schemas.request import Request

    def stub(request: Request) -> Outcome:
        assert request.config is not None
        paths = request.config["trainingConfig"]["checkpointPaths"]
        return Outcome(
            job_id=request.job_id,
            kind="evaluation",
            status="succeeded",
            task=TASK,
            library="rsl_rl",
            evaluations=tuple(EvaluationSummary(checkpoint=path, mean_return=1.0) for path in paths),
        )

    with (
        mock.patch.object(sweeps, "orchestrate", stub),
        tempfile.TemporaryDirectory() as scratch,
        prefect_test_harness(server_startup_timeout=300),
    ):
        checkpoints = Path(scratch) / "checkpoints"
        checkpoints.mkdir()
        for number in range(rows):
            (checkpoints / f"model_{number}.pt").write_text(str(number))
        places = Places(output_uri=scratch, asset_uri=scratch)
        start = time.monotonic()
        with counted_calls() as counts:
            summary = sweeps.evaluation_sweep(
                name="Overhead",
                checkpoints=("checkpoints",),
                jobs=SweepJobs(checkpoints_per_job=per_job),
                places=places,
            )
        seconds = time.monotonic() - start
        print(
            f"{summary.new} rows in {-(-rows // per_job)} jobs: {seconds:.1f} s, {counts['calls']} calls to the server"
        )


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    checkpoints = kinds.add_parser("checkpoints")
    checkpoints.add_argument("--count", type=int, default=20)
    checkpoints.add_argument("--singles", type=int, default=20)
    overhead = kinds.add_parser("overhead")
    overhead.add_argument("--rows", type=int, default=1000)
    overhead.add_argument("--per-job", type=int, default=100)
    chosen = parser.parse_args()
    if chosen.kind == "checkpoints":
        measure_checkpoints(chosen.count, chosen.singles)
    else:
        measure_overhead(chosen.rows, chosen.per_job)


if __name__ == "__main__":
    main()
