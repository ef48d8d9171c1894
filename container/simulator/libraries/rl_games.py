"""rl_games: checkpoints ``last_<name>_ep_<epochs>.pth``."""

from __future__ import annotations

import copy
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from isaaclab_rl.rl_games import RlGamesVecEnvWrapper
from rl_games.algos_torch.a2c_continuous import A2CAgent
from rl_games.common.algo_observer import IsaacAlgoObserver
from rl_games.torch_runner import Runner

from isaaclab_flows.container.simulator.checkpoints import first_iteration, fitting, load_untrusted, warn_of_conversion
from isaaclab_flows.container.simulator.libraries.base import (
    ExportablePolicy,
    Library,
    Observations,
    PolicyNetwork,
    TrainingReport,
)
from isaaclab_flows.container.simulator.libraries.minibatches import fit_minibatches
from isaaclab_flows.container.simulator.libraries.old_checkpoints import convert_rl_games
from isaaclab_flows.container.simulator.progress import MetricsWriter, Progress
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.overrides import key_of

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.session import Session
    from isaaclab_flows.schemas.simulator import SimulatorJob

_EXTRA = "isaaclab_flows"
"""Key of what this project adds to a checkpoint; rl_games ignores it."""
_COMPILED = "_orig_mod."
_NORMALISED_LIMIT = 5.0
"""rl_games clips normalised observations to this."""


class RlGames(Library):
    """rl_games' continuous PPO, driven by its own agent."""

    name = "rl_games"
    distribution = "rl-games"

    def configure(
        self, agent_cfg: Any, job: SimulatorJob, *, device: str, rank: int, tell: Callable[[str], None]
    ) -> Any:
        """Set device, seed and lengths, and let only the number of iterations end a training."""
        params = agent_cfg["params"]
        config = params["config"]
        algorithm = params["algo"]["name"]
        if algorithm != "a2c_continuous":
            raise ConfigError(
                f"The rl_games algorithm of '{job.task}' is '{algorithm}'",
                where="trainingConfig.rlLibrary",
                remedy="Allowed: a2c_continuous. Use another library for this task.",
            )
        params["seed"] = job.seed + rank
        config["device"] = config["device_name"] = device
        config["multi_gpu"] = job.distributed
        config["num_actors"] = job.num_envs
        config["save_frequency"] = 0
        config["save_best_after"] = math.inf
        config["max_frames"] = -1
        config.pop("score_to_win", None)
        if job.training is not None:
            config["max_epochs"] = job.training.max_iterations
            batch = job.num_envs * config["horizon_length"]
            ordered = [key_of(text) for text in job.hydra_overrides]
            for below, part in (("", config), (".central_value_config", config.get("central_value_config") or {})):
                key = f"agent.params.config{below}.minibatch_size"
                if changed := fit_minibatches(part, batch=batch, key=key, ordered=key in ordered):
                    tell(changed)
        if device == "cpu":
            # Compiling takes longer than a CPU could win back in such small networks.
            config.setdefault("torch_compile", False)
        return agent_cfg

    def train(self, session: Session) -> TrainingReport:
        """Train with rl_games' agent, from the checkpoint's next epoch where there is one."""
        assert session.job.training is not None
        order = session.job.training
        progress = Progress(session)
        with tempfile.TemporaryDirectory(prefix="rl_games-") as scratch:
            agent = _agent(session, progress, Path(scratch))
            resume = Path(order.resume_checkpoint) if order.resume_checkpoint else None
            first = first_iteration(agent.resume(resume, session), session.job, resume) if resume else 0
            agent.last_lr *= progress.learning_rate_factor
            progress.watch(agent.optimizer)
            if progress.begin(first, resumed_from=resume):
                _compile(agent, session)
                agent.run(first)
        return progress.report()

    def load_policy(self, session: Session, checkpoint: Path) -> ExportablePolicy:
        """Load the actor into rl_games' player; the distribution's mean is the action."""
        return _RlGamesPolicy(session, checkpoint)


