"""rsl_rl: checkpoints ``model_<iteration>.pt``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isaaclab.utils import to_dict
from isaaclab_rl.entrypoints.common import scoped_torch_backend_flags
from isaaclab_rl.rsl_rl import RslRlVecEnvWrapper, check_rsl_rl_version, handle_deprecated_rsl_rl_cfg

from isaaclab_flows.container.simulator.checkpoints import first_iteration, fitting, load_untrusted, warn_of_conversion
from isaaclab_flows.container.simulator.libraries.base import ExportablePolicy, Library, Steps, TrainingReport
from isaaclab_flows.container.simulator.libraries.minibatches import require_whole_environments
from isaaclab_flows.container.simulator.libraries.old_checkpoints import convert_rsl_rl, fit_spread
from isaaclab_flows.container.simulator.libraries.rsl_rl.coverage import not_covered
from isaaclab_flows.container.simulator.libraries.rsl_rl.policy import RslRlPolicy, check_normaliser
from isaaclab_flows.container.simulator.libraries.rsl_rl.runners import CAPTURED_RUNNER, RUNNERS
from isaaclab_flows.container.simulator.progress import Progress
from isaaclab_flows.schemas.errors import CheckpointError, ConfigError

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

    def configure(
        self, agent_cfg: Any, job: SimulatorJob, *, device: str, rank: int, tell: Callable[[str], None]
    ) -> Any:
        """Set device and seed; the lengths are the runner's business."""
        agent_cfg = handle_deprecated_rsl_rl_cfg(agent_cfg, check_rsl_rl_version())
        agent_cfg.device = device
        agent_cfg.seed = job.seed + rank
        if job.training is not None:
            agent_cfg.max_iterations = job.training.max_iterations
            agent_cfg.save_interval = job.training.checkpoint_interval
            if getattr(getattr(agent_cfg, "actor", None), "class_name", None) == "RNNModel":
                require_whole_environments(num_envs=job.num_envs, minibatches=agent_cfg.algorithm.num_mini_batches)
        return agent_cfg

    def train(self, session: Session) -> TrainingReport:
        """Train with rsl_rl's runner, from the checkpoint's next iteration where there is one."""
        assert session.job.training is not None
        order = session.job.training
        progress = Progress(session)
        config = to_dict(session.agent_cfg)
        reason = "acceleration is off" if order.acceleration == "off" else not_covered(config)
        if reason is None and session.job.distributed and session.job.device.startswith("cuda"):
            reason = "several GPUs train together, which has not been measured yet"
        runner = _runner(session, config, captured=reason is None, log_dir=str(progress.checkpoints))
        runner.report_to(progress)
        steps: tuple[Steps, str] = runner.steps if reason is None else ("own", reason)
        session.events.stage("building_agent", _told(session, *steps))
        resume = Path(order.resume_checkpoint) if order.resume_checkpoint else None
        first = first_iteration(_resume(runner, resume, session), session.job, resume) if resume else 0
        if getattr(runner.alg, "teacher_loaded", True) is False:
            raise ConfigError(
                "A distillation learns from a teacher, and none is given",
                where="trainingConfig.resumeCheckpoint",
                remedy="Name the teacher's checkpoint there; the student begins at iteration 0.",
            )
        runner.alg.learning_rate *= progress.learning_rate_factor
        progress.watch(runner.alg.optimizer)
        count = progress.begin(first, resumed_from=resume if first else None)
        if count:
            runner.run(first, count, random_start=session.agent_cfg.init_at_random_ep_len)
        steps = runner.steps if reason is None else steps  # a capture may have failed on the way
        return replace(progress.report(), steps=steps[0], steps_reason=steps[1])

    def load_policy(self, session: Session, checkpoint: Path) -> ExportablePolicy:
        """Load the actor, or the student of a distillation; its distribution's mean is the action."""
        return RslRlPolicy(session, checkpoint)


def _runner(session: Session, config: dict[str, Any], *, captured: bool, log_dir: str) -> Any:
    wrapped = RslRlVecEnvWrapper(session.env, clip_actions=session.agent_cfg.clip_actions)
    runner = CAPTURED_RUNNER if captured else RUNNERS[session.agent_cfg.class_name]
    return runner(wrapped, config, log_dir=log_dir, device=session.device)


def _told(session: Session, steps: str, reason: str) -> str:
    return session.engine.model_copy(update={"steps": steps, "steps_reason": reason}).sentence()


def _resume(runner: Any, checkpoint: Path, session: Session) -> int:
    """Load everything that a checkpoint has; return how many of this training's iterations it has behind it.

    A teacher's iterations are its own: the student that learns from it begins at 0.
    """
    converted = convert_rsl_rl(load_untrusted(checkpoint, device=session.device))
    state = converted.state
    # The installed version's own choice, but for what an old file cannot give: an optimiser.
    wanted: dict[str, bool] | None = None
    if converted.written_by is not None:
        warn_of_conversion(session, checkpoint, converted.written_by)
        session.events.warn(f"The optimiser of {checkpoint.name} is of another version: its averages begin anew.")
        wanted = _parts(runner, state, checkpoint)
    with fitting(checkpoint, task=session.job.task, library="rsl_rl"):
        for part in ("actor", "critic", "student", "teacher"):
            network = getattr(runner.alg, f"_raw_{part}", None)
            # A distillation takes its teacher from the actor of another training.
            source = "actor" if part == "teacher" and "teacher_state_dict" not in state else part
            weights = state.get(f"{source}_state_dict")
            if network is not None and weights:
                state[f"{source}_state_dict"] = weights = fit_spread(weights, network.state_dict())
                check_normaliser(weights, network, part=part, checkpoint=checkpoint)
        goes_on = runner.alg.load(state, wanted, True)
        done = int(state["iter"]) + 1
    if not goes_on:
        session.events.warn(
            f"{checkpoint.name} is the teacher ({done:,} iterations); the student begins at iteration 0."
        )
        return 0
    infos = state.get("infos") or {}
    runner.logger.tot_timesteps = infos.get("total_timesteps", 0)
    runner.logger.tot_time = infos.get("total_time", 0)
    if hasattr(session.env.unwrapped, "common_step_counter"):
        session.env.unwrapped.common_step_counter = infos.get("common_step_counter", 0)
    return done


def _parts(runner: Any, state: Mapping[str, Any], checkpoint: Path) -> dict[str, bool]:
    """Return what to load of an old checkpoint: all networks of the algorithm, and no optimiser."""
    if hasattr(runner.alg, "student"):
        goes_on = "student_state_dict" in state
        return {"student": True, "teacher": True, "iteration": True} if goes_on else {"teacher": True}
    if not state.get("critic_state_dict"):
        raise CheckpointError(
            "The checkpoint has no critic, so it can be evaluated, and not trained on",
            where=str(checkpoint),
            remedy="Resume from a checkpoint that holds the whole training.",
        )
    return {"actor": True, "critic": True, "iteration": True}
