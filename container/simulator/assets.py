"""Robot files: NVIDIA's asset server where it answers, otherwise a pack made once from the installed Newton wheel.

``python -m isaaclab_flows.container.simulator.assets FOLDER`` makes the pack, e.g. while an image is built.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import sys
import tempfile
import threading
import zlib
from importlib import metadata, util
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from isaaclab_flows.schemas.errors import InputMissingError

PACK_VERSION: Final = "1"
"""Part of the pack's folder name, so that a newer project never trusts an older pack."""
SERVER: Final = "https://omniverse-content-production.s3-us-west-2.amazonaws.com"
"""Isaac Lab's default asset server (isaaclab 3.0.0, ``apps/isaaclab.python.kit``)."""
PROBE_SECONDS: Final = 2.0
NOTE_FILE: Final = "ORIGIN.txt"

CARTPOLE: Final = "Isaac/IsaacLab/Robots/Classic/Cartpole/cartpole.usd"
ANT: Final = "Isaac/Robots/IsaacSim/Ant/ant_instanceable.usd"
HUMANOID: Final = "Isaac/Robots/IsaacSim/Humanoid/humanoid_instanceable.usd"
GROUND: Final = "Isaac/IsaacLab/Environments/Grid/default_ground_plane_checker_v1/default_ground_plane.usda"
HUMANOID_JOINTS: Final = {
    "abdomen_x": "pelvis",
    "left_knee": "left_shin",
    "right_knee": "right_shin",
    "left_elbow": "left_lower_arm",
    "right_elbow": "right_lower_arm",
}
"""Newton's joint names to those that Isaac Lab's humanoid configuration asks for."""
_ROBOTS: Final = {
    CARTPOLE: "cartpole_single_pendulum.usda",
    ANT: "ant.usda",
    HUMANOID: "humanoid.usda",
}
_NOTE: Final = """\
Robot files for Isaac Lab without NVIDIA's asset server, made on this machine from the installed wheel
`newton` {version} (folder newton/examples/assets; the wheel's licence is Apache-2.0 and lies beside this file; the
header of each file names its own origin where it has one).

{cartpole}
    cartpole_single_pendulum.usda with the default prim `cartpole`. By its header it is Isaac Lab's own file, flattened.
{ant}
    ant.usda as it is.
{humanoid}
    humanoid.usda with five joints renamed: {joints}.
{ground}
    Written by this project: a one-metre checker board and an infinite collision plane.
"""


def choose_root(wanted: str | None, *, cache_folder: Path) -> str | None:
    """Return the folder or URL to set as ISAACSIM_ASSET_ROOT, or None where Isaac Lab's own default serves.

    Args:
        wanted: What the job or the environment names; it is taken as it is.
        cache_folder: Where the pack is kept that stands in while NVIDIA's server cannot be reached.
    """
    if wanted:
        return wanted
    return None if server_answers() else str(cached_pack(cache_folder))


def cached_pack(cache_folder: Path) -> Path:
    """Return the asset pack below a cache folder, making it when it is not there yet.

    Raises:
        InputMissingError: Newton's wheel, which the robot files come from, is not installed or lacks one.
    """
    folder = cache_folder.expanduser() / f"assets-{PACK_VERSION}-newton-{metadata.version('newton')}"
    make_pack(folder)
    return folder


def server_answers(url: str = SERVER, *, seconds: float = PROBE_SECONDS) -> bool:
    """Say whether a TCP connection to a server (or to the proxy that leads to it) comes about in time."""
    address = urlsplit(_proxy(url) or url)
    port = address.port or (443 if address.scheme == "https" else 80)
    connected: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((address.hostname or "", port), timeout=seconds).close()
            connected.append(True)
        except OSError:
            return

    # Name resolution has no time limit of its own, so it is the thread that is not waited for any longer.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(connected)


