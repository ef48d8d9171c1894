"""Plans a sweep: which evaluations there are, which of them are new, and which share one simulator process."""

from __future__ import annotations

import fnmatch
import hashlib
import itertools
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from natsort import natsorted

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.sweep import MAX_CELLS, SweepConfig, Variation
from isaaclab_flows.schemas.task_names import Library, installed_name
from isaaclab_flows.tasks.job.checkpoints import SUFFIXES, iteration_of

# What a run keeps beside its checkpoints under the same suffixes: exported policies, and copies of a sweep's best.
_NOT_CHECKPOINTS = frozenset({"exported", "best", "input"})


@dataclass(frozen=True)
class Candidate:
    """One checkpoint that a sweep found."""

    uri: str
    digest: str
    """Identifies the content: `sha256:…` of a file, `etag:…` of an S3 object."""

    @property
    def iteration(self) -> int | None:
        """The training iteration in the file's name: 300 for `model_300.pt`, None without a number."""
        return iteration_of(self.uri)

    @property
    def run(self) -> str:
        """The training run it belongs to: the folder that holds its `checkpoints/`, else its own folder."""
        folder, _, _ = self.uri.rpartition("/")
        return folder.removesuffix("/checkpoints")


@dataclass(frozen=True)
class Setting:
    """What one simulator process is started with."""

    task: str
    library: Library
    seed: int
    num_envs: int
    variation: str
    hydra_overrides: tuple[str, ...]

    @property
    def title(self) -> str:
        """Task, seed, environments and variation, for people."""
        return f"{self.task} · seed {self.seed} · {self.num_envs} envs · {self.variation}"


@dataclass(frozen=True)
class Cell:
    """One evaluation: a checkpoint in a setting."""

    candidate: Candidate
    setting: Setting
    key: str
    """SHA-256 of everything that decides the result."""


@dataclass(frozen=True)
class Group:
    """Evaluations that share one simulator process."""

    setting: Setting
    cells: tuple[Cell, ...]

    @property
    def key(self) -> str:
        """Identifies the group by its evaluations."""
        return hashlib.sha256("".join(cell.key for cell in self.cells).encode()).hexdigest()

    def job_id(self, sweep_id: uuid.UUID) -> str:
        """Return the job's id: the same for a retry of the same sweep, another for another sweep."""
        return str(uuid.uuid5(sweep_id, self.key))

    def halves(self) -> tuple[Group, Group]:
        """Split a group of two or more evaluations, to find the one that ends the simulator."""
        middle = len(self.cells) // 2
        return Group(self.setting, self.cells[:middle]), Group(self.setting, self.cells[middle:])


@dataclass(frozen=True)
class SweepPlan:
    """All evaluations of a sweep."""

    cells: tuple[Cell, ...]
    """The whole product."""
    groups: tuple[Group, ...]
    """What is new, by simulator process."""

    @property
    def new(self) -> int:
        """How many evaluations are new."""
        return sum(len(group.cells) for group in self.groups)


def choose_checkpoints(pattern: str, paths: Iterable[str]) -> list[str]:
    """Choose the checkpoints that a pattern means, in numeric order (999 before 1500).

    Args:
        pattern: A file's path, a glob (`*`, `?`, `[…]`; `*` crosses folders), or a folder.
        paths: Every file below the pattern's fixed part.
    """
    folder = pattern.rstrip("/")
    if pattern.endswith(SUFFIXES) and not has_glob(pattern):
        chosen = [path for path in paths if path == pattern]
    elif has_glob(pattern):
        chosen = [path for path in paths if fnmatch.fnmatchcase(path, pattern) and path.endswith(SUFFIXES)]
    else:
        below = [path for path in paths if path.startswith(f"{folder}/") and path.endswith(SUFFIXES)]
        chosen = [
            path for path in below if not _NOT_CHECKPOINTS & set(PurePosixPath(path.removeprefix(folder)).parts[:-1])
        ]
    return natsorted(dict.fromkeys(chosen))


def has_glob(pattern: str) -> bool:
    """Say whether a path has a glob's characters."""
    return any(character in pattern for character in "*?[")


def fixed_part(pattern: str) -> str:
    """Return the folder above a glob's first wildcard, or the path itself."""
    if not has_glob(pattern):
        return pattern.rstrip("/")
    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return fixed.rpartition("/")[0]