class _Agent(A2CAgent):  # type: ignore[misc]
    """rl_games' agent with whole checkpoints, events, iterations as steps and a place to stop."""

    writer: Any
    last_lr: float
    entropy_coef: float

    def __init__(self, progress: Progress, base_name: str, params: dict[str, Any]) -> None:
        super().__init__(base_name, params)
        self._progress = progress
        self._running = False
        self._metrics: _IterationWriter | None = None
        if self.writer is not None:
            self.writer.close()
        if progress.writer is not None:
            self._metrics = _IterationWriter(progress.writer)
            self.writer = self.algo_observer.writer = self._metrics

    def run(self, first: int) -> None:
        """Train from the epoch after ``first`` to the last one, or until told to stop."""
        self.epoch_num = first
        try:
            with self._progress.numbers_only():
                self.train()
                self._end_epoch()
        except _Stop:
            self._save()

    def update_epoch(self) -> int:
        """Begin an epoch; rl_games calls this first, so the epoch before it has ended, metrics and all."""
        if self._running:
            self._end_epoch()
        self._running = True
        if self._metrics is not None:
            self._metrics.iteration = self.epoch_num
        return int(super().update_epoch())

    def save(self, fn: str) -> None:
        """Ignore rl_games' own idea of when to save; epochs end in :meth:`_end_epoch`."""

    def resume(self, checkpoint: Path, session: Session) -> int:
        """Load everything that a checkpoint has; return how many epochs it has behind it."""
        state = _load(checkpoint, session)
        with fitting(checkpoint, task=session.job.task, library="rl_games"):
            self.set_full_state_weights(state)
        extra = state.get(_EXTRA, {})
        self.last_lr = extra.get("learning_rate", self.optimizer.param_groups[0]["lr"])
        self.entropy_coef = extra.get("entropy_coef", self.entropy_coef)
        _set_step_counter(session, extra.get("common_step_counter", 0))
        return int(self.epoch_num)

    def _end_epoch(self) -> None:
        iteration = self.epoch_num - 1
        played = self.game_rewards.current_size > 0
        stop = self._progress.iteration_ended(
            iteration,
            reward=float(self.game_rewards.get_mean()[0]) if played else None,
            episode_length=float(self.game_lengths.get_mean()) if played else None,
            steps_per_second=self._metrics.steps_per_second if self._metrics else None,
        )
        if self.epoch_num % self._progress.interval == 0 or self.epoch_num >= self.max_epochs:
            self._save()
        if stop:
            raise _Stop

    def _save(self) -> None:
        state = _plain(self.get_full_state_weights())
        state["model"] = {key.removeprefix(_COMPILED): value for key, value in state["model"].items()}
        environment = self._progress.session.env.unwrapped
        state[_EXTRA] = {
            "learning_rate": float(self.last_lr),
            "entropy_coef": float(self.entropy_coef),
            "common_step_counter": int(getattr(environment, "common_step_counter", 0)),
        }
        path = self._progress.checkpoints / f"last_{self.config['name']}_ep_{self.epoch_num}.pth"
        self._progress.save_checkpoint(path, state, self.epoch_num - 1)


class _Stop(Exception):  # noqa: N818  not an error: the way out of rl_games' loop
    """Somebody asked the training to end."""


class _IterationWriter:
    """Gives rl_games' metrics the iteration as their step; it writes most of them over frames or seconds too."""

    def __init__(self, writer: MetricsWriter) -> None:
        self._writer = writer
        self.iteration = 0
        self.steps_per_second: float | None = None

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Write one value, unless it is another's over other steps."""
        if tag.endswith(("/step", "/frame")):
            return
        if tag == "performance/step_inference_rl_update_fps":
            self.steps_per_second = float(value)
        self._writer.add_scalar(tag, value, self.iteration)


