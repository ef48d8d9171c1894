"""The project from outside: what its distributions hold, and what an environment made of the wheel alone can do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.conftest import ROOT
from tests.system.vams import brief_simulator

UV = [sys.executable, "-m", "uv"]
CARTPOLE = ROOT / "examples/cartpole/training/cartpole-laptop-training-config.json"
ROOMS = {"cli", "container", "examples", "flows", "schemas", "tasks"}


def build(source: Path, kind: str, target: Path) -> Path:
    script = "import sys, hatchling.build as b; sys.stdout.write(getattr(b, f'build_{sys.argv[1]}')(sys.argv[2]))"
    answer = subprocess.run(
        [sys.executable, "-c", script, kind, str(target)], cwd=source, check=True, capture_output=True, text=True
    )
    return target / answer.stdout.strip().splitlines()[-1]


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@dataclass(frozen=True)
class Lab:
    """A clean environment with the wheel, and a robotics repository whose folders are called like ours."""

    python: Path
    folder: Path
    simulator: Path

    def run(self, *words: str, **more: str) -> str:
        own = more | {
            "ISAACLAB_FLOWS_SIMULATOR_PYTHON": str(self.simulator),
            "PREFECT_HOME": str(self.folder / ".prefect"),
        }
        kept = {k: v for k, v in os.environ.items() if k not in ("PREFECT_API_URL", "PYTHONPATH", "VIRTUAL_ENV")}
        answer = subprocess.run(
            words, cwd=self.folder, env=kept | own, capture_output=True, text=True, timeout=600, check=False
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout


@pytest.fixture(scope="module")
def lab(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    python = folder / ".venv/bin/python"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(folder / ".venv")], check=True)
    install = [*UV, "pip", "install", "--quiet", "--python", str(python)]
    subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements/orchestrator.txt")], check=True)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    simulator = folder / ".simulator"
    simulator.write_text(f"#!{sys.executable}\n{Path(brief_simulator.__file__).read_text()}")
    simulator.chmod(0o755)
    for name in (*ROOMS - {"examples"}, "worker"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    (folder / "lab/training").mkdir(parents=True)
    (folder / "lab/training/cartpole-training-config.json").write_bytes(CARTPOLE.read_bytes())
    return Lab(python, folder, simulator)


def test_the_wheel_holds_one_package_and_its_metadata(wheel: Path) -> None:
    names = contents(wheel)
    tops = {name.partition("/")[0] for name in names}
    (information,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"isaaclab_flows", information}
    below = {name.split("/")[1] for name in names if name.startswith("isaaclab_flows/")}
    assert below == ROOMS | {"__init__.py", "api.py", "prefect.yaml", "py.typed"}
    assert "isaaclab_flows/schemas/prices.json" in names


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    packed = build(ROOT, "sdist", tmp_path)
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert contents(build(source, "wheel", tmp_path)) == contents(wheel)


def test_the_orchestrating_side_imports_without_torch_and_isaac_lab(lab: Lab) -> None:
    script = (
        "import importlib, importlib.util, pkgutil, isaaclab_flows\n"
        "assert not [n for n in ('torch', 'isaaclab', 'gymnasium', 'warp') if importlib.util.find_spec(n)]\n"
        "for package in ('cli', 'flows', 'tasks', 'schemas'):\n"
        "    package = importlib.import_module('isaaclab_flows.' + package)\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
    )
    lab.run(str(lab.python), "-c", script)


def test_the_program_works_beside_folders_that_are_called_like_ours(lab: Lab) -> None:
    program = str(lab.python.with_name("isaaclab-flows"))
    config = "lab/training/cartpole-training-config.json"
    assert "is a valid training configuration" in lab.run(program, "validate", config)
    assert "is a valid training" in lab.run(str(lab.python), "-m", "isaaclab_flows.cli.main", "validate", config)


@pytest.mark.server
def test_the_examples_of_the_documentation_run_in_a_notebooks_event_loop(lab: Lab, prefect_server: str) -> None:
    text = (ROOT / "docs/python.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 6
    # A notebook's cells run one after the other, in one place for names, while its loop is running.
    script = (
        "import asyncio, json, sys\n"
        "async def notebook():\n"
        "    names = {}\n"
        "    for cell in json.loads(sys.argv[1]):\n"
        "        exec(compile(cell, cell, 'exec'), names)\n"
        "asyncio.run(notebook())\n"
    )
    said = lab.run(str(lab.python), "-c", script, json.dumps(examples), PREFECT_API_URL=prefect_server).splitlines()
    assert said[0].startswith("succeeded 2"), said
    assert said[1].endswith("model_1.pt"), said
    assert any("Isaac-Cartpole-Direct" in line for line in said[-2:]), said
    assert (lab.folder / "outputs/sweeps").is_dir()
