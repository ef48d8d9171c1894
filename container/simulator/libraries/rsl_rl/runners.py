"""rsl_rl's runners and logger, with this project's progress, checkpoints and stops."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import torch
from rsl_rl.runners import DistillationRunner, OnPolicyRunner
from rsl_rl.utils.logger import Logger

from isaaclab_flows.container.simulator.progress import Progress


class _Progressing:
    """What this project adds to rsl_rl's runners: whole checkpoints, events, an exact end and a place to stop."""

    env: Any
    alg: Any
    cfg: dict[str, Any]
    device: str
    logger: Logger
    current_learning_iteration: int
    _progress: Progress

    def report_to(self, progress: Progress) -> None:
        """Write metrics, events and checkpoints through a training's progress."""
        self._progress = progress
        old = self.logger
        self.logger = _ReportingLogger(
            progress,
            log_dir=old.log_dir,
            cfg=old.cfg,
            env_cfg=old.env_cfg,
            num_envs=old.num_envs,
            is_distributed=old.gpu_world_size > 1,
            gpu_world_size=old.gpu_world_size,
            gpu_global_rank=progress.session.ranks.rank,
            device=old.device,
        )

    def run(self, first: int, count: int, *, random_start: bool) -> None:
        """Run exactly ``count`` iterations, the first one numbered ``first``, or fewer when told to stop."""
        self.current_learning_iteration = first
        try:
            with self._progress.numbers_only():
                self.learn(count, init_at_random_ep_len=random_start)  # type: ignore[attr-defined]
        except _Stop as stop:
            self.current_learning_iteration = stop.iteration
            if self.logger.writer is not None:
                self.save(str(self._progress.checkpoints / f"model_{stop.iteration}.pt"))
                self.logger.stop_logging_writer()

    def _configure_multi_gpu(self) -> None:
        """Make the process group; rsl_rl knows NCCL only, and on the CPU gloo does the same."""
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        if world_size == 1 or self.device != "cpu":
            super()._configure_multi_gpu()  # type: ignore[misc]
            return
        rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
        self.is_distributed = True
        self.gpu_world_size, self.gpu_global_rank, self.gpu_local_rank = world_size, rank, local_rank
        self.cfg["multi_gpu"] = {"global_rank": rank, "local_rank": local_rank, "world_size": world_size}
        torch.distributed.init_process_group(backend="gloo", rank=rank, world_size=world_size)

    def save(self, path: str, infos: dict[str, Any] | None = None) -> None:
        """Save a whole checkpoint with the step counters, which rsl_rl itself forgets."""
        state = self.alg.save()
        state["iter"] = self.current_learning_iteration
        state["infos"] = {
            "total_timesteps": self.logger.tot_timesteps,
            "total_time": self.logger.tot_time,
            "common_step_counter": int(getattr(self.env.unwrapped, "common_step_counter", 0)),
        } | (infos or {})
        self._progress.save_checkpoint(Path(path), state, self.current_learning_iteration)


class _OnPolicy(_Progressing, OnPolicyRunner):  # type: ignore[misc]
    """Reinforcement learning."""


class _Distillation(_Progressing, DistillationRunner):  # type: ignore[misc]
    """A student that learns from a teacher."""


RUNNERS: Final = {"OnPolicyRunner": _OnPolicy, "DistillationRunner": _Distillation}


class _Stop(Exception):  # noqa: N818  not an error: the way out of rsl_rl's loop
    def __init__(self, iteration: int) -> None:
        self.iteration = iteration


class _ReportingLogger(Logger):  # type: ignore[misc]
    """rsl_rl's logger is what it calls at the end of each iteration, so here progress is told and a stop obeyed."""

    def __init__(self, progress: Progress, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._progress = progress

    def init_logging_writer(self) -> None:
        """Write to this attempt's own TensorBoard folder, whatever logger the task names."""
        self.writer = None if self.disable_logs else self._progress.writer

    def stop_logging_writer(self) -> None:
        """Flush; the progress owns the writer."""
        self._progress.flush()

    def save_model(self, path: str, it: int) -> None:
        """Checkpoints are copied by the supervisor."""

    def log(self, it: int, start_it: int, total_it: int, collect_time: float, learn_time: float, **values: Any) -> None:
        """Log an iteration as rsl_rl does, then tell progress."""
        super().log(
            it=it,
            start_it=start_it,
            total_it=total_it,
            collect_time=collect_time,
            learn_time=learn_time,
            **values,
        )
        steps = self.cfg["num_steps_per_env"] * self.num_envs * self.gpu_world_size
        stop = self._progress.iteration_ended(
            it,
            reward=_mean(self.rewbuffer),
            episode_length=_mean(self.lenbuffer),
            steps_per_second=steps / (collect_time + learn_time),
        )
        if stop:
            raise _Stop(it)


def _mean(values: Collection[float]) -> float | None:
    return sum(values) / len(values) if values else None
