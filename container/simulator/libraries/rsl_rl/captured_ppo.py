"""rsl_rl's PPO, with each of its parts on tensors that stay where they are, so that a GPU can replay it as a graph.

The algorithm, its hyperparameters, its state and its checkpoints are rsl_rl's. What differs is where things are kept:
the learning rate, the sums of the losses and the step's number lie on the device, the mini-batches of an iteration are
laid out once (rsl_rl's epochs all take the same ones), and the host waits once an iteration. docs/acceleration.md
explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from rsl_rl.algorithms import PPO
from rsl_rl.modules import EmpiricalNormalization
from tensordict import TensorDict

from isaaclab_flows.container.simulator.libraries.rsl_rl.episodes import EpisodeLog
from isaaclab_flows.container.simulator.libraries.rsl_rl.optimiser import DeviceOptimiser
from isaaclab_flows.container.simulator.libraries.rsl_rl.rollout import Rollout
from isaaclab_flows.container.simulator.libraries.rsl_rl.steps import Beside, Step, capture_failed

ALIGNMENT = 4
"""Columns of float32 that tensor cores load at once (16 bytes); inputs of other widths are padded with zeros."""


class CapturedPPO(PPO):  # type: ignore[misc]
    """PPO for one actor and one critic, each a multilayer perceptron; coverage.py says what it takes."""

    optimizer: torch.optim.Optimizer

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.failures: list[str] = []
        """Why parts could not be captured; they run uncaptured."""
        self.on_failure: Callable[[str], None] = lambda reason: None
        self._place = torch.device(self.device)
        self._actor_weights = [p for p in self.actor.parameters() if p.requires_grad]
        self._critic_weights = [p for p in self.critic.parameters() if p.requires_grad]
        self._optimiser = DeviceOptimiser(self.optimizer, self._actor_weights, self._critic_weights, self._place)
        self.optimizer = self._optimiser.optimizer
        self.rollout = Rollout(self.actor, self.critic, self.storage, gamma=self.gamma, device=self._place)
        self.episodes = EpisodeLog(self.rollout, device=self._place)
        self._allocate()
        self._beside = Beside(self._place)
        self._act = self._step("acting", self.rollout.act, changes=self.rollout.tensors)
        self._record = self._step("recording", self._record_step, changes=self._recorded)
        self._returns = self._step("returns", self._compute_returns, changes=self._returned)
        self._lay_out = self._step("mini-batches", self._lay_out_mini_batches, changes=self._laid_out)
        self._epoch = self._step("epoch", self._run_epoch, changes=self._learned)

    @property
    def learning_rate(self) -> float:
        """The last iteration's; setting it sets that of the device."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._learning_rate = rate
        if hasattr(self, "_optimiser"):  # rsl_rl's constructor sets it first
            self._optimiser.set_rate(rate)

    # The rollout ------------------------------------------------------------------------------------------------------

    def act(self, obs: TensorDict) -> torch.Tensor:
        """Sample the actions (environments, actions) and store what is known of the step."""
        if self.storage.step == 0:
            self.rollout.begin()
            self._act.refresh()
            self._record.refresh()
        self.rollout.observe(obs)
        with torch.no_grad():
            self._act()
            # An environment may keep the tensor; the next step must not change it.
            return self.rollout.actions.clone()

    def process_env_step(
        self, obs: TensorDict, rewards: torch.Tensor, dones: torch.Tensor, extras: dict[str, torch.Tensor]
    ) -> None:
        """Store a step's outcome; time-outs are bootstrapped with the value of the state before."""
        if self.storage.step >= self.storage.num_transitions_per_env:
            raise OverflowError("The rollout is full: update() comes before the next step")
        self.rollout.observe(obs)
        self.rollout.receive(rewards, dones, extras.get("time_outs"))
        with torch.no_grad():
            self._record()
        self.storage.step += 1

    def compute_returns(self, obs: TensorDict) -> None:
        """Compute returns and advantages by generalised advantage estimation."""
        self.rollout.observe(obs)
        self._returns.refresh()
        with torch.no_grad():
            self._returns()

    # The update -------------------------------------------------------------------------------------------------------

    def update(self) -> dict[str, float]:
        """Run the epochs over the mini-batches and return the mean losses; the host waits here, once an iteration."""
        self._order.copy_(torch.randperm(self._order.shape[0], device=self._place))
        self._sums.zero_()
        self._lay_out.refresh()
        with torch.no_grad():
            self._lay_out()
        self._optimiser.hold()
        self._epoch.refresh()
        with torch.enable_grad():
            for _ in range(self.num_learning_epochs):
                self._epoch()
        observations = self.storage.observations.flatten(0, 1)
        for model in (self.actor, self.critic):
            with _same_tensors(model.obs_normalizer):
                model.update_normalization(observations)
        self.storage.clear()
        return self._read()

    def _read(self) -> dict[str, float]:
        flags = self.episodes.not_numbers.double()
        numbers = torch.cat([self._sums, self._optimiser.rate.reshape(1), flags]).tolist()
        updates = self.num_learning_epochs * self.num_mini_batches
        self._learning_rate = numbers[3]
        self.episodes.flags = numbers[4:]
        return {name: numbers[i] / updates for i, name in enumerate(("value", "surrogate", "entropy"))}

    def _lay_out_mini_batches(self) -> None:
        """Put the iteration's samples into their order, normalised, so that a mini-batch is a slice."""
        stored = self.storage
        observations = stored.observations.flatten(0, 1)
        for model, rows in ((self.actor, self._actor_rows), (self.critic, self._critic_rows)):
            latent = model.get_latent(observations)
            rows[:, : latent.shape[1]].copy_(latent[self._order])
        for rows, source in zip(self._rows, self._sources(), strict=True):
            torch.index_select(source.flatten(0, 1), 0, self._order, out=rows)

    def _sources(self) -> tuple[torch.Tensor, ...]:
        stored = self.storage
        assert stored.distribution_params is not None
        return (
            stored.actions,
            stored.values,
            stored.advantages,
            stored.returns,
            stored.actions_log_prob,
            *stored.distribution_params,
        )

    def _run_epoch(self) -> None:
        size = self._order.shape[0] // self.num_mini_batches
        for start in range(0, self._order.shape[0], size):
            self._run_mini_batch(slice(start, start + size))

    def _run_mini_batch(self, part: slice) -> None:
        """Descend one step. Actor and critic share no weights, so their gradients are taken beside each other."""
        actions, values, advantages, returns, log_probs, *parameters = (rows[part] for rows in self._rows)
        with self._beside.fork():
            value_loss = self._value_loss(self._critic_rows[part], values, returns)
            gradients = torch.autograd.grad(self.value_loss_coef * value_loss, self._critic_weights)
            self._optimiser.take(gradients, critic=True)
            self._sums[0] += value_loss.detach()
        if self.normalize_advantage_per_mini_batch:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        distribution = self.actor.distribution
        distribution.update(_outputs(self.actor.mlp, self._actor_rows[part]))
        surrogate = self._surrogate(distribution.log_prob(actions), log_probs, advantages)
        entropy = distribution.entropy.mean()
        new = tuple(p.detach() for p in distribution.params)
        gradients = torch.autograd.grad(surrogate - self.entropy_coef * entropy, self._actor_weights)
        self._optimiser.take(gradients, critic=False)
        with torch.no_grad():
            self._sums[1] += surrogate.detach()
            self._sums[2] += entropy.detach()
            self.action_std.copy_(new[1].mean())
            self._optimiser.divergence.copy_(distribution.kl_divergence(tuple(parameters), new).mean())
        self._beside.join()
        with torch.no_grad():
            if self.is_multi_gpu:
                self._optimiser.average(self.gpu_world_size)
            if self.desired_kl is not None and self.schedule == "adaptive":
                self._optimiser.adapt(self.desired_kl)
            self._optimiser.step(self.max_grad_norm)
        distribution._distribution = None  # it would keep this step's temporary tensors

    def _surrogate(self, log_probs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
        ratio = torch.exp(log_probs - old.squeeze(-1))
        advantages = advantages.squeeze(-1)
        clipped = -advantages * ratio.clamp(1.0 - self.clip_param, 1.0 + self.clip_param)
        return torch.max(-advantages * ratio, clipped).mean()

    def _value_loss(self, rows: torch.Tensor, old: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
        values = _outputs(self.critic.mlp, rows)
        if not self.use_clipped_value_loss:
            return (returns - values).pow(2).mean()
        clipped = old + (values - old).clamp(-self.clip_param, self.clip_param)
        return torch.max((values - returns).pow(2), (clipped - returns).pow(2)).mean()

    def _compute_returns(self) -> None:
        stored = self.storage
        last = self.critic.mlp(self.critic.get_latent(self.rollout.observations))
        following = torch.cat([stored.values[1:], last.unsqueeze(0)])
        going_on = (1.0 - stored.dones.float()) * self.gamma
        deltas = stored.rewards + going_on * following - stored.values
        decay = going_on * self.lam
        advantage = torch.zeros_like(last)
        for step in reversed(range(stored.num_transitions_per_env)):
            advantage = deltas[step] + decay[step] * advantage
            stored.returns[step] = advantage + stored.values[step]
        advantages = stored.returns - stored.values
        if not self.normalize_advantage_per_mini_batch:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        stored.advantages.copy_(advantages)

    def _record_step(self) -> None:
        self.episodes.record()
        self.rollout.record()

    # State ------------------------------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Return what rsl_rl's own PPO would: it can go on from here, and so can this one."""
        state: dict[str, Any] = super().save()
        return state | {"optimizer_state_dict": self._optimiser.plain_state(self.learning_rate)}

    def load(self, loaded_dict: dict[str, Any], load_cfg: dict[str, Any] | None, strict: bool) -> bool:
        """Load a checkpoint of rsl_rl's own PPO or of this one."""
        loaded: bool = super().load(loaded_dict, load_cfg, strict)
        self.learning_rate = self._optimiser.adopt()
        return loaded

    def release(self) -> None:
        """Drop the graphs: those of several processes hold the communication that has to end before they part."""
        for step in self._steps:
            step.drop()
        if self._place.type == "cuda":
            torch.cuda.synchronize(self._place)

    def _allocate(self) -> None:
        count = self.storage.num_envs * self.storage.num_transitions_per_env
        size = count // self.num_mini_batches * self.num_mini_batches
        self._order = torch.zeros(size, dtype=torch.long, device=self._place)
        self._sums = torch.zeros(3, dtype=torch.float64, device=self._place)
        self.action_std = torch.zeros((), device=self._place)
        """Mean standard deviation of the last mini-batch's actions, for the log."""
        self._actor_rows = torch.zeros(size, _aligned(self.actor.obs_dim), device=self._place)
        self._critic_rows = torch.zeros(size, _aligned(self.critic.obs_dim), device=self._place)
        self._rows = [torch.zeros(size, *s.shape[2:], dtype=s.dtype, device=self._place) for s in self._sources()]
        self._steps: list[Step] = []

    def _step(self, name: str, work: Callable[[], None], *, changes: Callable[[], Sequence[torch.Tensor]]) -> Step:
        step = Step(
            name, work, tensors=self._all_tensors, changes=changes, device=self._place, failed=self._capture_failed
        )
        self._steps.append(step)
        return step

    def _capture_failed(self, reason: str) -> None:
        if self.is_multi_gpu:
            raise capture_failed(reason)
        self.failures.append(reason)
        self.on_failure(reason)

    def _all_tensors(self) -> list[torch.Tensor]:
        """Return all tensors that outlive a step."""
        return [
            *self._model_tensors(),
            *self.rollout.tensors(),
            *self.episodes.tensors(),
            *self._returned(),
            *self._laid_out(),
            *self._optimiser.tensors(),
            self._order,
            self._sums,
            self.action_std,
        ]

    def _model_tensors(self) -> Iterable[torch.Tensor]:
        for model in (self.actor, self.critic):
            yield from model.parameters()
            yield from model.buffers()

    def _recorded(self) -> list[torch.Tensor]:
        return [*self.rollout.tensors(), *self.episodes.tensors()]

    def _returned(self) -> list[torch.Tensor]:
        return [self.storage.returns, self.storage.advantages]

    def _laid_out(self) -> list[torch.Tensor]:
        return [self._actor_rows, self._critic_rows, *self._rows]

    def _learned(self) -> list[torch.Tensor]:
        return [*self._actor_weights, *self._critic_weights, *self._optimiser.tensors(), self._sums, self.action_std]


def _aligned(width: int) -> int:
    return -(-width // ALIGNMENT) * ALIGNMENT


def _outputs(mlp: torch.nn.Sequential, rows: torch.Tensor) -> torch.Tensor:
    """Run a perceptron on rows that may be wider than its input by columns of zeros."""
    first, *others = mlp
    missing = rows.shape[1] - first.in_features
    weight = torch.nn.functional.pad(first.weight, (0, missing)) if missing else first.weight
    outputs = torch.nn.functional.linear(rows, weight, first.bias)
    for layer in others:
        outputs = layer(outputs)
    return outputs


class _same_tensors:  # noqa: N801  reads as a statement
    """Keep a normaliser's tensors: its update makes a new one, and a graph would go on with the old."""

    def __init__(self, normaliser: torch.nn.Module) -> None:
        self._normaliser = normaliser

    def __enter__(self) -> None:
        if isinstance(self._normaliser, EmpiricalNormalization):
            self._std = self._normaliser._std

    def __exit__(self, *_: object) -> None:
        if isinstance(self._normaliser, EmpiricalNormalization) and self._normaliser._std is not self._std:
            self._std.copy_(self._normaliser._std)
            self._normaliser._std = self._std
