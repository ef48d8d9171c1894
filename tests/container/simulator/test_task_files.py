from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.container.simulator.task_files import check_files, needed_files
from isaaclab_flows.schemas.errors import InputMissingError
from tests.container.simulator.test_failures import job


@dataclass
class Spawn:
    usd_path: str = ""
    texture_file: str = "/nowhere/sky.hdr"


@dataclass
class Robot:
    spawn: Spawn
    actuators: dict[str, Any] = field(default_factory=dict)


@dataclass
class Scene:
    robot: Robot
    marker_visualizer_cfg: Spawn = field(default_factory=lambda: Spawn("/nowhere/arrow.usd"))
    sensors: list[Any] = field(default_factory=list)


def test_robots_and_networks_are_needed_but_neither_textures_nor_markers() -> None:
    robot = Robot(Spawn("/robots/ant.usd"), {"legs": {"network_file": "/nets/legs.pt"}})
    assert needed_files(Scene(robot)) == ["/robots/ant.usd", "/nets/legs.pt"]


def test_entities_that_a_scene_got_beyond_its_class_are_seen() -> None:
    scene = Scene(Robot(Spawn("/robots/ant.usd")))
    scene.table = Spawn("/props/table.usd")  # type: ignore[attr-defined]
    assert "/props/table.usd" in needed_files(scene)


def test_a_configuration_that_contains_itself_is_walked_once() -> None:
    scene = Scene(Robot(Spawn("/robots/ant.usd")))
    scene.sensors.append(scene)
    assert needed_files(scene) == ["/robots/ant.usd"]


def test_a_missing_file_is_known_at_once(tmp_path: Path) -> None:
    there = tmp_path / "ant.usd"
    there.touch()
    check_files(Scene(Robot(Spawn(str(there)))), job(), answers=lambda _: False)
    with pytest.raises(InputMissingError, match=r"gone\.usd"):
        check_files(Scene(Robot(Spawn(str(tmp_path / "gone.usd")))), job(), answers=lambda _: False)


def test_a_server_is_asked_once_however_many_files_it_has() -> None:
    asked: list[str] = []

    def answers(server: str) -> bool:
        asked.append(server)
        return True

    check_files([Spawn("https://server/a.usd"), Spawn("https://server/b.usd")], job(), answers=answers)
    assert asked == ["https://server"]


def test_a_server_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(InputMissingError, match=r"the server far\.away would send, but it cannot be reached"):
        check_files([Spawn("https://far.away/robot.usd")], job(), answers=lambda _: False)
