"""A policy that rsl_rl trained: an actor alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import torch
from rsl_rl.models import MLPModel
from rsl_rl.utils import resolve_class, resolve_obs_groups
from tensordict import TensorDict

from isaaclab_flows.container.simulator.checkpoints import fitting, load_untrusted, warn_of_conversion
from isaaclab_flows.container.simulator.libraries.base import Observations, PolicyNetwork
from isaaclab_flows.container.simulator.libraries.old_checkpoints import convert_rsl_rl, fit_spread
from isaaclab_flows.schemas.errors import CheckpointError

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.session import Session


class RslRlPolicy:
    """An actor alone: no critic, no storage."""

    def __init__(self, session: Session, checkpoint: Path) -> None:
        from isaaclab.utils import to_dict

        part = "actor" if session.agent_cfg.class_name == "OnPolicyRunner" else "student"
        config = to_dict(session.agent_cfg)
        environment = session.env.unwrapped
        example = TensorDict(
            {g: torch.zeros(1, *shape, device=session.device) for g, shape in session.observation_shapes.items()},
            batch_size=[1],
        )
        # Only the actor's own groups: a critic may see what nothing here needs to have.
        own = {part: config["obs_groups"][part]} if part in (config["obs_groups"] or {}) else {}
        groups = resolve_obs_groups(example, own, [part])
        actor_class, actor_config = resolve_class(config[part])
        self._actor = actor_class(example, groups, part, _action_size(environment), **actor_config)
        self._actor.to(session.device).eval()
        self._clip: float | None = session.agent_cfg.clip_actions
        converted = convert_rsl_rl(load_untrusted(checkpoint, device=session.device))
        with fitting(checkpoint, task=session.job.task, library="rsl_rl"):
            weights = fit_spread(converted.state[f"{part}_state_dict"], self._actor.state_dict())
            check_normaliser(weights, self._actor, part=part, checkpoint=checkpoint)
            self._actor.load_state_dict(weights)
        if converted.written_by is not None:
            warn_of_conversion(session, checkpoint, converted.written_by)

    def act(self, observations: Observations) -> torch.Tensor:
        """Return the mean actions."""
        count = next(iter(observations.values())).shape[0]
        with torch.inference_mode():
            actions: torch.Tensor = self._actor(TensorDict(dict(observations), batch_size=[count]))
        return actions if self._clip is None else actions.clamp(-self._clip, self._clip)

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget a recurrent actor's hidden state."""
        # What was made in inference mode may only be changed in it.
        with torch.inference_mode():
            self._actor.reset(dones)

    def network(self) -> PolicyNetwork:
        """Return the actor as rsl_rl exports it, normaliser included."""
        if type(self._actor) is not MLPModel:
            sees = f"{type(self._actor).__name__} sees more"
            kind = "recurrent network has a memory" if self._actor.is_recurrent else sees
            raise NotImplementedError(f"a {kind}, and an exported policy takes one vector of observations")
        groups = self._actor.obs_groups
        return PolicyNetwork(
            module=_Clipped(self._actor.as_jit(), self._clip).cpu().eval(),
            flatten=lambda observations: torch.cat([observations[group] for group in groups], dim=-1),
        )


class _Clipped(torch.nn.Module):  # type: ignore[misc]
    """An exported actor with the clipping that the environment's wrapper does in training."""

    def __init__(self, actor: torch.nn.Module, clip: float | None) -> None:
        super().__init__()
        self.actor = actor
        self.clip = clip

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Map observations (batch, size) to actions (batch, actions)."""
        actions: torch.Tensor = self.actor(observations)
        return actions if self.clip is None else actions.clamp(-self.clip, self.clip)


def check_normaliser(weights: dict[str, Any], network: Any, *, part: str, checkpoint: Path) -> None:
    """Check that a file and the task's agent agree on normalising observations.

    Raises:
        CheckpointError: One does and the other does not.
    """
    there = any(key.startswith("obs_normalizer.") for key in weights)
    here = any(key.startswith("obs_normalizer.") for key in network.state_dict())
    if there is here:
        return
    file, agent = ("normalises", "does not") if there else ("does not normalise", "does")
    raise CheckpointError(
        f"The checkpoint's {part} {file} its observations, and the task's agent {agent}",
        where=str(checkpoint),
        remedy=f"Add agent.{part}.obs_normalization={str(there).lower()} to trainingConfig.hydraOverrides.",
    )


def _action_size(environment: Any) -> int:
    if hasattr(environment, "action_manager"):
        return int(environment.action_manager.total_action_dim)
    return int(gymnasium.spaces.flatdim(environment.single_action_space))
