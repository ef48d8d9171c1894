"""train: a training from the typed form of the Prefect UI."""

from __future__ import annotations

from prefect import flow

from isaaclab_flows.flows.orchestrate import orchestrate
from isaaclab_flows.schemas.forms import (
    CustomEnvironment,
    Device,
    Iterations,
    Keep,
    Machine,
    NumEnvs,
    Places,
    Seed,
    TaskName,
    training_config,
)
from isaaclab_flows.schemas.outcome import Outcome
from isaaclab_flows.schemas.task_names import Library
from isaaclab_flows.tasks.request.forms import form_request, run_name


@flow(name="train", flow_run_name=run_name)
def train(
    *,
    task: TaskName = "Isaac-Cartpole-Direct",
    library: Library = "rsl_rl",
    num_envs: NumEnvs = 4096,
    max_iterations: Iterations = 500,
    seed: Seed = 42,
    resume_checkpoint: str | None = None,
    hydra_overrides: tuple[str, ...] = (),
    device: Device = "auto",
    keep: Keep = Keep(),
    machine: Machine = Machine(),
    places: Places = Places(),
    custom_environment: CustomEnvironment = CustomEnvironment(),
    name: str = "",
) -> Outcome:
    """Train a policy with Isaac Lab, on this machine or on AWS Batch.

    Retrying a run goes on from its newest intact checkpoint; a run with changed parameters is a new job.

    Args:
        task: The task of Isaac Lab to train.
        library: The reinforcement-learning library; not every task has a configuration for each.
        num_envs: Environments simulated in parallel: typically 1024 to 8192 on a GPU, 64 to 256 on a CPU.
        max_iterations: Policy updates in all, those before a resume included; typically 500 to 5000.
        seed: Seed of the environments and the agent.
        resume_checkpoint: Train on from this checkpoint: a path within the asset, or an s3:// URI.
        hydra_overrides: Isaac Lab's Hydra overrides, e.g. env.episode_length_s=10.
        device: Where to simulate; auto takes the GPU where there is one.
        keep: What is kept.
        machine: The machines to ask for.
        places: Where inputs come from and outputs go to.
        custom_environment: A package with tasks of your own.
        name: What people call it: the run's name and its outputs' folder; empty names it by its task.
    """
    config = training_config(
        name=name,
        task=task,
        library=library,
        num_envs=num_envs,
        max_iterations=max_iterations,
        seed=seed,
        resume_checkpoint=resume_checkpoint,
        hydra_overrides=hydra_overrides,
        custom_environment=custom_environment,
        keep=keep,
        machine=machine,
    )
    return orchestrate(form_request("training", config, places, device))