class _RlGamesPolicy:
    """rl_games' player, asked for the mean action."""

    def __init__(self, session: Session, checkpoint: Path) -> None:
        self._wrapper = RlGamesVecEnvWrapper.from_agent_cfg(session.env, session.agent_cfg)
        self._clip_actions = float(self._wrapper._clip_actions)
        runner = Runner(IsaacAlgoObserver())
        runner.load(session.agent_cfg)
        runner.params["config"] |= {"env_info": self._wrapper.get_env_info(), "vec_env": None}
        self._player = runner.create_player()
        self._player.has_batch_dimension = True
        self._player.batch_size = session.job.num_envs
        state = _load(checkpoint, session)
        with fitting(checkpoint, task=session.job.task, library="rl_games"):
            self._player.model.load_state_dict(state["model"])
        self._player.reset()

    def act(self, observations: Observations) -> torch.Tensor:
        """Return the mean actions, clipped as in training."""
        processed = self._wrapper._process_obs(dict(observations))["obs"]
        actions: torch.Tensor = self._player.get_action(processed, is_deterministic=True)
        return actions.clamp(-self._clip_actions, self._clip_actions)

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget a recurrent policy's memory."""
        if dones is None:
            self._player.reset()
        elif self._player.is_rnn:
            for state in self._player.states:
                state[:, dones.bool()] = 0.0

    def network(self) -> PolicyNetwork:
        """Return the actor with the clipping and the normaliser that it was trained with."""
        spaces = self._wrapper.observation_space
        if self._player.is_rnn or not hasattr(spaces, "shape") or spaces.shape is None or len(spaces.shape) != 1:
            raise NotImplementedError("a recurrent network, or one that sees images, takes more than one vector")
        return PolicyNetwork(
            module=_Actor(self._player, clip_observations=float(self._wrapper._clip_obs)).cpu().eval(),
            flatten=lambda observations: self._wrapper._process_obs(dict(observations))["obs"],
        )


class _Actor(torch.nn.Module):  # type: ignore[misc]
    """The player's path from observations to actions, without the value and the sampling."""

    def __init__(self, player: Any, *, clip_observations: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(player.model.a2c_network)
        # rl_games' own normaliser is a script module, which the ONNX exporter cannot trace.
        self.normalised: bool = player.model.normalize_input
        if self.normalised:
            scaler = player.model.running_mean_std
            self.register_buffer("mean", scaler.running_mean.float().clone())
            self.register_buffer("deviation", (scaler.running_var.float() + scaler.epsilon).sqrt())
        self.clip_observations = clip_observations
        self.rescale: bool = player.clip_actions
        self.register_buffer("low", player.actions_low.clone())
        self.register_buffer("high", player.actions_high.clone())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Map observations (batch, size) to actions (batch, actions)."""
        seen = observations.clamp(-self.clip_observations, self.clip_observations)
        if self.normalised:
            seen = ((seen - self.mean) / self.deviation).clamp(-_NORMALISED_LIMIT, _NORMALISED_LIMIT)
        mean: torch.Tensor = self.network({"is_train": False, "obs": seen, "rnn_states": None})[0]
        if self.rescale:
            half, middle = (self.high - self.low) / 2, (self.high + self.low) / 2
            mean = mean.clamp(-1.0, 1.0) * half + middle
        return mean.clamp(self.low, self.high)


def _agent(session: Session, progress: Progress, scratch: Path) -> _Agent:
    wrapper = RlGamesVecEnvWrapper.from_agent_cfg(session.env, session.agent_cfg)
    runner = Runner(IsaacAlgoObserver())
    runner.load(session.agent_cfg)
    # rl_games makes folders for files that are written elsewhere here.
    runner.params["config"] |= {
        "env_info": wrapper.get_env_info(),
        "vec_env": wrapper,
        "train_dir": str(scratch),
        "full_experiment_name": "run",
    }
    return _Agent(progress, base_name="run", params=runner.params)


def _compile(agent: _Agent, session: Session) -> None:
    """Compile the network as rl_games' runner does: by default, and after its weights are loaded."""
    wanted = agent.config.get("torch_compile", True)
    if not wanted:
        return
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        session.events.warn("There is no C compiler, so rl_games trains without torch.compile: install gcc.")
        return
    mode = wanted if isinstance(wanted, str) else "default"
    if isinstance(wanted, dict):
        mode = wanted.get("mode", "default")
    agent.model = torch.compile(agent.model, mode=mode)


def _load(checkpoint: Path, session: Session) -> dict[str, Any]:
    converted = convert_rl_games(load_untrusted(checkpoint, device=session.device))
    state = converted.state
    if converted.written_by is not None:
        warn_of_conversion(session, checkpoint, converted.written_by)
    with fitting(checkpoint, task=session.job.task, library="rl_games"):
        state["model"] = {key.removeprefix(_COMPILED): value for key, value in state["model"].items()}
    return state


def _set_step_counter(session: Session, steps: int) -> None:
    if hasattr(session.env.unwrapped, "common_step_counter"):
        session.env.unwrapped.common_step_counter = steps


def _plain(value: Any) -> Any:
    """Return a state with numpy's scalars as plain numbers, so that it can be loaded as weights only."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value
