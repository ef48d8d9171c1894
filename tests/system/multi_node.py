"""The main node of a two-node job as the supervisor plays it: call the others, then run this node's part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from schemas.nodes import Call, Node, call_file, torchrun_command


def main() -> int:
    """Run the all-reduce named on the command line on all nodes; return torchrun's exit code."""
    node = Node.from_environment(os.environ)
    assert node is not None
    jobs = Path(os.environ["ISAACLAB_FLOWS_JOBS_FOLDER"])
    call = Call(number=1, processes=1, arguments=(sys.argv[1],), log_folder=str(jobs))
    file = call_file(jobs, node)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(call.model_dump_json())
    return subprocess.run(
        torchrun_command(sys.executable, node, call, own_address="127.0.0.1"), check=False, timeout=300
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
