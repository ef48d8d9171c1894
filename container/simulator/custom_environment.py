"""Installs the user's own environment package into the job's own folder and registers its tasks."""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import pkgutil
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from isaaclab_flows.container.simulator.archive import unpack
from isaaclab_flows.container.simulator.failures import ISAAC_SIM_MODULES
from isaaclab_flows.container.simulator.package_source import find_package
from isaaclab_flows.schemas.config import CamelModel
from isaaclab_flows.schemas.errors import CustomEnvironmentError
from isaaclab_flows.schemas.files import sha256_of, write_whole
from isaaclab_flows.schemas.simulator import SimulatorJob
from isaaclab_flows.schemas.task_names import installed_name, near_names

INSTALL_SECONDS: Final = 600
INDEX_SECONDS: Final = 10
"""An index that does not answer within so long is not there."""
_DEEPEST_MODULE: Final = 4
"""Below the package itself, as in package.tasks.direct.robot."""
_MOST_LISTED: Final = 20


class _Installed(CamelModel):
    """What lies in the job's environment folder."""

    archive_sha256: str
    modules: tuple[str, ...]
    distributions: tuple[str, ...] = ()
    """Dependencies that were installed with it."""


@dataclass(frozen=True)
class Registered:
    """What an archive registered."""

    tasks: tuple[str, ...]
    """Names of its own tasks, sorted."""
    task: str
    """The job's task: the archive's own of that very name, else Isaac Lab's, in the spelling of 3.0."""


def install(job: SimulatorJob) -> Registered:
    """Install the job's archive into its own folder, import it, and return what it registered.

    Called after torch is imported and before the task's configuration is resolved. Isaac Lab's own tasks are
    registered first, so that those of an archive that imports them are not taken for its own. The shared environment
    is not touched. A folder that already holds this archive is used as it is.

    Raises:
        CustomEnvironmentError: The archive cannot be unpacked or installed, a dependency is missing, its import fails,
            it registers no task, or none of the job's name.
    """
    assert job.custom_environment is not None
    archive = Path(job.custom_environment)
    folder = Path(job.custom_environment_folder or Path(job.run_folder).parent / "environment")
    # Several processes of one job start at once on a machine with several GPUs; one of them installs.
    with _locked(folder):
        installed = _installed(folder, archive) or _install(archive, folder)
    sys.path.insert(0, str(folder / "site"))
    importlib.invalidate_caches()
    registered = _register(installed.modules, archive.name)
    return Registered(registered, _task(job, registered, archive.name))


def _install(archive: Path, folder: Path) -> _Installed:
    digest = _sha256(archive)
    shutil.rmtree(folder, ignore_errors=True)
    source, site = folder / "source", folder / "site"
    source.mkdir(parents=True)
    unpack(archive, source)
    package = find_package(source, archive=archive.name)
    package.copy_to(site)
    added = _install_requirements(package.requirements, site, archive.name)
    installed = _Installed(archive_sha256=digest, modules=package.modules, distributions=added)
    write_whole(folder / "installed.json", installed.model_dump_json(by_alias=True).encode())
    return installed


def _installed(folder: Path, archive: Path) -> _Installed | None:
    try:
        installed = _Installed.model_validate_json((folder / "installed.json").read_bytes())
    except (OSError, ValueError):
        return None
    return installed if archive.is_file() and installed.archive_sha256 == _sha256(archive) else None


def _install_requirements(declared: Sequence[str], site: Path, archive: str) -> tuple[str, ...]:
    """Install what is declared and not there yet, and what that needs in turn; the shared environment wins."""
    added: list[str] = []
    wanted = list(declared)
    while missing := _missing(wanted, site, archive):
        command = installer(site)
        answer = _run([*command, *missing]) if command else "there is no pip or uv to install with"
        if answer:
            raise CustomEnvironmentError(
                f"The custom environment {archive} needs packages that are not installed: {', '.join(missing)}",
                where="trainingConfig.customEnvironmentPath",
                remedy="Add their files to the archive, add them to the simulator's image, or let the machine reach a"
                " package index.",
                details=answer,
            )
        added += missing
        # Installed without their own dependencies, so that none of them replaces what Isaac Lab needs.
        wanted = [need for found in metadata.distributions(path=[str(site)]) for need in found.requires or []]
        if repeated := [need for need in _missing(wanted, site, archive) if need in added]:
            raise CustomEnvironmentError(
                f"The custom environment {archive} needs {', '.join(repeated)}, which was installed and is not found",
                where="trainingConfig.customEnvironmentPath",
                remedy="Does the package's name agree with its metadata?",
            )
    return tuple(added)


