"""Registration of both workflows with VAMS, by the mechanism of its version.

VAMS 2.4 and 2.5: its import function is the custom resource's own service. VAMS 2.6 and later: the function returns, so
that CDK's Provider stands between; called by CloudFormation itself it would never answer.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aws_cdk import CustomResource, RemovalPolicy
from aws_cdk import aws_lambda as lambda_
from aws_cdk import custom_resources as cr
from constructs import Construct, IConstruct

from infrastructure import names
from infrastructure.config import Config
from infrastructure.nag import accept

KINDS = ("training", "evaluation")
TEMPLATE_TASKS = {
    "cartpole": ("Isaac-Cartpole-Direct-v0", 500),
    "ant": ("Isaac-Ant-Direct-v0", 900),
    "humanoid": ("Isaac-Humanoid-Direct-v0", 1000),
    "anymal-d-flat": ("Isaac-Velocity-Flat-Anymal-D-v0", 1000),
    "anymal-d-rough": ("Isaac-Velocity-Rough-Anymal-D-v0", 1000),
}
"""Name to the task and the steps of its episodes."""


class Registration(Construct):
    """Both workflows, registered under ids of this deployment."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, function: IConstruct) -> None:
        super().__init__(scope, construct_id)
        importer = (
            f"arn:{config.partition}:lambda:{config.region}:{config.account}"
            f":function:{config.vams.import_function_name}"
        )
        if config.vams.version == "2.5":
            made = [self._by_function(config, importer, kind) for kind in KINDS]
        else:
            provider = self._provider(config, importer)
            made = [self._by_bundle(config, provider, kind) for kind in KINDS]
        for resource in made:
            resource.node.add_dependency(function)

    def _by_function(self, config: Config, importer: str, kind: str) -> CustomResource:
        properties = properties_2_5(config, kind)
        return CustomResource(
            self,
            f"{kind}-2-5",
            service_token=importer,
            # Its Delete removes pipelines by their ids, whoever made them, also after a Create that failed because they
            # were there; and after an upgrade of VAMS nobody answers it. So it is never called.
            removal_policy=RemovalPolicy.RETAIN,
            properties={"timestamp": _changed(properties), **properties},
        )

    def _by_bundle(self, config: Config, provider: cr.Provider, kind: str) -> CustomResource:
        properties = properties_2_6(config, kind)
        return CustomResource(
            self,
            f"{kind}-2-6",
            service_token=provider.service_token,
            properties={"contentHash": _changed(properties), **properties},
        )

    def _provider(self, config: Config, importer: str) -> cr.Provider:
        provider = cr.Provider(
            self,
            "Importer",
            # A Delete after a Create that failed is answered by the Provider itself and reaches nobody's pipelines.
            on_event_handler=lambda_.Function.from_function_attributes(
                self, "ImportFunction", function_arn=importer, same_environment=True
            ),
            log_retention=None,
        )
        accept(
            provider,
            {
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AWSLambdaBasicExecutionRole]": "CDK's Provider writes its own log and nothing else with it.",
                f"AwsSolutions-IAM5[Resource::{importer}:*]": "CDK grants every version of VAMS's import function.",
                "AwsSolutions-L1": "CDK chooses its Provider's runtime.",
            },
        )
        return provider


def properties_2_5(config: Config, kind: str) -> dict[str, str]:
    """Return the properties that VAMS 2.4 and 2.5 register a workflow with; see docs/vams.md."""
    identifier = names.registration(config, kind)
    parameters = config.vams.training_parameters if kind == "training" else config.vams.evaluation_parameters
    return {
        "pipelineId": identifier,
        "pipelineDescription": _description(kind),
        "pipelineType": "standardFile",
        "pipelineExecutionType": "Lambda",
        "assetType": ".all",
        "outputType": ".pt" if kind == "training" else ".json",
        "waitForCallback": "Enabled",
        "lambdaName": names.bridge(config),
        "taskTimeout": str(_timeout(config, kind)),
        "taskHeartbeatTimeout": str(config.vams.heartbeat_timeout_seconds),
        "inputParameters": json.dumps(parameters) if parameters else "",
        "workflowId": identifier,
        "workflowDescription": f"Isaac Lab {kind} (isaaclab-flows)",
        # Outputs come back as files of the asset: a trigger on their extension would run for ever.
        "autoTriggerOnFileExtensionsUpload": "",
    }


