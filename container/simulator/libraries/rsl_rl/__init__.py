"""rsl_rl: its runners with this project's progress, checkpoints and stops."""

from isaaclab_flows.container.simulator.libraries.rsl_rl.library import RslRl

__all__ = ["RslRl"]
