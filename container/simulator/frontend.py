"""Which of Isaac Lab's runtimes of a task simulates it: the torch frontend, or its twin in Warp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from isaaclab_flows.schemas.simulator import SimulatorJob

SAME_RESULT: Final = frozenset({"Isaac-Ant-Direct", "Isaac-Cartpole-Direct"})
"""Tasks whose trainings with rsl_rl came out alike on both frontends, as docs/performance.md shows."""
NEWTON: Final = "Newton"
NEWTON_OVERRIDE: Final = "physics=newton_mjwarp"


@dataclass(frozen=True)
class Choice:
    """A frontend, and why it is not the other one."""

    frontend: Literal["torch", "warp"]
    reason: str = ""
    switches_physics: bool = False
    """The task would run on other physics than the frontend can; they have to be asked for."""


def choose(job: SimulatorJob, *, physics: str, device: str, own_tasks: tuple[str, ...] = ()) -> Choice:
    """Choose a job's frontend.

    Args:
        job: The order; an evaluation stays on torch.
        physics: The resolved task's, as :func:`physics_name` says it.
        device: ``cpu`` or ``cuda:N``.
        own_tasks: Tasks that the job's custom environment registers.
    """
    order = job.training
    if order is None:
        return Choice("torch")
    if order.frontend == "torch":
        return Choice("torch")
    if order.frontend == "warp":
        if physics == NEWTON:
            return Choice("warp")
        reason = f"asked for, so the physics are {NEWTON} in the place of {physics}"
        return Choice("warp", reason, switches_physics=True)
    changed = [o for o in job.hydra_overrides if not o.startswith("agent.") and o != NEWTON_OVERRIDE]
    reasons = (
        (order.acceleration == "off", "acceleration is off"),
        (device == "cpu", "the device is the CPU"),
        (physics != NEWTON, f"the task runs on {physics}"),
        (job.library != "rsl_rl", f"it is unproven with {job.library}"),
        (job.task not in SAME_RESULT or job.task in own_tasks, "it is unproven for this task"),
        (bool(changed), f"it is unproven with {', '.join(changed)}"),
    )
    against = next((words for applies, words in reasons if applies), None)
    return Choice("warp") if against is None else Choice("torch", f"not warp: {against}")


def physics_name(env_cfg: Any) -> str:
    """Return the name of a resolved configuration's physics, for people."""
    physics = getattr(env_cfg.sim, "physics", None)
    name = "PhysX" if physics is None else type(physics).__name__  # Isaac Lab's default
    for known in (NEWTON, "PhysX"):
        if name.lower().startswith(known.lower()):
            return known
    return name.removesuffix("Cfg")


def mend_sensors(env_cfg: Any) -> None:
    """Let sensors tell in the warp frontend what they tell in the torch frontend.

    Isaac Lab 3.0 resets the sensors of all environments there in each step, whichever of them ended, and reads them
    within a CUDA graph that was captured without their refresh. So a policy sees zeros in their place: the wrench at
    the feet, for the ant and the humanoid. Here a reset touches only the environments that ended, and sensors are
    refreshed after each physics step, outside of all graphs.
    """
    from isaaclab_experimental.envs.interactive_scene_warp import InteractiveSceneWarp

    env_cfg.scene.lazy_sensor_update = False
    reset_all = InteractiveSceneWarp.reset

    def reset(scene: Any, env_ids: Any = None, env_mask: Any = None) -> None:
        sensors, scene._sensors = scene._sensors, {}
        try:
            reset_all(scene, env_ids, env_mask=env_mask)
        finally:
            scene._sensors = sensors
        for sensor in sensors.values():
            sensor.reset(env_ids, env_mask=env_mask)

    InteractiveSceneWarp.reset = reset
