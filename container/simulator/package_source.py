"""Finds the Python package in an unpacked archive: what to copy, and what it declares to need."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import tomllib
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

from isaaclab_flows.schemas.errors import CustomEnvironmentError

_NOT_PACKAGES: Final = frozenset(
    {"tests", "test", "docs", "examples", "scripts", "build", "dist", "benchmarks", "tools"}
)
_DEEPEST: Final = 4
"""Isaac Lab's template for external projects keeps its package in source/<name>/, and archives have a top folder."""


@dataclass(frozen=True)
class Package:
    """A package ready to be copied onto the import path."""

    roots: tuple[Path, ...]
    """Folders and modules; each is copied as it is, with its data files."""
    requirements: tuple[str, ...]
    """As declared (PEP 508)."""
    metadata: tuple[Path, ...] = ()
    """A wheel's *.dist-info."""
    projects: tuple[tuple[str, str], ...] = ()
    """Names and versions that source trees declare."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Names to import."""
        return tuple(root.stem if root.is_file() else root.name for root in self.roots)

    def copy_to(self, site: Path) -> None:
        """Copy everything into a folder of the import path."""
        site.mkdir(parents=True, exist_ok=True)
        for root in (*self.roots, *self.metadata):
            if root.is_dir():
                shutil.copytree(root, site / root.name, dirs_exist_ok=True)
            else:
                shutil.copy2(root, site / root.name)
        for name, version in self.projects:
            # Packages ask importlib.metadata for their own version.
            info = site / f"{name.replace('-', '_')}-{version}.dist-info"
            info.mkdir(exist_ok=True)
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            (info / "METADATA").write_text(text, encoding="utf-8")


