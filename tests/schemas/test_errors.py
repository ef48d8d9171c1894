"""Errors keep their words and their class through records, pickles and sentences."""

from __future__ import annotations

import asyncio
import pickle
import signal

import pytest
from prefect.exceptions import TerminationSignal

from isaaclab_flows.schemas.errors import CancelledError, ErrorRecord, FlowsError, _tree, was_cancelled

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


@pytest.mark.parametrize(
    ("error", "cancelled"),
    [
        (CancelledError("By hand"), True),
        (KeyboardInterrupt(), True),
        (SystemExit(1), True),
        (TerminationSignal(signal.SIGTERM), True),
        (asyncio.CancelledError(), True),
        (FlowsError("It broke"), False),
        (ValueError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_somebody_ended_was_cancelled(error: BaseException, cancelled: bool) -> None:
    assert was_cancelled(error) is cancelled
