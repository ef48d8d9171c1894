"""The two calls of Prefect's REST API that start a deployment's flow run, on Prefect Cloud or one's own server."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import BridgeError, HopelessError

TIMEOUT_SECONDS = 8.0
TRIES = 3
_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

ReadSecret = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class FlowRun:
    """A flow run that now exists.

    Attributes:
        id: Prefect's id.
        url: Its page in the UI.
        created: False where the idempotency key found it.
        ended: It is in a state that it will not leave by itself.
    """

    id: str
    url: str
    created: bool
    ended: bool


class PrefectApi:
    """Prefect's REST API with credentials that are read once and again when they are refused."""

    def __init__(
        self, api_url: str, read_secret: ReadSecret | None, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        if urllib.parse.urlsplit(api_url).scheme not in ("http", "https"):
            raise HopelessError("isaaclab.bridge_setup", f"PREFECT_API_URL is {api_url!r}, not an http(s) address.")
        self._api_url = api_url.rstrip("/")
        self._read_secret = read_secret
        self._authorization: str | None = None
        self._pause = pause

    def start(self, deployment: str, *, parameters: Mapping[str, Any], key: str, name: str, tags: list[str]) -> FlowRun:
        """Start a deployment's flow run, or find the one that the idempotency key already started.

        Args:
            deployment: ``flow/name``.
            parameters: The flow's parameters; never a secret.
            key: The idempotency key.
            name: The run's name.
            tags: The run's tags.

        Raises:
            HopelessError: The deployment is unknown, or the server refuses the credentials or the parameters.
            BridgeError: The server does not answer.
        """
        path = "/deployments/name/" + "/".join(urllib.parse.quote(part, safe="") for part in deployment.split("/", 1))
        status, found = self._call("GET", path)
        if status == 404:
            raise HopelessError(
                "isaaclab.unknown_deployment",
                f"Prefect at {self._api_url} has no deployment '{deployment}'. Create the deployments"
                " (`prefect deploy --all`), or set the bridge's PIPELINE_DEPLOYMENT.",
            )
        body = {"parameters": dict(parameters), "idempotency_key": key, "name": name, "tags": tags}
        status, run = self._call("POST", f"/deployments/{found['id']}/create_flow_run", body)
        if status == 404:
            raise BridgeError(f"The deployment '{deployment}' went away while its flow run was created.")
        state = str((run.get("state") or {}).get("type") or run.get("state_type") or "")
        return FlowRun(str(run["id"]), ui_url(self._api_url, str(run["id"])), status == 201, state in _ENDED)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Return the status (2xx or 404) and the JSON answer."""
        last = ""
        refreshed = False
        for attempt in range(TRIES):
            if attempt and last:
                self._pause(0.5 * 2**attempt)
            try:
                status, answer = self._send(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                # A timeout may hide a run that was created: the idempotency key makes the next try find it.
                last = f"{type(error).__name__}: {getattr(error, 'reason', error)}"
                continue
            if status in (401, 403):
                if self._read_secret is not None and not refreshed:
                    refreshed, self._authorization, last = True, None, ""
                    continue
                raise HopelessError(
                    "isaaclab.prefect_refused",
                    f"Prefect at {self._api_url} refuses the bridge's credentials ({status}). Put a valid api_key or"
                    " auth_string into the secret PREFECT_SECRET_ARN.",
                )
            if status in (200, 201, 404):
                return status, answer
            if status in (408, 425, 429) or status >= 500:
                last = f"status {status}"
                continue
            raise HopelessError(
                "isaaclab.prefect_refused",
                f"Prefect at {self._api_url} refuses the flow run with status {status}. Do the deployments belong to"
                " this version of isaaclab-flows?",
            )
        raise BridgeError(f"Prefect at {self._api_url} did not answer {TRIES} tries ({last}). Is the server up?")

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._authorization is None and self._read_secret is not None:
            self._authorization = authorization(self._read_secret())
        if self._authorization:
            headers["Authorization"] = self._authorization
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._api_url + path, data=data, headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            error.close()
            return error.code, {}


def authorization(secret: Mapping[str, str]) -> str:
    """Return the Authorization header for a secret that holds ``api_key`` (Cloud) or ``auth_string`` (user:password).

    Raises:
        HopelessError: It holds neither.
    """
    if key := secret.get("api_key"):
        return f"Bearer {key}"
    if auth := secret.get("auth_string"):
        return "Basic " + base64.b64encode(auth.encode()).decode()
    raise HopelessError(
        "isaaclab.bridge_setup",
        "The secret PREFECT_SECRET_ARN holds neither 'api_key' nor 'auth_string'. Store one of them in it as JSON.",
    )


def ui_url(api_url: str, run_id: str) -> str:
    """Return the page of a flow run in the UI that belongs to an API."""
    base = api_url.rstrip("/")
    if base.startswith("https://api.prefect.cloud/api/"):
        base = base.replace("https://api.prefect.cloud/api/accounts/", "https://app.prefect.cloud/account/")
        base = base.replace("/workspaces/", "/workspace/")
    return f"{base.removesuffix('/api')}/runs/flow-run/{run_id}"
