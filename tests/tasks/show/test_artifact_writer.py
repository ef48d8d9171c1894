"""Artifacts are written behind the work, the newest of each; a server that fails costs nothing but its pictures."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prefect.exceptions import ObjectNotFound

from isaaclab_flows.tasks.show.artifact_writer import QUIET_SECONDS, ArtifactWriter

RUN = UUID(int=1)


class Server:
    """What a writer asks of Prefect's client, in memory."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.up.set()
        self.broken = False
        self.calls = 0
        self.gone = False
        self.data: dict[UUID, Any] = {}

    @contextlib.contextmanager
    def client(self, **_: object) -> Iterator[Server]:
        self.calls += 1
        self.up.wait(5)
        if self.broken:
            raise ConnectionError("nobody listens")
        yield self

    def create_artifact(self, artifact: Any) -> SimpleNamespace:
        number = UUID(int=100 + len(self.data))
        self.data[number] = artifact.data
        return SimpleNamespace(id=number)

    def update_artifact(self, number: UUID, artifact: Any) -> None:
        self.data[number] = artifact.data

    def read_flow_run(self, run: UUID) -> None:
        if self.gone:
            raise ObjectNotFound(Exception())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr("prefect.client.orchestration.get_client", made.client)
    monkeypatch.setattr(ArtifactWriter, "_own", lambda self: [RUN])
    return made


def test_an_artifact_is_written_once_and_then_updated(server: Server) -> None:
    writer = ArtifactWriter("abc", logging.getLogger("test"))
    for percent in (1.0, 2.0):
        writer.put("progress", "progress", percent, "x")
        writer.flush()
    assert list(server.data.values()) == [2.0]


def test_a_server_that_hangs_holds_nothing_up_and_gets_the_newest(server: Server) -> None:
    server.up.clear()
    writer = ArtifactWriter("abc", logging.getLogger("test"))
    before = time.monotonic()
    for percent in range(50):
        writer.put("progress", "progress", float(percent), "x")
    assert time.monotonic() - before < 1
    server.up.set()
    writer.flush()
    assert list(server.data.values()) == [49.0]
    assert server.calls <= 2


def test_a_fault_is_told_once_and_nothing_is_tried_for_a_minute(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    writer = ArtifactWriter("abc", logging.getLogger("test"), clock=lambda: now[0])
    server.broken = True

    def put() -> None:
        writer.put("progress", "progress", 1.0, "x")
        writer.flush()

    put()
    put()
    assert server.calls == 1
    now[0] = QUIET_SECONDS
    put()
    assert server.calls == 2
    assert caplog.text.count("behind") == 1
    server.broken = False
    writer.retry()
    put()
    assert list(server.data.values()) == [1.0]


def test_a_deleted_run_is_noticed_and_a_silent_server_is_no_deletion(server: Server) -> None:
    writer = ArtifactWriter("abc", logging.getLogger("test"))
    server.broken = True
    writer.look()
    writer.flush()
    assert not writer.gone
    server.broken, server.gone = False, True
    writer.retry()
    writer.look()
    writer.flush()
    assert writer.gone
