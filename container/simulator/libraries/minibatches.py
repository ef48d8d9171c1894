"""How the steps of an iteration are cut into minibatches: what was ordered fits or is refused."""

from __future__ import annotations

from typing import Any, Final

from isaaclab_flows.schemas.errors import ConfigError

_FEWEST: Final = 4


def fit_minibatches(config: dict[str, Any], *, batch: int, key: str, ordered: bool) -> str | None:
    """Lower a task's own minibatch size where it does not divide the batch, which rl_games would refuse.

    At least four minibatches remain, as in the other libraries: with a single one a small batch gives
    too few updates to learn from.

    Args:
        config: Where ``minibatch_size`` is; changed in place.
        batch: Steps of an iteration, all environments together.
        key: The size's key, as overrides name it.
        ordered: It was ordered, and so is not changed.

    Returns:
        What was changed, for people; None where nothing was.

    Raises:
        ConfigError: What was ordered does not divide the batch.
    """
    size = config.get("minibatch_size")
    if not size or batch % size == 0:
        return None
    most = min(size, max(1, batch // _FEWEST))
    fitting = next(n for n in range(most, 0, -1) if batch % n == 0)
    if ordered:
        raise ConfigError(
            f"'{key}' is {size:,}, which does not divide the {batch:,} steps of an iteration"
            " (numEnvs x agent.params.config.horizon_length)",
            where="trainingConfig.hydraOverrides",
            remedy=f"Order a divisor of them, such as {fitting:,}, or leave it out.",
        )
    config["minibatch_size"] = fitting
    return (
        f"The task's minibatches of {size:,} steps do not divide the {batch:,} of an iteration here, so they have"
        f" {fitting:,}: order another divisor with {key}=…."
    )


def require_whole_environments(*, num_envs: int, minibatches: int) -> None:
    """Check that each minibatch of a recurrent policy, which learns from whole environments, gets one.

    Raises:
        ConfigError: There are fewer environments than minibatches.
    """
    if num_envs < minibatches:
        raise ConfigError(
            f"A recurrent policy learns from whole environments, and {num_envs} fill no {minibatches} minibatches",
            where="trainingConfig.numEnvs",
            remedy=f"Set it to {minibatches} or more, or order agent.algorithm.num_mini_batches={num_envs}.",
        )
