"""Answers to VAMS that the bridge itself has to give: hopeless deliveries, and answers that were already decided."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from bridge.errors import BridgeError, HopelessError

MOST_ERROR = 256
MOST_CAUSE = 32_768
GONE = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")
"""What Step Functions says of a token that nobody waits for any more."""


class StepFunctionsClient(Protocol):
    """The two calls of boto3's Step Functions client that are needed."""

    def send_task_success(self, *, taskToken: str, output: str) -> Any: ...  # noqa: D102, N803

    def send_task_failure(self, *, taskToken: str, error: str, cause: str) -> Any: ...  # noqa: D102, N803


def give(client: StepFunctionsClient, token: str, answer: Mapping[str, Any]) -> bool:
    """Send a recorded answer; False where nobody waits for this token any more.

    Raises:
        BridgeError: Step Functions could not be reached; the token is still open.
    """
    try:
        if answer["status"] == "succeeded":
            client.send_task_success(taskToken=token, output=json.dumps(answer["output"]))
        else:
            client.send_task_failure(
                taskToken=token, error=str(answer["error"])[:MOST_ERROR], cause=str(answer["cause"])[:MOST_CAUSE]
            )
    except Exception as error:
        response = getattr(error, "response", None)
        code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
        if code in GONE:
            return False
        # From None: a client's exception may quote its parameters.
        raise BridgeError(f"Step Functions did not take the answer: {code or type(error).__name__}.") from None
    return True


def refuse(client: StepFunctionsClient, token: str, error: HopelessError) -> bool:
    """Tell VAMS that a delivery is hopeless."""
    return give(client, token, {"status": "failed", "error": error.name, "cause": error.cause})
