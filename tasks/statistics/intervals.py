"""What episodes say about a policy, with the uncertainty that goes with it.

The mean's interval is a bootstrap (BCa); the interquartile mean and its stratified bootstrap follow the advice of
Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021, the library rliable);
a rate's interval is Wilson's. Values that cannot be known are None, never a guess: one episode has no interval, and a
return that is not a number leaves no mean.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isaaclab_flows.schemas.errors import ErrorRecord, OutputsMissingError, SimulatorError
from isaaclab_flows.schemas.outcome import EvaluationSummary, Interval
from isaaclab_flows.schemas.simulator import CheckpointEvaluation

LEVEL: Final = 0.95
RESAMPLES: Final = 5_000
FEWEST_RESAMPLES: Final = 400
MOST_DRAWS: Final = 30_000_000
"""Very many episodes are resampled less often: their intervals are narrow and stable anyway."""
BATCH_DRAWS: Final = 2_000_000
TERM_PREFIX: Final = "reward/"
_SEED: Final = 20_210_830
"""Fixed, so that the same episodes always give the same interval."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Episodes:
    """The rows of an episodes.csv; arrays of one length."""

    rounds: NDArray[np.int64]
    environments: NDArray[np.int64]
    returns: Values
    lengths: Values
    """Steps."""
    outcomes: tuple[str, ...]
    """``terminated``, ``timed_out`` or ``truncated``."""
    successes: Values
    """0 to 1; NaN where the task reported none."""
    terms: dict[str, Values]
    """Sum of each reward term."""

    def __len__(self) -> int:
        return len(self.outcomes)


