"""rsl_rl's PPO and ours from one state, given one rollout and one permutation."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from rsl_rl.algorithms import PPO
from rsl_rl.models import MLPModel
from rsl_rl.storage import RolloutStorage
from tensordict import TensorDict

from isaaclab_flows.container.simulator.libraries.rsl_rl.captured_ppo import CapturedPPO

GAUSSIAN = {"class_name": "GaussianDistribution", "init_std": 0.8, "std_type": "scalar"}


@dataclass(frozen=True)
class Case:
    """One configuration; the groups are (name, width)."""

    envs: int = 6
    steps: int = 5
    actions: int = 3
    groups: tuple[tuple[str, int], ...] = (("policy", 7),)
    actor_groups: tuple[str, ...] = ("policy",)
    critic_groups: tuple[str, ...] = ("policy",)
    hidden: tuple[int, ...] = (16, 8)
    normalised: bool = False
    distribution: dict[str, Any] = field(default_factory=lambda: dict(GAUSSIAN))
    options: dict[str, Any] = field(default_factory=dict)
    time_outs: bool = True


LOG = GAUSSIAN | {"std_type": "log"}
OF_THE_STATE = {"class_name": "HeteroscedasticGaussianDistribution", "init_std": 0.8}
CASES = {
    "as the tasks have it": Case(options={"desired_kl": 0.008}),
    "observations normalised": Case(normalised=True),
    "value loss unclipped": Case(options={"use_clipped_value_loss": False}),
    "fixed learning rate": Case(options={"schedule": "fixed"}),
    "logarithmic deviation": Case(distribution=LOG),
    "deviation of the state": Case(distribution=OF_THE_STATE),
    "deviation of the state, logarithmic": Case(distribution=OF_THE_STATE | {"std_type": "log"}),
    "deviation that does not learn": Case(distribution=GAUSSIAN | {"learn_std": False}),
    "no entropy bonus": Case(options={"entropy_coef": 0.0}),
    "much entropy": Case(options={"entropy_coef": 0.1, "value_loss_coef": 2.0, "max_grad_norm": 0.3}),
    "the critic sees more": Case(
        groups=(("policy", 5), ("privileged", 3)), critic_groups=("policy", "privileged"), normalised=True
    ),
    "the actor sees more": Case(groups=(("policy", 5), ("camera", 4)), actor_groups=("camera", "policy")),
    "advantages normalised by mini-batch": Case(options={"normalize_advantage_per_mini_batch": True}),
    "AdamW": Case(options={"optimizer": "adamw"}),
    "no time-outs": Case(time_outs=False),
    "samples left over": Case(envs=5, steps=5, options={"num_mini_batches": 4}),
    "one epoch, one mini-batch": Case(options={"num_learning_epochs": 1, "num_mini_batches": 1}),
    "the rate falls to its bound": Case(options={"desired_kl": 1e-9, "learning_rate": 3e-5}),
    "the rate rises to its bound": Case(options={"desired_kl": 1e3, "learning_rate": 5e-3}),
}


class Twins:
    """Both algorithms, and the outcomes of an imaginary environment."""

    def __init__(self, case: Case, *, seed: int = 0, device: str = "cpu") -> None:
        self.case = case
        self.device = device
        torch.manual_seed(seed)
        sample = self.observations()
        groups = {"actor": list(case.actor_groups), "critic": list(case.critic_groups)}
        common: dict[str, Any] = {"hidden_dims": case.hidden, "obs_normalization": case.normalised}
        actor = MLPModel(sample, groups, "actor", case.actions, distribution_cfg=dict(case.distribution), **common)
        critic = MLPModel(sample, groups, "critic", 1, **common)

        def storage() -> RolloutStorage:
            return RolloutStorage("rl", case.envs, case.steps, sample, [case.actions], device)

        self.plain = PPO(deepcopy(actor), deepcopy(critic), storage(), device=device, **case.options)
        self.ours = CapturedPPO(deepcopy(actor), deepcopy(critic), storage(), device=device, **case.options)
        for algorithm in (self.plain, self.ours):
            algorithm.train_mode()

    def observations(self) -> TensorDict:
        """Return random observations."""
        case = self.case
        values = {name: 2 * torch.randn(case.envs, width, device=self.device) + 1 for name, width in case.groups}
        return TensorDict(values, batch_size=[case.envs])

    def rollout(self, seed: int) -> list[torch.Tensor]:
        """Let both live through the same steps; return the pairs of their actions."""
        case, pairs = self.case, []
        torch.manual_seed(seed)
        with torch.inference_mode():
            observations = self.observations()
            for step in range(case.steps):
                acted = []
                for algorithm in (self.plain, self.ours):
                    torch.manual_seed(seed * 1000 + step)
                    acted.append(algorithm.act(observations))
                pairs.append(torch.stack([a.clone() for a in acted]))
                observations = self.observations()
                rewards = torch.randn(case.envs, device=self.device)
                dones = (torch.rand(case.envs, device=self.device) < 0.3).long()
                extras = {"time_outs": (dones > 0) & (torch.rand(case.envs, device=self.device) < 0.5)}
                for algorithm in (self.plain, self.ours):
                    algorithm.process_env_step(observations, rewards, dones, extras if case.time_outs else {})
            if self.device != "cpu":  # a replayed graph may draw other random numbers
                self.ours.storage.actions.copy_(self.plain.storage.actions)
                self.ours.storage.actions_log_prob.copy_(self.plain.storage.actions_log_prob)
            for algorithm in (self.plain, self.ours):
                algorithm.compute_returns(observations)
        return pairs

    def update(self, seed: int) -> tuple[dict[str, float], dict[str, float]]:
        """Let both learn, with the same permutation; return their losses."""
        losses = []
        for algorithm in (self.plain, self.ours):
            torch.manual_seed(seed)
            losses.append(algorithm.update())
        return losses[0], losses[1]

    def compare(self, *, tolerance: float) -> None:
        """Check weights, normalisers, optimiser state and learning rate against each other."""
        close = {"rtol": tolerance, "atol": tolerance}
        for name in ("actor", "critic"):
            theirs, ours = getattr(self.plain, name).state_dict(), getattr(self.ours, name).state_dict()
            torch.testing.assert_close(ours, theirs, **close)
        theirs, ours = (algorithm.save()["optimizer_state_dict"] for algorithm in (self.plain, self.ours))
        torch.testing.assert_close(ours["state"], theirs["state"], **close)
        assert ours["param_groups"] == theirs["param_groups"]
        assert self.ours.learning_rate == self.plain.learning_rate
