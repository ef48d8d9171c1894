"""`isaaclab-flows demo`: the whole way on this machine's CPU: train, evaluate, film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isaaclab_flows.cli.console import EXIT_FAILED, console, say
from isaaclab_flows.cli.run import RunOptions, perform
from isaaclab_flows.schemas.errors import InputMissingError
from isaaclab_flows.tasks.show.headline import evaluation_line, training_line

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "cartpole"
TRAINING = EXAMPLES / "training" / "cartpole-laptop-training-config.json"
EVALUATION = EXAMPLES / "evaluation" / "cartpole-laptop-evaluation-config.json"


def run_demo(*, output: str, overrides: Sequence[str]) -> int:
    """Train the laptop example, evaluate its last checkpoint with a video, and say in three lines what came out.

    Args:
        output: Folder for both jobs' outputs.
        overrides: `KEY=VALUE` items for the training.

    Returns:
        The program's exit code.

    Raises:
        InputMissingError: The examples are not here: the demo runs from a checkout.
    """
    if not TRAINING.is_file():
        raise InputMissingError("The examples are missing", where=str(EXAMPLES), remedy="Run it from a checkout.")
    trained = perform(RunOptions(TRAINING, output=output, overrides=overrides, device="cpu"))
    if isinstance(trained, int):
        return trained
    if trained.training is None or trained.training.last_checkpoint is None:
        return EXIT_FAILED
    console().print()
    checkpoint = f"trainingConfig.checkpointPath=checkpoints/{trained.training.last_checkpoint}"
    evaluated = perform(
        RunOptions(EVALUATION, asset_root=Path(trained.output_uri), output=output, overrides=[checkpoint], device="cpu")
    )
    if isinstance(evaluated, int):
        return evaluated
    console().print()
    say(training_line(trained, trained.training))
    say(f"Evaluated {evaluation_line(evaluated.evaluations[0])}")
    say(f"Look at {trained.output_uri}/learning-curve.png and {evaluated.output_uri}/videos/")
    return 0
