"""Registers Isaac-Cartpole-Upright-Direct when it is imported; nothing of the simulation is imported for that."""

import gymnasium

_AGENTS = "isaaclab_tasks.core.cartpole.agents"

gymnasium.register(
    id="Isaac-Cartpole-Upright-Direct",
    entry_point=f"{__name__}.environment:CartpoleUprightEnv",
    disable_env_checker=True,
    kwargs={
        "env_cfg_entry_point": f"{__name__}.configuration:CartpoleUprightEnvCfg",
        "rsl_rl_cfg_entry_point": f"{_AGENTS}.rsl_rl_ppo_cfg:CartpoleDirectPPORunnerCfg",
        "rl_games_cfg_entry_point": f"{_AGENTS}:rl_games_direct_ppo_cfg.yaml",
        "skrl_cfg_entry_point": f"{_AGENTS}:skrl_direct_ppo_cfg.yaml",
    },
)
