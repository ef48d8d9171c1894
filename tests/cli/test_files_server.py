"""The studio's file server gives outputs, in parts where asked, and nothing that is hidden or elsewhere."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from isaaclab_flows.cli.files_server import Handler, byte_range
from isaaclab_flows.cli.studio import require_password
from isaaclab_flows.cli.studio_processes import StudioError


class Asked:
    """One answer."""

    def __init__(self, port: int, path: str, **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("GET", path, skip_host=False)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        connection.close()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    root = tmp_path / "outputs"
    (root / "job").mkdir(parents=True)
    (root / "job" / "video.mp4").write_bytes(bytes(range(100)))
    (root / ".studio").mkdir()
    (root / ".studio" / "prefect.db").write_text("secret")
    (tmp_path / "key").write_text("secret")
    (root / "out").symlink_to(tmp_path)
    (root / "latest").symlink_to("job")

    class Quiet(Handler):
        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_files_are_served_whole_and_in_parts(port: int) -> None:
    whole = Asked(port, "/job/video.mp4")
    assert (whole.status, whole.body, whole.headers["Accept-Ranges"]) == (200, bytes(range(100)), "bytes")
    part = Asked(port, "/latest/video.mp4", Range="bytes=10-19")
    assert (part.status, part.body) == (206, bytes(range(10, 20)))
    assert part.headers["Content-Range"] == "bytes 10-19/100"
    assert Asked(port, "/job/video.mp4", Range="bytes=200-").status == 416


@pytest.mark.parametrize(
    "path", ["/.studio/prefect.db", "/%2estudio/prefect.db", "/out/key", "/../key", "/%2e%2e/key", "/job/../../key"]
)
def test_nothing_hidden_or_elsewhere_is(port: int, path: str) -> None:
    answer = Asked(port, path)
    assert answer.status == 404
    assert b"secret" not in answer.body


def test_a_listing_names_what_is_served(port: int) -> None:
    listing = Asked(port, "/").body
    assert b"job/" in listing
    assert b".studio" not in listing


def test_a_password_is_asked_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "password", "me:sesame")
    refused = Asked(port, "/job/video.mp4")
    assert (refused.status, refused.body) == (401, b"")
    assert Asked(port, "/", Authorization="Basic bWU6d3Jvbmc=").status == 401
    assert Asked(port, "/job/video.mp4", Authorization="Basic bWU6c2VzYW1l").status == 200


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", (0, 99)),
        ("bytes=5-500", (5, 99)),
        ("bytes=-10", (90, 99)),
        ("bytes=-500", (0, 99)),
        ("bytes=-", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
        ("bytes=" + "9" * 5_000 + "-", None),
    ],
)
def test_ranges_are_read_as_browsers_write_them(header: str | None, part: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=5-4", "bytes=-0"])
def test_a_range_outside_of_the_file_is_an_error(header: str) -> None:
    with pytest.raises(ValueError, match="nothing"):
        byte_range(header, 100)


def test_a_studio_that_others_reach_needs_a_password() -> None:
    both = {"PREFECT_SERVER_API_AUTH_STRING": "me:sesame", "PREFECT_API_AUTH_STRING": "me:sesame"}
    require_password("127.0.0.1", {})
    require_password("0.0.0.0", both)
    for environment in ({}, {"PREFECT_SERVER_API_AUTH_STRING": "me:sesame"}, dict.fromkeys(both, "sesame")):
        with pytest.raises(StudioError, match="everybody"):
            require_password("0.0.0.0", environment)
