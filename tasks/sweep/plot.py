"""Draws how checkpoints of a training rank over its iterations."""

from __future__ import annotations

import io
from collections import defaultdict

from isaaclab_flows.tasks.results.pictures import new_figure
from isaaclab_flows.tasks.sweep.leaderboard import METRIC_WORDS, Board, Entry


def draw_over_iterations(board: Board) -> bytes | None:
    """Draw one task's metric over training iterations, a line a run with its 95 % intervals; the best is marked.

    Returns:
        A PNG, or None when no ranked checkpoint has an iteration in its name.
    """
    runs: dict[str, list[Entry]] = defaultdict(list)
    for entry in board.ranked:
        if entry.iteration is not None:
            runs[entry.run].append(entry)
    if not runs:
        return None
    figure = new_figure(8, 4.5, dpi=100)
    from matplotlib.ticker import MaxNLocator  # part of what new_figure has imported

    axes = figure.add_subplot()
    for run, entries in sorted(runs.items()):
        entries.sort(key=lambda e: e.iteration or 0)
        iterations = [e.iteration or 0 for e in entries]
        scores = [e.score or 0.0 for e in entries]
        (line,) = axes.plot(iterations, scores, marker="o", markersize=4, label=run.rpartition("/")[2][:12] or run)
        bounds = [
            (e.interval.low, e.interval.high) if e.interval else (s, s) for e, s in zip(entries, scores, strict=True)
        ]
        axes.fill_between(iterations, [b[0] for b in bounds], [b[1] for b in bounds], color=line.get_color(), alpha=0.2)
    best = board.best
    if best is not None and best.iteration is not None and best.score is not None:
        axes.plot(best.iteration, best.score, marker="*", markersize=16, color="#d4a017", markeredgecolor="black")
    axes.set(title=board.task, xlabel="training iteration", ylabel=METRIC_WORDS[board.metric])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(title="run", loc="best", fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
