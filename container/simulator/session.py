"""One simulation: the task's configuration resolved, the runtime launched, the environment made.

Built of the parts that Isaac Lab's own entry points are built of, so that a training here is the training there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isaaclab_flows.container.simulator import assets, failures, frontend, overrides
from isaaclab_flows.container.simulator.events import Events
from isaaclab_flows.container.simulator.libraries.base import Library
from isaaclab_flows.container.simulator.stop import StopRequest
from isaaclab_flows.container.simulator.task_files import check_files
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.simulator import Engine, SimulatorJob
from isaaclab_flows.schemas.task_names import ENTRY_POINT, agent_entry_point, near_names


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that torchrun started."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @classmethod
    def of(cls, job: SimulatorJob) -> Ranks:
        """Read torchrun's variables for a distributed job."""
        if not job.distributed:
            return cls()
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
        missing = [name for name in names if name not in os.environ]
        if missing:
            raise ConfigError(
                f"The job is distributed, but {', '.join(missing)} is not set",
                where="computeConfig.numNodes",
                remedy="Distributed jobs are started with torchrun.",
            )
        return cls(*(int(os.environ[name]) for name in names))

    @property
    def first(self) -> bool:
        """Whether this process writes what all have in common."""
        return self.rank == 0


@dataclass(frozen=True)
class Setup:
    """A task's resolved configuration, before anything is launched."""

    job: SimulatorJob
    library: Library
    ranks: Ranks
    device: str
    """``cpu`` or ``cuda:N``; of the simulation and of the agent."""
    env_cfg: Any
    agent_cfg: Any
    choice: frontend.Choice
    events: Events
    stop: StopRequest

    @property
    def physics(self) -> str:
        """The engine that simulates, as people call it: ``Newton`` or ``PhysX``."""
        return frontend.physics_name(self.env_cfg)

    @property
    def engine(self) -> Engine:
        """What it runs on, before a training says how it takes its steps."""
        return Engine(physics=self.physics, frontend=self.choice.frontend, frontend_reason=self.choice.reason)

    @property
    def run_folder(self) -> Path:
        """Where checkpoints, parameters, metrics and exports go."""
        return Path(self.job.run_folder)


@dataclass(frozen=True)
class Session(Setup):
    """A running simulation."""

    env: Any
    """The Gymnasium environment, a multi-agent task made single-agent; libraries put their wrappers around it."""
    rollbacks: int = 0
    """How often this process's training went back to a checkpoint because it had diverged."""

    @property
    def observation_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each group of observations; direct tasks may give more groups than their space names."""
        inner = getattr(self.env.unwrapped, "env", self.env.unwrapped)
        spaces = self.env.unwrapped.single_observation_space.spaces
        named = {name: tuple(space.shape) for name, space in spaces.items() if space.shape is not None}
        seen = getattr(inner, "obs_buf", None)
        extra = seen.items() if isinstance(seen, dict) else ()
        return {name: tuple(values.shape[1:]) for name, values in extra if hasattr(values, "shape")} | named

    @property
    def step_dt(self) -> float:
        """Seconds of simulated time a step."""
        return float(self.env.unwrapped.step_dt)


def resolve(
    job: SimulatorJob,
    library: Library,
    *,
    events: Events,
    stop: StopRequest,
    play: bool = False,
    own_tasks: tuple[str, ...] = (),
) -> Setup:
    """Resolve a task's configuration with the job's overrides, environments, seed and device, and check its files.

    Args:
        job: The order.
        library: The job's library.
        events: Where events go.
        stop: The wish to stop.
        play: Apply the task's play mode, as Isaac Lab's playback does.
        own_tasks: Tasks that the job's custom environment registers.

    Raises:
        ConfigError: Unknown task, a task without a configuration for the library, or an override that does not fit.
        InputMissingError: A robot file that the task names cannot be had.
    """
    import gymnasium
    import isaaclab_tasks  # noqa: F401  registers the tasks

    _check_task(job, library, known=list(gymnasium.registry))
    ranks = Ranks.of(job)
    device = resolve_device(job, ranks, library)
    env_cfg, agent_cfg = overrides.resolve_task(job, play=play)
    choice = frontend.choose(job, physics=frontend.physics_name(env_cfg), device=device, own_tasks=own_tasks)
    if choice.switches_physics:
        switched = job.model_copy(update={"hydra_overrides": (*job.hydra_overrides, frontend.NEWTON_OVERRIDE)})
        env_cfg, agent_cfg = overrides.resolve_task(switched, play=play)
    env_cfg.scene.num_envs = job.num_envs
    env_cfg.sim.device = device
    env_cfg.seed = job.seed + ranks.rank
    env_cfg.log_dir = job.run_folder
    agent_cfg = library.configure(agent_cfg, job, device=device, rank=ranks.rank, tell=events.warn)
    overrides.check_effect(job, env_cfg, agent_cfg)
    check_files(env_cfg, job, answers=assets.server_answers)
    return Setup(
        job=job,
        library=library,
        ranks=ranks,
        device=device,
        env_cfg=env_cfg,
        agent_cfg=agent_cfg,
        choice=choice,
        events=events,
        stop=stop,
    )


@contextmanager
def launched(setup: Setup) -> Iterator[None]:
    """Run the simulation runtime that the configuration needs; in NVIDIA's image leaving may end the process."""
    from isaaclab.app import launch_simulation, validate_launch

    setup.events.stage("launching")
    # Isaac Lab's own distributed mode gives every process the GPU of its rank; on the CPU there is none to give.
    distributed = setup.job.distributed and setup.device != "cpu"
    arguments = {"device": setup.device, "distributed": distributed, "headless": True}
    _, of_isaac_sim = validate_launch(setup.env_cfg, dict(arguments))
    if of_isaac_sim and find_spec("isaacsim") is None:
        raise failures.needs_isaac_sim(setup.job, of_isaac_sim)
    with setup.library.backend_flags(), launch_simulation(setup.env_cfg, arguments):
        yield


