"""Synthesises the deployment: ``python -m infrastructure.app [config.yaml]``, offline, into cdk.out/."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infrastructure.config import Config, load_config
from infrastructure.node import provide_node
from infrastructure.prices import warnings as price_warnings
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.instances import prices

if TYPE_CHECKING:
    from aws_cdk import App

OUTPUT = Path(__file__).resolve().parents[1] / "cdk.out"
CONFIG = Path(__file__).with_name("config.yaml")
_CONTEXT = {
    # Resource policies that are made of, rather than beside, what the constructs grant.
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
    "@aws-cdk/aws-ecs:arnFormatIncludesClusterName": True,
    "@aws-cdk/core:checkSecretUsage": True,
    "@aws-cdk/aws-efs:denyAnonymousAccess": True,
    "@aws-cdk/aws-efs:mountTargetOrderInsensitiveLogicalId": True,
    "@aws-cdk/aws-rds:lowercaseDbIdentifier": True,
    "@aws-cdk/customresources:installLatestAwsSdkDefault": False,
    "@aws-cdk/core:target-partitions": ["aws"],
    "@aws-cdk/core:validateAgainstDefaultRules": True,
}


def build(config: Config, output: Path = OUTPUT, *, checked: bool = True) -> App:
    """Return the app, not yet synthesised.

    Args:
        config: The checked configuration.
        output: Folder of the cloud assembly.
        checked: Let cdk-nag look at it; a finding without a reason then fails synthesis.
    """
    provide_node()
    from aws_cdk import App, Environment, Validations
    from cdk_nag import AwsSolutionsChecks

    from infrastructure.stacks import DataStack, ServiceStack

    app = App(outdir=str(output), context=_CONTEXT, analytics_reporting=False)
    if not config.enabled:
        return app
    if checked:
        Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    where = Environment(account=config.account, region=config.region)
    data = DataStack(app, f"{config.name}-data", config=config, env=where)
    ServiceStack(app, f"{config.name}-service", config=config, data=data, env=where)
    return app


def main(arguments: list[str]) -> int:
    """Synthesise; return the process's exit code."""
    try:
        config = load_config(Path(arguments[0]) if arguments else CONFIG)
    except ConfigError as error:
        print(f"{error.sentence}", file=sys.stderr)  # noqa: T201
        return 2
    for warning in price_warnings(prices(), config.region, datetime.datetime.now(datetime.UTC).date()):
        print(f"Warning: {warning}", file=sys.stderr)  # noqa: T201
    if not config.enabled:
        print("enabled is false: nothing to deploy")  # noqa: T201
    build(config).synth()
    stacks = json.loads((OUTPUT / "manifest.json").read_text())["artifacts"]
    for name in sorted(key for key, value in stacks.items() if value["type"] == "aws:cloudformation:stack"):
        template = json.loads((OUTPUT / f"{name}.template.json").read_text())
        print(f"{name}: {len(template['Resources'])} resources")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
