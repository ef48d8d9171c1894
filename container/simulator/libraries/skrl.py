"""skrl: checkpoints ``agent_<steps>.pt``, steps of each environment."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import skrl
import torch
from isaaclab_rl.skrl import SkrlVecEnvWrapper, check_skrl_version
from skrl.agents.torch import Agent
from skrl.utils.runner.torch import Runner
from skrl.utils.spaces.torch import flatten_tensorized_space, tensorize_space, unflatten_tensorized_space

from isaaclab_flows.container.simulator.checkpoints import first_iteration, fitting, load_untrusted, warn_of_conversion
from isaaclab_flows.container.simulator.libraries.base import (
    ExportablePolicy,
    Library,
    Observations,
    PolicyNetwork,
    TrainingReport,
)
from isaaclab_flows.container.simulator.libraries.old_checkpoints import convert_skrl
from isaaclab_flows.container.simulator.progress import Progress

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.session import Session
    from isaaclab_flows.schemas.simulator import SimulatorJob

_EXTRA = "isaaclab_flows"
"""Key of what this project adds to a checkpoint; skrl steps over it with a warning."""
_SPEED = "Perf / steps per second"
"""A metric that skrl does not keep."""
_STEPS = re.compile(r"agent_(\d+)\.pt$")


class Skrl(Library):
    """skrl's agents, driven by its own trainer."""

    name = "skrl"
    distribution = "skrl"

    def configure(
        self, agent_cfg: Any, job: SimulatorJob, *, device: str, rank: int, tell: Callable[[str], None]
    ) -> Any:
        """Set seed and lengths; skrl takes its device from the environment."""
        check_skrl_version()
        agent_cfg["seed"] = job.seed + rank
        agent_cfg["trainer"] |= {"close_environment_at_exit": False, "disable_progressbar": True}
        if job.training is not None:
            agent_cfg["trainer"]["timesteps"] = job.training.max_iterations * agent_cfg["agent"]["rollouts"]
        # Metrics once an iteration, and checkpoints written here.
        agent_cfg["agent"]["experiment"] |= {
            "directory": job.run_folder,
            "experiment_name": "skrl",
            "write_interval": agent_cfg["agent"]["rollouts"],
            "checkpoint_interval": 0,
        }
        return agent_cfg

    def train(self, session: Session) -> TrainingReport:
        """Train with skrl's trainer, from the checkpoint's next iteration where there is one."""
        assert session.job.training is not None
        order = session.job.training
        progress = Progress(session)
        runner = _Runner(SkrlVecEnvWrapper(session.env), session.agent_cfg)
        agent = runner.agent
        assert isinstance(agent, _Reporting)
        resume = Path(order.resume_checkpoint) if order.resume_checkpoint else None
        first = first_iteration(_resume(agent, resume, session), session.job, resume) if resume else 0
        agent.report_to(progress, first=first, rollouts=session.agent_cfg["agent"]["rollouts"])
        progress.watch(getattr(agent, "optimizer", None))
        count = progress.begin(first, resumed_from=resume)
        if count:
            runner.trainer.cfg.timesteps = count * session.agent_cfg["agent"]["rollouts"]
            try:
                with progress.numbers_only():
                    runner.run("train")
            except _Stop:
                agent.save_now()
        return progress.report()

    def load_policy(self, session: Session, checkpoint: Path) -> ExportablePolicy:
        """Load the agent; its distribution's mean is the action."""
        return _SkrlPolicy(session, checkpoint)


class _Reporting:
    """What this project adds to skrl's agents: whole checkpoints, events, iterations as steps and a place to stop."""

    cfg: Any
    tracking_data: dict[str, list[float]]
    checkpoint_modules: dict[str, Any]
    write_interval: int

    def report_to(self, progress: Progress, *, first: int, rollouts: int) -> None:
        """Write metrics, events and checkpoints through a training's progress."""
        self._progress = progress
        self._first = first
        self._rollouts = rollouts
        self._iteration = first - 1
        self._means: dict[str, float] = {}
        self._began = time.monotonic()

    def init(self, *, trainer_cfg: Any = None) -> None:
        """Prepare the agent without skrl's own TensorBoard folder."""
        wanted, self.write_interval = self.write_interval, 0
        super().init(trainer_cfg=trainer_cfg)  # type: ignore[misc]
        first = not skrl.config.torch.is_distributed or skrl.config.torch.rank == 0
        self.write_interval = wanted if first else 0

    def write_tracking_data(self, *, timestep: int, timesteps: int) -> None:
        """Write an iteration's metrics; the last hundred episodes stay in the mean, as the other libraries have it."""
        reduce = {"(min)": np.min, "(max)": np.max}
        self._means = {
            tag: float(reduce.get(tag[-5:], np.mean)(values)) for tag, values in self.tracking_data.items() if values
        }
        self.tracking_data.clear()
        iteration = self._first + timestep // self._rollouts - 1
        for tag, value in self._means.items():
            if self._progress.writer is not None:
                self._progress.writer.add_scalar(tag, value, iteration)

    def post_interaction(self, *, timestep: int, timesteps: int) -> None:
        """Learn when a rollout is full, then tell progress and obey a wish to stop."""
        super().post_interaction(timestep=timestep, timesteps=timesteps)  # type: ignore[misc]
        if (timestep + 1) % self._rollouts:
            return
        self._iteration = self._first + (timestep + 1) // self._rollouts - 1
        now = time.monotonic()
        session = self._progress.session
        speed = self._rollouts * session.job.num_envs * session.ranks.world_size / (now - self._began)
        if self._progress.writer is not None:
            self._progress.writer.add_scalar(_SPEED, speed, self._iteration)
        stop = self._progress.iteration_ended(
            self._iteration,
            reward=self._means.get("Reward / Total reward (mean)"),
            episode_length=self._means.get("Episode / Total timesteps (mean)"),
            steps_per_second=speed,
        )
        self._began = now
        done = self._iteration + 1
        if done % self._progress.interval == 0 or done == self._progress.total:
            self.save_now()
        if stop:
            raise _Stop

    def save_now(self) -> None:
        """Save a whole checkpoint with the schedule and the step counters, which skrl itself forgets."""
        state = {name: _state(module) for name, module in self.checkpoint_modules.items()}
        environment = self._progress.session.env.unwrapped
        state[_EXTRA] = {
            "iterations": self._iteration + 1,
            "common_step_counter": int(getattr(environment, "common_step_counter", 0)),
        } | {name: _state(part) for name, part in _unsaved_parts(self).items()}
        steps = (self._iteration + 1) * self._rollouts
        self._progress.save_checkpoint(self._progress.checkpoints / f"agent_{steps}.pt", state, self._iteration)


