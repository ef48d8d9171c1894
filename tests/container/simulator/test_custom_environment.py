import sys
import zipfile
from pathlib import Path

import pytest

gymnasium = pytest.importorskip("gymnasium")

from isaaclab_flows.container.simulator import custom_environment  # noqa: E402
from isaaclab_flows.container.simulator.custom_environment import install  # noqa: E402
from isaaclab_flows.schemas.errors import CustomEnvironmentError  # noqa: E402
from isaaclab_flows.schemas.simulator import SimulatorJob  # noqa: E402

REGISTER = "import gymnasium\ngymnasium.register(id='{task}', entry_point='x:Y')\n"
PYPROJECT = '[project]\nname = "{name}"\nversion = "1.2"\ndependencies = [{needs}]\n'


LIKE_OURS = ("cli", "container", "flows", "infrastructure", "schemas", "tasks", "worker")


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """Leave imports, the import path and the task registry as they were."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(custom_environment, "_register_isaac_labs_own", lambda: None)
    modules, tasks = set(sys.modules), dict(gymnasium.registry)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("our_") or name in LIKE_OURS:
            del sys.modules[name]
    gymnasium.registry.clear()
    gymnasium.registry.update(tasks)


def job(tmp_path: Path, files: dict[str, str], *, task: str = "Our-Task", name: str = "a.zip") -> SimulatorJob:
    archive = tmp_path / name
    with zipfile.ZipFile(archive, "w") as packed:
        for path, text in files.items():
            packed.writestr(path, text)
    return SimulatorJob(
        job_id="job",
        task=task,
        library="rsl_rl",
        num_envs=1,
        seed=0,
        device="cpu",
        run_folder=str(tmp_path / "run"),
        progress_file=str(tmp_path / "progress.jsonl"),
        result_file=str(tmp_path / "result.json"),
        custom_environment=str(archive),
        custom_environment_folder=str(tmp_path / "environment"),
    )


def project(name: str, init: str, *, needs: str = "", top: str = "", source: str = "src/") -> dict[str, str]:
    return {
        f"{top}pyproject.toml": PYPROJECT.format(name=name, needs=needs),
        f"{top}{source}{name}/__init__.py": init,
        f"{top}{source}{name}/data.yaml": "x: 1",
    }


@pytest.mark.parametrize(
    ("top", "source"), [("", "src/"), ("", ""), ("our-repo-main/", "src/"), ("our-repo-main/", "")]
)
def test_src_and_flat_layouts_are_installed_with_their_data_below_a_top_folder_or_not(tmp_path, top, source):
    order = job(tmp_path, project("our_layout", REGISTER.format(task="Our-Task"), top=top, source=source))
    assert install(order).tasks == ("Our-Task",)
    site = tmp_path / "environment" / "site"
    assert (site / "our_layout" / "data.yaml").is_file()
    assert Path(sys.modules["our_layout"].__file__).is_relative_to(site)


@pytest.mark.parametrize("name", LIKE_OURS)
def test_a_package_may_be_called_like_a_folder_of_ours(tmp_path, monkeypatch, name):
    monkeypatch.delitem(sys.modules, name, raising=False)
    assert install(job(tmp_path, project(name, REGISTER.format(task="Our-Task")))).tasks == ("Our-Task",)
    assert Path(sys.modules[name].__file__).is_relative_to(tmp_path / "environment" / "site")


def test_a_package_with_setup_py_only_is_installed_without_running_it(tmp_path):
    setup = "NEEDS = ['numpy']\nfrom setuptools import setup\nraise SystemExit\nsetup(install_requires=NEEDS)\n"
    order = job(tmp_path, {"setup.py": setup, "our_setup/__init__.py": REGISTER.format(task="Our-Task")})
    assert install(order).tasks == ("Our-Task",)


def test_isaac_labs_template_for_external_projects_is_found_two_folders_down(tmp_path):
    files = {
        "our/pyproject.toml": "[tool.ruff]\n",
        "our/scripts/train.py": "",
        "our/source/our_template/setup.py": "from setuptools import setup\nsetup()\n",
        "our/source/our_template/our_template/__init__.py": "from .tasks import *\n",
        "our/source/our_template/our_template/tasks/__init__.py": REGISTER.format(task="Our-Task"),
    }
    with pytest.raises(CustomEnvironmentError, match="neither pyproject"):
        install(job(tmp_path, {f"deep/{path}": text for path, text in files.items()}))
    assert install(job(tmp_path, {path.removeprefix("our/"): text for path, text in files.items()})).tasks == (
        "Our-Task",
    )


def test_a_wheel_is_installed_with_its_metadata(tmp_path):
    files = {
        "our_wheel/__init__.py": REGISTER.format(task="Our-Task")
        + "from importlib.metadata import version\n__version__ = version('our-wheel')\n",
        "our_wheel-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: our-wheel\nVersion: 1.2\n"
        "Requires-Dist: numpy\nRequires-Dist: nobody-has-this; extra == 'dev'\n",
    }
    assert install(job(tmp_path, files, name="our_wheel-1.2-py3-none-any.whl")).tasks == ("Our-Task",)
    assert sys.modules["our_wheel"].__version__ == "1.2"


def test_a_wheel_for_another_python_is_refused(tmp_path):
    with pytest.raises(CustomEnvironmentError, match="built for cp39"):
        install(job(tmp_path, {"x": ""}, name="our_wheel-1.2-cp39-cp39-win_amd64.whl"))


def test_a_task_that_a_module_below_the_package_registers_is_found(tmp_path):
    files = project("our_below", "") | {"src/our_below/tasks.py": REGISTER.format(task="Our-Task")}
    assert install(job(tmp_path, files)).tasks == ("Our-Task",)


def test_the_same_archive_is_installed_once_and_another_one_replaces_it(tmp_path):
    order = job(tmp_path, project("our_first", REGISTER.format(task="Our-Task")))
    install(order)
    marker = tmp_path / "environment" / "site" / "marker"
    marker.touch()
    sys.modules.pop("our_first")
    gymnasium.registry.pop("Our-Task")
    assert install(order).tasks == ("Our-Task",)
    assert marker.exists()
    assert install(job(tmp_path, project("our_second", REGISTER.format(task="Our-Other")), task="Our-Other"))
    assert not marker.exists()


def test_a_wrong_task_name_is_answered_with_those_that_registered(tmp_path):
    order = job(tmp_path, project("our_names", REGISTER.format(task="Our-Cartpole-Direct")), task="Our-Cartpole")
    with pytest.raises(CustomEnvironmentError, match="registers no task 'Our-Cartpole'; it registers") as caught:
        install(order)
    assert "Did you mean 'Our-Cartpole-Direct'?" in caught.value.remedy


def test_a_package_without_a_task_is_refused(tmp_path):
    with pytest.raises(CustomEnvironmentError, match=r"registers no task \(our_empty was imported\)"):
        install(job(tmp_path, project("our_empty", "")))


@pytest.mark.parametrize(
    ("code", "what", "remedy"),
    [
        ("1 / 0", "ZeroDivisionError", "Mend the package"),
        ("import nobody_has_this", "No module named 'nobody_has_this'", "Declare the package"),
        ("import omni.kit", "No module named 'omni", "the image isaac-sim"),
        ("raise SystemExit(3)", "SystemExit", "Mend the package"),
    ],
)
def test_an_import_that_fails_is_an_error_with_its_traceback(tmp_path, code, what, remedy):
    with pytest.raises(CustomEnvironmentError, match=what) as caught:
        install(job(tmp_path, project("our_broken", code)))
    assert remedy in caught.value.remedy
    assert "our_broken/__init__.py" in caught.value.details


def test_missing_dependencies_are_all_listed_when_no_index_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_environment, "_run", lambda command: "no index")
    needs = '"nobody-has-this>=1", "numpy", "nor-this; python_version > \'3\'", "other; sys_platform == \'win32\'"'
    with pytest.raises(CustomEnvironmentError, match="not installed: nobody-has-this>=1, nor-this") as caught:
        install(job(tmp_path, project("our_needs", "", needs=needs)))
    assert caught.value.details == "no index"


def test_a_dependency_and_what_it_needs_in_turn_are_installed_beside_the_package(tmp_path, monkeypatch):
    def index(command):
        site = Path(command[command.index("--target") + 1])
        for name in command[command.index(str(site)) + 1 :]:
            needs = "Requires-Dist: our-second\n" if name == "our-first" else ""
            info = site / f"{name.replace('-', '_')}-1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}")
            (site / f"{name.replace('-', '_')}_lib.py").touch()
        return ""

    monkeypatch.setattr(custom_environment, "_run", index)
    init = "import our_first_lib, our_second_lib\n" + REGISTER.format(task="Our-Task")
    assert install(job(tmp_path, project("our_chain", init, needs='"our-first"'))).tasks == ("Our-Task",)


def test_another_version_than_the_simulators_is_refused(tmp_path):
    with pytest.raises(CustomEnvironmentError, match=r"needs other versions .* numpy<1 \(installed: "):
        install(job(tmp_path, project("our_old", "", needs='"numpy<1"')))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"README.md": ""}, "neither pyproject.toml nor setup.py"),
        (
            {f"{p}/{file}": "" for p in "ab" for file in ("setup.py", "our_twin/__init__.py")},
            "two of its projects have a package our_twin",
        ),
        ({"pyproject.toml": "[project]\nname="}, "pyproject.toml is not valid"),
        ({"pyproject.toml": "project = 1\n[build-system]\n"}, "pyproject.toml is not valid"),
        ({"pyproject.toml": "[project]\ndependencies = 1\n"}, "pyproject.toml is not valid"),
        ({"setup.py": "def"}, "setup.py is not valid"),
        ({"pyproject.toml": "[project]\nname='x'\n", "tests/__init__.py": ""}, "no package lies in"),
        ({"setup.py": "from setuptools import setup\nsetup(ext_modules=[1])", "p/__init__.py": ""}, "compiled"),
        ({"pyproject.toml": "[project]\nname='x'\ndependencies=['==']\n", "p/__init__.py": ""}, "cannot be read"),
    ],
)
def test_an_archive_without_a_usable_package_is_refused_with_the_reason(tmp_path, files, reason):
    with pytest.raises(CustomEnvironmentError, match=reason):
        install(job(tmp_path, files))


@pytest.mark.parametrize(
    ("registered", "asked", "runs"),
    [
        ("Isaac-Cartpole-Direct-Play-v0", "Isaac-Cartpole-Direct-Play-v0", "Isaac-Cartpole-Direct-Play-v0"),
        ("Isaac-Cartpole-Direct-v0", "Isaac-Cartpole-Direct-v0", "Isaac-Cartpole-Direct-v0"),
        ("Isaac-Cartpole-Direct", "Isaac-Cartpole-Direct-v0", "Isaac-Cartpole-Direct"),
        ("Our-Task", "Our-Task", "Our-Task"),
    ],
)
def test_the_archives_own_name_comes_first_and_is_translated_only_where_it_has_none(
    tmp_path, monkeypatch, registered, asked, runs
):
    isaac_labs = lambda: gymnasium.register(id="Isaac-Cartpole-Direct", entry_point="x:Y")  # noqa: E731
    monkeypatch.setattr(custom_environment, "_register_isaac_labs_own", isaac_labs)
    order = job(tmp_path, project("our_names", REGISTER.format(task=registered)), task=asked)
    found = install(order)
    assert found.task == runs
    assert found.tasks == (registered,)


TEMPLATE = {
    "pyproject.toml": "[tool.ruff]\nline-length = 120\n",
    "scripts/rsl_rl/train.py": "",
    "source/our_template/config/extension.toml": '[package]\nversion = "0.1.0"\n',
    "source/our_template/pyproject.toml": '[build-system]\nrequires = ["setuptools", "toml"]\n',
    "source/our_template/setup.py": "import toml\nfrom setuptools import setup\nINSTALL_REQUIRES = ['numpy']\n"
    "setup(name='our_template', packages=['our_template'], install_requires=INSTALL_REQUIRES)\n",
    "source/our_template/our_template/__init__.py": "from .tasks import *\n",
    "source/our_template/our_template/tasks/__init__.py": "import our_template.tasks.direct.robot\n",
    "source/our_template/our_template/tasks/direct/__init__.py": "",
    "source/our_template/our_template/tasks/direct/robot/__init__.py": REGISTER.format(task="Our-Task"),
    "source/our_template/docs/CHANGELOG.rst": "",
}
"""Isaac Lab 2.x's template for external projects: setup.py names its top package alone, and is installed editable."""


@pytest.mark.parametrize("top", ["", "our_project/", "our_project-main/"])
def test_isaac_labs_external_template_is_installed_with_and_without_its_top_folder(tmp_path, top):
    order = job(tmp_path, {f"{top}{path}": text for path, text in TEMPLATE.items()})
    assert install(order).tasks == ("Our-Task",)


def test_several_projects_of_one_archive_are_all_installed(tmp_path):
    files = project("our_robots", "SIZE = 3\n", top="a/")
    files |= project("our_tasks", "import our_robots\n" + REGISTER.format(task="Our-Task"), top="b/")
    assert install(job(tmp_path, files)).tasks == ("Our-Task",)


def test_a_task_that_a_deep_module_registers_is_found(tmp_path):
    files = project("our_deep", "") | {
        "src/our_deep/tasks/__init__.py": "",
        "src/our_deep/tasks/direct/__init__.py": "",
        "src/our_deep/tasks/direct/robot.py": REGISTER.format(task="Our-Task"),
    }
    assert install(job(tmp_path, files)).tasks == ("Our-Task",)