def find_package(folder: Path, *, archive: str) -> Package:
    """Find the package in an unpacked archive: a wheel's, or those of source trees in src or flat layout.

    Raises:
        CustomEnvironmentError: There is none, two have one name, or one has to be compiled.
    """
    if archive.endswith(".whl"):
        return _wheel(folder, archive)
    found = [_source_tree(folder, project, archive) for project in _projects(folder, archive)]
    names = [name for package in found for name in package.modules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _unusable(archive, f"two of its projects have a package {twice[0]}", "Pack one of them.")
    return Package(
        roots=tuple(root for package in found for root in package.roots),
        requirements=tuple(dict.fromkeys(need for package in found for need in package.requirements)),
        projects=tuple(project for package in found for project in package.projects),
    )


def _source_tree(folder: Path, project: Path, archive: str) -> Package:
    settings, setup = _pyproject(project, archive), _setup(project, archive)
    if setup.compiled:
        raise _unusable(
            archive,
            "it has compiled extensions (ext_modules)",
            "Build a wheel for Linux and Python 3.12 and use that instead.",
        )
    source = _source_folder(project, settings)
    roots = _packages(source)
    if not roots:
        raise _unusable(
            archive,
            f"no package lies in '{source.relative_to(folder).as_posix()}'",
            "It needs a folder with __init__.py, beside pyproject.toml or setup.py or below src.",
        )
    declared = settings.get("project", {}).get("dependencies", [])
    needs = [str(need) for need in declared] + _setup_cfg(project) + list(setup.requirements)
    return Package(roots=roots, requirements=tuple(dict.fromkeys(needs)), projects=_name_and_version(settings))


def _wheel(folder: Path, archive: str) -> Package:
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        _, _, _, tags = parse_wheel_filename(archive)
    except InvalidWheelFilename as error:
        raise _unusable(
            archive, f"its name is no wheel's ({error})", "Keep the name that the build gave it."
        ) from error
    if not tags & set(sys_tags()):
        raise _unusable(
            archive,
            f"it is built for {', '.join(sorted(map(str, tags)))}, and this is another Python or machine",
            "Build it for Python 3.12 on Linux, or in pure Python (py3-none-any).",
        )
    infos = sorted(folder.glob("*.dist-info/METADATA"))
    if len(infos) != 1:
        raise _unusable(archive, "it has no metadata (*.dist-info/METADATA)", "Build it with a Python build backend.")
    needs = HeaderParser().parsestr(infos[0].read_text(encoding="utf-8")).get_all("Requires-Dist") or []
    roots = _packages(folder)
    for part in ("purelib", "platlib"):
        roots += tuple(root for data in folder.glob(f"*.data/{part}") for root in _packages(data))
    if not roots:
        raise _unusable(archive, "it holds no package", "Does the build find your package?")
    return Package(roots=roots, requirements=tuple(needs), metadata=(infos[0].parent,))


def _projects(folder: Path, archive: str) -> list[Path]:
    """Return the projects nearest to the archive's top: several lie beside each other."""
    level = [folder]
    for _ in range(_DEEPEST):
        found = [path for path in level if _is_project(path)]
        if found:
            return found
        level = [child for path in level for child in sorted(path.iterdir()) if child.is_dir()]
    raise _unusable(archive, "it has neither pyproject.toml nor setup.py", "Add one beside or above your package.")


def _is_project(folder: Path) -> bool:
    if (folder / "setup.py").is_file() or (folder / "setup.cfg").is_file():
        return True
    # Some only configure tools there, above the real package.
    text = folder / "pyproject.toml"
    return text.is_file() and any(
        line.strip().startswith(("[project", "[build-system", "[tool.poetry"))
        for line in text.read_text(encoding="utf-8", errors="replace").splitlines()
    )


def _pyproject(project: Path, archive: str) -> dict[str, Any]:
    path = project / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _unusable(archive, f"its pyproject.toml is not valid ({error})", "Mend the file.") from error
    project = settings.get("project", {})
    if not isinstance(project, dict) or not isinstance(project.get("dependencies", []), list):
        raise _unusable(
            archive,
            "its pyproject.toml is not valid ('project' must be a table, its 'dependencies' a list)",
            "Mend the file.",
        )
    return settings


def _name_and_version(settings: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    project = settings.get("project", {})
    name, version = str(project.get("name", "")), str(project.get("version", "0"))
    plain = re.fullmatch(r"[A-Za-z0-9._-]+", name) and re.fullmatch(r"[A-Za-z0-9.+!_-]+", version)
    return ((name, version),) if plain else ()


@dataclass(frozen=True)
class _Setup:
    requirements: tuple[str, ...] = ()
    compiled: bool = False


def _setup(project: Path, archive: str) -> _Setup:
    """Read setup.py without running it: lists written out in the call or in a variable of the module are found."""
    path = project / "setup.py"
    if not path.is_file():
        return _Setup()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise _unusable(archive, f"its setup.py is not valid Python ({error})", "Mend the file.") from error
    variables = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    keywords = {
        keyword.arg: keyword.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "setup"
        for keyword in node.keywords
    }
    needs = _literal(keywords.get("install_requires"), variables)
    return _Setup(requirements=tuple(map(str, needs)), compiled="ext_modules" in keywords)


def _literal(node: ast.expr | None, variables: dict[str, ast.expr]) -> list[Any]:
    if isinstance(node, ast.Name):
        node = variables.get(node.id)
    if node is None:
        return []
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return []
    return list(value) if isinstance(value, list | tuple) else []


def _setup_cfg(project: Path) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(project / "setup.cfg", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return []
    return [
        line.strip() for line in parser.get("options", "install_requires", fallback="").splitlines() if line.strip()
    ]


def _source_folder(project: Path, settings: dict[str, Any]) -> Path:
    where = settings.get("tool", {}).get("setuptools", {}).get("packages", {})
    named = where.get("find", {}).get("where", []) if isinstance(where, dict) else []
    for name in [*named, "src"]:
        candidate = (project / str(name)).resolve()
        if candidate.is_dir() and candidate.is_relative_to(project.resolve()) and _packages(candidate):
            return candidate
    return project.resolve()


def _packages(folder: Path) -> tuple[Path, ...]:
    found = []
    for path in sorted(folder.iterdir()):
        name = path.stem if path.is_file() else path.name
        if not name.isidentifier() or name in _NOT_PACKAGES:
            continue
        package = path.is_dir() and (path / "__init__.py").is_file()
        module = path.is_file() and path.suffix in (".py", ".so") and name not in ("setup", "conftest", "noxfile")
        if package or module:
            found.append(path)
    return tuple(found)


def _unusable(archive: str, reason: str, remedy: str) -> CustomEnvironmentError:
    return CustomEnvironmentError(
        f"The custom environment {archive} cannot be installed: {reason}",
        where="trainingConfig.customEnvironmentPath",
        remedy=remedy,
    )
