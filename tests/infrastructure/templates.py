"""Reads CloudFormation templates: intrinsics become readable text, so that tests compare strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.infrastructure.conftest import Deployment


class Resolver:
    """Turns intrinsics into text: a reference to a resource becomes ``<LogicalId>`` or ``<LogicalId.Attribute>``."""

    def __init__(self, deployment: Deployment) -> None:
        self._pseudo = {
            "AWS::Partition": "aws",
            "AWS::Region": deployment.config.region,
            "AWS::AccountId": deployment.config.account,
            "AWS::URLSuffix": "amazonaws.com",
        }
        self._exports = {
            output["Export"]["Name"]: output["Value"]
            for template in (deployment.data, deployment.service)
            for output in template.get("Outputs", {}).values()
            if "Export" in output
        }

    def __call__(self, value: Any) -> Any:
        """Resolve a value and all that is in it."""
        if isinstance(value, list):
            return [self(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            (function, argument), *_ = value.items()
            match function:
                case "Ref":
                    return self._pseudo.get(argument, f"<{argument}>")
                case "Fn::GetAtt":
                    return f"<{'.'.join(argument)}>"
                case "Fn::ImportValue":
                    return self(self._exports[argument])
                case "Fn::Join":
                    return argument[0].join(str(self(part)) for part in argument[1])
                case "Fn::Sub":
                    text = argument if isinstance(argument, str) else argument[0]
                    for name, replacement in self._pseudo.items():
                        text = text.replace(f"${{{name}}}", replacement)
                    return text
                case "Fn::Base64":
                    return self(argument)
                case "Fn::Select":
                    return f"<{argument[0]} of {self(argument[1])}>"
                case "Fn::Split":
                    return f"{self(argument[1])} split"
        return {key: self(item) for key, item in value.items()}


def as_list(value: Any) -> list[Any]:
    """Return a policy's one-or-many as a list."""
    return value if isinstance(value, list) else [value]


def environment_of(container: Mapping[str, Any]) -> dict[str, Any]:
    """Return a container definition's environment, secrets included (their values are references)."""
    pairs: Iterable[Mapping[str, Any]] = container.get("Environment", [])
    secrets: Iterable[Mapping[str, Any]] = container.get("Secrets", [])
    return {p["Name"]: p["Value"] for p in pairs} | {s["Name"]: s["ValueFrom"] for s in secrets}
