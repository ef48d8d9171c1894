"""Steps a task on one of Isaac Lab's frontends from a given state: `python -m tests.system.frontend_steps warp OUT`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from isaaclab_flows.container.simulator.events import NoEvents
from isaaclab_flows.container.simulator.runner import set_asset_root
from isaaclab_flows.container.simulator.stop import StopRequest
from isaaclab_flows.schemas.simulator import SimulatorJob, TrainingOrder

TASK = "Isaac-Ant-Direct"
STEPS = 12


def main(frontend: Any, out: str) -> None:
    """Write observations, rewards and ends of each step to a file of NumPy's."""
    set_asset_root(None)
    import numpy
    import torch

    from isaaclab_flows.container.simulator.libraries import library
    from isaaclab_flows.container.simulator.session import environment, launched, resolve

    job = SimulatorJob(
        job_id="steps",
        task=TASK,
        library="rsl_rl",
        num_envs=4,
        seed=1,
        device="cpu",
        run_folder=str(Path(out).parent),
        progress_file="/dev/null",
        result_file="/dev/null",
        training=TrainingOrder(max_iterations=1, checkpoint_interval=1, frontend=frontend),
    )
    setup = resolve(job, library("rsl_rl"), events=NoEvents(), stop=StopRequest())
    with launched(setup), environment(setup) as session:
        session.env.reset()
        robot = session.env.unwrapped.robot
        # Each frontend draws the starts of the joints with random numbers of its own.
        start = robot.data.default_joint_pos.torch.clone()
        robot.write_joint_state_to_sim_index(position=start, velocity=torch.zeros_like(start), env_ids=torch.arange(4))
        generator = torch.Generator().manual_seed(0)
        steps = []
        for _ in range(STEPS):
            actions = torch.rand(4, robot.num_joints, generator=generator) * 3 - 1.5
            seen, reward, ended, late, _ = session.env.step(actions)
            parts = (seen["policy"], reward, ended, late)
            steps.append(torch.cat([part.reshape(4, -1).float() for part in parts], dim=1).numpy())
        numpy.save(out, numpy.stack(steps))
        os._exit(0)  # leaving the simulation takes seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