def _proxy(url: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    address = urlsplit(url)
    if proxy_bypass(address.hostname or ""):
        return None
    return getproxies().get(address.scheme)


def make_pack(folder: Path) -> None:
    """Make the asset pack; the folder appears complete or not at all, whoever else makes it at the same time.

    Raises:
        InputMissingError: Newton's wheel is not installed or lacks a robot file.
    """
    if (folder / NOTE_FILE).is_file():
        return
    source = _newton_assets()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        made = Path(temporary) / "pack"
        for target, name in _ROBOTS.items():
            path = made / target
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_robot(source / name, path)
        _write_ground(made / GROUND)
        _write_note(made)
        try:
            made.rename(folder)
        except OSError:
            # Another process was faster; its pack is as good.
            if not (folder / NOTE_FILE).is_file():
                raise


def _newton_assets() -> Path:
    spec = util.find_spec("newton")
    folder = Path(spec.origin).parent / "examples" / "assets" if spec and spec.origin else None
    missing = [name for name in _ROBOTS.values() if folder is None or not (folder / name).is_file()]
    if folder is None or missing:
        raise InputMissingError(
            f"The robot files {', '.join(missing)} are not in the installed newton wheel",
            where=str(folder or "newton"),
            remedy="Install newton 1.6.1, or set ISAACSIM_ASSET_ROOT to a folder with Isaac Sim's assets.",
        )
    return folder


def _write_robot(source: Path, target: Path) -> None:
    from pxr import Sdf

    layer = Sdf.Layer.FindOrOpen(str(source))
    copy = Sdf.Layer.CreateAnonymous(".usda")
    copy.TransferContent(layer)
    if source.name == "cartpole_single_pendulum.usda":
        copy.defaultPrim = "cartpole"
    if source.name == "humanoid.usda":
        _rename_joints(copy)
    # `.usd` holds either encoding; the binary one opens faster.
    copy.Export(str(target), args={"format": "usdc"})


def _rename_joints(layer: Any) -> None:
    from pxr import Sdf

    found: list[Any] = []
    layer.Traverse(Sdf.Path.absoluteRootPath, lambda path: found.append(path) if path.IsPrimPath() else None)
    edit = Sdf.BatchNamespaceEdit()
    renamed = set()
    for path in found:
        prim = layer.GetPrimAtPath(path)
        if prim.name in HUMANOID_JOINTS and "Joint" in prim.typeName:
            edit.Add(Sdf.NamespaceEdit.Rename(path, HUMANOID_JOINTS[prim.name]))
            renamed.add(prim.name)
    if renamed != set(HUMANOID_JOINTS) or not layer.Apply(edit):
        raise InputMissingError(
            f"The joints {', '.join(sorted(set(HUMANOID_JOINTS) - renamed))} are not in newton's humanoid.usda",
            where="newton/examples/assets/humanoid.usda",
            remedy="Install newton 1.6.1, or set ISAACSIM_ASSET_ROOT to a folder with Isaac Sim's assets.",
        )


def _write_ground(path: Path) -> None:
    """Write a ground plane with the prims that Isaac Lab's spawner looks for: Environment, GroundPlane, Looks."""
    from pxr import Gf, Sdf, Usd, UsdGeom, UsdPhysics, UsdShade

    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "checker.png").write_bytes(_checker())
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/World").GetPrim())
    UsdGeom.Xform.Define(stage, "/World/Environment").AddScaleOp().Set(Gf.Vec3f(1.0))
    mesh = UsdGeom.Mesh.Define(stage, "/World/Environment/Geometry")
    mesh.CreatePointsAttr([(-50, -50, 0), (50, -50, 0), (50, 50, 0), (-50, 50, 0)])
    mesh.CreateFaceVertexCountsAttr([4])
    mesh.CreateFaceVertexIndicesAttr([0, 1, 2, 3])
    mesh.CreateNormalsAttr([(0, 0, 1)] * 4)
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    coordinates = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar(
        "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.varying
    )
    coordinates.Set([(-25, -25), (25, -25), (25, 25), (-25, 25)])

    UsdGeom.Xform.Define(stage, "/World/GroundPlane")
    plane = UsdGeom.Plane.Define(stage, "/World/GroundPlane/CollisionPlane")
    plane.CreateAxisAttr(UsdGeom.Tokens.z)
    plane.CreateVisibilityAttr(UsdGeom.Tokens.invisible)
    UsdPhysics.CollisionAPI.Apply(plane.GetPrim())

    UsdGeom.Scope.Define(stage, "/World/Looks")
    material = UsdShade.Material.Define(stage, "/World/Looks/theGrid")
    shader = UsdShade.Shader.Define(stage, "/World/Looks/theGrid/Shader")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
    reader = UsdShade.Shader.Define(stage, "/World/Looks/theGrid/Coordinates")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    texture = UsdShade.Shader.Define(stage, "/World/Looks/theGrid/Texture")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set("./checker.png")
    texture.CreateInput("wrapS", Sdf.ValueTypeNames.Token).Set("repeat")
    texture.CreateInput("wrapT", Sdf.ValueTypeNames.Token).Set("repeat")
    texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(
        reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    )
    shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
        texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
    )
    material.CreateSurfaceOutput().ConnectToSource(shader.CreateOutput("surface", Sdf.ValueTypeNames.Token))
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
    stage.GetRootLayer().Save()


def _checker(pixels: int = 64) -> bytes:
    """Return a PNG of two by two checks, light and dark; one image covers two metres."""
    light, dark = bytes((190, 194, 200)), bytes((110, 116, 126))
    half = pixels // 2
    rows = [b"\0" + light * half + dark * half] * half + [b"\0" + dark * half + light * half] * half

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", pixels, pixels, 8, 2, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


def _write_note(folder: Path) -> None:
    wheel = metadata.distribution("newton")
    joints = ", ".join(f"{old} to {new}" for old, new in HUMANOID_JOINTS.items())
    note = _NOTE.format(
        version=wheel.version, cartpole=CARTPOLE, ant=ANT, humanoid=HUMANOID, ground=GROUND, joints=joints
    )
    (folder / NOTE_FILE).write_text(note, encoding="utf-8")
    for file in wheel.files or []:
        if file.name == "LICENSE.md" and "dist-info" in str(file.parent):
            shutil.copyfile(Path(str(wheel.locate_file(file))), folder / "LICENSE.newton.md")


def main(arguments: list[str]) -> int:
    """Make the pack in a folder given on the command line."""
    if len(arguments) != 1:
        os.write(2, b"usage: python -m isaaclab_flows.container.simulator.assets FOLDER\n")
        return 2
    make_pack(Path(arguments[0]).absolute())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
