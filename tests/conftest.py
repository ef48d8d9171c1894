"""Fixtures and rules for every test."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from xdist.scheduler import LoadScopeScheduling

from isaaclab_flows.schemas.settings import settings

# Two busy cores must not make a test fail; the examples are the same in every run.
hypothesis_settings.register_profile(
    "project", deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("project")


# A shell that starts the tests in its background lets them, and every program they start, ignore Ctrl-C.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


GROUPS = {
    "test_browser": "studio",
    "test_studio": "studio",
    "batch": "servers",
    "test_vams": "servers",
    "test_vams_faults": "servers",
    "test_vams_lost": "servers",
}
"""Folders and files whose tests share servers: a group runs in one process, in order, so each is started once."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that refreshes committed pictures."""
    parser.addoption("--screenshots", action="store_true", help="write the pictures of docs/ui.md again")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the long ones, so that no process is left with them at the end."""
    items.sort(key=lambda item: "system" not in Path(item.path).parts)


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Gives the files that share servers to one process, and every other file to whichever is free."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePath(nodeid.partition("::")[0])
        return GROUPS.get(file.parent.name) or GROUPS.get(file.stem) or str(file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups | None:
    """With ``--dist loadfile``, schedule by groups instead (``loadgroup`` marks nothing under pytest 9.2)."""
    return Groups(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def _clean_settings() -> Iterator[None]:
    """Settings are read once a process; each test reads its own."""
    settings.cache_clear()
    yield
    settings.cache_clear()
