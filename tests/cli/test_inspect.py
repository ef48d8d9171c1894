"""`isaaclab-flows inspect`: what a checkpoint is, as people read it."""

from __future__ import annotations

from isaaclab_flows.cli.inspect import lines
from isaaclab_flows.schemas.inspection import CheckpointReport, NetworkReport


def test_a_report_names_library_networks_iterations_and_tasks() -> None:
    actor = NetworkReport(part="actor", inputs=4, hidden=(32, 32), outputs=1, normaliser=True)
    memory = NetworkReport(part="critic", inputs=12, hidden=(64,), outputs=1, memory="lstm")
    report = CheckpointReport(
        library="rsl_rl",
        written_by="rsl_rl 3.x",
        iterations=1_500,
        networks=(actor, memory),
        tasks=("Isaac-Cartpole-Direct",),
    )
    assert lines(report) == [
        "library    rsl_rl (written by rsl_rl 3.x)",
        "trained    1,500 iterations",
        "actor      4 → 32 → 32 → 1, observations normalised",
        "critic     12 → lstm → 64 → 1",
        "fits       Isaac-Cartpole-Direct",
    ]


def test_what_a_file_does_not_tell_is_said_so() -> None:
    policy = NetworkReport(part="policy", inputs=4, hidden=(32,), outputs=1)
    report = CheckpointReport(library="skrl", written_by="skrl 1.x", steps=3_200, networks=(policy,))
    assert "trained    3,200 steps of each environment" in lines(report)
    assert lines(report)[-1] == "fits       unknown: Isaac Lab is not installed here"
