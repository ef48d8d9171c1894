"""The returns of an evaluation as a picture: every episode, the mean, and how sure it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.schemas.outcome import EvaluationSummary
from isaaclab_flows.tasks.results.pictures import new_figure
from isaaclab_flows.tasks.statistics.episodes import read_episodes

MOST_POINTS = 2_000


def draw_returns(
    episodes: Sequence[tuple[str, Path]], *, summaries: Sequence[EvaluationSummary], target: Path, title: str
) -> bool:
    """Draw a column of points for each checkpoint (its episodes' returns), with mean and confidence interval, as PNG.

    Args:
        episodes: Name and episodes.csv of each checkpoint.
        summaries: The same checkpoints' summaries.
        target: The picture.
        title: Its headline.

    Returns:
        False when there is nothing to draw.
    """
    if not episodes:
        return False
    figure = new_figure(max(6.0, 1.0 + 0.9 * len(episodes)), 4.5, dpi=120)
    axes = figure.add_subplot()
    scatter = np.random.default_rng(0)  # sideways only, so that equal returns do not hide each other
    for position, ((_, path), summary) in enumerate(zip(episodes, summaries, strict=True)):
        returns = read_episodes(path).returns
        shown = returns[np.isfinite(returns)][:MOST_POINTS]
        sideways = position + scatter.uniform(-0.18, 0.18, len(shown))
        axes.plot(sideways, shown, ".", color="#76b900", alpha=0.5, markersize=5, zorder=1)
        if summary.mean_return is not None:
            axes.plot(position, summary.mean_return, "D", color="#222222", markersize=6, zorder=3)
        if summary.mean_return_ci is not None:
            interval = summary.mean_return_ci
            axes.vlines(position, interval.low, interval.high, color="#222222", linewidth=2.5, zorder=2)
    axes.set(title=title, ylabel="return of an episode", xlim=(-0.6, len(episodes) - 0.4))
    axes.set_xticks(range(len(episodes)), [name for name, _ in episodes], rotation=30 if len(episodes) > 4 else 0)
    axes.grid(axis="y", alpha=0.25)
    axes.plot([], [], "D", color="#222222", label="mean with 95 % confidence interval")
    axes.plot([], [], ".", color="#76b900", label="episodes")
    axes.legend(loc="best", fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_whole(target, picture.getvalue())
    return True
