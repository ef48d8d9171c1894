"""The evaluator itself: IAM's rules that the permission tests rest on."""

from __future__ import annotations

import pytest

from tests.infrastructure.iam import Policies, matches

ALLOW = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::a/*"}


@pytest.mark.parametrize(
    ("statements", "action", "resource", "context", "allowed"),
    [
        ([ALLOW], "s3:GetObject", "arn:aws:s3:::a/b/c", {}, True),
        ([ALLOW], "S3:getobject", "arn:aws:s3:::a/b", {}, True),
        ([ALLOW], "s3:PutObject", "arn:aws:s3:::a/b", {}, False),
        ([ALLOW], "s3:GetObject", "arn:aws:s3:::A/b", {}, False),
        ([ALLOW, ALLOW | {"Effect": "Deny"}], "s3:GetObject", "arn:aws:s3:::a/b", {}, False),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "s3:GetObject", "x", {}, True),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "iam:PassRole", "x", {}, False),
        ([ALLOW | {"Condition": {"StringEquals": {"k": "v"}}}], "s3:GetObject", "arn:aws:s3:::a/b", {}, False),
        ([ALLOW | {"Condition": {"StringEquals": {"k": "v"}}}], "s3:GetObject", "arn:aws:s3:::a/b", {"K": "v"}, True),
        ([ALLOW | {"Condition": {"StringLike": {"k": ["v*"]}}}], "s3:GetObject", "arn:aws:s3:::a/b", {"k": "vw"}, True),
        ([ALLOW | {"Condition": {"Bool": {"k": "true"}}}], "s3:GetObject", "arn:aws:s3:::a/b", {"k": "false"}, False),
        ([], "s3:GetObject", "arn:aws:s3:::a/b", {}, False),
    ],
)
def test_statements_are_judged_as_iam_judges_them(
    statements: list[dict[str, object]], action: str, resource: str, context: dict[str, str], allowed: bool
) -> None:
    assert Policies({"Role": statements}).may("Role", action, resource, context) is allowed


def test_wildcards_match_slashes_and_single_characters() -> None:
    assert matches("a/*/c?", "a/b/b/cd")
    assert not matches("a?", "a")
    assert not matches("a.c", "abc")
