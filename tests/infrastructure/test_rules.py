"""cdk-nag, CloudFormation's own validation and cfn-lint have nothing to say that is not explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cfnlint.api import ManualArgs, lint

from tests.infrastructure.conftest import Deployment

# cfn-lint's warnings that stay.
EXPLAINED = {
    "W3005": "the CDK writes dependencies that a reference already enforces",
    "W3010": "zones are named, because asking the account for them would need credentials at synthesis",
}


def test_cdk_nag_stops_the_synthesis_of_what_nobody_explained(
    deployments: dict[str, Deployment], tmp_path: Path
) -> None:
    """The fixture's synthesis went through: here is that cdk-nag would have stopped it."""
    from aws_cdk import App, Stack, Validations, aws_s3
    from cdk_nag import AwsSolutionsChecks

    assert deployments
    app = App(outdir=str(tmp_path))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    aws_s3.Bucket(Stack(app, "bad"), "Bare")
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert "AwsSolutions-S1" in (tmp_path / "validation-report.json").read_text()


def test_every_accepted_finding_has_its_reason(deployment: Deployment) -> None:
    accepted: dict[str, str] = {}
    for file in deployment.folder.glob("*.metadata.json"):
        for path, entries in json.loads(file.read_text()).items():
            for entry in entries:
                if entry["type"] == "aws:cdk:acknowledged-rules":
                    accepted |= {f"{path} {finding}": reason for finding, reason in entry["data"].items()}
    assert len(accepted) > 10
    for finding, reason in accepted.items():
        assert len(reason.split()) >= 4, f"{finding}: {reason!r} is no reason"


def test_cfn_lint_is_clean(deployments: dict[str, Deployment]) -> None:
    for variant in ("cloud", "own"):
        deployment = deployments[variant]
        for part in ("data", "service"):
            text = (deployment.folder / f"{deployment.config.name}-{part}.template.json").read_text()
            found = lint(text, config=ManualArgs(regions=[deployment.config.region], ignore_checks=list(EXPLAINED)))
            assert not found, "\n".join(f"{match.rule.id} {match.message}" for match in found)
