"""Installs the user's own environment package and registers its tasks."""

from __future__ import annotations

from schemas.simulator import SimulatorJob


def install(job: SimulatorJob) -> tuple[str, ...]:
    """Install the job's archive into its own folder, import it, and return the names of the tasks it registered.

    Called after torch and Isaac Lab are imported and before the task's configuration is resolved.
    """
    raise NotImplementedError
