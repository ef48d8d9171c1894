"""Notices a GPU job that does nothing: neither its GPU nor its progress moves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from isaaclab_flows.schemas.errors import SimulatorHungError

LOOK_EVERY_SECONDS = 15.0
BUSY_PERCENT = 1.0


@dataclass
class IdleWatch:
    """Ends a job whose GPUs did nothing for too long while nothing was reported either.

    A GPU that cannot be measured is not an idle one: then nothing is concluded from it.

    Args:
        seconds: How long both may rest; 0 never ends a job.
        utilisation: Returns the busiest GPU's utilisation [%], or None where it cannot be measured.
        where: Named in the error.
    """

    seconds: float
    utilisation: Callable[[], float | None]
    where: str
    _looked: float = float("-inf")
    _moved: float | None = None

    def progressed(self, now: float) -> None:
        """Something was reported (monotonic time [s])."""
        self._moved = now

    def look(self, now: float) -> None:
        """Measure, every quarter of a minute (monotonic time [s]).

        Raises:
            SimulatorHungError: Both have rested for too long.
        """
        if not self.seconds or now - self._looked < LOOK_EVERY_SECONDS:
            return
        self._looked = now
        percent = self.utilisation()
        if self._moved is None or percent is None or percent >= BUSY_PERCENT:
            self._moved = now
        if now - self._moved >= self.seconds:
            raise SimulatorHungError(
                f"The GPU did nothing for {now - self._moved:.0f} s, and nothing was reported meanwhile",
                where=self.where,
                remedy="Run the job again: it goes on from its last checkpoint. A task that prepares for longer on the"
                " processor needs a larger ISAACLAB_FLOWS_IDLE_GPU_SECONDS; 0 switches this off.",
            )


def gpu_utilisation() -> float | None:
    """Return the utilisation of this machine's busiest GPU [%]; None where the driver does not tell."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        return max((float(line) for line in answer.stdout.split()), default=None) if not answer.returncode else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
