"""Keeps credentials out of jobs: what a job gets of the worker's settings, and what it must get by reference."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from prefect.settings import get_current_settings

from prefect_aws_batch.errors import ConfigurationError

CREDENTIALS = frozenset(
    {
        "PREFECT_API_KEY",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_API_DATABASE_CONNECTION_URL",
        "PREFECT_API_DATABASE_PASSWORD",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_DATABASE_PASSWORD",
        "PREFECT_CLIENT_CUSTOM_HEADERS",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    }
)
"""Variables that never stand in a job's plain environment, which everyone who may describe jobs can read."""

_TAG = re.compile(r"[\w +\-=.:/@]*")
_PASSED_ON = ("PREFECT_API_URL", "PREFECT_LOGGING_LEVEL", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY")
_OWN_CREDENTIALS = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")


def job_environment() -> dict[str, str]:
    """Return the few settings of this worker that a job needs to find the API and to leave it well."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return {
        **{name: settings[name] for name in _PASSED_ON if name in settings},
        # On SIGTERM (Spot reclaim) the run is left as it is, so that the next attempt goes on with it.
        "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "relinquish",
    }


def check_environment(
    environment: Mapping[str, str | None],
    secrets: Mapping[str, str],
    execution_role: str | None,
    *,
    definition_is_given: bool,
) -> None:
    """Refuse credentials in the plain environment, and jobs that could not log in.

    Raises:
        ConfigurationError: Names the variable (never its value) and what to do.
    """
    for name in sorted(CREDENTIALS & {key.upper() for key in environment}):
        if name.startswith("AWS_") and _is_on_this_machine(environment.get("AWS_ENDPOINT_URL")):
            continue  # a stand-in for AWS, such as moto, whose keys open nothing
        raise ConfigurationError(
            f"The credential {name} stands in the job's plain environment, where everyone who may describe jobs "
            "reads it",
            where=f"env.{name}",
            remedy="Use a job role for AWS; store anything else in Secrets Manager and name its ARN in 'secrets'.",
        )
    url = environment.get("PREFECT_API_URL")
    if url and urlsplit(url).password:
        raise ConfigurationError(
            "The API's address holds a password",
            where="env.PREFECT_API_URL",
            remedy="Leave it out of the address and name a secret PREFECT_API_AUTH_STRING in 'secrets'.",
        )
    if definition_is_given:
        return
    for name in _needed_credentials():
        if name not in secrets:
            raise ConfigurationError(
                f"This worker logs in with {name}, and its jobs have no way to",
                where=f"secrets.{name}",
                remedy=f"Store the value in Secrets Manager and put its ARN under {name} in the pool's 'secrets'.",
            )
    for name, arn in secrets.items():
        if not arn.startswith("arn:"):
            raise ConfigurationError(
                f"The secret {name} is not named by an ARN",
                where=f"secrets.{name}",
                remedy="Allowed: the ARN of a Secrets Manager secret or an SSM parameter; never the value itself.",
            )
    if secrets and not execution_role:
        raise ConfigurationError(
            "Secrets are named without an execution role to read them",
            where="execution_role_arn",
            remedy="Set the role that ECS reads secrets with.",
        )


def check_template(template: Mapping[str, Any]) -> None:
    """Refuse credentials in the job definition that the operator lays over the form's, at any depth.

    Raises:
        ConfigurationError: Names the variable and its place.
    """
    for place, name in _variables(template, "job_definition_template"):
        if name.upper() in CREDENTIALS:
            raise ConfigurationError(
                f"The credential {name} stands in the job definition, which everyone who may describe jobs reads",
                where=place,
                remedy="Store it in Secrets Manager and name its ARN in 'secrets'.",
            )


def _variables(node: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "environment" and isinstance(value, list):
                yield from ((f"{place}.{key}", str(v.get("name", ""))) for v in value if isinstance(v, Mapping))
            else:
                yield from _variables(value, f"{place}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _variables(value, f"{place}[{index}]")


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that AWS refuses, or that would not be what was written.

    Raises:
        ConfigurationError: Names the tag and what is allowed.
    """
    for key, value in tags.items():
        if key.lower().startswith("aws:"):
            raise ConfigurationError(
                f"The tag '{key}' begins with 'aws:', which AWS keeps for itself",
                where=f"tags.{key}",
                remedy="Choose another key.",
            )
        fits = 0 < len(key) <= 128 and len(value) <= 256
        if not fits or not _TAG.fullmatch(key) or not _TAG.fullmatch(value):
            raise ConfigurationError(
                f"AWS takes no tag {key!r} with the value {value!r}",
                where=f"tags.{key}",
                remedy="Allowed: letters, digits, spaces and + - = . : / @ _, at most 128 in a key and 256 in a value.",
            )


def _is_on_this_machine(url: str | None) -> bool:
    return bool(url) and urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _needed_credentials() -> list[str]:
    api = get_current_settings().api
    values = (api.key, api.auth_string)
    return [name for name, value in zip(_OWN_CREDENTIALS, values, strict=True) if value]
