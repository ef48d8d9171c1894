"""Pictures of a running simulation by Newton's Warp ray tracer: no display, no OpenGL, and no GPU needed.

The picture is taken from Newton's model beside the environment: no sensor is added to the scene, so what is evaluated
is the same with and without a camera, and only the environments in the picture are drawn.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from isaaclab_flows.schemas.config import VideoConfig
from isaaclab_flows.schemas.errors import SimulatorError

FIELD_OF_VIEW: Final = math.radians(40)
"""Vertical."""
DIRECTION: Final = (1.0, -1.0, 0.45)
"""From the robot to the camera, where the task has no view of its own."""
STEEPEST: Final = math.radians(18)
"""Highest elevation of the camera, so that the horizon stays in the picture and upright things look upright."""
MARGIN: Final = 1.15
"""Distance to the robot in units of the one at which it just fits."""
SMALLEST_RADIUS: Final = 0.35
"""[m] Nothing is filmed from nearer than this robot would be."""
FOLLOW_SECONDS: Final = 0.35
"""Time constant with which the camera follows the robot."""
SIGHT: Final = 12.0
"""How far one sees, in units of the distance to the robot: farther away the ground would only flicker."""
PAINT: Final = ((0.93, 0.52, 0.13), (0.90, 0.88, 0.82), (0.16, 0.42, 0.68))
"""For the bodies of a robot that comes without colours, in turn."""
_UNPAINTED = 0.461
"""Newton's grey for shapes without a material."""
_SKY = (204, 221, 238)
_FIXED_JOINT = 3


def prepare(env_cfg: Any) -> str | None:
    """Let the simulation keep the shapes that are only seen; returns why the task cannot be filmed, or None."""
    physics: Any = getattr(env_cfg.sim, "physics", None)
    if not hasattr(physics, "load_visual_shapes"):
        return f"its physics is {type(physics).__name__.removesuffix('Cfg')}, and only Newton's is drawn here"
    physics.load_visual_shapes = True
    return None


