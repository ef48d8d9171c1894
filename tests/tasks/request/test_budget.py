"""Budgets: the first thing that is used up ends a job, and says which it was."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.budget import BudgetConfig
from isaaclab_flows.schemas.config import check_config
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.request import Request
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.request.budget import end_of
from isaaclab_flows.tasks.request.resolve import resolve

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/cartpole/training/cartpole-training-config.json"
NOW = datetime(2027, 1, 31, 7, 0, tzinfo=UTC).timestamp()
EIGHT = "2027-01-31T08:00:00+00:00"


@pytest.mark.parametrize(
    ("budget", "used", "seconds", "key"),
    [
        ({}, 0, 360 * 60, "computeConfig.timeoutMinutes"),
        ({}, 9e9, 360 * 60, "computeConfig.timeoutMinutes"),
        ({"maxHours": 2}, 0, 7200, "budgetConfig.maxHours"),
        ({"maxHours": 2}, 5400, 1800, "budgetConfig.maxHours"),
        ({"maxHours": 100}, 0, 360 * 60, "computeConfig.timeoutMinutes"),
        ({"maxDollars": 3.0}, 0, 3600, "budgetConfig.maxDollars"),
        ({"maxDollars": 3.0}, 3000, 600, "budgetConfig.maxDollars"),
        ({"maxDollars": 3.0}, 4000, -400, "budgetConfig.maxDollars"),
        ({"deadline": EIGHT}, 9e9, 3600, "budgetConfig.deadline"),
        ({"deadline": EIGHT, "maxHours": 0.5, "maxDollars": 30.0}, 0, 1800, "budgetConfig.maxHours"),
    ],
)
def test_the_first_limit_ends_a_job(budget: dict[str, Any], used: float, seconds: float, key: str) -> None:
    end = end_of(
        BudgetConfig.model_validate(budget), timeout_minutes=360, dollars_per_hour=3.0, used_seconds=used, now=NOW
    )
    assert (end.seconds, end.key) == (pytest.approx(seconds), key)
    error = end.error()
    assert error.where == key
    assert "what it has saved is kept" in error.what


def request(**more: Any) -> Request:
    return Request(job_id="j", source="cli", config_uri=str(EXAMPLE), output_uri="/out", **more)


def test_dollars_without_a_price_are_refused_and_with_one_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(overrides={"budgetConfig": {"maxDollars": 5}})
    with pytest.raises(ConfigError, match="no price of this machine is known") as caught:
        resolve(asked)
    assert caught.value.where == "budgetConfig.maxDollars"
    monkeypatch.setenv("ISAACLAB_FLOWS_INSTANCE_TYPE", "g6.2xlarge")
    settings.cache_clear()
    assert resolve(asked).config.budget_config.max_dollars == 5


def test_a_deadline_that_has_passed_is_refused() -> None:
    with pytest.raises(ConfigError, match="which has passed"):
        resolve(request(overrides={"budgetConfig": {"deadline": "2020-01-01T00:00:00Z"}}))


def test_the_default_budget_counts_where_a_configuration_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISAACLAB_FLOWS_BUDGET", '{"maxDollars": 5}')
    settings.cache_clear()
    with pytest.raises(ConfigError, match="no price of this machine is known"):
        resolve(request())
    assert resolve(request(overrides={"budgetConfig": {"maxHours": 1}})).config.budget_config.max_hours == 1


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"maxDollars": 0}, "budgetConfig.maxDollars"),
        ({"maxHours": -1}, "budgetConfig.maxHours"),
        ({"deadline": "2027-01-31T08:00:00"}, "budgetConfig.deadline"),
        ({"maxDolars": 3}, "Did you mean 'maxDollars'?"),
    ],
)
def test_a_budget_that_makes_no_sense_names_its_key(budget: dict[str, Any], words: str) -> None:
    import json

    data = json.loads(EXAMPLE.read_text()) | {"budgetConfig": budget}
    with pytest.raises(ConfigError) as caught:
        check_config(data, source="test")
    assert words in f"{caught.value.sentence} {caught.value.details}"
