"""Images, Prefect, the bridge with its registrations, and operations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infrastructure.parts.operations import HEARTBEAT_LATE
from tests.infrastructure.conftest import Deployment
from tests.infrastructure.templates import Resolver, environment_of

ROOT = Path(__file__).resolve().parents[2]


def _images(deployment: Deployment) -> dict[tuple[str, str | None], dict[str, Any]]:
    assets = json.loads((deployment.folder / f"{deployment.config.name}-service.assets.json").read_text())
    return {
        (image["source"]["dockerFile"], image["source"].get("dockerBuildTarget")): image["source"]
        for image in assets["dockerImages"].values()
    }


def test_both_targets_and_the_orchestrator_are_built(cloud: Deployment, small: Deployment) -> None:
    orchestrator = ("infrastructure/orchestrator.Dockerfile", None)
    isaac_sim, newton = (("container/image/Dockerfile", target) for target in ("isaac-sim", "newton"))
    assert set(_images(cloud)) == {isaac_sim, newton, orchestrator}
    assert _images(cloud)[isaac_sim]["dockerBuildArgs"] == {"ACCEPT_EULA": "Y"}
    assert set(_images(small)) == {newton, orchestrator}
    assert not _images(small)[newton].get("dockerBuildArgs")


def test_what_the_images_are_built_from_holds_their_dockerfiles_and_code(cloud: Deployment) -> None:
    for (file, _), source in _images(cloud).items():
        folder = cloud.folder / source["directory"]
        for needed in (file, "requirements/orchestrator.txt", "pyproject.toml", "README.md", "prefect.yaml", "flows"):
            assert (folder / needed).exists(), f"{file} is built without {needed}"
        for unwanted in (".venv", ".git", "outputs", "tests"):
            assert not (folder / unwanted).exists(), unwanted


def _containers(deployment: Deployment) -> dict[str, dict[str, Any]]:
    return {
        container["Name"]: container
        for task in deployment.resources("AWS::ECS::TaskDefinition").values()
        for container in task["Properties"]["ContainerDefinitions"]
    }


def test_two_workers_run_and_are_restarted_when_they_are_ill(deployment: Deployment) -> None:
    containers = _containers(deployment)
    assert {"orchestrator", "worker", "deploy"} <= set(containers)
    for name, pool in (("orchestrator", "isaaclab-orchestrator"), ("worker", "isaaclab-gpu")):
        assert containers[name]["Command"][:5] == ["prefect", "worker", "start", "--pool", pool]
        assert "/health" in containers[name]["HealthCheck"]["Command"][1]
    services = deployment.resources("AWS::ECS::Service")
    for service in services.values():
        assert service["Properties"]["DesiredCount"] == 1
        assert service["Properties"]["DeploymentConfiguration"]["DeploymentCircuitBreaker"]["Rollback"] is True
        assert service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"


def test_pools_and_deployments_are_made_before_the_workers_start(deployment: Deployment) -> None:
    assert _containers(deployment)["deploy"]["Command"] == ["isaaclab-flows", "deploy", "--target", "batch"]
    (run,) = (
        name
        for name, resource in deployment.all_resources()
        if resource["Type"] == "AWS::CloudFormation::CustomResource" and "DeployRun" in name
    )
    for name, service in deployment.resources("AWS::ECS::Service").items():
        if "Workers" in name:
            assert run in service["DependsOn"]


def test_no_container_has_a_credential_in_its_plain_environment(deployment: Deployment) -> None:
    for name, container in _containers(deployment).items():
        plain = {pair["Name"] for pair in container.get("Environment", [])}
        secret = {entry["Name"] for entry in container.get("Secrets", [])}
        credential = "PREFECT_API_AUTH_STRING" if "own" in name else None
        assert not plain & {"PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_DATABASE_PASSWORD"}
        assert secret, name
        assert credential is None or credential in secret


def test_our_own_server_has_a_database_tls_and_a_password(own: Deployment) -> None:
    (database,) = own.resources("AWS::RDS::DBCluster").values()
    assert database["Properties"]["StorageEncrypted"] is True
    assert database["Properties"]["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 0.5, "MaxCapacity": 4}
    assert database["DeletionPolicy"] == "Snapshot"
    (listener,) = own.resources("AWS::ElasticLoadBalancingV2::Listener").values()
    assert (listener["Properties"]["Protocol"], listener["Properties"]["Port"]) == ("HTTPS", 443)
    (balancer,) = own.resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    assert balancer["Properties"]["Scheme"] == "internal"
    secrets = {entry["Name"] for entry in _containers(own)["server"]["Secrets"]}
    assert secrets == {"PREFECT_SERVER_DATABASE_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING"}


def test_prefect_cloud_needs_no_server_of_ours(cloud: Deployment) -> None:
    assert not cloud.resources("AWS::RDS::DBCluster")
    assert not cloud.resources("AWS::ElasticLoadBalancingV2::LoadBalancer")


def test_the_bridge_is_named_so_that_vams_may_call_it(deployment: Deployment) -> None:
    bridge = _function(deployment, "vams-bridge")
    assert "vams" in bridge["FunctionName"]
    assert bridge["Handler"] == "handler.handler"
    assert bridge["Runtime"] == "python3.12"
    assert bridge["DeadLetterConfig"]["TargetArn"]
    # Only our own server needs the VPC; elsewhere it would cost a cold start.
    assert ("VpcConfig" in bridge) is (deployment.config.prefect.mode == "selfHosted")


def _function(deployment: Deployment, ending: str) -> dict[str, Any]:
    functions = deployment.resources("AWS::Lambda::Function").values()
    (found,) = (f["Properties"] for f in functions if f["Properties"].get("FunctionName", "").endswith(ending))
    properties: dict[str, Any] = found
    return properties


REGISTRATION = {
    "timestamp", "pipelineId", "pipelineDescription", "pipelineType", "pipelineExecutionType", "assetType",
    "outputType", "waitForCallback", "lambdaName", "taskTimeout", "taskHeartbeatTimeout", "inputParameters",
    "workflowId", "workflowDescription", "autoTriggerOnFileExtensionsUpload",
}  # fmt: skip


def test_both_workflows_are_registered_as_vams_wants_them(cloud: Deployment) -> None:
    resolve = Resolver(cloud)
    made = [
        resolve(resource["Properties"])
        for resource in cloud.resources("AWS::CloudFormation::CustomResource").values()
        if "pipelineId" in resource["Properties"]
    ]
    assert {(r["pipelineId"], r["workflowId"], r["outputType"]) for r in made} == {
        ("isaaclab-flows-training", "isaaclab-flows-training", ".pt"),
        ("isaaclab-flows-evaluation", "isaaclab-flows-evaluation", ".json"),
    }
    for registered in made:
        assert registered.keys() - {"ServiceToken"} == REGISTRATION
        assert all(isinstance(value, str) for value in registered.values())
        assert registered["ServiceToken"].endswith(":function:vams-importGlobalPipelineWorkflow-example")
        assert registered["waitForCallback"] == "Enabled"
        assert registered["lambdaName"] == "isaaclab-vams-bridge"
        assert int(registered["taskHeartbeatTimeout"]) < int(registered["taskTimeout"]) <= 604_800
        assert 4 <= len(registered["pipelineDescription"]) <= 256
        assert registered["autoTriggerOnFileExtensionsUpload"] == ""


def test_registered_ids_are_within_vamss_limits_for_the_longest_deployment(own: Deployment) -> None:
    for resource in own.resources("AWS::CloudFormation::CustomResource").values():
        for key in ("pipelineId", "workflowId"):
            assert 4 <= len(resource["Properties"].get(key, "none")) <= 63


def test_vams_waits_longer_than_a_job_of_the_default_limit_can_take(cloud: Deployment) -> None:
    from isaaclab_flows.schemas.config import ComputeConfig

    job = ComputeConfig(num_nodes=1).timeout_minutes * 60
    placing = cloud.config.compute.cannot_be_placed_minutes * 60
    assert cloud.config.vams.training_timeout_seconds > job + placing


def test_nothing_is_registered_where_that_is_off(small: Deployment) -> None:
    properties = [r["Properties"] for r in small.resources("AWS::CloudFormation::CustomResource").values()]
    assert not [p for p in properties if "pipelineId" in p]


def test_every_alarm_tells_somebody(deployment: Deployment) -> None:
    alarms = [alarm["Properties"] for alarm in deployment.resources("AWS::CloudWatch::Alarm").values()]
    prefix = f"{deployment.config.name}-"
    assert all(alarm["AlarmName"].startswith(prefix) for alarm in alarms)
    assert all(alarm["AlarmActions"] and alarm["AlarmDescription"] for alarm in alarms)


def test_blocked_queues_are_reported_for_our_queues_only(cloud: Deployment) -> None:
    rules = {r["Properties"].get("Name"): r["Properties"] for r in cloud.resources("AWS::Events::Rule").values()}
    pattern = rules["isaaclab-queue-blocked"]["EventPattern"]
    assert pattern["detail-type"] == ["Batch Job Queue Blocked"]
    assert len(pattern["detail"]["jobQueue"]) == len(cloud.resources("AWS::Batch::JobQueue"))


def test_the_line_that_the_heartbeat_alarm_looks_for_is_what_the_code_logs() -> None:
    assert HEARTBEAT_LATE in (ROOT / "tasks" / "vams" / "callback.py").read_text()


def test_logs_have_an_end_and_a_key(deployment: Deployment) -> None:
    for name, group in deployment.resources("AWS::Logs::LogGroup").items():
        assert group["Properties"]["RetentionInDays"] == deployment.config.operations.log_retention_days, name
        assert group["Properties"]["KmsKeyId"], name


def test_the_budget_warns_before_the_money_is_gone(cloud: Deployment) -> None:
    (budget,) = cloud.resources("AWS::Budgets::Budget").values()
    assert budget["Properties"]["Budget"]["BudgetLimit"] == {"Amount": 500, "Unit": "USD"}
    kinds = [n["Notification"]["NotificationType"] for n in budget["Properties"]["NotificationsWithSubscribers"]]
    assert kinds == ["ACTUAL", "FORECASTED"]


@pytest.mark.parametrize("shown", ["Waiting", "utilization_gpu", "DollarsPerHour", "HeartbeatsLate", "MatchedEvents"])
def test_the_dashboard_shows_what_matters(cloud: Deployment, shown: str) -> None:
    (dashboard,) = cloud.resources("AWS::CloudWatch::Dashboard").values()
    assert shown in str(Resolver(cloud)(dashboard["Properties"]["DashboardBody"]))


def test_disabled_deploys_nothing(tmp_path: Path, deployments: dict[str, Deployment]) -> None:
    from infrastructure.app import build
    from infrastructure.config import check_config
    from tests.infrastructure.conftest import example

    build(check_config(example(enabled=False), source="x"), tmp_path).synth()
    assert not list(tmp_path.glob("*.template.json"))
    assert deployments
    assert environment_of({}) == {}