def plan(
    config: SweepConfig,
    candidates: Sequence[Candidate],
    *,
    versions: Mapping[str, str],
    environment_digest: str = "",
    known: Set[str] = frozenset(),
) -> SweepPlan:
    """Plan the product of checkpoints, tasks, seeds, numbers of environments and variations.

    Args:
        config: The sweep.
        candidates: The checkpoints found; of several with the same content the first counts.
        versions: Versions of the software that evaluates.
        environment_digest: Content of the custom environment's archive, where there is one.
        known: Keys that have a result.

    Raises:
        ConfigError: No checkpoint was found, or the product is too large.
    """
    if not candidates:
        raise ConfigError(
            "No checkpoint was found",
            where="sweepConfig.checkpoints",
            remedy=f"Looked at: {', '.join(config.sweep_config.checkpoints)}. Checkpoints end in .pt or .pth.",
        )
    settings = settings_of(config)
    unique = {candidate.digest: candidate for candidate in reversed(candidates)}
    cells_in_all = len(settings) * len(unique)
    if cells_in_all > MAX_CELLS:
        raise ConfigError(
            f"The sweep has {cells_in_all:,} evaluations; at most {MAX_CELLS:,} are allowed",
            where="sweepConfig",
            remedy="Choose fewer checkpoints, seeds or variations.",
        )
    cells = tuple(
        Cell(candidate, setting, _key(config, candidate, setting, versions, environment_digest))
        for setting in settings
        for candidate in reversed(unique.values())
    )
    new = [cell for cell in cells if cell.key not in known] if config.sweep_config.only_new else list(cells)
    return SweepPlan(cells=cells, groups=tuple(_groups(new, config.sweep_config.checkpoints_per_job)))


def settings_of(config: SweepConfig) -> list[Setting]:
    """Return the product of tasks, numbers of environments, variations and seeds."""
    sweep = config.sweep_config
    variations = sweep.variations or (Variation(name="default"),)
    return [
        Setting(
            # The names of a custom environment come before any translation.
            task=task if config.custom_environment is not None else installed_name(task) or task,
            library=sweep.rl_library,
            seed=seed,
            num_envs=num_envs,
            variation=variation.name,
            hydra_overrides=variation.hydra_overrides,
        )
        for task, num_envs, variation, seed in itertools.product(sweep.tasks, sweep.num_envs, variations, sweep.seeds)
    ]


def _groups(cells: Iterable[Cell], most: int) -> Iterable[Group]:
    for setting, of_setting in itertools.groupby(cells, key=lambda cell: cell.setting):
        for batch in itertools.batched(of_setting, most):
            yield Group(setting, batch)


def _key(
    config: SweepConfig,
    candidate: Candidate,
    setting: Setting,
    versions: Mapping[str, str],
    environment_digest: str,
) -> str:
    # Names are for people: renaming a variation or moving a checkpoint evaluates nothing again.
    decides = {
        "checkpoint": candidate.digest,
        "task": setting.task,
        "library": setting.library,
        "seed": setting.seed,
        "numEnvs": setting.num_envs,
        "hydraOverrides": setting.hydra_overrides,
        "numEpisodes": config.sweep_config.num_episodes,
        "stepsPerEpisode": config.sweep_config.steps_per_episode,
        "environment": environment_digest,
        "versions": dict(versions),
        "release": config.sweep_config.release,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def group_config(config: SweepConfig, group: Group) -> dict[str, Any]:
    """Return the evaluation's configuration, as a file would write it, that evaluates a group."""
    sweep, setting = config.sweep_config, group.setting
    inner: dict[str, Any] = {
        "mode": "evaluate",
        "task": setting.task,
        "rlLibrary": setting.library,
        "numEnvs": setting.num_envs,
        "seed": setting.seed,
        "numEpisodes": sweep.num_episodes,
        "stepsPerEpisode": sweep.steps_per_episode,
        "hydraOverrides": list(setting.hydra_overrides),
        "checkpointPaths": [cell.candidate.uri for cell in group.cells],
        "recordVideo": False,
    }
    if sweep.custom_environment_path:
        inner["customEnvironmentPath"] = sweep.custom_environment_path
    elif sweep.custom_environment_s3_uri:
        inner["customEnvironmentS3Uri"] = sweep.custom_environment_s3_uri
    return {
        "name": f"{config.name}: {setting.title}"[:200],
        "description": f"{len(group.cells)} checkpoints of the sweep {config.name}",
        "trainingConfig": inner,
        "computeConfig": config.compute_config.model_dump(mode="json"),
    }