def read_episodes(path: Path) -> Episodes:
    """Read an episodes.csv.

    Raises:
        OutputsMissingError: It does not exist, has no rows, or a row is not whole.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise _unreadable(path, str(error.strerror or error)) from error
    if not rows:
        raise _unreadable(path, "it has no rows")
    try:
        terms = [name for name in rows[0] if name.startswith(TERM_PREFIX)]
        return Episodes(
            rounds=np.array([int(row["round"]) for row in rows]),
            environments=np.array([int(row["environment"]) for row in rows]),
            returns=np.array([float(row["return"]) for row in rows]),
            lengths=np.array([float(row["length"]) for row in rows]),
            outcomes=tuple(row["outcome"] for row in rows),
            successes=np.array([float(row["success"] or "nan") for row in rows]),
            terms={
                name.removeprefix(TERM_PREFIX): np.array([float(row[name] or "nan") for row in rows]) for name in terms
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, f"a row is not whole ({error})") from error


def summarise(evaluation: CheckpointEvaluation, *, iteration: int | None = None) -> EvaluationSummary:
    """Return the summary of one checkpoint's evaluation; one that failed keeps its error and nothing else.

    Args:
        evaluation: What the simulator measured.
        iteration: The checkpoint's, where it is known.

    Raises:
        OutputsMissingError: Its episodes cannot be read.
    """
    known = EvaluationSummary(
        checkpoint=evaluation.checkpoint,
        checkpoint_sha256=evaluation.sha256,
        checkpoint_iteration=iteration,
        error=evaluation.error,
    )
    if evaluation.episodes_file is None:
        return known
    episodes = read_episodes(Path(evaluation.episodes_file))
    rate = evaluation.environment_steps / evaluation.seconds if evaluation.seconds > 0 else None
    return known.model_copy(
        update={
            **_describe(episodes),
            "steps_per_second": rate,
            "video_frames": evaluation.video_frames,
            "error": evaluation.error or _not_numbers(episodes, evaluation.checkpoint),
        }
    )


def _describe(episodes: Episodes) -> dict[str, object]:
    returns, judged = episodes.returns, episodes.successes[~np.isnan(episodes.successes)]
    terms = {name: float(values.mean()) for name, values in episodes.terms.items() if np.isfinite(values).all()}
    described: dict[str, object] = {
        "episodes": len(episodes),
        "mean_length": float(episodes.lengths.mean()),
        "terminated_rate": episodes.outcomes.count("terminated") / len(episodes),
        "success_rate": float(judged.mean()) if judged.size else None,
        "success_rate_ci": rate_interval(judged) if judged.size else None,
        "reward_terms": terms,
    }
    if np.isfinite(returns).all():
        described |= {
            "mean_return": float(returns.mean()),
            "std_return": float(returns.std(ddof=1)) if len(episodes) > 1 else None,
            "mean_return_ci": mean_interval(returns),
            "interquartile_mean_return": interquartile_mean(returns),
            "interquartile_mean_return_ci": interquartile_mean_interval([returns]),
        }
    return described


def mean_interval(values: Values) -> Interval | None:
    """Return the bootstrap interval of a mean, or None for fewer than two values or ones that are not numbers."""
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    if np.ptp(values) == 0:
        return _interval(values[0], values[0])
    # Imported where it is used: it takes seconds, which the start of every flow would pay.
    from scipy import stats

    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_resamples(len(values)),
        batch=max(1, BATCH_DRAWS // len(values)),
        # The jackknife behind BCa takes the square of the count; with so many values it changes nothing either.
        method="BCa" if len(values) <= 2_000 else "percentile",
        confidence_level=LEVEL,
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    if not (np.isfinite(found.low) and np.isfinite(found.high)):
        low, high = np.quantile(_resampled_means(values), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return _interval(low, high)
    return _interval(found.low, found.high)


def interquartile_mean(values: Values) -> float:
    """Return the mean of the middle half: a quarter of the values is left out at each end."""
    from scipy import stats

    return float(stats.trim_mean(values, 0.25))


def interquartile_mean_interval(strata: Sequence[Values]) -> Interval | None:
    """Return the stratified bootstrap interval of the interquartile mean over all values.

    Args:
        strata: Values that are resampled each among themselves: one group for one task or setting. Episodes of one
            checkpoint on one task are one stratum.

    Returns:
        None for fewer than two values in a stratum, or ones that are not numbers.
    """
    if not strata or any(len(values) < 2 or not np.isfinite(values).all() for values in strata):
        return None
    from scipy import stats

    total = sum(len(values) for values in strata)
    rng = np.random.default_rng(_SEED)
    found: list[Values] = []
    left = _resamples(total)
    while left > 0:
        count = min(left, max(1, BATCH_DRAWS // total))
        drawn = [values[rng.integers(len(values), size=(count, len(values)))] for values in strata]
        found.append(np.asarray(stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)))
        left -= count
    low, high = np.quantile(np.concatenate(found), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return _interval(low, high)


def rate_interval(values: Values) -> Interval:
    """Return Wilson's interval of a rate.

    Args:
        values: 0 or 1 an episode, at least one. Fractions are allowed, where a task grades its success; the interval
            is then wider than it need be, because nothing between 0 and 1 varies more than 0 and 1 do.
    """
    count = len(values)
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    rate = float(values.mean())
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # Rounding must not push an end over the rate itself or out of 0 to 1.
    return _interval(min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half)))


def _resamples(count: int) -> int:
    return int(np.clip(MOST_DRAWS // count, FEWEST_RESAMPLES, RESAMPLES))


def _resampled_means(values: Values) -> Values:
    rng = np.random.default_rng(_SEED)
    return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(FEWEST_RESAMPLES)])


def _interval(low: float, high: float) -> Interval:
    return Interval(low=float(low), high=float(high), level=LEVEL)


def _not_numbers(episodes: Episodes, checkpoint: str) -> ErrorRecord | None:
    count = int((~np.isfinite(episodes.returns)).sum())
    if not count:
        return None
    return ErrorRecord.of(
        SimulatorError(
            f"{count} of {len(episodes)} episodes have a return that is not a number, so no mean can be given",
            where=checkpoint,
            remedy="Choose an earlier checkpoint, or mend the environment.",
        )
    )


def _unreadable(path: Path, reason: str) -> OutputsMissingError:
    return OutputsMissingError(
        f"The evaluation's episodes cannot be read: {reason}", where=str(path), remedy="Run the evaluation again."
    )
