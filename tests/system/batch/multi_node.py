"""The main node of a multi-node job: the supervisor runs the simulation of the job file named on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

from isaaclab_flows.schemas.job import Job
from isaaclab_flows.schemas.simulator import SimulatorEvent
from isaaclab_flows.tasks.job.folder import folder_of
from isaaclab_flows.tasks.job.lease import lease
from isaaclab_flows.tasks.simulator.attempts import run_attempts


def show(event: SimulatorEvent | str) -> None:
    """Print what happens, for the log of a test that fails."""
    sys.stdout.write(f"{event}\n")
    sys.stdout.flush()


job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
folder = folder_of(job)
with lease(folder) as held:
    result = run_attempts(job, held, early=None, on_event=show, warn=show)
(folder.path / "result.json").write_text(result.model_dump_json())
