"""What a simulation ran on, in one line for people."""

from __future__ import annotations

import pytest

from isaaclab_flows.schemas.simulator import Engine


@pytest.mark.parametrize(
    ("engine", "training", "sentence"),
    [
        (
            Engine(physics="Newton", frontend="warp", steps="captured"),
            True,
            "Newton physics, warp frontend, captured steps",
        ),
        (
            Engine(
                physics="PhysX", frontend="torch", frontend_reason="not warp: x", steps="own", steps_reason="it is off"
            ),
            True,
            "PhysX physics, torch frontend (not warp: x), the library's own steps (it is off)",
        ),
        (Engine(physics="Newton", frontend="torch"), False, "Newton physics, torch frontend"),
    ],
)
def test_an_engine_in_a_sentence(engine: Engine, training: bool, sentence: str) -> None:
    assert engine.sentence(training=training) == sentence
