from pathlib import Path

import pytest

from isaaclab_flows.container.simulator.checkpoints import first_iteration, fitting
from isaaclab_flows.schemas.errors import CheckpointError, ConfigError
from isaaclab_flows.schemas.simulator import TrainingOrder
from tests.container.simulator.test_failures import job

ORDER = TrainingOrder(max_iterations=500, checkpoint_interval=100)


def test_a_training_goes_on_after_what_the_checkpoint_has_behind_it() -> None:
    assert first_iteration(300, job(training=ORDER), Path("/asset/model_299.pt")) == 300


def test_a_checkpoint_from_elsewhere_with_all_iterations_is_the_users_mistake() -> None:
    with pytest.raises(ConfigError, match="already has 500 iterations, and maxIterations, the total, is 500"):
        first_iteration(500, job(training=ORDER), Path("/asset/model_499.pt"))


def test_the_jobs_own_last_checkpoint_leaves_nothing_to_train() -> None:
    assert first_iteration(500, job(training=ORDER), Path("/job/run/checkpoints/model_499.pt")) == 500


@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        (
            RuntimeError(
                "Error(s) in loading state_dict for MLPModel:\n\tsize mismatch for mlp.0.weight: copying a param with"
                " shape torch.Size([400, 60]) from checkpoint, the shape in current model is torch.Size([32, 4]).\n"
            ),
            "another shape ('mlp.0.weight' is 400x60 there, and 32x4 here)",
        ),
        (ValueError("loaded state dict contains a parameter group that doesn't match"), "loaded state dict contains"),
        (KeyError("actor_state_dict"), "was not written by rsl_rl ('actor_state_dict' is not in it)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_explained_in_one_line(complaint: Exception, said: str) -> None:
    with (
        pytest.raises(CheckpointError) as raised,
        fitting(Path("/x/model_3.pt"), task="Isaac-Ant", library="rsl_rl"),
    ):
        raise complaint
    assert said in raised.value.sentence
    assert "\n" not in raised.value.sentence
    assert "/x/model_3.pt" in raised.value.sentence
