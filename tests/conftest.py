"""Fixtures and rules for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.settings import settings


@pytest.fixture(autouse=True)
def _clean_settings() -> Iterator[None]:
    """Settings are read once a process; each test reads its own."""
    settings.cache_clear()
    yield
    settings.cache_clear()
