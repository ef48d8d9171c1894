"""IAM's own rules for identity policies, as far as this project's policies go: may a role do this there?

Explicit deny wins, then any allow, else no. Resources and actions match with ``*`` and ``?``; actions regardless of
case. Conditions: StringEquals, StringLike, ArnEquals, ArnLike and Bool; a key that the request lacks fails them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.infrastructure.conftest import Deployment
from tests.infrastructure.templates import Resolver, as_list


@dataclass(frozen=True)
class Policies:
    """All statements of a deployment's roles."""

    statements: Mapping[str, list[dict[str, Any]]]
    """By the role's logical id."""

    @classmethod
    def of(cls, deployment: Deployment) -> Policies:
        """Collect inline policies and attached policy resources."""
        resolve = Resolver(deployment)
        found: dict[str, list[dict[str, Any]]] = {}
        for name, role in deployment.resources("AWS::IAM::Role").items():
            inline = role["Properties"].get("Policies", [])
            found[name] = [s for policy in inline for s in resolve(policy["PolicyDocument"])["Statement"]]
        for policy in deployment.resources("AWS::IAM::Policy").values():
            statements = resolve(policy["Properties"]["PolicyDocument"])["Statement"]
            for role in policy["Properties"].get("Roles", []):
                found[role["Ref"]] += statements
        return cls(found)

    def role(self, part: str) -> str:
        """Return the logical id of the one role that is named so."""
        matching = [name for name in self.statements if name.startswith(part)]
        assert len(matching) == 1, f"{part}: {matching}"
        return matching[0]

    def may(self, role: str, action: str, resource: str, context: Mapping[str, str] | None = None) -> bool:
        """Answer "may this role do this action on this resource?"."""
        applying = [
            statement["Effect"]
            for statement in self.statements[self.role(role)]
            if _action_matches(statement, action)
            and any(matches(pattern, resource) for pattern in as_list(statement["Resource"]))
            and _conditions_hold(statement.get("Condition", {}), context or {})
        ]
        return "Allow" in applying and "Deny" not in applying


def matches(pattern: str, value: str) -> bool:
    """Compare with IAM's wildcards."""
    return _compiled(pattern).fullmatch(value) is not None


@lru_cache(maxsize=2_000)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = [{"*": ".*", "?": "."}.get(part, re.escape(part)) for part in re.split(r"([*?])", pattern)]
    return re.compile("".join(parts), re.DOTALL)


def _action_matches(statement: Mapping[str, Any], action: str) -> bool:
    if "NotAction" in statement:
        return not any(matches(p.casefold(), action.casefold()) for p in as_list(statement["NotAction"]))
    return any(matches(p.casefold(), action.casefold()) for p in as_list(statement["Action"]))


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    given = {key.casefold(): value for key, value in context.items()}
    return all(
        _holds(operator, [str(value) for value in as_list(values)], given.get(key.casefold()))
        for operator, pairs in conditions.items()
        for key, values in pairs.items()
    )


def _holds(operator: str, allowed: list[str], value: str | None) -> bool:
    if value is None:
        return False
    match operator:
        case "StringEquals":
            return value in allowed
        case "StringLike" | "ArnLike" | "ArnEquals":
            return any(matches(pattern, value) for pattern in allowed)
        case "Bool":
            return value.casefold() in [item.casefold() for item in allowed]
    raise NotImplementedError(operator)
