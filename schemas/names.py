"""Names that Prefect's server, `prefect.yaml`, the command line and the deployment on AWS have in common."""

from __future__ import annotations

from typing import Final

ORCHESTRATOR_POOL: Final = "isaaclab-orchestrator"
"""Work pool of the flows that only orchestrate."""
SIMULATOR_POOL: Final = "isaaclab-simulator"
"""Work pool of `execute` on this machine."""
GPU_POOL: Final = "isaaclab-gpu"
"""Work pool of `execute` on AWS Batch."""
EXECUTE: Final = "isaaclab-execute"
"""The deployment of `execute` in `prefect.yaml`."""
EXECUTE_DEPLOYMENT: Final = f"execute/{EXECUTE}"
PIPELINE_DEPLOYMENT: Final = "pipeline/isaaclab-pipeline"
