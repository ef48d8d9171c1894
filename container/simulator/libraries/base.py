"""What every reinforcement-learning library offers here: training, loading a policy, and a network to export."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from isaaclab_flows.container.simulator.session import Session
    from isaaclab_flows.schemas.simulator import SimulatorJob

Steps = Literal["captured", "uncaptured", "own"]
Observations = Mapping[str, "torch.Tensor"]
"""Isaac Lab's observations by group, each (environments, …), as ``env.reset`` and ``env.step`` return them."""


class Policy(Protocol):
    """A deterministic policy: the mean action, never a sample."""

    def act(self, observations: Observations) -> torch.Tensor:
        """Return the actions (environments, actions) to give to ``env.step``, clipped as in training."""

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget the memory of environments whose episode ended.

        Args:
            dones: (environments,) booleans; None forgets that of all.
        """


class ExportablePolicy(Policy, Protocol):
    """A policy that may be written down as one network."""

    def network(self) -> PolicyNetwork:
        """Return the policy as one network.

        Raises:
            NotImplementedError: This kind of policy is not one function of one vector; the message says which it is.
        """


@dataclass(frozen=True)
class PolicyNetwork:
    """A policy as one network, normaliser and clipping included."""

    module: torch.nn.Module
    """Maps observations (batch, size) to the actions (batch, actions) of :meth:`Policy.act`; on the CPU."""
    flatten: Callable[[Observations], torch.Tensor]
    """Lays the observations of :meth:`Policy.act` side by side: (batch, size)."""


@dataclass(frozen=True)
class TrainingReport:
    """How far a training came."""

    iterations: int
    """Iterations complete over all attempts."""
    last_checkpoint: Path | None
    stopped: bool
    """It ended early because somebody asked."""
    steps: Steps = "own"
    """How it computed: our steps as CUDA graphs, our steps without, or the library's own."""
    steps_reason: str = ""
    """Why they were not captured."""


class Library(ABC):
    """One reinforcement-learning library. Implementations hold no state."""

    name: ClassVar[str]
    """As configurations name it."""
    distribution: ClassVar[str]
    """The installed package whose version is recorded."""
    distributed_on_cpu: ClassVar[bool] = False
    """Whether several processes can train together without GPUs."""

    def backend_flags(self) -> AbstractContextManager[object]:
        """Set torch's global flags as Isaac Lab's entry point of this library does, while the context lasts."""
        return nullcontext()

    @abstractmethod
    def configure(
        self, agent_cfg: Any, job: SimulatorJob, *, device: str, rank: int, tell: Callable[[str], None]
    ) -> Any:
        """Return the agent's configuration with the job's seed, device and lengths.

        What was ordered stays as it is or is refused; a task's own value may be fitted to the job, and that is told. In
        an evaluation nothing is learned, so what only learning reads is neither.

        Args:
            agent_cfg: As the registry and the job's overrides give it.
            job: The order.
            device: ``cpu`` or ``cuda:N``, the simulation's.
            rank: This process among the distributed ones.
            tell: Is told what was fitted, for people.

        Raises:
            ConfigError: The library cannot take what was ordered.
        """

    @abstractmethod
    def train(self, session: Session) -> TrainingReport:
        """Train as ``session.job.training`` orders, writing events, metrics and checkpoints.

        Raises:
            CheckpointError: The checkpoint to resume from does not fit.
        """

    @abstractmethod
    def load_policy(self, session: Session, checkpoint: Path) -> ExportablePolicy:
        """Load a checkpoint's policy onto the session's device; the session's environment is not stepped or reset.

        Raises:
            CheckpointError: Torn, or of another task, library or network shape.
        """
