from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import RUN_ID
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.definitions import (
    attempts_of,
    check_submission,
    definition_name,
    evaluate_on_exit,
    job_definition,
    job_name,
    job_tags,
    overlay,
    submission,
)
from prefect_aws_batch.errors import ConfigurationError
from prefect_aws_batch.job_run import resubmission_of, run_count_of
from prefect_aws_batch.states import BatchJob

Configure = Callable[..., BatchJobConfiguration]
BATCH_MODEL = botocore.session.Session().get_service_model("batch")


def batch_accepts(operation: str, request: dict[str, Any]) -> None:
    """Check a request against AWS's own model of the API."""
    report = ParamValidator().validate(request, BATCH_MODEL.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


FULL: dict[str, Any] = {
    "vcpu": 8,
    "memory": 30_000,
    "gpus": 2,
    "shared_memory": 4_096,
    "secrets": {"PREFECT_API_KEY": "arn:aws:secretsmanager:eu-central-1:1:secret:key"},
    "job_role_arn": "arn:aws:iam::1:role/job",
    "execution_role_arn": "arn:aws:iam::1:role/execution",
    "efs_file_system_id": "fs-1",
    "efs_access_point_id": "fsap-1",
    "log_group": "/isaaclab",
    "timeout_seconds": 7_200,
    "attempts": 5,
    "share_identifier": "robotics",
    "scheduling_priority": 10,
    "tags": {"team": "robotics"},
}


@pytest.mark.parametrize("nodes", [1, 4])
def test_aws_accepts_what_the_form_makes(configure: Configure, nodes: int) -> None:
    configuration = configure(**FULL, num_nodes=nodes)
    definition = job_definition(configuration)
    batch_accepts("RegisterJobDefinition", {"jobDefinitionName": "name", **definition})
    request = submission(configuration, name="job", definition="arn", flow_run_id=RUN_ID)
    batch_accepts("SubmitJob", request)
    assert request["shareIdentifier"] == "robotics"
    assert request["schedulingPriorityOverride"] == 10
    assert request["timeout"] == {"attemptDurationSeconds": 7_200}
    assert request["retryStrategy"]["attempts"] == 5
    assert request["propagateTags"] is True


def test_a_definition_holds_everything_that_the_form_says(configure: Configure) -> None:
    definition = job_definition(configure(**FULL))
    container = definition["containerProperties"]
    needs = {need["type"]: need["value"] for need in container["resourceRequirements"]}
    assert needs == {"VCPU": "8", "MEMORY": "30000", "GPU": "2"}
    assert container["linuxParameters"] == {"initProcessEnabled": True, "sharedMemorySize": 4_096}
    assert container["secrets"][0]["name"] == "PREFECT_API_KEY"
    efs = container["volumes"][0]["efsVolumeConfiguration"]
    assert efs == {
        "fileSystemId": "fs-1",
        "transitEncryption": "ENABLED",
        "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
    }
    assert container["mountPoints"][0]["containerPath"] == "/mnt/efs"
    assert container["logConfiguration"]["options"]["awslogs-group"] == "/isaaclab"
    assert definition["schedulingPriority"] == 0, "each submission's own, like attempts and timeout"


def test_a_job_without_gpus_asks_for_none(configure: Configure) -> None:
    needs = job_definition(configure(gpus=0))["containerProperties"]["resourceRequirements"]
    assert "GPU" not in {need["type"] for need in needs}


def test_runs_of_one_configuration_share_a_definition_whatever_their_environment(configure: Configure) -> None:
    one, two = configure(env={"SEED": "1"}), configure(env={"SEED": "2"}, labels={"prefect.io/flow-run-name": "x"})
    assert definition_name("p", job_definition(one)) == definition_name("p", job_definition(two))


@pytest.mark.parametrize("change", [{"memory": 15_000}, {"image": "trainer:2"}, {"num_nodes": 2}])
def test_another_content_has_another_name(configure: Configure, change: dict[str, Any]) -> None:
    assert definition_name("p", job_definition(configure())) != definition_name(
        "p", job_definition(configure(**change))
    )


@settings(max_examples=25)
@given(st.dictionaries(st.text(max_size=9), st.integers() | st.lists(st.integers(), max_size=3), max_size=5))
def test_a_definitions_name_depends_on_content_alone_and_is_one_that_batch_takes(content: dict[str, Any]) -> None:
    name = definition_name("prefect", content)
    assert name == definition_name("prefect", dict(reversed(content.items())))
    assert re.fullmatch(r"[A-Za-z0-9][\w-]{0,127}", name)


def test_the_operators_template_wins(configure: Configure) -> None:
    template = {"containerProperties": {"ulimits": [{"name": "memlock"}], "image": "own:1"}, "timeout": {"x": 1}}
    definition = job_definition(configure(job_definition_template=template))
    container = definition["containerProperties"]
    assert container["image"] == "own:1"
    assert container["ulimits"] == [{"name": "memlock"}]
    assert container["linuxParameters"]["initProcessEnabled"] is True, "what the template does not say stays"


def test_an_overlay_leaves_its_base_alone() -> None:
    base = {"a": {"b": 1}, "c": [1, 2]}
    assert overlay(base, {"a": {"d": 2}, "c": [3]}) == {"a": {"b": 1, "d": 2}, "c": [3]}
    assert base == {"a": {"b": 1}, "c": [1, 2]}


def test_retries_are_for_lost_machines_and_end_with_a_catch_all() -> None:
    rules = evaluate_on_exit([143, 75])
    retried = [rule for rule in rules if rule["action"] == "RETRY"]
    assert {"onStatusReason": "Host EC2*", "action": "RETRY"} in retried
    assert {"onExitCode": "143", "action": "RETRY"} in retried
    assert rules[-1] == {"onReason": "*", "action": "EXIT"}
    assert len(rules) <= 5, "Batch takes no more"


def test_the_main_node_runs_the_flow_and_the_others_join(configure: Configure) -> None:
    nodes = job_definition(configure(num_nodes=3, gpus=4))["nodeProperties"]
    main, others = nodes["nodeRangeProperties"]
    assert (nodes["numNodes"], nodes["mainNode"]) == (3, 0)
    assert (main["targetNodes"], others["targetNodes"]) == ("0:0", "1:2")
    assert main["container"]["command"][-1] == "Ref::flow_run_id"
    assert others["container"]["command"] == ["join"]
    for part in (main, others):
        assert {"type": "GPU", "value": "4"} in part["container"]["resourceRequirements"]


def test_every_node_gets_the_environment_and_the_definition_serves_every_run(configure: Configure) -> None:
    request = submission(configure(num_nodes=2), name="job", definition="arn", flow_run_id=RUN_ID)
    (override,) = request["nodeOverrides"]["nodePropertyOverrides"]
    assert override["targetNodes"] == "0:"
    assert request["parameters"] == {"flow_run_id": str(RUN_ID)}
    assert "command" not in override["containerOverrides"]


def test_a_command_may_be_quoted(configure: Configure) -> None:
    request = submission(configure(command="sh -c 'a; b'"), name="j", definition="d", flow_run_id=RUN_ID)
    assert request["containerOverrides"]["command"] == ["sh", "-c", "a; b"]


@settings(max_examples=50)
@given(st.text(max_size=200), st.integers(0, 999), st.integers(0, 9))
def test_a_jobs_name_tells_its_run_and_attempt_and_is_one_that_batch_takes(flow: str, runs: int, again: int) -> None:
    name = job_name(flow, RUN_ID, runs, again)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", name)
    assert str(RUN_ID) in name
    assert (run_count_of(name), resubmission_of(name)) == (runs, again)


def test_tags_are_cut_to_what_aws_takes_and_never_lose_those_that_adoption_needs(configure: Configure) -> None:
    configuration = configure(tags={f"key {n}": "a" * 300 + "é;" for n in range(80)})
    tags = job_tags(configuration)
    assert len(tags) == 50
    assert tags["prefect.io/flow-run-id"] == str(RUN_ID)
    assert tags["prefect.io/work-pool-name"] == "gpu"
    assert all(len(value) <= 256 and ";" not in value for value in tags.values())


@pytest.mark.parametrize(
    "change", [{"attempts": 2}, {"timeout_seconds": 60}, {"scheduling_priority": 9}, {"retry_exit_codes": [3]}]
)
def test_one_shape_is_one_definition(configure: Configure, change: dict[str, Any]) -> None:
    fair = {"share_identifier": "a"}
    assert job_definition(configure(**fair)) == job_definition(configure(**fair, **change))


def test_what_earlier_jobs_used_up_is_no_longer_there(configure: Configure) -> None:
    request = submission(configure(attempts=3), name="j", definition="d", flow_run_id=RUN_ID, attempts_before=2)
    assert request["retryStrategy"]["attempts"] == 1
    job = BatchJob("j", "j", "FAILED", attempts=1, tags=request["tags"])
    assert attempts_of(job) == 3


def test_the_operators_own_retries_and_timeout_win(configure: Configure) -> None:
    template = {"retryStrategy": {"attempts": 1}, "timeout": {"attemptDurationSeconds": 60}}
    configuration = configure(job_definition_template=template, timeout_seconds=90)
    request = submission(configuration, name="j", definition="d", flow_run_id=RUN_ID)
    assert not {"retryStrategy", "timeout"} & set(request)
    assert job_definition(configuration)["timeout"] == {"attemptDurationSeconds": 60}


@pytest.mark.parametrize("nodes", [1, 2])
def test_overrides_longer_than_batch_takes_are_refused_with_the_longest(configure: Configure, nodes: int) -> None:
    configuration = configure(env={"SMALL": "x", "URLS": "u" * 8_200}, num_nodes=nodes)
    request = submission(configuration, name="j", definition="d", flow_run_id=RUN_ID)
    with pytest.raises(ConfigurationError, match="the longest variable is URLS") as caught:
        check_submission(request)
    assert caught.value.where == "env.URLS"
    check_submission(submission(configure(), name="j", definition="d", flow_run_id=RUN_ID))


def test_a_field_can_be_taken_away_as_fargate_wants_it(configure: Configure) -> None:
    template = {
        "platformCapabilities": ["FARGATE"],
        "containerProperties": {
            "linuxParameters": None,
            "fargatePlatformConfiguration": {"platformVersion": "LATEST"},
            "networkConfiguration": {"assignPublicIp": "ENABLED"},
        },
    }
    definition = job_definition(configure(job_definition_template=template, execution_role_arn="arn:aws:iam::1:role/x"))
    assert "linuxParameters" not in definition["containerProperties"]
    batch_accepts("RegisterJobDefinition", {"jobDefinitionName": "name", **definition})


def test_the_log_drivers_options_are_the_operators(configure: Configure) -> None:
    options = {"mode": "non-blocking", "max-buffer-size": "25m"}
    container = job_definition(configure(log_options=options))["containerProperties"]
    assert container["logConfiguration"]["options"] == {"awslogs-group": "/aws/batch/job", **options}
