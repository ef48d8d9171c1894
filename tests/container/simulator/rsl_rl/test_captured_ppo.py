"""The steps that a GPU captures, done uncaptured, are rsl_rl's: same weights, optimiser, learning rate and losses."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.container.simulator.rsl_rl.twins import CASES, Case, Twins

TOLERANCE = 2e-5
"""Absolute and relative, in float32, after several iterations: sums are taken in another order."""


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_iterations_give_what_rsl_rl_gives(case: Case) -> None:
    twins = Twins(case)
    for iteration in range(3):
        for theirs, ours in twins.rollout(iteration):
            torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
        theirs, ours = twins.update(iteration)
        assert ours == pytest.approx(theirs, rel=1e-4, abs=TOLERANCE)
        twins.compare(tolerance=TOLERANCE)


def test_the_learning_rate_stops_at_its_bounds() -> None:
    for name, bound in (("the rate falls to its bound", 1e-5), ("the rate rises to its bound", 1e-2)):
        twins = Twins(CASES[name])
        twins.rollout(0)
        twins.update(0)
        assert twins.ours.learning_rate == twins.plain.learning_rate == bound


@settings(max_examples=20, deadline=None)
@given(
    envs=st.integers(2, 9),
    steps=st.integers(1, 6),
    actions=st.integers(1, 5),
    width=st.integers(1, 9),
    hidden=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    parts=st.integers(1, 3),
    epochs=st.integers(1, 3),
    normalised=st.booleans(),
)
def test_any_shape_gives_what_rsl_rl_gives(
    envs: int, steps: int, actions: int, width: int, hidden: list[int], parts: int, epochs: int, normalised: bool
) -> None:
    parts = min(parts, max(1, envs * steps // 2))  # a batch of one sample has no standard deviation
    twins = Twins(
        Case(
            envs=envs,
            steps=steps,
            actions=actions,
            groups=(("policy", width),),
            hidden=tuple(hidden),
            normalised=normalised,
            options={"num_mini_batches": parts, "num_learning_epochs": epochs, "desired_kl": 0.01},
        ),
        seed=envs,
    )
    twins.rollout(1)
    twins.update(1)
    twins.compare(tolerance=1e-4)


def _kept(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize(("first", "second"), [("plain", "ours"), ("ours", "plain"), ("ours", "ours")])
def test_a_checkpoint_of_one_goes_on_in_the_other(first: str, second: str) -> None:
    case = replace(CASES["observations normalised"], options={"desired_kl": 1e-4})
    before, after = Twins(case), Twins(case, seed=1)
    before.rollout(0)
    before.update(0)
    checkpoint = _kept(getattr(before, first).save())
    getattr(after, second).load(copy.deepcopy(checkpoint), None, True)
    getattr(after, "plain" if second == "ours" else "ours").load(copy.deepcopy(checkpoint), None, True)
    assert after.ours.learning_rate == before.plain.learning_rate != pytest.approx(1e-3)
    after.compare(tolerance=1e-6)
    after.rollout(1)
    after.update(1)
    after.compare(tolerance=TOLERANCE)
