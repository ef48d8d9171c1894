"""Serves the studio's outputs to a browser: regular files and folders below one folder, byte ranges, no hidden file.

What begins with a dot is not served: the job folders with their requests, and the studio's own database and logs.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import os
import re
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from isaaclab_flows.tasks.storage.regular import open_regular

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_CHUNK = 1 << 18


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte that a Range header asks for; None where it asks for the whole file.

    Args:
        header: ``bytes=0-499``, ``bytes=500-`` or ``bytes=-500``; anything else counts as none.
        size: Of the file [bytes].

    Raises:
        ValueError: Nothing of the file lies there.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or found[0] == "bytes=-":
        return None
    first = int(found[1]) if found[1] else max(0, size - int(found[2]))
    last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if first > last:
        raise ValueError("nothing lies there")
    return first, last


class Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD; with a password, to nobody else."""

    protocol_version = "HTTP/1.1"
    password = ""
    """``user:password``; empty asks for none."""
    _left: int | None = None

    def send_head(self) -> BinaryIO | None:
        """Send the status and the headers; return the file, placed where the answer begins."""
        self._left = None
        if not self._is_allowed():
            self._refuse(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Basic realm="isaaclab-flows"'})
            return None
        root, path = Path(self.directory).resolve(), Path(self.translate_path(self.path)).resolve()
        hidden = not path.is_relative_to(root) or any(part.startswith(".") for part in path.relative_to(root).parts)
        if hidden:
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        if path.is_dir():
            return super().send_head()
        try:
            file = open_regular(path)
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return self._begin(file, path)

    def _begin(self, file: BinaryIO, path: Path) -> BinaryIO | None:
        size = os.fstat(file.fileno()).st_size
        try:
            part = byte_range(self.headers.get("Range"), size)
        except ValueError:
            file.close()
            self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
            return None
        first, last = part or (0, size - 1)
        self._left = last - first + 1
        self.send_response(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK)
        if part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(self._left))
        # What a job left may be a page; it is shown, and runs nothing.
        self.send_header("Content-Security-Policy", "sandbox")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        file.seek(first)
        return file

    def copyfile(self, source: BinaryIO, outputfile: BinaryIO) -> None:  # type: ignore[override]
        """Send a file's part, or a folder's listing."""
        left = self._left
        while left is None or left > 0:
            chunk = source.read(_CHUNK if left is None else min(_CHUNK, left))
            if not chunk:
                return
            outputfile.write(chunk)
            left = None if left is None else left - len(chunk)

    def list_directory(self, path: str | os.PathLike[str]) -> BinaryIO | None:  # type: ignore[override]
        """List a folder without what is hidden."""
        listed = super().list_directory(path)
        if listed is None:
            return None
        lines = [line for line in listed.read().splitlines(keepends=True) if not line.startswith(b'<li><a href=".')]
        listed.seek(0)
        # The length was announced already: blanks take the hidden names' place.
        content = b"".join(lines)
        size = listed.getbuffer().nbytes
        listed.write(content + b" " * (size - len(content)))
        listed.seek(0)
        return listed

    def _is_allowed(self) -> bool:
        if not self.password:
            return True
        wanted = "Basic " + base64.b64encode(self.password.encode()).decode()
        return hmac.compare_digest(self.headers.get("Authorization", "").encode(), wanted.encode())

    def _refuse(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    """Serve until told to end; the password is Prefect's own, ``PREFECT_SERVER_API_AUTH_STRING``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--bind", required=True)
    parser.add_argument("--directory", required=True)
    options = parser.parse_args()
    Handler.password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "")
    serve = partial(Handler, directory=options.directory)
    with ThreadingHTTPServer((options.bind, options.port), serve) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