class Camera:
    """Films the first environments of a running simulation, each from the same side, side by side.

    Args:
        env: The Gymnasium environment, after its first reset.
        config: The picture. ``width`` and ``height`` are those of the whole.
    """

    def __init__(self, env: Any, config: VideoConfig) -> None:
        import warp as wp
        from isaaclab_newton.physics import NewtonBackendCfg
        from newton.sensors import SensorTiledCamera

        inner = env.unwrapped
        self._backend = inner.sim.get_or_create_backend(
            NewtonBackendCfg(physics_cfg=inner.sim.cfg.physics, device=inner.sim.device)
        )
        model = self._backend.model
        count = min(config.num_envs, model.world_count)
        self._shape = (config.height, config.width)
        self._grid = grid(count, config.width, config.height)
        rows, columns = self._grid
        self._tile = (config.height // rows, config.width // columns)
        self._clear = SensorTiledCamera.ClearData(clear_color=_packed(_SKY))
        self._sensor = SensorTiledCamera(
            _FirstWorlds(model, count, _painted(model)),
            default_render_config=SensorTiledCamera.RenderConfig(
                enable_textures=True,
                enable_shadows=True,
                enable_backface_culling=False,
                render_order=SensorTiledCamera.RenderOrder.TILED,
                tile_width=8,
                tile_height=8,
            ),
        )
        utils = self._sensor.utils
        view = getattr(inner.cfg.sim, "default_visualizer_cfg", None)
        self._direction = _direction(view)
        utils.create_default_light(enable_shadows=True, direction=wp.vec3f(*_sunlight(self._direction)))
        self._rays = utils.compute_camera_rays_pinhole(self._tile[1], self._tile[0], camera_fovs=FIELD_OF_VIEW)
        self._pixels = utils.create_color_image_output(self._tile[1], self._tile[0])
        self._transforms = wp.zeros((1, count), dtype=wp.transformf, device=model.device)
        self._robots = [_moving_bodies(model, world) for world in range(count)]
        self._keep = math.exp(-float(inner.step_dt) / FOLLOW_SECONDS)
        self._targets: Any = None
        self._radius = self._distance = 0.0

    def image(self) -> Any:
        """Return the picture of this moment, a uint8 array (height, width, 3)."""
        self._aim()
        model, state = self._backend.model, self._backend.state_0
        # The ray tracer finds shapes in a hierarchy of boxes, which has to follow the bodies.
        model.bvh_refit_shapes(state)
        if model.particle_count:
            model.bvh_refit_particles(state)
        self._sensor.update(state, self._transforms, self._rays, color_image=self._pixels, clear_data=self._clear)
        tiles = self._pixels.numpy().view(np.uint8).reshape(len(self._robots), *self._tile, 4)[..., :3]
        return lay_out(tiles, self._grid, self._shape)

    def _aim(self) -> None:
        positions = self._backend.state_0.body_q.numpy()[:, :3]
        centres = np.stack([positions[bodies].mean(axis=0) for bodies, _ in self._robots])
        if not np.isfinite(centres).all():
            if self._targets is None:
                raise SimulatorError(
                    "The robot's position is not a number, so it cannot be filmed",
                    where="video",
                    remedy="Mend the environment, or set trainingConfig.recordVideo to false.",
                )
            return
        if self._targets is None:
            self._radius = max(SMALLEST_RADIUS, *(_radius(positions, *robot) for robot in self._robots))
            self._targets = centres
            narrowest = 2 * math.atan(math.tan(FIELD_OF_VIEW / 2) * min(1.0, self._tile[1] / self._tile[0]))
            self._distance = MARGIN * self._radius / math.sin(narrowest / 2)
            self._sensor.default_render_config.max_distance = SIGHT * self._distance
        jumped = np.linalg.norm(centres - self._targets, axis=1) > 2 * self._radius
        followed = centres + (self._targets - centres) * self._keep
        # A reset puts the robot elsewhere at once; there the camera jumps too instead of flying after it.
        self._targets = np.where(jumped[:, None], centres, followed)
        eyes = self._targets + self._distance * self._direction
        turn = _looking_along(-self._direction)
        self._transforms.assign(np.array([[[*eye, *turn] for eye in eyes]], dtype=np.float32))


class _FirstWorlds:
    """A Newton model of which only the first worlds are seen, in colours of the picture's own."""

    def __init__(self, model: Any, count: int, colours: Any) -> None:
        self._model = model
        self.world_count = count
        self.shape_color = colours

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Return the rows and columns in which so many pictures fill one of this size with the least distortion."""

    def misfit(rows: int) -> tuple[float, int]:
        columns = math.ceil(count / rows)
        aspect = (width / columns) / (height / rows)
        return (rows * columns - count) / count + abs(math.log(aspect / 1.2)), rows

    rows = min(range(1, count + 1), key=misfit)
    return rows, math.ceil(count / rows)


def lay_out(tiles: Any, shape: tuple[int, int], size: tuple[int, int]) -> Any:
    """Lay pictures (count, height, width, 3) out in rows and columns on one of ``size`` (height, width)."""
    _, tile_height, tile_width, _ = tiles.shape
    picture = np.empty((*size, 3), dtype=np.uint8)
    picture[:] = _SKY
    for index, tile in enumerate(tiles):
        row, column = divmod(index, shape[1])
        top, left = row * tile_height, column * tile_width
        picture[top : top + tile_height, left : left + tile_width] = tile
    return picture


def _packed(colour: tuple[int, int, int]) -> int:
    red, green, blue = colour
    return 0xFF << 24 | blue << 16 | green << 8 | red


def _painted(model: Any) -> Any:
    """Return the shapes' colours; robots without any, grey before grey ground, get some."""
    import warp as wp

    colours = model.shape_color.numpy().copy()
    bodies = model.shape_body.numpy()
    worlds = np.where(bodies >= 0, model.body_world.numpy()[np.maximum(bodies, 0)], -1)
    grey = np.isclose(colours, _UNPAINTED, atol=0.01).all(axis=1)
    for world in np.unique(worlds[worlds >= 0]):
        for turn, body in enumerate(np.unique(bodies[worlds == world])):
            colours[grey & (bodies == body)] = PAINT[turn % len(PAINT)]
    return wp.array(colours, dtype=wp.vec3f, device=model.device)


def _sunlight(direction: Any) -> tuple[float, float, float]:
    """Return where light goes that comes over the left shoulder of a camera on this side, from above."""
    angle = math.atan2(direction[1], direction[0]) - math.radians(40)
    down = math.radians(50)
    return -math.cos(angle) * math.cos(down), -math.sin(angle) * math.cos(down), -math.sin(down)


def _moving_bodies(model: Any, world: int) -> tuple[Any, Any]:
    """Return the indices of a world's bodies that can move, and how far each one's shapes reach from it [m]."""
    worlds = model.body_world.numpy()
    fixed = {
        int(child)
        for kind, parent, child in zip(
            model.joint_type.numpy(), model.joint_parent.numpy(), model.joint_child.numpy(), strict=True
        )
        if int(kind) == _FIXED_JOINT and int(parent) == -1
    }
    bodies = np.array([body for body in np.flatnonzero(worlds == world) if int(body) not in fixed], dtype=int)
    if bodies.size == 0:
        bodies = np.flatnonzero(worlds == world)
    if bodies.size == 0:
        raise SimulatorError(
            "The task has no bodies that could be filmed",
            where="video",
            remedy="Set trainingConfig.recordVideo to false.",
        )
    shapes, radii = model.shape_body.numpy(), model.shape_collision_radius.numpy()
    scale = np.linalg.norm(model.shape_transform.numpy()[:, :3], axis=1)
    reach = [max(((radii + scale)[shapes == body]).tolist(), default=0.0) for body in bodies]
    return bodies, np.array(reach)


def _radius(positions: Any, bodies: Any, reach: Any) -> float:
    centre = positions[bodies].mean(axis=0)
    return float((np.linalg.norm(positions[bodies] - centre, axis=1) + reach).max())


def _direction(view: Any) -> Any:
    eye, target = getattr(view, "eye", None), getattr(view, "lookat", None)
    offset = np.array(DIRECTION)
    if eye is not None and target is not None and view.eye != type(view)().eye:
        offset = np.subtract(eye, target).astype(float)
    across = float(np.hypot(offset[0], offset[1]))
    if across == 0.0:
        offset[0], across = 1.0, 1.0
    offset[2] = np.clip(offset[2], 0.0, across * math.tan(STEEPEST))
    return offset / np.linalg.norm(offset)


def _looking_along(forward: Any) -> tuple[float, float, float, float]:
    """Return the quaternion (x, y, z, w) of a camera (-z forward, +y up) looking along a level-sided direction."""
    from scipy.spatial.transform import Rotation

    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, forward), -forward], axis=1)
    x, y, z, w = Rotation.from_matrix(axes).as_quat()
    return float(x), float(y), float(z), float(w)
