"""The environment of Isaac-Cartpole-Upright-Direct."""

from __future__ import annotations

from typing import Any

import torch
from isaaclab.utils.math import wrap_to_pi
from isaaclab_tasks.core.cartpole.cartpole_direct_env import CartpoleEnv

from .configuration import CartpoleUprightEnvCfg


class CartpoleUprightEnv(CartpoleEnv):
    """Isaac Lab's Cartpole with another reward and another idea of success.

    ``_episode_sums`` holds each reward term's sum over each environment's episode; an evaluation writes them out.
    """

    cfg: CartpoleUprightEnvCfg

    def __init__(self, cfg: CartpoleUprightEnvCfg, render_mode: str | None = None, **arguments: Any) -> None:
        super().__init__(cfg, render_mode, **arguments)
        self._episode_sums = {
            name: torch.zeros(self.num_envs, device=self.device) for name in ("upright", "centre", "effort", "fall")
        }

    def _get_rewards(self) -> torch.Tensor:
        cart, speed = self.joint_pos[:, self._cart_dof_idx[0]], self.joint_vel[:, self._cart_dof_idx[0]]
        terms = {
            "upright": self.cfg.upright_scale * torch.cos(self._pole_angle()) * self.step_dt,
            "centre": self.cfg.centre_scale * cart.square() * self.step_dt,
            "effort": self.cfg.effort_scale * speed.abs() * self.step_dt,
            "fall": self.cfg.fall_penalty * self.reset_terminated.float(),
        }
        for name, values in terms.items():
            self._episode_sums[name] += values
        return torch.stack(list(terms.values())).sum(dim=0)

    def _reset_idx(self, env_ids: Any) -> None:
        upright = (self._pole_angle().abs() < self.cfg.success_angle) & self.reset_time_outs
        reached = upright[env_ids].float().mean()
        super()._reset_idx(env_ids)
        self.extras["log"]["Metrics/success_rate"] = reached
        for values in getattr(self, "_episode_sums", {}).values():
            values[env_ids] = 0.0

    def _pole_angle(self) -> torch.Tensor:
        return wrap_to_pi(self.joint_pos[:, self._pole_dof_idx[0]])
