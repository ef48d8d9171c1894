"""Evaluates checkpoints in one simulator process."""

from __future__ import annotations

from container.session import Session, Setup
from schemas.simulator import CheckpointEvaluation


def prepare(setup: Setup) -> None:
    """Change the resolved configuration (``setup.env_cfg``) before anything is launched, e.g. to add a camera."""
    raise NotImplementedError


def evaluate(session: Session) -> tuple[CheckpointEvaluation, ...]:
    """Evaluate the order's checkpoints one after the other.

    ``session.library.load_policy(session, path)`` gives each one's policy; its ``act`` takes what ``session.env.reset``
    and ``session.env.step`` return as observations.
    """
    raise NotImplementedError
