"""The returns and lengths of finished episodes, and values that are no numbers, kept on the device for an iteration."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from isaaclab_flows.container.simulator.libraries.rsl_rl.rollout import Rollout


class EpisodeLog:
    """What rsl_rl's logger and its NaN check look at after every step, looked at once an iteration."""

    def __init__(self, rollout: Rollout, *, device: torch.device) -> None:
        self._rollout = rollout
        steps, count = rollout.tensors()[-1].shape[:2]
        groups = list(rollout.observations.keys())
        self._names = (*(f"observation group '{name}'" for name in groups), "rewards")
        self._return = torch.zeros(count, device=device)
        self._length = torch.zeros(count, device=device)
        self._ended = torch.zeros(steps, count, dtype=torch.bool, device=device)
        self._returns = torch.zeros(steps, count, device=device)
        self._lengths = torch.zeros(steps, count, device=device)
        self.not_numbers = torch.zeros(len(self._names), dtype=torch.bool, device=device)
        self.flags: Sequence[float] = [0.0] * len(self._names)
        """The same on the host, of the last update."""

    def record(self) -> None:
        """Take the step that the rollout has received, before it goes on to the next."""
        rollout = self._rollout
        values = (*rollout.observations.values(), rollout.rewards)
        self.not_numbers.logical_or_(torch.stack([value.isnan().any() for value in values]))
        self._return += rollout.rewards
        self._length += 1
        for rows, value in (
            (self._ended, rollout.dones),
            (self._returns, self._return),
            (self._lengths, self._length),
        ):
            rows.index_copy_(0, rollout.step, value.unsqueeze(0))
        self._return.masked_fill_(rollout.dones, 0.0)
        self._length.masked_fill_(rollout.dones, 0.0)

    def finished(self, steps: int) -> tuple[list[float], list[float]]:
        """Return the returns and lengths [steps] of the episodes that ended in the first ``steps`` steps, in order."""
        ended = self._ended[:steps]
        return self._returns[:steps][ended].tolist(), self._lengths[:steps][ended].tolist()

    def check(self) -> None:
        """Refuse what is not a number.

        Raises:
            ValueError: The environment has returned NaN until the last update.
        """
        found = [name for name, flag in zip(self._names, self.flags, strict=True) if flag]
        if found:
            raise ValueError(f"What the environment returned contains NaN: its {' and its '.join(found)}")

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors that are written."""
        return [self._return, self._length, self._ended, self._returns, self._lengths, self.not_numbers]
