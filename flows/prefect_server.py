"""The Prefect server of one program's run: a child that outlives the terminal's signals, but not the program.

Prefect starts such a server by itself where none is named, in the terminal's process group. A Ctrl-C would then end the
server first, and every last word of a flow would wait for one that is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from prefect.server.api.server import SubprocessASGIServer

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_WITH_PARENT = "--with-parent"


class OwnSessionServer(SubprocessASGIServer):
    """Prefect's temporary server, in a session of its own; once started, every client of this process uses it."""

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        from prefect.settings import get_current_settings

        wanted = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        # The kernel means the thread: one that ends before the program would take the server with it.
        ending = [_WITH_PARENT] if threading.current_thread() is threading.main_thread() else []
        chosen = get_current_settings().to_environment_variables(exclude_unset=True)
        return subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(self.port), *ending],
            env=os.environ | wanted | chosen,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def start_own_server() -> None:
    """Start a server for this process where the settings name none.

    Raises:
        RuntimeError: It did not answer in time.
    """
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value() is None:
        OwnSessionServer().start()


def main() -> None:
    """Serve on a port of this machine until told to end, or until the program that started this is gone."""
    import uvicorn

    if _WITH_PARENT in sys.argv:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    main()
