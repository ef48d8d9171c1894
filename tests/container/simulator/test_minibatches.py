"""What was ordered of minibatches fits or is refused; a task's own is fitted, and that is told."""

from __future__ import annotations

from typing import Any

import pytest

from isaaclab_flows.container.simulator.libraries.minibatches import fit_minibatches, require_whole_environments
from isaaclab_flows.schemas.errors import ConfigError

KEY = "agent.params.config.minibatch_size"


@pytest.mark.parametrize(
    ("own", "batch", "fitted"),
    [(1_024, 8_192, 1_024), (16_384, 8_192, 2_048), (1_000, 8_192, 512), (512, 6, 1), (3, 7, 1), (None, 64, None)],
)
def test_a_tasks_own_size_is_lowered_to_a_divisor_and_that_is_told(
    own: int | None, batch: int, fitted: int | None
) -> None:
    config: dict[str, Any] = {"minibatch_size": own}
    told = fit_minibatches(config, batch=batch, key=KEY, ordered=False)
    assert config == {"minibatch_size": fitted}
    assert (told is not None) is (own != fitted)
    assert told is None or (KEY in told and f"{own:,}" in told and f"{fitted:,}" in told)


def test_an_ordered_size_runs_as_it_is_or_is_refused_with_one_that_fits() -> None:
    config = {"minibatch_size": 1_024}
    assert fit_minibatches(config, batch=8_192, key=KEY, ordered=True) is None
    with pytest.raises(ConfigError, match="does not divide the 512 steps") as raised:
        fit_minibatches(config, batch=512, key=KEY, ordered=True)
    assert raised.value.where == "trainingConfig.hydraOverrides"
    assert "such as 128" in raised.value.sentence
    assert config == {"minibatch_size": 1_024}


def test_a_recurrent_policy_has_an_environment_for_each_minibatch() -> None:
    require_whole_environments(num_envs=4, minibatches=4)
    with pytest.raises(ConfigError, match=r"agent\.algorithm\.num_mini_batches=3"):
        require_whole_environments(num_envs=3, minibatches=4)