def properties_2_6(config: Config, kind: str) -> dict[str, str]:
    """Return the properties that VAMS 2.6 and later register a workflow with.

    Everything is a JSON string: CloudFormation would make texts of its booleans, which VAMS refuses.
    """
    identifier = names.registration(config, kind)
    return {
        "inlineBundle": json.dumps(bundle(config, kind), sort_keys=True),
        "resourceOverrides": json.dumps({"lambdaName": names.bridge(config)}),
        "idOverrides": json.dumps({"pipelineId": identifier, "workflowId": identifier}),
    }


def bundle(config: Config, kind: str) -> dict[str, Any]:
    """Return pipeline, workflow and templates of a kind, as VAMS 2.6 imports them."""
    identifier = names.registration(config, kind)
    name = f"Isaac Lab {kind} ({config.name})"
    triggers: list[dict[str, Any]] = []
    if kind == "evaluation":
        triggers = [
            {
                "triggerType": "fileUpload",
                "inputFileFilters": {"allow": ["*.pt"]},
                "enabled": config.vams.evaluate_uploads,
            }
        ]
    return {
        "pipeline": {
            "pipelineName": name,
            "executionConfig": {
                "executionType": "Lambda",
                "waitForCallback": "Enabled",
                "taskTimeout": str(_timeout(config, kind)),
                "taskHeartbeatTimeout": str(config.vams.heartbeat_timeout_seconds),
                "lambda": {},
            },
            "systemConfig": {
                "inputFileArity": "one",
                "requireTemplate": False,
                "allowCustomTemplateOverride": True,
                "inputFileFilters": {"allow": ["*"], "exclude": []},
            },
        },
        "templates": [
            {
                "templateId": f"{identifier}-{task}",
                "templateName": f"{TEMPLATE_TASKS[task][0]}: {kind}",
                "configFormat": "json",
                "configBody": json.dumps(template(kind, task), indent=2),
                "allowCustomEdit": True,
            }
            for task in TEMPLATE_TASKS
        ],
        "workflow": {
            "workflowName": name,
            "systemConfig": {
                "inputFileArity": "one",
                "assetScope": {"singleAssetOnly": True, "wholeAssetAllowed": True},
                "concurrencyRestriction": "none",
                "outputTarget": {"locationType": "asset", "allowOverride": False},
                # Outputs lie below the execution's id already.
                "defaultOutputFileBaseExecutionPathExtension": "/",
            },
            "triggers": triggers,
        },
    }


def template(kind: str, task: str) -> dict[str, Any]:
    """Return one template's configuration: what a file for this task would say."""
    name, steps = TEMPLATE_TASKS[task]
    inner: dict[str, Any] = {"mode": "train" if kind == "training" else "evaluate", "task": name, "rlLibrary": "rsl_rl"}
    if kind == "training":
        inner |= {"numEnvs": 4096, "maxIterations": 1500}
    else:
        inner |= {"numEnvs": 4, "numEpisodes": 10, "stepsPerEpisode": steps, "recordVideo": True}
    return {"trainingConfig": inner, "computeConfig": {"numNodes": 1}}


def _description(kind: str) -> str:
    return f"Isaac Lab {kind} of a robot policy on GPUs (isaaclab-flows)"


def _timeout(config: Config, kind: str) -> int:
    return config.vams.training_timeout_seconds if kind == "training" else config.vams.evaluation_timeout_seconds


def _changed(properties: dict[str, str]) -> str:
    """Return what changes when something else does, and not at every deploy: VAMS then registers anew."""
    return hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()[:16]
