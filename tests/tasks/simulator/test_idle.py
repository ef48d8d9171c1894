"""A GPU that nobody uses ends its job; one that cannot be measured, or that works in silence, does not."""

from __future__ import annotations

import pytest

from isaaclab_flows.schemas.errors import SimulatorHungError
from isaaclab_flows.tasks.simulator.idle import IdleWatch


def outcome(percents: list[float | None], *, progress_at: tuple[int, ...] = (), seconds: float = 60.0) -> int | None:
    """Return at which look (one every 15 s) the job is ended, or None."""
    measured = iter(percents)
    watch = IdleWatch(seconds, lambda: next(measured), "log")
    for number in range(len(percents)):
        now = 15.0 * number
        if number in progress_at:
            watch.progressed(now)
        try:
            watch.look(now)
        except SimulatorHungError:
            return number
    return None


@pytest.mark.parametrize(
    ("percents", "progress_at", "ended_at"),
    [
        ([0.0] * 10, (), 4),
        ([90.0] * 10, (), None),
        ([None] * 10, (), None),
        ([0.0, 0.0, 0.0, 5.0] * 5, (), None),
        ([0.0] * 10, (3, 6, 9), None),
        ([0.0] * 12, (3,), 7),
        ([0.0, 0.0, None, 0.0, 0.0, 0.0, 0.0], (), 6),
    ],
)
def test_only_an_idle_gpu_without_progress_ends_a_job(
    percents: list[float | None], progress_at: tuple[int, ...], ended_at: int | None
) -> None:
    assert outcome(percents, progress_at=progress_at) == ended_at


def test_it_can_be_switched_off() -> None:
    assert outcome([0.0] * 100, seconds=0.0) is None
