"""Asks the simulator's Python what a checkpoint is; it has torch, which this side has not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from isaaclab_flows.schemas.errors import ErrorRecord, InputMissingError, SimulatorError
from isaaclab_flows.schemas.inspection import CheckpointReport
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.simulator.machine import require_simulator

_SECONDS: Final = 600


def inspect_checkpoint(path: Path) -> CheckpointReport:
    """Return what a checkpoint file is.

    Raises:
        ConfigError: No Python here has Isaac Lab's libraries.
        InputMissingError: There is no such file.
        CheckpointError: It is torn, an exported policy, or of none of the three libraries.
    """
    if not path.is_file():
        raise InputMissingError("There is no such file", where=str(path), remedy="Name a checkpoint.")
    require_simulator()
    python = settings().simulator_python or sys.executable
    module = "isaaclab_flows.container.simulator.inspection"
    command = [python, "-m", module, str(path.absolute())]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SimulatorError(
            f"The checkpoint was not looked through within {_SECONDS} s", where=str(path), remedy="Try again later."
        ) from error
    line = next(reversed(answer.stdout.splitlines()), "")
    if answer.returncode == 0:
        return CheckpointReport.model_validate_json(line)
    if line.startswith("{"):
        raise ErrorRecord.model_validate_json(line).to_error()
    raise SimulatorError("The checkpoint could not be looked into", where=str(path), details=answer.stderr[-3_000:])
