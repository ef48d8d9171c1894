"""A Cartpole whose shape can be changed while it runs, and agents of every kind for it."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import (
    RslRlDistillationAlgorithmCfg,
    RslRlDistillationRunnerCfg,
    RslRlMLPModelCfg,
    RslRlOnPolicyRunnerCfg,
    RslRlPpoActorCriticCfg,
    RslRlPpoActorCriticRecurrentCfg,
    RslRlPpoAlgorithmCfg,
)
from isaaclab_tasks.core.cartpole.cartpole_direct_env import CartpoleEnv
from isaaclab_tasks.core.cartpole.cartpole_direct_env_cfg import CartpoleEnvCfg


class LabEnv(CartpoleEnv):  # type: ignore[misc]
    """Cartpole with privileged observations that its space does not name, and a reward that may break."""

    nan_after: int | None = None
    """Steps after which the first environment's reward is NaN."""
    nan_steps: int | None = None
    """For how many steps; None for ever."""
    _steps = 0

    def reset_shape(self) -> None:
        """Begin to count steps anew."""
        self._steps = 0

    def _get_observations(self) -> Any:
        found = super()._get_observations()
        return found | {"privileged": torch.cat([found["policy"], found["policy"] ** 2], dim=-1)}

    def _get_rewards(self) -> Any:
        rewards = super()._get_rewards()
        self._steps += 1
        last = float("inf") if self.nan_steps is None or self.nan_after is None else self.nan_after + self.nan_steps
        if self.nan_after is not None and self.nan_after < self._steps <= last:
            rewards[0] = float("nan")
        return rewards


def _algorithm() -> Any:
    return RslRlPpoAlgorithmCfg(
        value_loss_coef=1.0,
        use_clipped_value_loss=True,
        clip_param=0.2,
        entropy_coef=0.005,
        num_learning_epochs=2,
        num_mini_batches=2,
        learning_rate=1.0e-3,
        schedule="adaptive",
        gamma=0.99,
        lam=0.95,
        desired_kl=0.01,
        max_grad_norm=1.0,
    )


def _network(std: float) -> Any:
    distribution = RslRlMLPModelCfg.GaussianDistributionCfg(init_std=std)
    return RslRlMLPModelCfg(
        hidden_dims=[32, 32], activation="elu", obs_normalization=False, distribution_cfg=distribution
    )


@configclass
class Recurrent(RslRlOnPolicyRunnerCfg):  # type: ignore[misc]
    """An LSTM, written as in Isaac Lab 2.x."""

    num_steps_per_env = 16
    max_iterations = 10
    save_interval = 5
    experiment_name = "lstm"
    policy = RslRlPpoActorCriticRecurrentCfg(
        init_noise_std=1.0,
        actor_hidden_dims=[32],
        critic_hidden_dims=[32],
        activation="elu",
        rnn_type="lstm",
        rnn_hidden_dim=32,
        rnn_num_layers=1,
    )
    algorithm = _algorithm()


@configclass
class Privileged(RslRlOnPolicyRunnerCfg):  # type: ignore[misc]
    """A critic that sees more than the actor, written as in Isaac Lab 2.x."""

    num_steps_per_env = 16
    max_iterations = 10
    save_interval = 5
    experiment_name = "privileged"
    obs_groups = {"policy": ["policy"], "critic": ["policy", "privileged"]}
    policy = RslRlPpoActorCriticCfg(
        init_noise_std=1.0,
        actor_obs_normalization=True,
        critic_obs_normalization=True,
        actor_hidden_dims=[32, 32],
        critic_hidden_dims=[32, 32],
        activation="elu",
    )
    algorithm = _algorithm()


@configclass
class Teacher(RslRlOnPolicyRunnerCfg):  # type: ignore[misc]
    """What a student learns from."""

    num_steps_per_env = 16
    max_iterations = 10
    save_interval = 5
    experiment_name = "teacher"
    obs_groups = {"actor": ["policy"], "critic": ["policy"]}
    actor = _network(1.0)
    critic = RslRlMLPModelCfg(hidden_dims=[32, 32], activation="elu", obs_normalization=False)
    algorithm = _algorithm()


@configclass
class Distillation(RslRlDistillationRunnerCfg):  # type: ignore[misc]
    """A student of the teacher."""

    num_steps_per_env = 30
    max_iterations = 10
    save_interval = 5
    experiment_name = "distillation"
    obs_groups = {"student": ["policy"], "teacher": ["policy"]}
    student = _network(0.1)
    teacher = _network(0.1)
    algorithm = RslRlDistillationAlgorithmCfg(num_learning_epochs=2, learning_rate=1.0e-3, gradient_length=15)


def register() -> None:
    """Register the task with Gymnasium."""
    agents = "isaaclab_tasks.core.cartpole.agents"
    gymnasium.register(
        id="Lab-Cartpole-v0",
        entry_point=f"{__name__}:LabEnv",
        disable_env_checker=True,
        kwargs={
            "env_cfg_entry_point": CartpoleEnvCfg,
            "rsl_rl_cfg_entry_point": f"{agents}.rsl_rl_ppo_cfg:CartpoleDirectPPORunnerCfg",
            "rsl_rl_recurrent_cfg_entry_point": Recurrent,
            "rsl_rl_privileged_cfg_entry_point": Privileged,
            "rsl_rl_teacher_cfg_entry_point": Teacher,
            "rsl_rl_distillation_cfg_entry_point": Distillation,
            "rl_games_cfg_entry_point": f"{agents}:rl_games_direct_ppo_cfg.yaml",
            "skrl_cfg_entry_point": f"{agents}:skrl_direct_ppo_cfg.yaml",
        },
    )
