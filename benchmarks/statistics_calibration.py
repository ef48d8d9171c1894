"""How often what a leaderboard, a summary or a regression says is false, and what it would have seen.

    .venv/bin/python benchmarks/statistics_calibration.py [--boards 1000]

Draws policies whose truth is known, over returns of several kinds, lets the project's own code speak, and counts. A
board of equal policies that claims any difference is false; the winner's interval must hold the winner's true mean.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isaaclab_flows.tasks.statistics.comparison import differences_from, judge
from isaaclab_flows.tasks.statistics.sample import Sample, Stratum, pooled

Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]
"""(generator, policies, starts) to returns (policies, starts)."""

KINDS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, k, n: rng.normal(size=(k, n)), 0.0),
    "lognormal": (lambda rng, k, n: rng.lognormal(size=(k, n)), float(np.exp(0.5))),
    "bimodal": (lambda rng, k, n: 10.0 * (rng.random((k, n)) < 0.8) + rng.normal(size=(k, n)), 8.0),
    "2 % failures": (lambda rng, k, n: -100.0 * (rng.random((k, n)) < 0.02) + rng.normal(size=(k, n)), -2.0),
    "common luck": (lambda rng, k, n: rng.normal(size=(1, n)) * 3 + rng.normal(size=(k, n)), 0.0),
    "success, 80 %": (lambda rng, k, n: (rng.random((k, n)) < 0.8).astype(np.float64), 0.8),
}


def clustered(rng: np.random.Generator, policies: int, environments: int, rounds: int) -> list[Sample]:
    """Draw returns of which 30 % of the variance belongs to the environment and stays over its rounds."""
    levels = rng.normal(size=(policies, environments, 1)) * 0.3**0.5
    values = levels + rng.normal(size=(policies, environments, rounds)) * 0.7**0.5
    labels = [str(place) for place in range(environments) for _ in range(rounds)]
    return [Sample((Stratum.of("", x.ravel(), labels),)) for x in values]


def boards(samples: Callable[[], list[Sample]], truth: float, count: int, *, rate: bool = False) -> tuple[float, float]:
    """Return the share of boards with a false claim, and of winners whose interval holds the truth."""
    false = covered = 0
    for _ in range(count):
        judged = judge({str(place): sample for place, sample in enumerate(samples())})
        false += any(difference.significant for difference in judged.differences)
        winner = judged.reported[judged.order[0]]
        interval = winner.rate_interval if rate else winner.mean_interval
        covered += interval is not None and interval.low - 1e-9 <= truth <= interval.high + 1e-9
    return false / count, covered / count


def print_equal(rng: np.random.Generator, count: int) -> None:
    """Print false claims and coverage of boards whose policies are all equal."""
    print("| returns | equal policies | starts | false boards | winner's interval holds its mean |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for kind, (draw, truth) in KINDS.items():
        for policies in (2, 5, 20):

            def of_kind(draw: Draw = draw, policies: int = policies) -> list[Sample]:
                return [pooled(values) for values in draw(rng, policies, 64)]

            false, covered = boards(of_kind, truth, count, rate=kind.startswith("success"))
            print(f"| {kind} | {policies} | 64 | {false:.1%} | {covered:.1%} |", flush=True)
    for policies, many in ((100, count // 4), (1_000, count // 20)):
        false, covered = boards(lambda p=policies: [pooled(v) for v in rng.normal(size=(p, 64))], 0.0, many)  # type: ignore[misc]
        print(f"| normal | {policies} | 64 | {false:.1%} | {covered:.1%} ({many} boards) |", flush=True)
    false, covered = boards(lambda: clustered(rng, 5, 16, 10), 0.0, count)
    print(f"| clustered, 16 environments x 10 rounds | 5 | 16 | {false:.1%} | {covered:.1%} |", flush=True)


def print_different(rng: np.random.Generator, count: int) -> None:
    """Print power, and what the statement of the smallest difference is worth."""
    print("\n| normal returns, 64 starts, one of 10 policies lower by | told | said to be told in 80 % |")
    print("| ---: | ---: | ---: |")
    for drop in (0.25, 0.5, 0.75, 1.0):
        told, said = 0, []
        for _ in range(count):
            values = rng.normal(size=(10, 64))
            values[-1] -= drop
            found = differences_from("0", {str(place): pooled(x) for place, x in enumerate(values)})[-1]
            told += found.significant and found.difference > 0
            said.append(found.detectable or np.inf)
        print(f"| {drop} | {told / count:.1%} | {np.median(said):.2f} |", flush=True)


def print_regressions(rng: np.random.Generator, count: int) -> None:
    """Print false alarms of a new best that is as good as the last, each chosen of many and met on fresh starts."""
    print("\n| regression: checkpoints chosen from | false alarms | seen, lower by 0.5 |")
    print("| ---: | ---: | ---: |")
    for policies in (2, 20, 100):
        alarms = [0, 0]
        for _ in range(count):
            # Whichever is chosen, the fresh starts know nothing of the choice: that is what is checked here.
            rng.normal(size=(policies, 64)).mean(axis=1).argmax()
            for place, drop in enumerate((0.0, 0.5)):
                before, now = rng.normal(size=(2, 64))
                (found,) = differences_from("before", {"before": pooled(before), "now": pooled(now - drop)})
                alarms[place] += found.difference > 0 and found.p_value / 2 <= 0.05
        print(f"| {policies} | {alarms[0] / count:.1%} | {alarms[1] / count:.1%} |", flush=True)


def print_summaries(rng: np.random.Generator, count: int) -> None:
    """Print the coverage of one policy's mean, and of what it says it may not have seen."""
    print("\n| one policy's mean | episodes | holds the truth | ... or says that what is missing may be unseen |")
    print("| --- | ---: | ---: | ---: |")
    for kind, (draw, truth) in KINDS.items():
        for episodes in (10, 64, 256):
            held = said = 0
            for _ in range(count):
                sample = pooled(draw(rng, 1, episodes)[0])
                interval = sample.rate_interval if kind.startswith("success") else sample.mean_interval
                holds = interval is not None and interval.low - 1e-9 <= truth <= interval.high + 1e-9
                unseen = kind == "2 % failures" and sample.values.min() > -50 and sample.unseen_rate >= 0.02
                held += holds
                said += holds or unseen
            print(f"| {kind} | {episodes} | {held / count:.1%} | {said / count:.1%} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=1_000)
    count = parser.parse_args().boards
    rng = np.random.default_rng(20_260_101)
    print_equal(rng, count)
    print_different(rng, count)
    print_regressions(rng, count)
    print_summaries(rng, count)
    samples = {str(place): pooled(values) for place, values in enumerate(rng.normal(size=(1_000, 64)))}
    begun = time.monotonic()
    judge(samples)
    print(f"\n1,000 checkpoints of 64 episodes are ranked in {time.monotonic() - begun:.2f} s.")


if __name__ == "__main__":
    main()
