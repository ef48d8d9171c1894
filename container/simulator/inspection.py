"""``python -m isaaclab_flows.container.simulator.inspection FILE``: what a checkpoint is, as JSON.

The file is read as untrusted input. Tasks that it could fit are listed where Isaac Lab is installed.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from isaaclab_flows.container.simulator.checkpoints import load_untrusted
from isaaclab_flows.container.simulator.libraries.old_checkpoints import (
    convert_rl_games,
    convert_rsl_rl,
    convert_skrl,
)
from isaaclab_flows.schemas.errors import CheckpointError, ErrorRecord
from isaaclab_flows.schemas.inspection import CheckpointReport, Memory, NetworkReport
from isaaclab_flows.schemas.task_names import ENTRY_POINT, TASKS, Library

_GATES: Final[dict[int, Memory]] = {4: "lstm", 3: "gru"}
"""By how many gates a memory has."""
_COMPILED: Final = "_orig_mod."
_STEPS: Final = re.compile(r"_(\d+)\.pt$")


def inspect(path: Path) -> CheckpointReport:
    """Return what a checkpoint file is.

    Raises:
        CheckpointError: It is torn, an exported policy, or of none of the three libraries.
    """
    state = load_untrusted(path, device="cpu")
    if any(key.endswith("_state_dict") for key in state) and "iter" in state:
        converted = convert_rsl_rl(state)
        networks = [
            _rsl_rl(part, weights)
            for part in ("actor", "critic", "student", "teacher")
            if (weights := converted.state.get(f"{part}_state_dict"))
        ]
        return _report("rsl_rl", converted.written_by or "rsl_rl 5.x", networks, iterations=int(state["iter"]) + 1)
    if isinstance(state.get("model"), Mapping) and any("a2c_network" in key for key in state["model"]):
        converted = convert_rl_games(state)
        return _report(
            "rl_games",
            converted.written_by or "rl_games 1.6",
            [_rl_games(converted.state["model"])],
            iterations=int(state.get("epoch", 0)),
        )
    if isinstance(state.get("policy"), Mapping):
        converted = convert_skrl(state)
        steps = _STEPS.search(path.name)
        extra = state.get("isaaclab_flows", {})
        return _report(
            "skrl",
            converted.written_by or "skrl 2.x",
            [_skrl(converted.state)],
            iterations=extra.get("iterations"),
            steps=int(steps[1]) if steps else None,
        )
    raise CheckpointError(
        f"The file holds {', '.join(map(str, list(state)[:5])) or 'nothing'}, which none of the three libraries writes",
        where=str(path),
        remedy="Name a checkpoint of rsl_rl (model_….pt), skrl (agent_….pt) or rl_games (….pth).",
    )


def _report(
    library: Library,
    written_by: str,
    networks: list[NetworkReport],
    *,
    iterations: int | None,
    steps: int | None = None,
) -> CheckpointReport:
    tasks = tuple(_fitting_tasks(library, networks[0])) if networks and find_spec("isaaclab_tasks") else None
    return CheckpointReport(
        library=library,
        written_by=written_by,
        iterations=iterations,
        steps=steps,
        networks=tuple(networks),
        tasks=tasks,
    )


def _rsl_rl(part: str, weights: Mapping[str, Any]) -> NetworkReport:
    sizes = _sizes(weights, r"mlp\.(\d+)\.weight")
    recurrent = next((value for key, value in weights.items() if key.endswith("rnn.weight_ih_l0")), None)
    memory = next((value for key, value in weights.items() if key.endswith("rnn.weight_hh_l0")), None)
    kind: Memory | None = None if recurrent is None or memory is None else _GATES[memory.shape[0] // memory.shape[1]]
    return NetworkReport(
        part=part,
        inputs=int(recurrent.shape[1]) if recurrent is not None else sizes[0],
        hidden=tuple(sizes[1:-1]),
        outputs=sizes[-1],
        memory=kind,
        normaliser=any(key.startswith("obs_normalizer.") for key in weights),
    )


def _rl_games(model: Mapping[str, Any]) -> NetworkReport:
    plain = {key.removeprefix(_COMPILED): value for key, value in model.items()}
    sizes = _sizes(plain, r"a2c_network\.actor_mlp\.(\d+)\.weight")
    return NetworkReport(
        part="actor",
        inputs=sizes[0],
        hidden=tuple(sizes[1:]),
        outputs=int(plain["a2c_network.mu.weight"].shape[0]),
        memory="rnn" if any("a2c_network.rnn" in key for key in plain) else None,
        normaliser="running_mean_std.running_mean" in plain,
    )


def _skrl(state: Mapping[str, Any]) -> NetworkReport:
    policy = state["policy"]
    sizes = _sizes(policy, r"net_container\.(\d+)\.weight")
    head = policy.get("policy_layer.weight")
    return NetworkReport(
        part="policy",
        inputs=sizes[0],
        hidden=tuple(sizes[1:] if head is not None else sizes[1:-1]),
        outputs=int(head.shape[0]) if head is not None else sizes[-1],
        normaliser="observation_preprocessor" in state,
    )


def _sizes(weights: Mapping[str, Any], pattern: str) -> list[int]:
    """Return the sizes of a chain of layers: its inputs, then each layer's outputs."""
    found = [(int(match[1]), value) for key, value in weights.items() if (match := re.fullmatch(pattern, key))]
    layers = [value for _, value in sorted(found, key=lambda pair: pair[0])]
    return [int(layers[0].shape[1]), *(int(layer.shape[0]) for layer in layers)] if layers else [0, 0]


def _fitting_tasks(library: Library, network: NetworkReport) -> Iterator[str]:
    """Return the tasks whose agent has such layers, and whose spaces, where their configuration says them, fit."""
    import gymnasium
    import isaaclab_tasks  # noqa: F401
    from isaaclab_tasks.utils.parse_cfg import load_cfg_from_registry

    for task in TASKS:
        spec = gymnasium.registry.get(task)
        if spec is None or f"{library}{ENTRY_POINT}" not in spec.kwargs:
            continue
        with contextlib.suppress(Exception):
            if _hidden(library, load_cfg_from_registry(task, f"{library}{ENTRY_POINT}")) != network.hidden:
                continue
            # Environments take longer to load, and few have such layers.
            env_cfg = load_cfg_from_registry(task, f"env{ENTRY_POINT}")
            spaces = getattr(env_cfg, "observation_space", None), getattr(env_cfg, "action_space", None)
            sizes = zip((network.inputs, network.outputs), spaces, strict=True)
            if all(have == want for have, want in sizes if isinstance(want, int)):
                yield task


def _hidden(library: Library, agent: Any) -> tuple[int, ...]:
    if library == "rsl_rl":
        return tuple(agent.actor.hidden_dims)
    if library == "rl_games":
        return tuple(agent["params"]["network"]["mlp"]["units"])
    return tuple(agent["models"]["policy"]["network"][0]["layers"])


def main() -> int:
    """Print the report, or the error, as one JSON line; the exit code says which."""
    # Isaac Lab prints as it is imported; only the report belongs to standard output.
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        try:
            text = inspect(Path(sys.argv[1])).model_dump_json(by_alias=True)
        except CheckpointError as error:
            text, failed = ErrorRecord.of(error).model_dump_json(), 1
        else:
            failed = 0
    out.write(text + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
