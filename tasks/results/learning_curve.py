"""The learning curve as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from isaaclab_flows.schemas.files import write_whole
from isaaclab_flows.tasks.results.metrics import Metrics
from isaaclab_flows.tasks.results.pictures import new_figure


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Return the running mean over the last `window` values; as long as its input."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [(sums[i + 1] - sums[max(0, i + 1 - window)]) / min(i + 1, window) for i in range(len(values))]


def draw_learning_curve(metrics: Metrics, target: Path, *, title: str, resumed_at: Sequence[int] = ()) -> bool:
    """Draw reward and episode length over iterations as a PNG.

    Args:
        metrics: The training's table.
        target: The picture.
        title: Its headline.
        resumed_at: Iterations at which the training went on after a stop; each is marked.

    Returns:
        False when there is nothing to draw: no iteration has a reward.
    """
    iterations, rewards = metrics.series("mean_reward")
    if not rewards:
        return False
    figure = new_figure(8, 4.5, dpi=120)
    axes = figure.add_subplot()
    window = max(1, len(rewards) // 20)
    axes.plot(iterations, rewards, color="#76b900", alpha=0.35, linewidth=1)
    axes.plot(iterations, smooth(rewards, window), color="#4c7a00", linewidth=2, label="mean reward")
    axes.set(title=title, xlabel="iteration", ylabel="mean reward of finished episodes")
    axes.grid(alpha=0.25)
    length_iterations, lengths = metrics.series("mean_episode_length")
    if lengths:
        other = axes.twinx()
        other.plot(length_iterations, lengths, color="#4477aa", linewidth=1, alpha=0.7, label="episode length")
        other.set_ylabel("episode length [steps]", color="#4477aa")
        other.set_ylim(bottom=0)
    for iteration in resumed_at:
        axes.axvline(iteration, color="#aa3377", linestyle=":", linewidth=1)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_whole(target, picture.getvalue())
    return True
