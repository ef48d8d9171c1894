"""The contract of VAMS 2.6 and 2.7: the body names a manifest, which the flow reads; this Lambda may not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.delivery import IDENTIFIER, Delivery, common, malformed, s3_uri, step_id

HEARTBEAT_SECONDS = 15.0
UNAWAITED_SECONDS = 30.0
"""An abort shows only as a dead token; a retry brings a new one within 10 s, where there is a retry at all."""
_STEP = re.compile(r".*/pipeline([0-9]+)/[^/]*")


def read(body: Mapping[str, Any], token: str) -> Delivery:
    """Return a delivery.

    Raises:
        HopelessError: A key is missing, is of the wrong type, or is not what VAMS sends.
    """
    manifest = s3_uri(body, "inputManifestS3Location")
    execution = body.get("workflowExecutionId")
    if not isinstance(execution, str) or not IDENTIFIER.fullmatch(execution):
        raise malformed(f"'workflowExecutionId' is {execution!r}, not an execution's id")
    step = _STEP.fullmatch(manifest)
    number = int(step[1]) if step else 1
    job_id = execution if number == 1 else step_id(execution, f"step{number}")
    document = common(body, job_id, execution) | {
        # All of it is in the manifest.
        "outputUri": "",
        "inputs": {
            "manifestUri": manifest,
            "configurationUri": s3_uri(body, "inputConfigurationS3Location", needed=False),
            "step": number,
        },
    }
    callback = {"heartbeatSeconds": HEARTBEAT_SECONDS, "endUnawaitedAfterSeconds": UNAWAITED_SECONDS}
    return Delivery(job_id, token, document, callback)
