"""Fixtures and rules for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from schemas.settings import settings

# Two busy cores must not make a test fail; the examples are the same in every run.
hypothesis_settings.register_profile(
    "project", deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that refreshes committed pictures."""
    parser.addoption("--screenshots", action="store_true", help="write the pictures of docs/ui.md again")


@pytest.fixture(autouse=True)
def _clean_settings() -> Iterator[None]:
    """Settings are read once a process; each test reads its own."""
    settings.cache_clear()
    yield
    settings.cache_clear()
