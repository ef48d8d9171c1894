"""A training from its order to its result: train, then export what came out."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import torch

from isaaclab_flows.container.simulator.libraries.base import TrainingReport
from isaaclab_flows.container.simulator.session import Session
from isaaclab_flows.schemas.errors import DivergedError

MOST_ROLLBACKS: Final = 3


def train(session: Session) -> dict[str, Any]:
    """Train as the order says; return the fields of the result that a training fills.

    Raises:
        ConfigError: The checkpoint to resume from already has all iterations.
        CheckpointError: It does not fit.
        DivergedError: Losses, rewards or weights are no numbers any more, and going back was not asked for or no help.
    """
    session.events.stage("building_agent")
    session, report = _train(session)
    if session.ranks.world_size > 1:
        # The libraries make the process group and leave it.
        torch.distributed.destroy_process_group()
    exported: tuple[str, ...] = ()
    if report.last_checkpoint is not None and not report.stopped and session.ranks.first:
        from isaaclab_flows.container.simulator.exporting import export

        session.events.stage("exporting")
        exported = export(session, report.last_checkpoint)
    steps = {"steps": report.steps, "steps_reason": report.steps_reason}
    return {
        "engine": session.engine.model_copy(update=steps),
        "iterations": report.iterations,
        "last_checkpoint": str(report.last_checkpoint) if report.last_checkpoint else None,
        "status": "interrupted" if report.stopped else "succeeded",
        "exported": exported,
        "rollbacks": session.rollbacks,
    }


def _train(session: Session) -> tuple[Session, TrainingReport]:
    """Train; where the order says so, go back to the last finite checkpoint when the training diverges."""
    while True:
        try:
            return session, session.library.train(session)
        except DivergedError as error:
            order = session.job.training
            assert order is not None
            saved = error.checkpoint
            # Distributed processes would have to go back at the same iteration, and only some may have seen it.
            alone = session.ranks.world_size == 1
            if order.on_divergence == "fail" or saved is None or not alone or session.rollbacks == MOST_ROLLBACKS:
                raise
            session.events.warn(f"{error.what}. Back to {saved.name} with half the learning rate.")
            back = order.model_copy(update={"resume_checkpoint": str(saved)})
            job = session.job.model_copy(update={"training": back})
            session = dataclasses.replace(session, job=job, rollbacks=session.rollbacks + 1)
            session.env.reset()
