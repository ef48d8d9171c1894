"""evaluate: an evaluation from the typed form of the Prefect UI."""

from __future__ import annotations

from prefect import flow

from isaaclab_flows.flows.orchestrate import orchestrate
from isaaclab_flows.schemas.forms import (
    CustomEnvironment,
    Device,
    Episodes,
    Film,
    Machine,
    NumEnvs,
    Places,
    Seed,
    Steps,
    TaskName,
    evaluation_config,
)
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.task_names import Library
from isaaclab_flows.tasks.request.forms import form_request, run_name


@flow(name="evaluate", flow_run_name=run_name)
def evaluate(
    *,
    checkpoints: tuple[str, ...],
    task: TaskName = "Isaac-Cartpole-Direct",
    library: Library = "rsl_rl",
    num_envs: NumEnvs = 16,
    num_episodes: Episodes = 1,
    steps_per_episode: Steps = 500,
    seed: Seed = 42,
    hydra_overrides: tuple[str, ...] = (),
    device: Device = "auto",
    film: Film = Film(),
    machine: Machine = Machine(),
    places: Places = Places(),
    custom_environment: CustomEnvironment = CustomEnvironment(),
    name: str = "",
) -> Outcome:
    """Evaluate checkpoints with Isaac Lab, on this machine or on AWS Batch: episodes, statistics and a video.

    Args:
        checkpoints: Paths within the asset, absolute paths or s3:// URIs; all are evaluated in one simulator process.
        task: The task that the checkpoints were trained on.
        library: The library that trained them.
        num_envs: Environments simulated in parallel; 1 to 16 are advised with video.
        num_episodes: Rounds: each resets every environment and counts each environment's first episode.
        steps_per_episode: Steps after which a round ends, e.g. 500 for Cartpole, 900 for Ant, 1000 for Humanoid.
        seed: Seed of the environments.
        hydra_overrides: Isaac Lab's Hydra overrides, e.g. env.episode_length_s=10.
        device: Where to simulate; auto takes the GPU where there is one.
        film: The video.
        machine: The machine to ask for.
        places: Where inputs come from and outputs go to.
        custom_environment: A package with tasks of your own.
        name: What people call it: the run's name and its outputs' folder; empty names it by its task.
    """
    config = evaluation_config(
        name=name,
        task=task,
        library=library,
        num_envs=num_envs,
        num_episodes=num_episodes,
        steps_per_episode=steps_per_episode,
        seed=seed,
        checkpoints=checkpoints,
        hydra_overrides=hydra_overrides,
        custom_environment=custom_environment,
        film=film,
        machine=machine,
    )
    return orchestrate(form_request("evaluation", config, places, device))
