"""A training's progress: iterations, checkpoints and metrics on their way out, and the wish to stop on its way in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from isaaclab_flows.container.simulator.divergence import diverged, is_judged, not_finite, speaks_of_divergence
from isaaclab_flows.container.simulator.events import save_whole
from isaaclab_flows.container.simulator.libraries.base import TrainingReport
from isaaclab_flows.container.simulator.session import Session
from isaaclab_flows.schemas.errors import DivergedError
from isaaclab_flows.schemas.simulator import CheckpointEvent, IterationEvent


class Progress:
    """One attempt's progress. Of distributed processes, the first writes; all stop at the same iteration."""

    def __init__(self, session: Session) -> None:
        assert session.job.training is not None
        self.session = session
        self.total = session.job.training.max_iterations
        self.interval = session.job.training.checkpoint_interval
        self.checkpoints = session.run_folder / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.writer: MetricsWriter | None = None
        if session.ranks.first:
            # A folder of its own for each attempt: two writers of one folder would give their iterations twice.
            folder = f"{session.job.attempt:03d}" + (f"-{session.rollbacks}" if session.rollbacks else "")
            self.writer = MetricsWriter(str(session.run_folder / "tensorboard" / folder), not_finite=self._not_finite)
        self._done = 0
        self._weights: tuple[torch.Tensor, ...] = ()
        self._stopped = False
        self._last_checkpoint: Path | None = None
        self._saved: dict[Path, int] = {}

    def watch(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Look after each iteration at the weights that an optimizer changes; calm it after a rollback.

        Each rollback halves the learning rate that the checkpoint has.
        """
        groups = optimizer.param_groups if optimizer is not None else []
        self._weights = tuple(weight for group in groups for weight in group["params"])
        for group in groups:
            group["lr"] = group["lr"] * self.learning_rate_factor

    @contextmanager
    def numbers_only(self) -> Iterator[None]:
        """Turn a library's own complaint of numbers that are none into one that says where to look.

        Raises:
            DivergedError: Losses, rewards, observations or weights are NaN or infinite.
        """
        try:
            yield
        except (ValueError, RuntimeError) as error:
            if not speaks_of_divergence(error):
                raise
            raise self._diverged(str(error).strip().splitlines()[0][:200].rstrip(".")) from error

    @property
    def learning_rate_factor(self) -> float:
        """What the learning rate is multiplied with when a training goes on: a half for each rollback."""
        return float(0.5**self.session.rollbacks)

    def begin(self, first: int, *, resumed_from: Path | None) -> int:
        """Say that training begins; return how many iterations remain."""
        self._done = first
        self._last_checkpoint = resumed_from
        self.write_parameters()
        self.session.stop.check()
        self.session.events.stage("training", f"iteration {first} of {self.total}" if first else "")
        return self.total - first

    def iteration_ended(
        self,
        iteration: int,
        *,
        reward: float | None,
        episode_length: float | None,
        steps_per_second: float | None,
    ) -> bool:
        """Tell the supervisor about an iteration; return whether to stop after it."""
        self._done = iteration
        if self._weights and not_finite(self._weights):
            raise self._diverged("a weight of the networks is not a number")
        if reward is not None and not math.isfinite(reward):
            raise self._diverged(f"the mean reward is {reward}")
        self._done = iteration + 1
        self.session.events.write(
            IterationEvent(
                iteration=iteration,
                total=self.total,
                reward=reward,
                episode_length=episode_length,
                steps_per_second=steps_per_second,
            )
        )
        self._stopped = self._any_process_wants_to_stop() and self._done < self.total
        return self._stopped

    def save_checkpoint(self, path: Path, state: Any, iteration: int) -> None:
        """Save a checkpoint whole and tell the supervisor; only the first process does, and each iteration once.

        Args:
            path: Below :attr:`checkpoints`.
            state: What ``torch.save`` takes.
            iteration: The last one that it has behind it.
        """
        if not self.session.ranks.first or self._saved.get(path) == iteration:
            return
        # The metrics up to a checkpoint must outlive it: a resumed training repeats only what came after.
        self.flush()
        save_whole(path, state)
        self._saved[path] = iteration
        self._last_checkpoint = path
        self.session.events.write(CheckpointEvent(path=str(path), iteration=iteration))

    def flush(self) -> None:
        """Write the metrics that are still in memory."""
        if self.writer is not None:
            self.writer.flush()

    def write_parameters(self) -> None:
        """Write the resolved configuration as Isaac Lab does: ``params/env.yaml`` and ``params/agent.yaml``."""
        if self.session.ranks.first:
            from isaaclab_rl.entrypoints.common import dump_train_configs

            dump_train_configs(str(self.session.run_folder), self.session.env_cfg, self.session.agent_cfg)

    def report(self) -> TrainingReport:
        """Return how far the training came."""
        if self.writer is not None:
            self.writer.close()
        return TrainingReport(iterations=self._done, last_checkpoint=self._last_checkpoint, stopped=self._stopped)

    def _not_finite(self, tag: str, value: float) -> None:
        raise self._diverged(f"'{tag}' is {value}")

    def _diverged(self, what: str) -> DivergedError:
        return diverged(self.session, iteration=self._done, what=what, checkpoint=self._last_checkpoint)

    def _any_process_wants_to_stop(self) -> bool:
        wanted = self.session.stop.wanted
        if self.session.ranks.world_size == 1:
            return wanted
        vote = torch.tensor([int(wanted)], device=self.session.device)
        torch.distributed.all_reduce(vote, op=torch.distributed.ReduceOp.MAX)
        return bool(vote.item())


class MetricsWriter(SummaryWriter):  # type: ignore[misc]
    """TensorBoard's writer, without the curves whose steps are seconds: every step here is an iteration.

    Args:
        folder: Its own.
        not_finite: Told of a metric that must be a number and is none, after it is written.
    """

    def __init__(self, folder: str, *, not_finite: Callable[[str, float], None]) -> None:
        super().__init__(folder)
        self._not_finite = not_finite

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, **options: Any) -> None:
        """Write one value of one iteration."""
        if not tag.endswith("/time"):
            super().add_scalar(tag, scalar_value, global_step, **options)
            if is_judged(tag) and not math.isfinite(value := float(scalar_value)):
                self._not_finite(tag, value)