@contextmanager
def environment(setup: Setup) -> Iterator[Session]:
    """Make the environment and close it afterwards."""
    from isaaclab.envs import DirectMARLEnvCfg
    from isaaclab_rl.entrypoints.common import close_env, create_isaaclab_env

    setup.stop.check()
    setup.events.stage("creating_environment", f"{setup.job.num_envs:,} environments of {setup.job.task}")
    if setup.choice.frontend == "warp":
        frontend.mend_sensors(setup.env_cfg)
    try:
        env = create_isaaclab_env(
            setup.job.task,
            setup.env_cfg,
            _Arguments(setup.choice.frontend),
            convert_marl_to_single_agent=isinstance(setup.env_cfg, DirectMARLEnvCfg),
        )
    except RuntimeError as error:
        if type(error).__name__ == "FrontendIncompatibleError":  # of a module that only the warp frontend imports
            raise failures.no_twin(error, setup.job) from error
        raise
    try:
        setup.stop.check()
        yield Session(**vars(setup), env=env)
    finally:
        close_env(env)


@dataclass(frozen=True)
class _Arguments:
    """The one argument that :func:`create_isaaclab_env` reads of a command line."""

    frontend: str


def resolve_device(job: SimulatorJob, ranks: Ranks, library: Library) -> str:
    """Return the device with its number, as the libraries compare it.

    Raises:
        ConfigError: A GPU is asked for and torch sees none, or too few, or the library cannot train distributed on the
            CPU.
    """
    import torch

    if job.device == "cpu":
        if job.distributed and not library.distributed_on_cpu:
            raise ConfigError(
                f"{library.name} trains distributed on GPUs only, and the device is cpu",
                where="computeConfig",
                remedy="Set computeConfig.numNodes and computeConfig.gpusPerNode to 1, or run on GPU machines.",
            )
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError(
            f"The device is '{job.device}', but torch sees no GPU",
            where="device",
            remedy="Run with the device cpu, or on a machine with an NVIDIA GPU and its driver.",
        )
    if job.distributed:
        # All processes of a machine see this alike, so that none of them goes on and waits for the others.
        wanted, there = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if wanted > there:
            raise ConfigError(
                f"computeConfig.gpusPerNode is {wanted}, but this machine has {there} GPUs",
                where="computeConfig.gpusPerNode",
                remedy=f"Set it to {there} or less.",
            )
        return f"cuda:{ranks.local_rank}"
    return job.device if ":" in job.device else "cuda:0"


def device_name(device: str) -> str:
    """Return the GPU's or the processor's name for people."""
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor() or platform.machine()} ({os.cpu_count()} cores)"


def versions(library_distribution: str) -> dict[str, str]:
    """Return the installed versions that a result depends on, by distribution name."""
    found = {}
    for name in ("isaaclab", "torch", "warp-lang", "newton", library_distribution):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found | {"python": platform.python_version()}


def _check_task(job: SimulatorJob, library: Library, *, known: list[str]) -> None:
    import gymnasium

    if job.task not in known:
        near = near_names(job.task, known)
        raise ConfigError(
            f"The task '{job.task}' is not registered",
            where="trainingConfig.task",
            remedy=f"Near names: {', '.join(near) or 'none'}.",
        )
    keys = gymnasium.spec(job.task).kwargs
    wanted = agent_entry_point(job.library, job.agent)
    if wanted in keys and wanted.startswith(f"{job.library}_"):
        return
    agents = [key.removesuffix(ENTRY_POINT) for key in keys if key.endswith(ENTRY_POINT) and key != f"env{ENTRY_POINT}"]
    if job.agent is None:
        raise ConfigError(
            f"The task '{job.task}' has no {job.library} configuration",
            where="trainingConfig.rlLibrary",
            remedy=f"It has: {', '.join(agents) or 'none'}.",
        )
    own = [agent.removeprefix(f"{job.library}_") for agent in agents if agent.startswith(f"{job.library}_")]
    raise ConfigError(
        f"The task '{job.task}' has no {job.library} agent '{job.agent}'",
        where="trainingConfig.agent",
        remedy=f"It has: {', '.join(own) or 'its first agent only, so leave the key out'}.",
    )
