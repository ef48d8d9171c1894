"""A run bears the name that a person gave it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isaaclab_flows.schemas.job import NAME_LABEL
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.tasks.request import forms
from isaaclab_flows.tasks.request.document import write_request

PARAMETERS = {"task": "Isaac-DrLegs-Walk-v0", "library": "skrl"}


def named(monkeypatch: pytest.MonkeyPatch, typed: str | None, **parameters: Any) -> str:
    run = SimpleNamespace(id="e5a79e7c-1111", name=typed, parameters=PARAMETERS | parameters)
    monkeypatch.setattr(forms, "flow_run", run)
    return forms.run_name()


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("my-ablation-lr-1e-4", {}, "my-ablation-lr-1e-4"),
        ("Friday", {}, "Friday"),
        ("rho2-maaz", {}, "Isaac-DrLegs-Walk-v0 · skrl · e5a79e7c"),
        ("psi780-gumarcaj", {}, "Isaac-DrLegs-Walk-v0 · skrl · e5a79e7c"),
        ("run-1", {}, "run-1"),
        ("walk-fast", {}, "walk-fast"),
        ("ablation2-long", {}, "ablation2-long"),
        ("curious-otter", {}, "Isaac-DrLegs-Walk-v0 · skrl · e5a79e7c"),
        (None, {}, "Isaac-DrLegs-Walk-v0 · skrl · e5a79e7c"),
        ("curious-otter", {"name": "from the form"}, "from the form"),
        ("curious-otter", {"custom_environment": SimpleNamespace(task="Own")}, "Own · skrl · e5a79e7c"),
    ],
)
def test_a_typed_name_is_kept_and_a_made_up_one_replaced(
    name: str | None, parameters: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert named(monkeypatch, name, **parameters) == expected


def test_prefects_own_names_are_told_from_typed_ones() -> None:
    from prefect.utilities.names import generate_slug

    assert [forms.given_name(generate_slug(2)) for _ in range(50)] == [None] * 50


def test_a_pipeline_is_named_by_its_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "request.json")
    monkeypatch.setattr(forms, "flow_run", SimpleNamespace(parameters={"request_uri": uri}))
    assert forms.document_run_name() == f"pipeline {uri}"
    request = Request(job_id="j", source="cli", output_uri="/out", labels={NAME_LABEL: "my ablation"})
    write_request(request, uri)
    assert forms.document_run_name() == "my ablation"
