"""Every fault of the system that this project replaces has tests, and they exist."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

from tests.faults import FAULTS

TESTS = Path(__file__).parent


@lru_cache(maxsize=64)
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_all_26_faults_are_there() -> None:
    assert sorted(FAULTS) == list(range(1, 27))


@pytest.mark.parametrize("number", sorted(FAULTS))
def test_a_fault_names_tests_that_exist(number: int) -> None:
    what, tests = FAULTS[number]
    assert what
    assert tests
    for test in tests:
        path, _, function = test.partition("::")
        assert (TESTS / path).is_file(), test
        assert function in functions_of(TESTS / path), test
