"""Names stay within AWS's limits and apart from other deployments'; what the code reads is what the stacks set."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from isaaclab_flows.schemas.settings import Settings
from tests.infrastructure.conftest import LONG_NAME, Deployment
from tests.infrastructure.templates import Resolver, environment_of
from tests.infrastructure.test_compute import gpu_pool

ROOT = Path(__file__).resolve().parents[2]

# Type and property of every name that is given: its longest length, from each service's reference.
LIMITS = {
    ("AWS::Batch::JobQueue", "JobQueueName"): 128,
    ("AWS::Batch::SchedulingPolicy", "Name"): 128,
    ("AWS::CloudFormation::CustomResource", "lambdaName"): 64,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::CloudWatch::Dashboard", "DashboardName"): 255,
    ("AWS::EC2::VPC", "Name"): 255,
    ("AWS::ECS::Cluster", "ClusterName"): 255,
    ("AWS::ECS::Service", "ServiceName"): 255,
    ("AWS::ECS::TaskDefinition", "Family"): 255,
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Name"): 32,
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "Name"): 32,
    ("AWS::Events::Rule", "Name"): 64,
    ("AWS::KMS::Alias", "AliasName"): 256,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    ("AWS::Logs::ResourcePolicy", "PolicyName"): 255,
    ("AWS::S3::Bucket", "BucketName"): 63,
    ("AWS::SNS::Topic", "TopicName"): 256,
    ("AWS::SQS::Queue", "QueueName"): 80,
    ("AWS::Route53::HostedZone", "Name"): 253,
}
# Properties that end in Name but name something else, or nothing that has to be unique.
NOT_NAMES = {
    ("AWS::EC2::VPCEndpoint", "ServiceName"),
    ("AWS::CloudWatch::Alarm", "MetricName"),
    ("AWS::Route53::RecordSet", "Name"),
    ("AWS::RDS::DBCluster", "DatabaseName"),
    ("AWS::RDS::DBClusterParameterGroup", "Family"),
    ("AWS::RDS::DBCluster", "DBSubnetGroupName"),
    ("AWS::RDS::DBCluster", "DBClusterParameterGroupName"),
    ("AWS::IAM::Policy", "PolicyName"),
    ("AWS::SNS::Topic", "DisplayName"),
}


def _given_names(deployment: Deployment) -> dict[tuple[str, str], list[str]]:
    resolve = Resolver(deployment)
    found: dict[tuple[str, str], list[str]] = {}
    for _, resource in deployment.all_resources():
        for key, value in resource.get("Properties", {}).items():
            where = (resource["Type"], key)
            name = resolve(value)
            # What begins with < refers to another resource, which has the name.
            if (key.endswith("Name") or key == "Family") and where not in NOT_NAMES and name[0] != "<":
                found.setdefault(where, []).append(name)
    return found


def test_every_given_name_is_within_its_limit_for_the_longest_deployment(own: Deployment) -> None:
    assert len(LONG_NAME) == 24
    for where, given in _given_names(own).items():
        assert where in LIMITS, f"{where}: look its limit up"
        for name in given:
            assert len(name) <= LIMITS[where], f"{where}: {name} has {len(name)} characters"


def test_every_given_name_says_whose_it_is(deployment: Deployment) -> None:
    for where, given in _given_names(deployment).items():
        if where[0] == "AWS::Route53::HostedZone":
            continue
        for name in given:
            bare = name.removeprefix("alias/").removeprefix("/isaaclab-flows/")
            # What VAMS 2.6 may call and read begins so.
            bare = bare.removeprefix("vams-").removeprefix("/aws/vendedlogs/Pipelines/")
            assert bare.startswith(deployment.config.name), f"{where}: {name}"


def test_two_deployments_in_one_account_do_not_collide(cloud: Deployment, small: Deployment) -> None:
    assert cloud.config.account == small.config.account
    assert cloud.config.region == small.config.region
    for where, given in _given_names(cloud).items():
        assert not set(given) & set(_given_names(small).get(where, [])), where
    exports = [
        {str(Resolver(d)(o["Export"]["Name"])) for o in d.data.get("Outputs", {}).values() if "Export" in o}
        for d in (cloud, small)
    ]
    assert not exports[0] & exports[1]


def _read_variables(folder: Path) -> set[str]:
    """Return the environment variables that a folder's Python code reads: os.environ[...] and os.environ.get(...)."""
    found: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                    found.add(name)
                case ast.Call(
                    func=ast.Attribute(attr="get", value=ast.Attribute(attr="environ")),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    found.add(name)
    return found


LAMBDA_SETS = {"AWS_REGION", "AWS_DEFAULT_REGION"}


@pytest.mark.parametrize(
    ("ending", "folder"),
    [("vams-bridge", "vams_bridge"), ("observer", "observer"), ("deploy-runner", "deploy_task")],
)
def test_each_lambda_gets_the_variables_that_its_code_reads_and_no_others(
    deployment: Deployment, ending: str, folder: str
) -> None:
    (function,) = (
        f["Properties"]
        for f in deployment.resources("AWS::Lambda::Function").values()
        if f["Properties"].get("FunctionName", "").endswith(ending)
    )
    given = set(function.get("Environment", {}).get("Variables", {}))
    assert given == _read_variables(ROOT / "infrastructure" / folder) - LAMBDA_SETS


def _containers(deployment: Deployment) -> dict[str, dict[str, Any]]:
    resolve = Resolver(deployment)
    containers = {
        container["Name"]: environment_of(container)
        for task in deployment.resources("AWS::ECS::TaskDefinition").values()
        for container in task["Properties"]["ContainerDefinitions"]
    }
    pool = gpu_pool(deployment, resolve)
    return containers | {"job": pool["env"] | pool["secrets"]}


def _variable(field: str) -> str:
    return f"ISAACLAB_FLOWS_{field.upper()}"


# Settings that no stack sets, and why their defaults are right on AWS.
LEFT_AS_THEY_ARE = {
    "idle_gpu_seconds": "a job's own business",
    "budget": "a job's own business: budgetConfig",
    "asset_root": "NVIDIA's server is reached through NAT",
    "simulator_python": "the image sets it",
    "hang_seconds": "a job's own business",
    "stop_grace_seconds": "fits Spot's two minutes",
    "simulator_restarts": "a job's own business",
    "transfer_threads": "fits the smallest machine",
    "transfer_attempts": "fits S3",
    "studio_folder": "of the local studio",
    "files_url": "of the local studio",
    "end_unawaited_after_seconds": "fits VAMS's retry",
}


def test_every_setting_that_the_stacks_set_is_one_that_the_code_reads(deployment: Deployment) -> None:
    known = {_variable(field) for field in Settings.model_fields}
    for name, variables in _containers(deployment).items():
        ours = {variable for variable in variables if variable.startswith("ISAACLAB_FLOWS_")}
        assert ours <= known, f"{name} sets what nothing reads: {ours - known}"


def test_every_setting_that_the_code_reads_is_set_or_left_as_it_is_for_a_reason(deployment: Deployment) -> None:
    everything = {variable for variables in _containers(deployment).values() for variable in variables}
    for field in Settings.model_fields:
        if field not in LEFT_AS_THEY_ARE:
            assert _variable(field) in everything, f"{field}: set it in infrastructure/, or say why not"
        else:
            assert _variable(field) not in everything, field


def test_the_settings_that_are_set_can_be_read(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = Resolver(deployment)
    for variables in _containers(deployment).values():
        for name, value in variables.items():
            if name.startswith("ISAACLAB_FLOWS_"):
                monkeypatch.setenv(name, resolve(value))
        read = Settings()
    assert str(read.jobs_folder) == "/mnt/efs/jobs"
    assert read.queues is not None
    assert read.queues.families == deployment.config.compute.families


def test_prefects_own_variables_exist_in_prefect(deployment: Deployment) -> None:
    from prefect.settings import Settings as PrefectSettings
    from prefect.settings.legacy import _get_settings_fields

    known = set(_get_settings_fields(PrefectSettings))
    for name, variables in _containers(deployment).items():
        unknown = {v for v in variables if v.startswith("PREFECT_")} - known
        assert not unknown, f"{name}: {unknown}"


def test_the_gpu_pools_defaults_are_variables_of_the_worker(deployment: Deployment) -> None:
    from prefect_aws_batch.configuration import BatchVariables

    pool = gpu_pool(deployment, Resolver(deployment))
    assert set(pool) <= set(BatchVariables.model_fields)
    BatchVariables.model_validate(pool)


def test_jobs_carry_the_tag_that_lets_the_worker_end_them(deployment: Deployment) -> None:
    from infrastructure import names

    assert gpu_pool(deployment, Resolver(deployment))["tags"] == {names.TAG: deployment.config.name}


def test_placement_speaks_of_the_workers_variables(deployment: Deployment) -> None:
    from isaaclab_flows.schemas.config import ComputeConfig
    from isaaclab_flows.schemas.placement import Queues, place
    from prefect_aws_batch.configuration import BatchVariables

    queues = Queues.model_validate_json(_containers(deployment)["orchestrator"]["ISAACLAB_FLOWS_QUEUES"])
    variables = place(ComputeConfig(num_nodes=1), queues).job_variables()
    assert set(variables) <= set(BatchVariables.model_fields)
