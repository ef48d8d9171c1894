"""cdk-nag's findings that stay, each with its reason beside the construct it is about."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def accept(construct: IConstruct, findings: Mapping[str, str]) -> None:
    """Accept findings of one construct.

    Args:
        construct: What the findings are about, with everything below it.
        findings: Finding (``AwsSolutions-IAM5[Resource::*]``) to the reason why it stays.
    """
    for finding, reason in findings.items():
        Validations.of(construct).acknowledge(Acknowledgment(id=finding, reason=reason))
