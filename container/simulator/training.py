"""A training from its order to its result: train, then export what came out."""

from __future__ import annotations

from typing import Any

import torch

from isaaclab_flows.container.simulator.session import Session


def train(session: Session) -> dict[str, Any]:
    """Train as the order says; return the fields of the result that a training fills.

    Raises:
        ConfigError: The checkpoint to resume from already has all iterations.
        CheckpointError: It does not fit.
    """
    session.events.stage("building_agent")
    report = session.library.train(session)
    if session.ranks.world_size > 1:
        # The libraries make the process group and leave it.
        torch.distributed.destroy_process_group()
    exported: tuple[str, ...] = ()
    if report.last_checkpoint is not None and not report.stopped and session.ranks.first:
        from isaaclab_flows.container.simulator.exporting import export

        session.events.stage("exporting")
        exported = export(session, report.last_checkpoint)
    return {
        "iterations": report.iterations,
        "last_checkpoint": str(report.last_checkpoint) if report.last_checkpoint else None,
        "status": "interrupted" if report.stopped else "succeeded",
        "exported": exported,
    }
