"""Errors keep their words and their class through records, pickles and sentences."""

from __future__ import annotations

import pickle

import pytest

from isaaclab_flows.schemas.errors import ErrorRecord, FlowsError, _tree

KINDS = sorted(_tree(FlowsError).values(), key=lambda c: c.kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda c: c.kind)
def test_an_error_survives_a_record_and_a_pickle(kind: type[FlowsError]) -> None:
    error = kind("It broke", where="a.json", remedy="Mend it.", details="log")
    for copy in (ErrorRecord.of(error).to_error(), pickle.loads(pickle.dumps(error))):
        assert type(copy) is kind
        assert (copy.sentence, copy.details) == ("It broke (at a.json). Mend it.", "log")


def test_kinds_are_unique() -> None:
    assert len(KINDS) == len({c.kind for c in KINDS})


def test_an_error_from_outside_is_named() -> None:
    assert "ZeroDivisionError" in ErrorRecord.of(ZeroDivisionError("x")).sentence
