"""The image's entry point under its former name, `python -m container.entry_point`: says the new one and goes on."""

from __future__ import annotations

import sys

from isaaclab_flows.container.start.entry_point import main

if __name__ == "__main__":
    sys.stderr.write(
        "container.entry_point is now isaaclab_flows.container.start.entry_point: change the image's ENTRYPOINT.\n"
    )
    sys.exit(main(sys.argv[1:]))