def _missing(needs: Sequence[str], site: Path, archive: str) -> list[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    missing, conflicts = [], []
    for text in needs:
        try:
            need = Requirement(text)
        except InvalidRequirement as error:
            raise CustomEnvironmentError(
                f"The custom environment {archive} declares the dependency '{text}', which cannot be read: {error}",
                where="trainingConfig.customEnvironmentPath",
                remedy="Write it as in 'numpy>=1.26'.",
            ) from error
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        version = _version(need.name, site)
        if version is None:
            missing.append(text)
        elif not need.specifier.contains(version, prereleases=True):
            conflicts.append(f"{text} (installed: {version})")
    if conflicts:
        raise CustomEnvironmentError(
            f"The custom environment {archive} needs other versions than the simulator has: {', '.join(conflicts)}",
            where="trainingConfig.customEnvironmentPath",
            remedy="Declare a range that allows the installed version.",
        )
    return missing


def _version(name: str, site: Path) -> str | None:
    found = next(iter(metadata.distributions(name=name, path=[str(site), *sys.path])), None)
    return found.version if found is not None else None


def installer(site: Path) -> list[str] | None:
    """Return the command that installs requirements into a folder, without their dependencies; None without a tool."""
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps"]
        return [*pip, "--timeout", str(INDEX_SECONDS), "--retries", "1", "--target", str(site)]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--no-deps", "--python", sys.executable, "--target", str(site)]
    return None


def _run(command: Sequence[str]) -> str:
    """Run a command; return why it failed, or nothing."""
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
            env={**os.environ, "UV_HTTP_TIMEOUT": str(INDEX_SECONDS)},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if answer.returncode == 0 else (answer.stderr or answer.stdout or "no message")[-3_000:]


def _register(modules: Sequence[str], archive: str) -> tuple[str, ...]:
    import gymnasium

    _register_isaac_labs_own()
    before = dict(gymnasium.registry)

    def new() -> tuple[str, ...]:
        return tuple(sorted(name for name, spec in gymnasium.registry.items() if before.get(name) is not spec))

    with _versions_allowed():
        packages = [_import(name, archive) for name in modules]
        # Most packages register on import; in others a module some levels below does.
        for _ in range(_DEEPEST_MODULE):
            if new():
                break
            packages = [_import(name, archive) for package in packages for name in _below(package)]
    registered = new()
    if not registered:
        raise CustomEnvironmentError(
            f"The custom environment {archive} registers no task ({', '.join(modules)} was imported)",
            where="trainingConfig.customEnvironmentPath",
            remedy="Call gymnasium.register(id=…, entry_point=…, kwargs=…) when the package is imported.",
        )
    return registered


@contextmanager
def _versions_allowed() -> Iterator[None]:
    """Let an archive register a name of Isaac Lab 2.x, such as `Isaac-Cartpole-Direct-v0`.

    Gymnasium refuses a name with a version beside the same name without one, which Isaac Lab 3.0 has.
    """
    import gymnasium

    plain = gymnasium.register

    def register(id: str, *arguments: Any, **options: Any) -> None:  # noqa: A002  as Gymnasium names it
        bare = id.rpartition("-v")[0]
        hidden = gymnasium.registry.pop(bare, None)
        try:
            plain(id, *arguments, **options)
        finally:
            if hidden is not None:
                gymnasium.registry[bare] = hidden

    gymnasium.register = register
    try:
        yield
    finally:
        gymnasium.register = plain


def _register_isaac_labs_own() -> None:
    import isaaclab_tasks  # noqa: F401


def _below(package: ModuleType) -> Iterator[str]:
    for found in pkgutil.iter_modules(getattr(package, "__path__", []), f"{package.__name__}."):
        if not found.name.rpartition(".")[2].startswith(("_", "test")):
            yield found.name


def _import(name: str, archive: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise CustomEnvironmentError(
            f"The custom environment {archive} cannot be imported: {type(error).__name__}: {error}",
            where=name,
            remedy=_import_remedy(error),
            details=traceback.format_exc()[-4_000:],
        ) from error


def _import_remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        if error.name.partition(".")[0] in ISAAC_SIM_MODULES:
            return (
                f"'{error.name}' comes with Isaac Sim only: import it where it is used and give the task Newton's"
                " physics (SimulationCfg(…, physics=NewtonCfg(solver_cfg=MJWarpSolverCfg()))), or run it in the image"
                " isaac-sim."
            )
        return f"Declare the package that has '{error.name}' as a dependency, or add it to the archive."
    return "Mend the package; the details have the traceback."


def _task(job: SimulatorJob, registered: Sequence[str], archive: str) -> str:
    """Return the name of the job's task; the archive's own names come first and are taken as they are."""
    import gymnasium

    for name in (job.task, installed_name(job.task)):
        if name in registered or name in gymnasium.registry:
            return str(name)
    near = near_names(job.task, registered, most=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    more = f" and {len(registered) - _MOST_LISTED} more" if len(registered) > _MOST_LISTED else ""
    raise CustomEnvironmentError(
        f"The custom environment {archive} registers no task '{job.task}'; it registers"
        f" {', '.join(registered[:_MOST_LISTED])}{more}",
        where="trainingConfig.task",
        remedy=f"Set trainingConfig.task to one of them.{hint}",
    )


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise CustomEnvironmentError(
            f"The custom environment's archive cannot be read: {error.strerror or error}",
            where=str(path),
            remedy="Name one that exists.",
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
