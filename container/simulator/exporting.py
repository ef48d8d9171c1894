"""Exports a trained policy as TorchScript and ONNX, and keeps only what gives the checkpoint's actions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from isaaclab_rl.entrypoints.common import scoped_torch_backend_flags

from isaaclab_flows.schemas.files import write_whole

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.libraries.base import ExportablePolicy, PolicyNetwork
    from isaaclab_flows.container.simulator.session import Session

CHECKED_OBSERVATIONS = 64
TOLERANCE = 1e-4
"""Largest difference of an action; float32 networks of a few layers stay below 1e-5."""
_OPSET = 17


def export(session: Session, checkpoint: Path) -> tuple[str, ...]:
    """Export a checkpoint's policy into ``exported/``; return the files that passed the check.

    Whatever cannot be exported, or exports to something else, is told as a warning: the training has succeeded.
    """
    folder = session.run_folder / "exported"
    try:
        policy = session.library.load_policy(session, checkpoint)
        network = policy.network()
        observations, actions = _examples(session, policy, network)
    except NotImplementedError as error:
        session.events.warn(f"The policy was not exported: {error}. The checkpoint is complete.")
        return ()
    except Exception as error:
        session.events.warn(
            f"The policy was not exported ({type(error).__name__}: {error}). The checkpoint is complete."
        )
        return ()
    writers: dict[str, Callable[[PolicyNetwork, torch.Tensor, Path], Callable[[np.ndarray], np.ndarray]]] = {
        "policy.pt": write_torchscript,
        "policy.onnx": write_onnx,
    }
    folder.mkdir(parents=True, exist_ok=True)
    passed, report = [], []
    for name, write in writers.items():
        path = folder / name
        try:
            difference = float(np.abs(write(network, observations, path)(observations.numpy()) - actions).max())
        except Exception as error:
            path.unlink(missing_ok=True)
            session.events.warn(f"{name} was not exported ({type(error).__name__}: {error}).")
            continue
        agrees = difference <= TOLERANCE
        report.append({"file": name, "maxAbsDifference": difference, "agrees": agrees})
        if agrees:
            passed.append(str(path))
        else:
            path.unlink()
            session.events.warn(
                f"{name} was thrown away: its actions differ from the checkpoint's by {difference:.2g}."
            )
    check = {
        "checkpoint": checkpoint.name,
        "observations": CHECKED_OBSERVATIONS,
        "observationSize": observations.shape[1],
        "actionSize": actions.shape[1],
        "tolerance": TOLERANCE,
        "files": report,
    }
    write_whole(folder / "check.json", json.dumps(check, indent=2).encode())
    return tuple(passed)


def write_torchscript(
    network: PolicyNetwork, observations: torch.Tensor, path: Path
) -> Callable[[np.ndarray], np.ndarray]:
    """Write a network as TorchScript; return what the written file computes."""
    with torch.inference_mode(False), torch.no_grad():
        torch.jit.trace(network.module, observations).save(str(path))
    loaded = torch.jit.load(str(path))

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            result: np.ndarray = loaded(torch.from_numpy(batch)).numpy()
        return result

    return run


def write_onnx(network: PolicyNetwork, observations: torch.Tensor, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Write a network as ONNX (inputs ``obs``, outputs ``actions``, any batch); return what the file computes."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    # The exporter that traces needs a fraction of a second, the one that captures graphs many; the files are alike.
    with torch.no_grad():
        torch.onnx.export(
            network.module,
            (observations,),
            str(path),
            input_names=["obs"],
            output_names=["actions"],
            dynamic_axes={"obs": {0: "batch"}, "actions": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))
    evaluator = ReferenceEvaluator(str(path))

    def run(batch: np.ndarray) -> np.ndarray:
        result: np.ndarray = evaluator.run(None, {"obs": batch})[0]
        return result

    return run


def _examples(session: Session, policy: ExportablePolicy, network: PolicyNetwork) -> tuple[torch.Tensor, Any]:
    """Return random observations (batch, size) and the policy's actions for them (batch, actions), on the CPU."""
    random = torch.Generator(device="cpu").manual_seed(session.job.seed)
    observations = {
        name: torch.randn(CHECKED_OBSERVATIONS, *shape, generator=random).to(session.device)
        for name, shape in session.observation_shapes.items()
    }
    # TF32 would make the GPU's actions differ from the exported network's by a thousandth.
    with scoped_torch_backend_flags(
        cuda_matmul_allow_tf32=False, cudnn_allow_tf32=False, cudnn_deterministic=True, cudnn_benchmark=False
    ):
        actions = policy.act(observations)
    return network.flatten(observations).cpu().float(), actions.cpu().numpy()
