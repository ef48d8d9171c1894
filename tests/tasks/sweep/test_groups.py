"""One bad checkpoint is one row with its reason, never the end of the sweep."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from isaaclab_flows.schemas.errors import (
    CancelledError,
    ConfigError,
    FlowsError,
    InfrastructureLostError,
    SimulatorKilledError,
)
from isaaclab_flows.schemas.outcome import EvaluationSummary, Outcome
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.request.reach import Reach
from isaaclab_flows.tasks.sweep.groups import SweepRun, evaluate, split_episodes
from isaaclab_flows.tasks.sweep.plan import Group, plan
from isaaclab_flows.tasks.sweep.table import Row
from tests.tasks.sweep.test_plan import candidates, sweep


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ISAACLAB_FLOWS_OUTPUTS", str(tmp_path / "outputs"))
    settings.cache_clear()


def run_and_group(count: int, tmp_path: Path) -> tuple[SweepRun, Group]:
    config = sweep()
    return SweepRun(config, uuid.UUID(int=1), str(tmp_path), Reach()), plan(
        config, candidates(count), versions={}
    ).groups[0]


def simulator(fatal: set[str], calls: list[int], error: FlowsError) -> Callable[[Request], Outcome]:
    """Evaluate like a simulator that dies of some checkpoints."""

    def orchestrate(request: Request) -> Outcome:
        assert request.config is not None
        paths = request.config["trainingConfig"]["checkpointPaths"]
        calls.append(len(paths))
        if fatal & set(paths):
            raise error
        return Outcome(
            job_id=request.job_id,
            kind="evaluation",
            status="succeeded",
            task="Isaac-Cartpole-Direct",
            library="rsl_rl",
            evaluations=tuple(EvaluationSummary(checkpoint=p, mean_return=1.0) for p in paths),
            gpu_seconds=10.0,
            estimated_cost=0.25,
        )

    return orchestrate


def test_the_checkpoint_that_ends_the_simulator_is_found_and_the_others_are_evaluated(tmp_path: Path) -> None:
    run, group = run_and_group(8, tmp_path)
    parts: dict[str, Sequence[Row]] = {}
    calls: list[int] = []
    killed = SimulatorKilledError("The simulator was ended by SIGSEGV")
    found = evaluate(
        run,
        group,
        orchestrate=simulator({group.cells[5].candidate.uri}, calls, killed),
        add_part=parts.__setitem__,
        wanted=lambda: True,
    )
    assert {row.iteration: row.error_kind for row in found.rows} == {
        n: "simulator_killed" if n == 5 else "" for n in range(8)
    }
    assert sorted(row.key for part in parts.values() for row in part) == sorted(cell.key for cell in group.cells)
    assert len(calls) <= 7  # logarithmic, not one process a checkpoint
    # The stub's dead jobs leave no outcome; all others count.
    assert found.gpu_seconds == 10.0 * (len(calls) - 4)
    assert found.estimated_cost == pytest.approx(0.25 * (len(calls) - 4))


@pytest.mark.parametrize(
    "error",
    [InfrastructureLostError("gone"), ConfigError("wrong"), FlowsError("else"), CancelledError("by hand")],
)
def test_a_job_that_is_cancelled_or_fails_for_other_reasons_gives_each_row_the_reason_at_once(
    error: FlowsError, tmp_path: Path
) -> None:
    run, group = run_and_group(4, tmp_path)
    calls: list[int] = []
    parts: dict[str, Sequence[Row]] = {}
    uris = {cell.candidate.uri for cell in group.cells}
    found = evaluate(
        run, group, orchestrate=simulator(uris, calls, error), add_part=parts.__setitem__, wanted=lambda: True
    )
    assert calls == [4]
    assert {row.error_kind for row in found.rows} == {error.kind}
    assert parts == {group.job_id(run.sweep_id): list(found.rows)}


def test_a_cancelled_job_is_tried_again_by_the_next_sweep(tmp_path: Path) -> None:
    run, group = run_and_group(1, tmp_path)
    uris = {cell.candidate.uri for cell in group.cells}
    found = evaluate(
        run,
        group,
        orchestrate=simulator(uris, [], CancelledError("by hand")),
        add_part=lambda name, rows: None,
        wanted=lambda: True,
    )
    (row,) = found.rows
    assert row.error == "by hand."
    assert not row.final


def test_a_job_that_was_cancelled_with_its_sweep_ends_it(tmp_path: Path) -> None:
    run, group = run_and_group(2, tmp_path)
    uris = {cell.candidate.uri for cell in group.cells}
    parts: dict[str, Sequence[Row]] = {}
    with pytest.raises(CancelledError):
        evaluate(
            run,
            group,
            orchestrate=simulator(uris, [], CancelledError("by hand")),
            add_part=parts.__setitem__,
            wanted=lambda: False,
        )
    assert not parts


def test_episodes_find_their_checkpoints() -> None:
    text = "checkpoint,return,success\na,1.5,1\na,2.5,0\nb,3.5,\n"
    first, second, torn = split_episodes(text, ["a", "b", "c"])
    assert (first.returns, first.successes) == ((1.5, 2.5), (1.0, 0.0))
    assert (second.returns, second.successes) == ((3.5,), ())
    assert torn.returns == ()
