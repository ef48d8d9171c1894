import threading
import time
from pathlib import Path

import pytest

from isaaclab_flows.container.simulator import assets
from tests.system.conftest import free_port

pytest.importorskip("newton", reason="the pack is made from Newton's wheel: run `make setup`")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assets.cached_pack(tmp_path_factory.mktemp("cache"))


def test_the_pack_has_what_isaac_lab_asks_for(pack: Path) -> None:
    from pxr import Usd

    default = {
        assets.CARTPOLE: "/cartpole",
        assets.ANT: "/ant",
        assets.HUMANOID: "/nv_humanoid",
        assets.GROUND: "/World",
    }
    for file, prim in default.items():
        assert str(Usd.Stage.Open(str(pack / file)).GetDefaultPrim().GetPath()) == prim


def test_the_humanoids_joints_have_isaac_labs_names(pack: Path) -> None:
    from pxr import Usd

    stage = Usd.Stage.Open(str(pack / assets.HUMANOID))
    joints = {prim.GetName() for prim in stage.Traverse() if "Joint" in prim.GetTypeName()}
    assert joints >= set(assets.HUMANOID_JOINTS.values())
    assert not joints & set(assets.HUMANOID_JOINTS)


def test_the_ground_has_the_prims_that_isaac_lab_changes(pack: Path) -> None:
    from pxr import Usd, UsdGeom, UsdPhysics

    stage = Usd.Stage.Open(str(pack / assets.GROUND))
    mesh = stage.GetPrimAtPath("/World/Environment/Geometry")
    assert UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").Get()[0] == (-25, -25)
    assert stage.GetPrimAtPath("/World/Environment").GetAttribute("xformOp:scale").Get() == (1, 1, 1)
    plane = stage.GetPrimAtPath("/World/GroundPlane/CollisionPlane")
    assert plane.GetTypeName() == "Plane"
    assert plane.HasAPI(UsdPhysics.CollisionAPI)
    assert (pack / assets.GROUND).with_name("checker.png").read_bytes().startswith(b"\x89PNG")


def test_licence_and_origin_lie_in_the_pack(pack: Path) -> None:
    note = (pack / assets.NOTE_FILE).read_text()
    for said in ("Apache-2.0", "humanoid.usda", "abdomen_x to pelvis", assets.CARTPOLE):
        assert said in note
    assert (pack / "LICENSE.newton.md").is_file()


def test_a_pack_that_is_there_is_not_made_again(pack: Path) -> None:
    before = (pack / assets.ANT).stat().st_mtime_ns
    began = time.monotonic()
    assert assets.cached_pack(pack.parent) == pack
    assert (pack / assets.ANT).stat().st_mtime_ns == before
    assert time.monotonic() - began < 0.5


def test_makers_at_the_same_time_agree_and_leave_nothing_behind(tmp_path: Path) -> None:
    makers = [threading.Thread(target=assets.make_pack, args=(tmp_path / "pack",)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]
    assert (tmp_path / "pack" / assets.HUMANOID).is_file()


def test_a_root_that_is_named_is_taken_as_it_is(tmp_path: Path) -> None:
    assert assets.choose_root("https://mirror/Isaac", cache_folder=tmp_path) == "https://mirror/Isaac"
    assert not list(tmp_path.iterdir())


def test_nvidias_server_is_preferred_to_the_pack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assets, "server_answers", lambda: True)
    assert assets.choose_root(None, cache_folder=tmp_path) is None


def test_offline_the_pack_is_taken(monkeypatch: pytest.MonkeyPatch, pack: Path) -> None:
    monkeypatch.setattr(assets, "server_answers", lambda: False)
    assert assets.choose_root(None, cache_folder=pack.parent) == str(pack)


def never(*_: object, **__: object) -> None:
    time.sleep(5)
    raise TimeoutError


def test_a_server_that_does_not_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    began = time.monotonic()
    assert not assets.server_answers(f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(assets.socket, "create_connection", never)
    assert not assets.server_answers("https://silent.example", seconds=0.1)
    assert time.monotonic() - began < 3
