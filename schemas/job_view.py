"""A job as a list of jobs shows it: where it stands, what came out, what it cost."""

from __future__ import annotations

from typing import Literal

from isaaclab_flows.schemas.config import CamelModel

JobState = Literal["waiting", "running", "succeeded", "failed", "cancelled", "stopped"]
"""``stopped``: it has begun, has no outcome, and nobody works on it."""


class JobView(CamelModel):
    """One job, on this machine or on a Prefect server."""

    job_id: str
    name: str
    kind: str
    task: str
    library: str
    state: JobState
    iteration: int | None = None
    """Iterations done (training), or rounds (evaluation)."""
    total: int | None = None
    reward: float | None = None
    """Mean return lately, or of the whole evaluation."""
    success_rate: float | None = None
    started_at: float | None = None
    """Unix time [s]."""
    seconds: float = 0.0
    """From its start to its end, or until now."""
    machine: str = ""
    cost: float | None = None
    """Dollars so far; None where no price is known (a machine of one's own)."""
    recoveries: int = 0
    where: str = ""
    """Where its outputs are published, or will be: a folder or an s3:// prefix."""
    page: str = ""
    """Its page in the Prefect UI, where a server is reachable."""
    flow_run_id: str = ""
    message: str = ""
    """Why it failed, in one sentence."""

    @property
    def progress(self) -> float | None:
        """The part that is done, from 0 to 1."""
        return min(1.0, (self.iteration or 0) / self.total) if self.total else None
