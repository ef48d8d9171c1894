import pytest

from isaaclab_flows.container.simulator.failures import (
    NEWTON_LINES,
    bad_overrides,
    explain,
    missing_file,
    needs_isaac_sim,
)
from isaaclab_flows.schemas.errors import (
    CheckpointError,
    ConfigError,
    DivergedError,
    FlowsError,
    InputMissingError,
    OutOfMemoryError,
    SimulatorError,
)
from isaaclab_flows.schemas.simulator import SimulatorJob


def job(**changes: object) -> SimulatorJob:
    fields: dict[str, object] = {
        "job_id": "j",
        "task": "Isaac-Ant-Direct",
        "library": "rsl_rl",
        "num_envs": 4096,
        "seed": 1,
        "device": "cuda:0",
        "run_folder": "/job/run",
        "progress_file": "/job/progress.jsonl",
        "result_file": "/job/result.json",
    }
    return SimulatorJob.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), OutOfMemoryError),
        (RuntimeError("Failed to allocate 123456 bytes on device 'cuda:0'"), OutOfMemoryError),
        (RuntimeError("Warp CUDA error 2: out of memory (in function alloc)"), OutOfMemoryError),
        (MemoryError(), OutOfMemoryError),
        (RuntimeError("std::bad_alloc"), OutOfMemoryError),
        (ValueError("The observation group 'policy' returned by the environment contains NaN values."), SimulatorError),
        (ValueError("Expected parameter loc ... found invalid values: tensor([[nan, nan]])"), SimulatorError),
        (FileNotFoundError("Unable to resolve the file: https://server/robot.usd"), InputMissingError),
        (SystemExit(1), SimulatorError),
        (ZeroDivisionError("division by zero"), SimulatorError),
        (RuntimeError("normal expects all elements of std >= 0.0"), DivergedError),
        (ValueError("Tensor has NaNs"), DivergedError),
        (ValueError("The MLP model only supports 1D observations, got shape [1, 3, 96, 96] for 'image'."), ConfigError),
        (ModuleNotFoundError("No module named 'omni.usd'", name="omni.usd"), ConfigError),
    ],
)
def test_whatever_ends_the_simulator_becomes_an_error_of_the_tree(
    raised: BaseException, kind: type[FlowsError]
) -> None:
    error = explain(raised, job())
    assert type(error) is kind
    assert error.remedy


def test_running_out_of_memory_names_a_smaller_number_of_environments() -> None:
    assert "numEnvs, e.g. to 2,048" in explain(MemoryError(), job()).sentence


def test_values_that_are_not_numbers_are_called_so() -> None:
    error = explain(ValueError("The rewards returned by the environment contain NaN values."), job())
    assert "not numbers (NaN)" in error.what
    assert "learning rate" in error.remedy


def test_what_needs_isaac_sim_says_both_ways_out() -> None:
    error = needs_isaac_sim(job(), ["physics PhysX"])
    assert "needs Isaac Sim (physics PhysX)" in error.what
    assert "physics=NewtonCfg(solver_cfg=MJWarpSolverCfg())" in error.remedy
    assert "the image isaac-sim" in error.remedy
    assert len(NEWTON_LINES.splitlines()) == 3
    chosen = needs_isaac_sim(job(hydra_overrides=("physics=physx",)), ["physics PhysX"])
    assert "Leave out physics=physx" in chosen.remedy


def test_a_word_that_only_contains_nan_is_no_such_value() -> None:
    assert "NaN" not in explain(RuntimeError("the finance module is missing"), job()).what


def test_an_error_of_the_tree_stays_what_it_is() -> None:
    error = CheckpointError("Torn", where="model_3.pt", remedy="Choose another.")
    assert explain(error, job()) is error


def test_a_long_message_is_shortened_and_kept_in_the_details() -> None:
    try:
        raise RuntimeError("x" * 1000 + "\nsecond line")
    except RuntimeError as raised:
        error = explain(raised, job())
    assert len(error.what) < 400
    assert "second line" in error.details


def test_overrides_that_do_not_fit_are_named() -> None:
    error = bad_overrides(AttributeError("no attribute 'gravty'"), job(hydra_overrides=("env.sim.gravty=1",)))
    assert isinstance(error, ConfigError)
    assert "env.sim.gravty=1" in error.sentence
    assert error.where == "trainingConfig.hydraOverrides"


def test_a_missing_file_is_named_with_what_to_do() -> None:
    sentence = missing_file("https://server/Robots/anymal_d.usd?x=1", job(), reason="does not exist here").sentence
    assert "needs the file anymal_d.usd, which does not exist here" in sentence
    assert "ISAACSIM_ASSET_ROOT" in sentence
