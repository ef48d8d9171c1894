"""rsl_rl's runners and logger, with this project's progress, checkpoints and stops."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from rsl_rl.runners import DistillationRunner, OnPolicyRunner
from rsl_rl.utils.logger import Logger

from isaaclab_flows.container.simulator.libraries.base import Steps
from isaaclab_flows.container.simulator.libraries.rsl_rl.captured_ppo import CapturedPPO
from isaaclab_flows.container.simulator.libraries.rsl_rl.steps import TURN_OFF
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


class _Captured(_Progressing, OnPolicyRunner):  # type: ignore[misc]
    """Reinforcement learning with the steps of :class:`CapturedPPO`."""

    alg: CapturedPPO

    def __init__(self, env: Any, train_cfg: dict[str, Any], **options: Any) -> None:
        algorithm = train_cfg["algorithm"] | {"class_name": CapturedPPO}
        super().__init__(env, train_cfg | {"algorithm": algorithm}, **options)

    @property
    def steps(self) -> tuple[Steps, str]:
        """How steps are taken, as a training's report names it, and why so."""
        if self.alg.failures:
            return "uncaptured", f"capture failed: {self.alg.failures[0]}"
        return ("uncaptured", "the device is the CPU") if self.device == "cpu" else ("captured", "")

    def report_to(self, progress: Progress) -> None:
        """Tell also what could not be captured."""
        super().report_to(progress)
        self.alg.on_failure = lambda reason: progress.session.events.warn(
            f"The training goes on with steps that are not captured as CUDA graphs, and slower: {reason}. {TURN_OFF}"
        )

    def learn(self, num_learning_iterations: int, init_at_random_ep_len: bool = False) -> None:
        """Run so many iterations: act and record, then returns and update; the host waits once, in the update."""
        if init_at_random_ep_len:
            self.env.episode_length_buf = torch.randint_like(
                self.env.episode_length_buf, high=int(self.env.max_episode_length)
            )
        observations = self.env.get_observations().to(self.device)
        self.alg.train_mode()
        if self.is_distributed:
            self.alg.broadcast_parameters()
        self.logger.init_logging_writer()
        first, steps = self.current_learning_iteration, self.cfg["num_steps_per_env"]
        for iteration in range(first, first + num_learning_iterations):
            begun = time.perf_counter()
            with torch.inference_mode():
                for _ in range(steps):
                    actions = self.alg.act(observations)
                    observations, rewards, dones, extras = self.env.step(actions.to(self.env.device))
                    observations = observations.to(self.device)
                    self.alg.process_env_step(observations, rewards, dones, extras)
                    self.logger.note(extras)
                collected = time.perf_counter()
                self.alg.compute_returns(observations)
            losses = self.alg.update()
            learned = time.perf_counter()
            self.current_learning_iteration = iteration
            if self.cfg.get("check_for_nan", True):
                self.alg.episodes.check()
            if self.logger.writer is not None:
                self.logger.take(*self.alg.episodes.finished(steps))
            self.logger.log(
                it=iteration,
                start_it=first,
                total_it=first + num_learning_iterations,
                collect_time=collected - begun,
                learn_time=learned - collected,
                loss_dict=losses,
                learning_rate=self.alg.learning_rate,
                action_std=self.alg.action_std,
                rnd_weight=None,
            )
            if self.logger.writer is not None and iteration % self.cfg["save_interval"] == 0:
                self._save_iteration()
        if self.logger.writer is not None:
            self._save_iteration()
            self.logger.stop_logging_writer()

    def run(self, first: int, count: int, *, random_start: bool) -> None:
        """Run, and let go of the graphs at the end, however it comes."""
        try:
            super().run(first, count, random_start=random_start)
        finally:
            self.alg.release()

    def _save_iteration(self) -> None:
        self.save(str(self._progress.checkpoints / f"model_{self.current_learning_iteration}.pt"))


class _Distillation(_Progressing, DistillationRunner):  # type: ignore[misc]
    """A student that learns from a teacher."""


RUNNERS: Final = {"OnPolicyRunner": _OnPolicy, "DistillationRunner": _Distillation}
"""By the names that configurations give."""
CAPTURED_RUNNER: Final = _Captured


class _Stop(Exception):  # noqa: N818  not an error: the way out of rsl_rl's loop
    def __init__(self, iteration: int) -> None:
        self.iteration = iteration


class _ReportingLogger(Logger):  # type: ignore[misc]
    """rsl_rl's logger is what it calls at the end of each iteration, so here progress is told and a stop obeyed."""

    ep_extras: list[Mapping[str, Any]]

    def __init__(self, progress: Progress, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._progress = progress

    def init_logging_writer(self) -> None:
        """Write to this attempt's own TensorBoard folder, whatever logger the task names."""
        self.writer = None if self.disable_logs else self._progress.writer

    def stop_logging_writer(self) -> None:
        """Flush; the progress owns the writer."""
        self._progress.flush()

    def note(self, extras: dict[str, Any]) -> None:
        """Keep what the environment logs of a step, as rsl_rl does."""
        if self.writer is not None:
            logged = extras.get("episode", extras.get("log"))
            if logged is not None:
                self.ep_extras.append(logged)

    def take(self, returns: Sequence[float], lengths: Sequence[float]) -> None:
        """Take an iteration's finished episodes, and put one mean in the place of each metric's many values."""
        self.rewbuffer.extend(returns)
        self.lenbuffer.extend(lengths)
        if self.ep_extras:
            self.ep_extras = [means(self.ep_extras, self.device)]

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


def means(logged: Sequence[Mapping[str, Any]], device: str) -> dict[str, torch.Tensor]:
    """Return the mean of each metric over the steps that log it, as rsl_rl's logger computes it, in few operations.

    Args:
        logged: Metrics by name for each step, numbers or tensors.
        device: Where the tensors are.
    """
    found: dict[str, torch.Tensor] = {}
    for name in dict.fromkeys(name for step in logged for name in step):
        values = [step[name] for step in logged if name in step]
        if any(isinstance(value, torch.Tensor) for value in values):
            parts = [torch.as_tensor(value, dtype=torch.float32, device=device).reshape(-1) for value in values]
            found[name] = torch.cat(parts).mean()
        else:
            found[name] = torch.tensor(values, dtype=torch.float32, device=device).mean()
    return dict(zip(found, torch.stack(list(found.values())).cpu(), strict=True)) if found else {}


def _mean(values: Collection[float]) -> float | None:
    return sum(values) / len(values) if values else None
