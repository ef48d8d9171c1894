"""Notices that a training has diverged, at the first number that is none, and says where to look."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from isaaclab_flows.container.simulator.rounds import core_of, term_sums
from isaaclab_flows.schemas.errors import DivergedError

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.session import Session

_JUDGED: Final = re.compile(r"(loss(es)?|policy|rewards?|train)\b", re.IGNORECASE)
"""Tags of the three libraries that must be numbers. Others need not be: a task may log the mean of nothing."""
_SIGNS: Final = ("contain nan", "contains nan", "has nans", "elements of std", "invalid values: tensor")
_MOST_NAMED: Final = 5


def is_judged(tag: str) -> bool:
    """Whether a metric must be a finite number: a loss, the policy's spread, a mean reward."""
    return _JUDGED.match(tag) is not None


def speaks_of_divergence(error: BaseException) -> bool:
    """Whether a library's own complaint is that of a training whose numbers are none."""
    text = str(error).lower()
    return isinstance(error, ValueError | RuntimeError) and any(sign in text for sign in _SIGNS)


def diverged(session: Session, *, iteration: int, what: str, checkpoint: Path | None) -> DivergedError:
    """Return the error of a training that has diverged.

    Args:
        session: The simulation, which is asked where the numbers are none.
        iteration: The one it showed in.
        what: What showed it, e.g. ``Loss/value is nan``.
        checkpoint: The last one before, whose weights are numbers; None before the first.
    """
    found = list(_in_environment(session))
    where = f"; in the environment: {', '.join(found)}" if found else ""
    look = (
        "Look at what the environment computes there (a division by zero, a root or a logarithm of a negative number)."
        if found
        else "Lower the learning rate, or clip observations and rewards."
    )
    kept = f" {checkpoint.name} is the last finite checkpoint; it is kept." if checkpoint else " Nothing was saved yet."
    error = DivergedError(
        f"The training of '{session.job.task}' diverged in iteration {iteration:,}: {what}{where}",
        where=f"iteration {iteration}",
        remedy=f"{look}{kept} trainingConfig.onDivergence 'rollback' goes back to it with a lower learning rate.",
    )
    error.checkpoint = checkpoint
    return error


def not_finite(parameters: Iterable[torch.Tensor]) -> bool:
    """Whether a weight is NaN or infinite; waits for the device once."""
    with torch.no_grad():
        norms = torch._foreach_norm([p.detach() for p in parameters if p.is_floating_point() and p.numel()])
        return bool(norms) and not math.isfinite(float(torch.stack([norm.float() for norm in norms]).sum()))


def _in_environment(session: Session) -> Iterator[str]:
    inner = core_of(session.env)
    rewards = getattr(inner, "reward_buf", None)
    if isinstance(rewards, torch.Tensor) and (bad := _environments(rewards)):
        yield f"the reward of {bad} of {rewards.shape[0]} environments is not a number"
    terms = [name for name, values in term_sums(inner).items() if _environments(values)]
    if terms:
        yield f"reward terms {', '.join(terms[:_MOST_NAMED])}"
    observations = getattr(inner, "obs_buf", None)
    groups = observations.items() if isinstance(observations, dict) else ()
    for group, values in groups:
        if isinstance(values, torch.Tensor) and (bad := _environments(values)):
            yield f"observations '{group}' of {bad} environments"


def _environments(values: Any) -> int:
    return (
        int((~values.isfinite()).flatten(1).any(dim=1).sum()) if values.dim() > 1 else int((~values.isfinite()).sum())
    )