class _Runner(Runner):  # type: ignore[misc]
    """skrl's runner, whose agents report."""

    def _component(self, name: str) -> Any:
        found = super()._component(name)
        if isinstance(found, type) and issubclass(found, Agent):
            return type(found.__name__, (_Reporting, found), {})
        return found


class _AgentOnly(Runner):  # type: ignore[misc]
    """skrl's runner without its trainer, which would reserve memory for rollouts."""

    def _generate_trainer(self, env: Any, cfg: dict[str, Any], agent: Any) -> None:
        agent.enable_training_mode(False, apply_to_models=True)


class _Stop(Exception):  # noqa: N818  not an error: the way out of skrl's loop
    """Somebody asked the training to end."""


class _SkrlPolicy:
    """A skrl agent asked for its mean action."""

    def __init__(self, session: Session, checkpoint: Path) -> None:
        self._env = SkrlVecEnvWrapper(session.env)
        self._agent = _AgentOnly(self._env, session.agent_cfg).agent
        _load(self._agent, checkpoint, session)

    def act(self, observations: Observations) -> torch.Tensor:
        """Return the mean actions in the environment's own space."""
        states = observations.get("critic")
        with torch.inference_mode():
            actions, outputs = self._agent.act(
                flatten_tensorized_space(tensorize_space(self._env.observation_space, observations["policy"])),
                None if states is None else flatten_tensorized_space(tensorize_space(self._env.state_space, states)),
                timestep=0,
                timesteps=0,
            )
            mean = outputs.get("mean_actions", actions)
            result: torch.Tensor = unflatten_tensorized_space(self._env.action_space, mean)
        return result

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Nothing to forget: the agents of Isaac Lab's skrl configurations have no memory."""

    def network(self) -> PolicyNetwork:
        """Return the policy's mean with the scaler of its observations."""
        shape = self._env.observation_space.shape
        if shape is None or len(shape) != 1 or not hasattr(self._agent, "_observation_preprocessor"):
            raise NotImplementedError("only policies of one vector of observations are exported")
        return PolicyNetwork(
            module=_Mean(self._agent).cpu().eval(),
            flatten=lambda observations: flatten_tensorized_space(
                tensorize_space(self._env.observation_space, observations["policy"])
            ),
        )


class _Mean(torch.nn.Module):  # type: ignore[misc]
    """The scaler of the observations and the policy's mean."""

    def __init__(self, agent: Any) -> None:
        super().__init__()
        scaler = agent._observation_preprocessor
        self.scaler = copy.deepcopy(scaler) if isinstance(scaler, torch.nn.Module) else torch.nn.Identity()
        self.policy = copy.deepcopy(agent.policy)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Map observations (batch, size) to actions (batch, actions)."""
        inputs = {"observations": self.scaler(observations), "states": None}
        mean: torch.Tensor = self.policy.compute(inputs, role="policy")[0]
        return mean


def _load(agent: Any, checkpoint: Path, session: Session) -> dict[str, Any]:
    converted = convert_skrl(load_untrusted(checkpoint, device=session.device))
    state = converted.state
    if converted.written_by is not None:
        warn_of_conversion(session, checkpoint, converted.written_by)
    with fitting(checkpoint, task=session.job.task, library="skrl"):
        for name, module in agent.checkpoint_modules.items():
            module.load_state_dict(state[name])
    return state


def _resume(agent: Any, checkpoint: Path, session: Session) -> int:
    """Load everything that a checkpoint has; return how many iterations it has behind it."""
    state = _load(agent, checkpoint, session)
    extra = state.get(_EXTRA, {})
    for name, part in _unsaved_parts(agent).items():
        if name in extra:
            part.load_state_dict(extra[name])
    if hasattr(session.env.unwrapped, "common_step_counter"):
        session.env.unwrapped.common_step_counter = extra.get("common_step_counter", 0)
    if "iterations" in extra:
        return int(extra["iterations"])
    steps = _STEPS.search(checkpoint.name)
    return int(steps[1]) // int(session.agent_cfg["agent"]["rollouts"]) if steps else 0


def _unsaved_parts(agent: Any) -> dict[str, Any]:
    """Return the parts with a state that skrl leaves out of its checkpoints."""
    parts = {name: getattr(agent, name, None) for name in ("scheduler", "scaler")}
    return {name: part for name, part in parts.items() if hasattr(part, "state_dict")}


def _state(module: Any) -> Any:
    return module.state_dict() if hasattr(module, "state_dict") else module
