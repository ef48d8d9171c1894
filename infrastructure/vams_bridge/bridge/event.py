"""Reads VAMS's event: tells apart which contract it follows. Pure functions, nothing is fetched."""

from __future__ import annotations

from bridge import vams_2_5, vams_2_6
from bridge.delivery import MAX_TOKEN_LENGTH, Delivery, body_of, malformed, token_of


def read_event(event: object) -> Delivery:
    """Read and check one event of either contract.

    Raises:
        HopelessError: A key is missing, is of the wrong type, or is not what VAMS sends.
    """
    body = body_of(event)
    token = token_of(event)
    if token is None:
        raise malformed(f"'TaskToken' is missing or longer than {MAX_TOKEN_LENGTH:,} characters")
    if body.get("inputManifestS3Location"):
        return vams_2_6.read(body, token)
    if "inputS3AssetFilePath" in body:
        return vams_2_5.read(body, token)
    raise malformed(
        "The body has neither 'inputManifestS3Location' (VAMS 2.6 and 2.7) nor 'inputS3AssetFilePath' (2.4 and 2.5)"
    )
