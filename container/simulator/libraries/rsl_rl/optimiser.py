"""Adam whose learning rate and gradients lie on the device, with rsl_rl's state in checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

LOWEST_RATE: Final = 1e-5
HIGHEST_RATE: Final = 1e-2
RATE_FACTOR: Final = 1.5
"""rsl_rl's bounds and factor of the adaptive schedule."""


class DeviceOptimiser:
    """All weights' gradients in one row, so that norms and the sum over processes are one operation each.

    Args:
        plain: rsl_rl's, Adam or AdamW; this one takes its settings and its place.
        actor: The actor's weights that learn.
        critic: The critic's.
        device: Of all of them.
    """

    def __init__(
        self,
        plain: torch.optim.Optimizer,
        actor: Sequence[torch.nn.Parameter],
        critic: Sequence[torch.nn.Parameter],
        device: torch.device,
    ) -> None:
        (group,) = plain.param_groups
        self._flags = {name: group[name] for name in ("foreach", "capturable", "fused")}
        self._weights = [*actor, *critic]
        self.rate = torch.tensor(float(group["lr"]), dtype=torch.float64, device=device)
        """The learning rate, in the precision that rsl_rl computes it with."""
        self._step_rate = self.rate.float()
        self._own = {"lr": self._step_rate, "fused": True, "capturable": device.type == "cuda", "foreach": None}
        self.optimizer: torch.optim.Optimizer = type(plain)(group["params"], **self._own)
        sizes = [sum(weight.numel() for weight in weights) for weights in (actor, critic)]
        self._row = torch.zeros(sum(sizes) + 1, device=device)
        self._actor_row, self._critic_row, self.divergence = self._row.split([*sizes, 1])
        self.divergence = self.divergence.view(())
        """Mean Kullback-Leibler divergence of the mini-batch's actions."""
        start = 0
        for weight in self._weights:
            weight.grad = self._row[start : start + weight.numel()].view_as(weight)
            start += weight.numel()
        self._complete()

    def take(self, gradients: Sequence[torch.Tensor], *, critic: bool) -> None:
        """Write the gradients of the actor's or the critic's weights."""
        row = self._critic_row if critic else self._actor_row
        with torch.no_grad():
            torch.cat([gradient.reshape(-1) for gradient in gradients], out=row)

    def average(self, processes: int) -> None:
        """Make gradients and divergence those of all processes."""
        torch.distributed.all_reduce(self._row)
        self._row /= processes

    def adapt(self, wanted: float) -> None:
        """Follow the divergence with the learning rate, as rsl_rl's adaptive schedule does."""
        rate, divergence = self.rate, self.divergence
        slower = (rate / RATE_FACTOR).clamp(min=LOWEST_RATE)
        faster = (rate * RATE_FACTOR).clamp(max=HIGHEST_RATE)
        calm = (divergence < wanted / 2.0) & (divergence > 0.0)
        rate.copy_(torch.where(divergence > wanted * 2.0, slower, torch.where(calm, faster, rate)))
        self._step_rate.copy_(rate)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        self.rate.fill_(rate)
        self._step_rate.copy_(self.rate)

    def hold(self) -> None:
        """Go on with the learning rate's own tensor, should somebody have put another in its place."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._step_rate

    def step(self, most: float) -> None:
        """Clip the actor's and the critic's gradients to a norm each, and descend."""
        for row in (self._actor_row, self._critic_row):
            row.mul_((most / (row.norm() + 1e-6)).clamp(max=1.0))
        self.optimizer.step()

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors that are written, the weights excepted."""
        moments = [value for weight in self._weights for value in self.optimizer.state[weight].values()]
        return [self.rate, self._step_rate, self._row, *moments]

    def plain_state(self, rate: float) -> dict[str, Any]:
        """Return the state as rsl_rl's own optimiser would save it."""
        state: dict[str, Any] = self.optimizer.state_dict()
        groups = [group | self._flags | {"lr": rate} for group in state["param_groups"]]
        moments = {
            number: values | {"step": values["step"].detach().cpu()} for number, values in state["state"].items()
        }
        return {"state": moments, "param_groups": groups}

    def adopt(self) -> float:
        """Take over what was loaded, whoever saved it; return the learning rate."""
        (group,) = self.optimizer.param_groups
        rate = float(group["lr"])
        group.update(self._own)
        for values in self.optimizer.state.values():
            values["step"] = torch.as_tensor(values["step"], dtype=torch.float32, device=self.rate.device).clone()
        self._complete()
        return rate

    def _complete(self) -> None:
        """Make the moments of weights that have none yet; Adam itself would make them within the first step."""
        for weight in self._weights:
            if not self.optimizer.state[weight]:
                self.optimizer.state[weight] = {
                    "step": torch.zeros((), dtype=torch.float32, device=self.rate.device),
                    "exp_avg": torch.zeros_like(weight),
                    "exp_avg_sq": torch.zeros_like(weight),
                }
