"""The captured steps on a GPU against rsl_rl's own: the same after several updates, after a checkpoint, at the bounds.

    python -m benchmarks.captured_steps

Made-up environments in float32, without TF32. Prints the largest difference of a weight between rsl_rl's PPO and ours,
captured and not, and the milliseconds of an update of Ant's and Humanoid's size with either.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from tests.container.simulator.rsl_rl.twins import CASES, Case, Twins

SIZES = {
    "Cartpole": Case(envs=4096, steps=16, actions=1, groups=(("policy", 4),), hidden=(32, 32)),
    "Ant": Case(envs=4096, steps=32, actions=8, groups=(("policy", 36),), hidden=(400, 200, 100)),
    "Humanoid": Case(envs=4096, steps=32, actions=21, groups=(("policy", 75),), hidden=(400, 200, 100)),
}


def difference(twins: Twins) -> float:
    """Return the largest difference of a weight, a normaliser's or an optimiser's number."""
    pairs = []
    for name in ("actor", "critic"):
        theirs, ours = getattr(twins.plain, name).state_dict(), getattr(twins.ours, name).state_dict()
        pairs += [(theirs[key], ours[key]) for key in theirs]
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def same(name: str, case: Case) -> dict[str, Any]:
    """Three iterations, a checkpoint into new ones, and one more."""
    twins = Twins(replace(case, envs=64, steps=8), device="cuda")
    found = []
    for iteration in range(3):
        twins.rollout(iteration)
        twins.update(iteration)
        found.append(difference(twins))
    checkpoint = twins.ours.save()
    others = Twins(twins.case, device="cuda", seed=1)
    for algorithm in (others.plain, others.ours, twins.ours, twins.plain):
        algorithm.load(copy.deepcopy(checkpoint), None, True)
    for pair in (others, twins):
        pair.rollout(7)
        pair.update(7)
    found += [difference(others), difference(twins)]
    rates = (twins.plain.learning_rate, twins.ours.learning_rate)
    captures = [step.captures for step in twins.ours._steps]
    return {"case": name, "differences": found, "rates": rates, "captures": captures, "failed": twins.ours.failures}


def timed(name: str, case: Case) -> dict[str, Any]:
    """Milliseconds of acting and of an update."""
    twins = Twins(replace(case, normalised=True), device="cuda")
    for iteration in range(2):
        twins.rollout(iteration)
        twins.update(iteration)
    took: dict[str, Any] = {"size": name, "failed": twins.ours.failures}
    for kind, algorithm in (("rsl_rl", twins.plain), ("captured", twins.ours)):
        times = []
        for iteration in range(5):
            twins.rollout(10 + iteration)
            torch.cuda.synchronize()
            begun = time.perf_counter()
            algorithm.update()
            torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - begun))
            (twins.ours if algorithm is twins.plain else twins.plain).storage.clear()
        took[kind] = round(statistics.median(times), 2)
    return took


def main() -> None:
    """Compare, then time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["same", "timed"])
    only = parser.parse_args().only
    if only != "timed":
        for name, case in CASES.items():
            print(json.dumps(same(name, case)), flush=True)
    torch.backends.cuda.matmul.allow_tf32 = True
    if only != "same":
        for name, case in SIZES.items():
            print(json.dumps(timed(name, case)), flush=True)


if __name__ == "__main__":
    main()
