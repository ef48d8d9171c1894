"""rsl_rl: checkpoints ``model_<iteration>.pt``."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import torch
from isaaclab_rl.entrypoints.common import scoped_torch_backend_flags
from isaaclab_rl.rsl_rl import RslRlVecEnvWrapper, check_rsl_rl_version, handle_deprecated_rsl_rl_cfg
from rsl_rl.models import MLPModel
from rsl_rl.runners import DistillationRunner, OnPolicyRunner
from rsl_rl.utils import resolve_class, resolve_obs_groups
from rsl_rl.utils.logger import Logger
from tensordict import TensorDict

from isaaclab_flows.container.simulator.checkpoints import first_iteration, fitting, load_untrusted
from isaaclab_flows.container.simulator.libraries.base import (
    ExportablePolicy,
    Library,
    Network,
    Observations,
    TrainingReport,
)
from isaaclab_flows.container.simulator.progress import Progress

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.session import Session
    from isaaclab_flows.schemas.simulator import SimulatorJob


class RslRl(Library):
    """rsl_rl's PPO and distillation, driven by its own runners."""

    name = "rsl_rl"
    distribution = "rsl-rl-lib"
    distributed_on_cpu = True

    def backend_flags(self) -> AbstractContextManager[object]:
        """Allow TF32 and autotuned convolutions, as Isaac Lab's rsl_rl entry point does."""
        flags: AbstractContextManager[object] = scoped_torch_backend_flags(
            cuda_matmul_allow_tf32=True, cudnn_allow_tf32=True, cudnn_deterministic=False, cudnn_benchmark=True
        )
        return flags

    def configure(self, agent_cfg: Any, job: SimulatorJob, *, device: str, rank: int) -> Any:
        """Set device and seed; the lengths are the runner's business."""
        agent_cfg = handle_deprecated_rsl_rl_cfg(agent_cfg, check_rsl_rl_version())
        agent_cfg.device = device
        agent_cfg.seed = job.seed + rank
        if job.training is not None:
            agent_cfg.max_iterations = job.training.max_iterations
            agent_cfg.save_interval = job.training.checkpoint_interval
        return agent_cfg

    def train(self, session: Session) -> TrainingReport:
        """Train with rsl_rl's runner, from the checkpoint's next iteration where there is one."""
        assert session.job.training is not None
        order = session.job.training
        progress = Progress(session)
        runner = _runner(session, log_dir=str(progress.checkpoints))
        runner.report_to(progress)
        resume = Path(order.resume_checkpoint) if order.resume_checkpoint else None
        first = first_iteration(_resume(runner, resume, session), session.job, resume) if resume else 0
        count = progress.begin(first, resumed_from=resume)
        if count:
            runner.run(first, count, random_start=session.agent_cfg.init_at_random_ep_len)
        return progress.report()

    def load_policy(self, session: Session, checkpoint: Path) -> ExportablePolicy:
        """Load the actor, or the student of a distillation; its distribution's mean is the action."""
        return _RslRlPolicy(session, checkpoint)


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


_RUNNERS = {"OnPolicyRunner": _OnPolicy, "DistillationRunner": _Distillation}


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


class _RslRlPolicy:
    """An actor alone: no critic, no storage."""

    def __init__(self, session: Session, checkpoint: Path) -> None:
        from isaaclab.utils import to_dict

        part = "actor" if session.agent_cfg.class_name == "OnPolicyRunner" else "student"
        config = to_dict(session.agent_cfg)
        environment = session.env.unwrapped
        spaces = environment.single_observation_space.spaces
        example = TensorDict(
            {group: torch.zeros(1, *space.shape, device=session.device) for group, space in spaces.items()},
            batch_size=[1],
        )
        groups = resolve_obs_groups(example, config["obs_groups"], [part])
        actor_class, actor_config = resolve_class(config[part])
        self._actor = actor_class(example, groups, part, _action_size(environment), **actor_config)
        self._actor.to(session.device).eval()
        self._clip: float | None = session.agent_cfg.clip_actions
        state = load_untrusted(checkpoint, device=session.device)
        with fitting(checkpoint, task=session.job.task, library="rsl_rl"):
            self._actor.load_state_dict(state[f"{part}_state_dict"])

    def act(self, observations: Observations) -> torch.Tensor:
        """Return the mean actions."""
        count = next(iter(observations.values())).shape[0]
        with torch.inference_mode():
            actions: torch.Tensor = self._actor(TensorDict(dict(observations), batch_size=[count]))
        return actions if self._clip is None else actions.clamp(-self._clip, self._clip)

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget a recurrent actor's hidden state."""
        self._actor.reset(dones)

    def network(self) -> Network:
        """Return the actor as rsl_rl exports it, normaliser included."""
        if type(self._actor) is not MLPModel:
            raise NotImplementedError(f"a {type(self._actor).__name__} takes more than one vector of observations")
        groups = self._actor.obs_groups
        return Network(
            module=_Clipped(self._actor.as_jit(), self._clip).cpu().eval(),
            flatten=lambda observations: torch.cat([observations[group] for group in groups], dim=-1),
        )


class _Clipped(torch.nn.Module):  # type: ignore[misc]
    """An exported actor with the clipping that the environment's wrapper does in training."""

    def __init__(self, actor: torch.nn.Module, clip: float | None) -> None:
        super().__init__()
        self.actor = actor
        self.clip = clip

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Map observations (batch, size) to actions (batch, actions)."""
        actions: torch.Tensor = self.actor(observations)
        return actions if self.clip is None else actions.clamp(-self.clip, self.clip)


def _action_size(environment: Any) -> int:
    if hasattr(environment, "action_manager"):
        return int(environment.action_manager.total_action_dim)
    return int(gymnasium.spaces.flatdim(environment.single_action_space))


def _runner(session: Session, *, log_dir: str) -> Any:
    from isaaclab.utils import to_dict

    wrapped = RslRlVecEnvWrapper(session.env, clip_actions=session.agent_cfg.clip_actions)
    runner = _RUNNERS[session.agent_cfg.class_name]
    return runner(wrapped, to_dict(session.agent_cfg), log_dir=log_dir, device=session.device)


def _resume(runner: Any, checkpoint: Path, session: Session) -> int:
    """Load everything that a checkpoint has; return how many iterations it has behind it."""
    state = load_untrusted(checkpoint, device=session.device)
    with fitting(checkpoint, task=session.job.task, library="rsl_rl"):
        runner.alg.load(state, None, True)
        done = int(state["iter"]) + 1
    infos = state.get("infos") or {}
    runner.logger.tot_timesteps = infos.get("total_timesteps", 0)
    runner.logger.tot_time = infos.get("total_time", 0)
    if hasattr(session.env.unwrapped, "common_step_counter"):
        session.env.unwrapped.common_step_counter = infos.get("common_step_counter", 0)
    return done


def _mean(values: Collection[float]) -> float | None:
    return sum(values) / len(values) if values else None
