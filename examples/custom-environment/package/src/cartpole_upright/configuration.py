"""Configuration of Isaac-Cartpole-Upright-Direct."""

from isaaclab.utils import configclass
from isaaclab_tasks.core.cartpole.cartpole_direct_env_cfg import CartpoleEnvCfg


@configclass
class CartpoleUprightEnvCfg(CartpoleEnvCfg):
    """Cartpole, rewarded for an upright pole and a cart in the middle."""

    upright_scale: float = 1.0
    """Reward a second of a pole that stands straight up; what it gets is this times the cosine of its angle."""
    centre_scale: float = -0.1
    """Reward a second of a cart one metre off the middle; grows with the square of the distance."""
    effort_scale: float = -0.005
    """Reward a second for each metre a second that the cart moves."""
    fall_penalty: float = -2.0
    """Reward of leaving the rail."""
    success_angle: float = 0.2
    """[rad] An episode succeeds when the pole is within this angle at its end."""
