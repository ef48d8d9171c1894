"""One round of an evaluation: every environment is reset, and each environment's first episode is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.libraries.base import Policy

Outcome = Literal["terminated", "timed_out", "truncated"]
SUCCESS_KEY = "Metrics/success_rate"
"""What Isaac Lab's tasks log for the episodes that end: a mean over them."""


@dataclass(frozen=True)
class Episode:
    """One counted episode."""

    environment: int
    total: float
    """Return: the undiscounted sum of rewards."""
    length: int
    """Steps."""
    outcome: Outcome
    """``truncated``: the round's steps were over before the task ended the episode; a time limit of its own."""
    success: float | None = None
    """As the task reports it, 0 to 1; None where it reports none."""
    terms: dict[str, float] = field(default_factory=dict)
    """Sum of each reward term over the episode, where the task keeps them per environment."""


def play_round(
    env: Any,
    policy: Policy,
    *,
    seed: int,
    steps: int,
    after_step: Callable[[int], bool],
) -> tuple[list[Episode], int]:
    """Play one round.

    Args:
        env: The Gymnasium environment (Isaac Lab's auto-resetting kind).
        policy: Gives the actions.
        seed: Seeds all random generators before the reset.
        steps: Most steps.
        after_step: Called with the number of steps done; true asks for the round's other steps even when every
            environment has finished its episode.

    Returns:
        One episode an environment in their order, and the steps done.
    """
    inner = core_of(env)
    with torch.no_grad(), _Ends.of(inner) as ends:
        observations = _reset(env, inner, seed)
        policy.reset()
        device = inner.device
        active = torch.ones(inner.num_envs, dtype=torch.bool, device=device)
        totals = torch.zeros(inner.num_envs, dtype=torch.float64, device=device)
        lengths = torch.zeros(inner.num_envs, dtype=torch.long, device=device)
        done_steps = 0
        for step in range(1, steps + 1):
            ends.active = active
            # A copy made here may be changed in place by the environment; one made in inference mode may not.
            actions = policy.act(observations).clone()
            observations, rewards, terminated, timed_out, _ = env.step(actions)
            dones = terminated | timed_out
            policy.reset(dones)
            totals += torch.where(active, rewards.to(torch.float64), 0.0)
            lengths += active
            ended = (active & dones).nonzero().flatten()
            outcomes: list[Outcome] = ["terminated" if t else "timed_out" for t in terminated[ended].tolist()]
            ends.note(ended, totals, lengths, outcomes)
            active = active & ~dones
            done_steps = step
            if not after_step(step) and len(ends.episodes) == inner.num_envs:
                break
        cut = active.nonzero().flatten()
        if cut.numel():
            ends.active = active
            ends.cut_short(cut)
        ends.note(cut, totals, lengths, ["truncated"] * cut.numel())
    return [ends.episodes[index] for index in sorted(ends.episodes)], done_steps


def core_of(env: Any) -> Any:
    """Return the environment that resets itself: the innermost one, below the multi-agent conversion too."""
    inner = env.unwrapped
    return getattr(inner, "env", inner)


def term_sums(inner: Any) -> dict[str, Any]:
    """Return the running sum of each reward term of the current episodes, (environments,) each.

    Manager-based tasks keep them all; direct tasks do where they follow Isaac Lab's habit of a dictionary
    ``_episode_sums``. Others log only means over environments, which say nothing of one episode.
    """
    owner = getattr(inner, "reward_manager", inner)
    sums = getattr(owner, "_episode_sums", None)
    if not isinstance(sums, dict):
        return {}
    return {
        str(name): values
        for name, values in sums.items()
        if isinstance(values, torch.Tensor) and values.shape == (inner.num_envs,)
    }


def time_outs(inner: Any) -> list[Any]:
    """Return the flags, (environments,) each, in which a task looks whether an episode's time ran out."""
    by_agent = getattr(inner, "time_out_dict", None)
    if isinstance(by_agent, dict):
        return list(by_agent.values())
    return [inner.reset_time_outs]


