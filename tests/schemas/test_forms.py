"""The forms give the configurations that files would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from isaaclab_flows.schemas.config import EvaluationJobConfig, TrainingJobConfig, check_config
from isaaclab_flows.schemas.forms import CustomEnvironment, Film, Machine, TaskName, evaluation_config, training_config
from isaaclab_flows.schemas.task_names import TASKS


@given(
    task=st.sampled_from(sorted(TASKS)),
    num_envs=st.integers(1, 65_536),
    seed=st.integers(0, 2**32 - 1),
    iterations=st.integers(1, 10_000),
    nodes=st.integers(1, 64),
)
def test_every_training_form_is_a_valid_configuration(
    task: str, num_envs: int, seed: int, iterations: int, nodes: int
) -> None:
    data = training_config(
        task=task,
        library="rsl_rl",
        num_envs=num_envs,
        max_iterations=iterations,
        seed=seed,
        machine=Machine(num_nodes=nodes),
    )
    config = check_config(data, source="form", expected="training")
    assert isinstance(config, TrainingJobConfig)
    assert (config.training_config.task, config.training_config.num_envs) == (task, num_envs)
    assert config.compute_config.num_nodes == nodes


def _evaluation(**more: object) -> EvaluationJobConfig:
    values: dict[str, object] = {
        "task": "Isaac-Cartpole-Direct",
        "library": "skrl",
        "num_envs": 4,
        "num_episodes": 2,
        "steps_per_episode": 500,
        "seed": 1,
    }
    config = check_config(evaluation_config(**(values | more)), source="form")  # type: ignore[arg-type]
    assert isinstance(config, EvaluationJobConfig)
    return config


def test_one_checkpoint_of_the_form_goes_where_a_file_would_name_it() -> None:
    assert _evaluation(checkpoints=("checkpoints/a.pt",)).training_config.checkpoint_path == "checkpoints/a.pt"
    assert _evaluation(checkpoints=("s3://bucket/a.pt",)).training_config.policy_s3_uri == "s3://bucket/a.pt"
    several = _evaluation(checkpoints=("a.pt", "s3://bucket/b.pt")).training_config
    assert several.checkpoint_paths == ("a.pt", "s3://bucket/b.pt")


def test_a_film_left_out_is_not_recorded() -> None:
    assert _evaluation(film=Film(record_video=False)).training_config.record_video is False


def test_a_custom_environment_replaces_the_chosen_task() -> None:
    config = _evaluation(custom_environment=CustomEnvironment(task="My-Task", archive="packages/mine.whl"))
    assert config.training_config.task == "My-Task"
    assert config.custom_environment == "packages/mine.whl"


def test_the_ui_offers_the_tasks_as_a_choice() -> None:
    offered = TypeAdapter(TaskName).json_schema()["enum"]
    assert offered == sorted(task for task, libraries in TASKS.items() if libraries)
    assert "Isaac-Cartpole-Direct" in offered
