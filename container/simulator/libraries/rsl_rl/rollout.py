"""What is known of the steps that a policy takes, written where rsl_rl's storage keeps it."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict


class Rollout:
    """Acts and records at a step whose number lies on the device.

    Args:
        actor: With a Gaussian distribution.
        critic: Of the same observations.
        storage: rsl_rl's; everything is written into its tensors.
        gamma: Discount, for bootstrapping time-outs.
        device: Of all of them.
    """

    def __init__(self, actor: Any, critic: Any, storage: Any, *, gamma: float, device: torch.device) -> None:
        self._actor = actor
        self._critic = critic
        self._storage = storage
        self._gamma = gamma
        count = storage.num_envs
        self.step = torch.zeros(1, dtype=torch.long, device=device)
        self.observations = TensorDict(
            {name: torch.zeros_like(value[0]) for name, value in storage.observations.items()}, batch_size=[count]
        )
        self.actions = torch.zeros_like(storage.actions[0])
        self.values = torch.zeros(count, 1, device=device)
        self.rewards = torch.zeros(count, device=device)
        self.dones = torch.zeros(count, dtype=torch.bool, device=device)
        self.time_outs = torch.zeros(count, dtype=torch.bool, device=device)
        self._seen: TensorDict | None = None
        if storage.distribution_params is None:
            storage.distribution_params = tuple(torch.zeros_like(storage.actions) for _ in range(2))

    def begin(self) -> None:
        """Go to the first step."""
        self.step.zero_()

    def observe(self, observations: TensorDict) -> None:
        """Copy the observations in, unless the last call has."""
        if observations is not self._seen:
            for name, value in self.observations.items():
                value.copy_(observations[name])
            self._seen = observations

    def receive(self, rewards: torch.Tensor, dones: torch.Tensor, time_outs: torch.Tensor | None) -> None:
        """Copy a step's outcome in, each (environments,)."""
        self.rewards.copy_(rewards.view(-1))
        self.dones.copy_(dones.view(-1) > 0)
        if time_outs is None:
            self.time_outs.zero_()
        else:
            self.time_outs.copy_(time_outs.view(-1))

    def act(self) -> None:
        """Sample actions for the observations and store both."""
        stored = self._storage
        distribution = self._actor.distribution
        distribution.update(self._actor.mlp(self._actor.get_latent(self.observations)))
        mean, deviation = distribution.params
        # torch.normal looks at the deviation on the host; this is the same sum.
        actions = torch.randn_like(mean).mul_(deviation).add_(mean)
        self.actions.copy_(actions)
        self.values.copy_(self._critic.mlp(self._critic.get_latent(self.observations)))
        for name, value in self.observations.items():
            self._store(stored.observations[name], value)
        self._store(stored.actions, actions)
        self._store(stored.values, self.values)
        self._store(stored.actions_log_prob, distribution.log_prob(actions).unsqueeze(-1))
        for rows, parameter in zip(stored.distribution_params, (mean, deviation), strict=True):
            self._store(rows, parameter)
        distribution._distribution = None  # it would keep this step's temporary tensors

    def record(self) -> None:
        """Store the step's outcome and go to the next step."""
        rewards = self.rewards + self._gamma * (self.values * self.time_outs.unsqueeze(1)).squeeze(1)
        self._store(self._storage.rewards, rewards.unsqueeze(1))
        self._store(self._storage.dones, self.dones.unsqueeze(1).to(self._storage.dones.dtype))
        self.step += 1

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors that are written."""
        stored = self._storage
        return [
            self.step,
            *self.observations.values(),
            self.actions,
            self.values,
            self.rewards,
            self.dones,
            self.time_outs,
            *stored.observations.values(),
            stored.actions,
            stored.rewards,
            stored.dones,
            stored.values,
            stored.actions_log_prob,
            *stored.distribution_params,
        ]

    def _store(self, rows: torch.Tensor, value: torch.Tensor) -> None:
        rows.index_copy_(0, self.step, value.unsqueeze(0))