def _reset(env: Any, inner: Any, seed: int) -> Any:
    # Curricula count steps over the process's whole life; an episode here must not depend on those before it.
    if hasattr(inner, "common_step_counter"):
        inner.common_step_counter = 0
    observations, _ = env.reset(seed=seed)
    # Some tasks spread their first episodes' ends over time, which would cut the counted ones short.
    inner.episode_length_buf[:] = 0
    return observations


class _Ends:
    """Looks at episodes in the moment that their environment is reset, when the task's own sums are still there."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._reset: Callable[[Any], Any] = inner._reset_idx
        self.active: Any = None
        """(environments,) booleans: whose first episode still runs."""
        self.episodes: dict[int, Episode] = {}
        """Those that ended, by environment."""
        self._success: dict[int, float] = {}
        self._terms: dict[int, dict[str, float]] = {}

    @classmethod
    @contextmanager
    def of(cls, inner: Any) -> Iterator[_Ends]:
        """Watch an environment's resets while the context lasts."""
        ends = cls(inner)
        inner._reset_idx = ends._on_reset
        try:
            yield ends
        finally:
            del inner._reset_idx

    def note(self, environments: Any, totals: Any, lengths: Any, outcomes: Sequence[Outcome]) -> None:
        """Keep the episodes of some environments (n,), whose totals and lengths (environments,) are complete."""
        known = zip(
            environments.tolist(), totals[environments].tolist(), lengths[environments].tolist(), outcomes, strict=True
        )
        for index, total, length, outcome in known:
            self.episodes[index] = Episode(
                index, total, length, outcome, self._success.get(index), self._terms.get(index, {})
            )

    def cut_short(self, environments: Any) -> None:
        """End episodes as if their time had run out, so that the task judges them as it judges any other."""
        for flags in time_outs(self._inner):
            flags[environments] = True
        self._inner._reset_idx(environments.to(torch.int32))

    def _on_reset(self, environments: Any) -> Any:
        if self.active is None or not isinstance(environments, torch.Tensor):
            return self._reset(environments)
        indices = environments.tolist()
        counted = self.active[environments.long()].tolist()
        sums = {name: values[environments.long()].tolist() for name, values in term_sums(self._inner).items()}
        for place, (index, wanted) in enumerate(zip(indices, counted, strict=True)):
            if wanted:
                self._terms[index] = {name: values[place] for name, values in sums.items()}
        log = self._inner.extras.get("log")
        if isinstance(log, dict):
            # A value of an earlier reset must not be taken for this one's.
            log.pop(SUCCESS_KEY, None)
        with _Means() as means:
            result = self._reset(environments)
        reported = (self._inner.extras.get("log") or {}).get(SUCCESS_KEY)
        values = means.parts_of(reported, len(indices), all_counted=all(counted))
        for index, wanted, value in zip(indices, counted, values, strict=True):
            if wanted and value is not None:
                self._success[index] = value
        return result


class _Means(TorchFunctionMode):  # type: ignore[misc]
    """Remembers what each mean was taken over.

    Tasks report success as one mean over the environments that are reset; the tensor that it was taken over holds each
    environment's own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[Any, Any]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.Tensor.mean, torch.mean) and args:
            self._seen.append((result, args[0]))
        return result

    def parts_of(self, reported: Any, count: int, *, all_counted: bool) -> list[float | None]:
        """Return each environment's value of a reported mean, in the order of the reset.

        Where only the mean is known, it stands for each of them as long as all of them are counted, which keeps the
        mean over episodes right; otherwise nothing is known.
        """
        if reported is None:
            return [None] * count
        for result, source in self._seen:
            if result is reported and source.shape == (count,):
                return [float(value) for value in source.tolist()]
        value = float(reported)
        return [value if all_counted or value in (0.0, 1.0) else None] * count
