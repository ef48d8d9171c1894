"""What one checkpoint's episodes say, with the uncertainty that goes with it.

Values that cannot be known are None, never a guess: one episode has no interval, and a return that is not a number
leaves no mean.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isaaclab_flows.schemas.errors import ErrorRecord, OutputsMissingError, SimulatorError
from isaaclab_flows.schemas.outcome import EvaluationSummary
from isaaclab_flows.schemas.simulator import CheckpointEvaluation
from isaaclab_flows.tasks.statistics.sample import Sample, Stratum, Values, unit_labels

TERM_PREFIX: Final = "reward/"


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
    return _episodes(rows, path)


def parse_episodes(text: str, *, where: str) -> dict[str, Episodes]:
    """Return each checkpoint's episodes of a published metrics.csv, by the name that it has there.

    Args:
        text: The CSV: the columns of an episodes.csv behind the column `checkpoint`.
        where: Its path or URI, for errors.

    Raises:
        OutputsMissingError: A row is not whole.
    """
    of_checkpoint: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        of_checkpoint[row["checkpoint"]].append(row)
    return {name: _episodes(rows, where) for name, rows in of_checkpoint.items()}


def _episodes(rows: Sequence[Mapping[str, str]], path: Path | str) -> Episodes:
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


def sample_of(episodes: Episodes, values: Values) -> Sample:
    """Return those values of one setting's episodes that are known (not NaN), by environment."""
    known = ~np.isnan(values)
    labels = unit_labels(None, episodes.environments[known].tolist(), episodes.rounds[known].tolist())
    return Sample((Stratum.of("", values[known], labels),))


def _describe(episodes: Episodes) -> dict[str, object]:
    returns, judged = episodes.returns, ~np.isnan(episodes.successes)
    sample, successes = sample_of(episodes, returns), sample_of(episodes, episodes.successes)
    terms = {name: float(values.mean()) for name, values in episodes.terms.items() if np.isfinite(values).all()}
    described: dict[str, object] = {
        "episodes": len(episodes),
        "mean_length": float(episodes.lengths.mean()),
        "terminated_rate": episodes.outcomes.count("terminated") / len(episodes),
        "success_rate": successes.mean if judged.any() else None,
        "success_rate_ci": successes.rate_interval if judged.any() else None,
        "unseen_rate": sample.unseen_rate,
        "reward_terms": terms,
    }
    if np.isfinite(returns).all():
        described |= {
            "mean_return": float(returns.mean()),
            "std_return": float(returns.std(ddof=1)) if len(episodes) > 1 else None,
            "mean_return_ci": sample.mean_interval,
            "worst_tenth_return": sample.worst_tenth,
            "smallest_difference": sample.smallest_difference,
        }
    return described


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


def _unreadable(path: Path | str, reason: str) -> OutputsMissingError:
    return OutputsMissingError(
        f"The evaluation's episodes cannot be read: {reason}", where=str(path), remedy="Run the evaluation again."
    )
