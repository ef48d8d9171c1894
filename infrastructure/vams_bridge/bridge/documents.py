"""The private objects of one execution: the request document, which alone holds the token, and the recorded answers.

Below ``s3://<bucket>/<prefix><execution>/``: ``request.json``, and ``answer-<attempt>.json`` once an answer has been
decided. Writes are conditional, so that concurrent deliveries end with the newest token and nothing is lost. The
bucket's own default encryption applies: naming an algorithm here would override the bucket's key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.delivery import Delivery
from bridge.errors import BridgeError

_MOST_TRIES = 10


class S3Client(Protocol):
    """The calls of boto3's S3 client that are needed."""

    def list_objects_v2(self, *, Bucket: str, Prefix: str) -> Any: ...  # noqa: D102, N803

    def get_object(self, *, Bucket: str, Key: str) -> Any: ...  # noqa: D102, N803

    def put_object(self, **parameters: Any) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Documents:
    """The objects of all executions."""

    client: S3Client
    bucket: str
    prefix: str

    def uri(self, job_id: str) -> str:
        """Return the request document's URI: the only thing that the flow run is given."""
        return f"s3://{self.bucket}/{self._request_key(job_id)}"

    def record(
        self, delivery: Delivery, *, received_at: float, region: str | None, at_least: int = 1
    ) -> RecordedDelivery:
        """Write the request document, unless a newer delivery of the same execution has already done so.

        Args:
            delivery: The checked event.
            received_at: Unix time [s] at which this delivery arrived; the newest delivery's token is answered.
            region: AWS region of the state machine.
            at_least: The first attempt that may be used.

        Raises:
            BridgeError: The bucket does not take it.
        """
        key = self._request_key(delivery.job_id)
        for _ in range(_MOST_TRIES):
            present, etag = self._read(key)
            callback: dict[str, Any] = present.get("callback") or {} if present else {}
            attempt, answer = self._next_attempt(delivery.job_id, max(at_least, int(callback.get("attempt", 1))))
            newest = received_at >= float(callback.get("receivedAt", 0.0))
            if callback.get("attempt") == attempt and (callback["taskToken"] == delivery.token or not newest):
                return RecordedDelivery(attempt, answer, newest=callback["taskToken"] == delivery.token)
            document = {
                **delivery.document,
                "callback": {
                    **delivery.callback,
                    "taskToken": delivery.token if newest else callback["taskToken"],
                    "region": region,
                    "documentUri": self.uri(delivery.job_id),
                    "attempt": attempt,
                    "receivedAt": max(received_at, float(callback.get("receivedAt", 0.0))),
                },
            }
            condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
            if self._write(key, document, condition):
                return RecordedDelivery(attempt, answer, newest=newest)
        raise BridgeError(f"The request document of {delivery.job_id} kept changing under {_MOST_TRIES} writes.")

    def answer(self, job_id: str, attempt: int) -> dict[str, Any] | None:
        """Return the answer that was decided for an attempt, or None while it is undecided."""
        return self._read(f"{self._folder(job_id)}/answer-{attempt:03}.json")[0]

    def _next_attempt(self, job_id: str, attempt: int) -> tuple[int, dict[str, Any] | None]:
        """Return the attempt that this delivery belongs to, and its answer if that is already final."""
        answer = self.answer(job_id, attempt)
        while answer is not None and answer.get("retryable"):
            attempt += 1
            answer = self.answer(job_id, attempt)
        return attempt, answer

    def _folder(self, job_id: str) -> str:
        prefix = f"{self.prefix.strip('/')}/" if self.prefix.strip("/") else ""
        return f"{prefix}{job_id}"

    def _request_key(self, job_id: str) -> str:
        return f"{self._folder(job_id)}/request.json"

    def _read(self, key: str) -> tuple[dict[str, Any] | None, str | None]:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            document = json.loads(answer["Body"].read())
        except Exception as error:
            if _code(error) in ("NoSuchKey", "404") or (_code(error) == "AccessDenied" and not self._exists(key)):
                return None, None
            raise BridgeError(
                f"s3://{self.bucket}/{key} cannot be read: {_code(error) or type(error).__name__}."
            ) from None
        return document, answer["ETag"]

    def _exists(self, key: str) -> bool:
        """Say whether an object is there: where listing is allowed below a prefix only, S3 denies what is missing."""
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=key)
        return any(entry["Key"] == key for entry in listed.get("Contents", []))

    def _write(self, key: str, document: dict[str, Any], condition: dict[str, str]) -> bool:
        """Write under a condition; False where somebody else was first."""
        body = json.dumps(document).encode()
        try:
            self.client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentType="application/json",
                CacheControl="no-store",
                **condition,
            )
        except Exception as error:
            if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                return False
            # From None: a client's exception may quote what it was given, and this body holds the token.
            raise BridgeError(
                f"s3://{self.bucket}/{key} cannot be written: {_code(error) or type(error).__name__}."
            ) from None
        return True


@dataclass(frozen=True)
class RecordedDelivery:
    """What the request document says after a delivery.

    Attributes:
        attempt: Counts the runs of this execution, from 1.
        answer: The final answer of this attempt, where it has already been decided.
        newest: This delivery's token is the one to be answered.
    """

    attempt: int
    answer: dict[str, Any] | None
    newest: bool


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
