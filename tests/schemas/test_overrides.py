"""Overrides that Isaac Lab would pass over without a word are refused where the configuration is read."""

from __future__ import annotations

import pytest

from isaaclab_flows.schemas.overrides import check_override


@pytest.mark.parametrize(
    "override",
    [
        "env.episode_length_s=10",
        "agent.algorithm.learning_rate=1e-3",
        "+agent.agent.new=1",
        "++env.decimation=4",
        "physics=newton_mjwarp",
        "presets=a,b",
        "env.scene.light=null",
        "env.commands.x.ranges.lin_vel_x=[0.0, 1.0]",
        "agent.obs_groups={'actor': ['policy']}",
    ],
)
def test_an_override_that_is_written_as_one_stays_as_it_is(override: str) -> None:
    assert check_override(override) == override


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("env.scene.num_envs=64", "Set trainingConfig.numEnvs instead"),
        ("+env.scene.num_envs=64", "Set trainingConfig.numEnvs instead"),
        ("agent.max_iterations=5", "Set trainingConfig.maxIterations instead"),
        ("agent.params.config.max_epochs=5", "Set trainingConfig.maxIterations instead"),
        ("agent.trainer.timesteps=5", "Set trainingConfig.maxIterations instead"),
        ("agent.seed=5", "Set trainingConfig.seed instead"),
        ("env.seed=5", "Set trainingConfig.seed instead"),
        ("agent.resume=true", "Set trainingConfig.resumeCheckpoint instead"),
        ("agent.load_run=.*", "Set trainingConfig.resumeCheckpoint instead"),
        ("agent.save_interval=5", "Set outputConfig.checkpointInterval instead"),
        ("env.sim.device=cpu", "Set the option --device"),
        ("agent.device=cpu", "Set the option --device"),
        ("agent.experiment_name=x", "it belongs to the job's own folder"),
        ("agent.logger=wandb", "it belongs to the job itself"),
        ("~env.scene.light", "Write 'env.scene.light=null'"),
        ("env.x = 1", "Write no spaces: 'env.x=1'"),
        ("--headless", "an option of Isaac Lab's command line"),
        ("decimation=4", "Allowed: env.…=value"),
        ("hydra.run.dir=/x", "Allowed: env.…=value"),
        ("env.decimation", "Allowed: env.…=value"),
        ("rm -rf /", "Allowed: env.…=value"),
    ],
)
def test_what_would_change_nothing_is_refused_with_what_to_write(override: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"hydraOverrides") as raised:
        check_override(override)
    assert override in str(raised.value)
    assert said in str(raised.value)
