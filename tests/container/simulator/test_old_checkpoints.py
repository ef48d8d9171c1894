"""Files of earlier versions of the libraries are recognised by their keys and turned into today's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from isaaclab_flows.container.simulator.checkpoints import fitting, load_untrusted
from isaaclab_flows.container.simulator.inspection import inspect
from isaaclab_flows.container.simulator.libraries.old_checkpoints import CONVERTERS, convert_rsl_rl, fit_spread
from isaaclab_flows.schemas.errors import CheckpointError
from tests.system.old_versions import State, versions


def _network(outputs: int, *, spread: bool) -> State:
    sizes = [(0, 4, 32), (2, 32, 16), (4, 16, outputs)]
    found: State = {f"mlp.{n}.weight": torch.randn(out, inputs) for n, inputs, out in sizes}
    found |= {f"mlp.{n}.bias": torch.randn(out) for n, _, out in sizes}
    found |= {f"obs_normalizer.{name}": torch.rand(1, 4) + 0.5 for name in ("_mean", "_var", "_std")}
    found["obs_normalizer.count"] = torch.tensor(7)
    return found | ({"distribution.std_param": torch.ones(outputs)} if spread else {})


TODAY: dict[str, State] = {
    "rsl_rl": {
        "actor_state_dict": _network(2, spread=True),
        "critic_state_dict": _network(1, spread=False),
        "optimizer_state_dict": {},
        "iter": 499,
        "infos": {},
    },
    "skrl": {
        "policy": {"net_container.0.weight": torch.randn(32, 4), "policy_layer.weight": torch.randn(2, 32)},
        "value": {"value_layer.weight": torch.randn(1, 32)},
        "optimizer": {},
        "observation_preprocessor": {"running_mean": torch.zeros(4)},
        "value_preprocessor": {"running_mean": torch.zeros(1)},
    },
    "rl_games": {
        "model": {
            "a2c_network.actor_mlp.0.weight": torch.randn(32, 4),
            "a2c_network.actor_mlp.2.weight": torch.randn(16, 32),
            "a2c_network.mu.weight": torch.randn(2, 16),
            "running_mean_std.running_mean": torch.zeros(4),
            "value_mean_std.running_mean": torch.zeros(1),
        },
        "optimizer": {},
        "epoch": 500,
        "frame": 1,
    },
}
FORMS = [(library, version) for library, today in TODAY.items() for version in versions(library, today)]


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one == other


@pytest.mark.parametrize(("library", "version"), FORMS)
def test_every_earlier_form_becomes_todays(library: str, version: str) -> None:
    today = TODAY[library]
    found = CONVERTERS[library](versions(library, today)[version])
    assert found.written_by is not None
    state = dict(found.state)
    if library == "rsl_rl":
        state["actor_state_dict"] = fit_spread(state["actor_state_dict"], today["actor_state_dict"])
    for key in today.keys() - {"infos", "optimizer_state_dict"}:
        assert _same(state[key], today[key]), key


@pytest.mark.parametrize("library", list(TODAY))
def test_todays_stays_as_it_is(library: str) -> None:
    found = CONVERTERS[library](TODAY[library])
    assert found.written_by is None
    assert _same(found.state, TODAY[library])


def test_a_recurrent_actor_and_a_student_of_an_old_file_are_found_by_their_prefixes() -> None:
    weight = torch.ones(1)
    found = convert_rsl_rl(
        {
            "model_state_dict": {
                "memory_s.rnn.weight_ih_l0": weight,
                "student.0.weight": weight,
                "std": weight,
                "teacher.0.weight": weight,
            },
            "iter": 3,
        }
    ).state
    assert set(found["student_state_dict"]) == {"rnn.rnn.weight_ih_l0", "mlp.0.weight", "distribution.std_param"}
    assert set(found["teacher_state_dict"]) == {"mlp.0.weight"}


@pytest.mark.parametrize(("library", "version"), FORMS)
def test_what_a_file_is_can_be_told_from_it_alone(
    library: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isaaclab_flows.container.simulator.inspection.find_spec", lambda name: None)
    path = tmp_path / ("agent_64.pt" if library == "skrl" else "model_499.pt")
    torch.save(versions(library, TODAY[library])[version], path)
    report = inspect(path)
    assert report.library == library
    assert report.written_by.startswith(library)
    first = report.networks[0]
    assert (first.inputs, first.outputs, first.normaliser) == (4, 2, True)
    assert first.hidden == ((32,) if library == "skrl" else (32, 16))
    assert report.iterations == (None if library == "skrl" else 500)
    assert report.tasks is None


def test_an_exported_policy_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "policy.pt"
    torch.jit.trace(torch.nn.Linear(4, 2), torch.zeros(1, 4)).save(str(path))
    with pytest.raises(CheckpointError, match=r"exported policy .* checkpoints/…"):
        load_untrusted(path, device="cpu")


def test_something_else_is_named_by_what_it_holds(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, tmp_path / "model_1.pt")
    with pytest.raises(CheckpointError, match="holds weights, which none of the three libraries writes"):
        inspect(tmp_path / "model_1.pt")


def test_keys_that_are_missing_or_too_many_are_named() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(1, 1))
    with (
        pytest.raises(CheckpointError, match=r"it has no 0\.weight, 0\.bias; it has, and the task's agent has not, x"),
        fitting(Path("/x/model_3.pt"), task="Isaac-Ant", library="rsl_rl"),
    ):
        network.load_state_dict({"x": torch.zeros(1)})
