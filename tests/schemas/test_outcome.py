"""Outcomes of earlier versions are still read."""

import json

from isaaclab_flows.schemas.outcome import EvaluationSummary


def test_a_summary_with_former_values_is_read_without_them() -> None:
    text = json.dumps({"checkpoint": "a.pt", "interquartileMeanReturn": 1.0, "interquartileMeanReturnCi": None})
    assert EvaluationSummary.model_validate_json(text) == EvaluationSummary(checkpoint="a.pt")
