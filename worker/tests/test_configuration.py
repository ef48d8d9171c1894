from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import entry_points
from typing import Any

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, temporary_settings
from prefect.workers.base import BaseWorker
from pydantic import ValidationError

from prefect_aws_batch import BatchJobConfiguration, BatchVariables, BatchWorker
from prefect_aws_batch.errors import ConfigurationError
from prefect_aws_batch.secrets import CREDENTIALS, job_environment

Configure = Callable[..., BatchJobConfiguration]


def test_prefect_finds_the_worker_through_its_entry_points() -> None:
    (found,) = [entry for entry in entry_points(group="prefect.collections") if entry.name == "prefect_aws_batch"]
    assert found.value == "prefect_aws_batch.batch_worker"
    assert BaseWorker.get_worker_class_from_type("aws-batch") is BatchWorker


def test_every_field_of_the_form_explains_itself_and_the_queue_comes_first() -> None:
    form = BatchWorker.get_default_base_job_template()
    properties = form["variables"]["properties"]
    assert next(iter(properties)) == "job_queue"
    assert all(field.get("title") or name in BatchVariables.model_fields for name, field in properties.items())
    assert all(field.get("description") for field in properties.values())
    assert set(form["job_configuration"]) == set(properties)
    assert form["variables"].get("required", []) == [], "a pool can be made first and filled in later"


@pytest.mark.parametrize(
    ("field", "value"),
    [("vcpu", 0), ("gpus", 17), ("attempts", 11), ("num_nodes", 0), ("timeout_seconds", 59), ("poll_interval", 0)],
)
def test_values_out_of_bounds_are_refused(configure: Configure, field: str, value: int) -> None:
    with pytest.raises(ValidationError, match=field):
        configure(**{field: value})


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"job_queue": None}, "job_queue"),
        ({"image": None}, "image"),
        ({"efs_access_point_id": "fsap-1"}, "efs_file_system_id"),
        ({"efs_file_system_id": "fs-1", "host_path": "/data"}, "host_path"),
        ({"secrets": {"PREFECT_API_KEY": "pnu_123"}}, "secrets.PREFECT_API_KEY"),
        ({"secrets": {"PREFECT_API_KEY": "arn:aws:x"}}, "execution_role_arn"),
        ({"env": {"PREFECT_API_URL": "https://me:hush@prefect/api"}}, "env.PREFECT_API_URL"),
        *[({"env": {name: "hush"}}, f"env.{name}") for name in sorted(CREDENTIALS)],
    ],
)
def test_what_cannot_work_or_would_leak_is_refused_without_telling_it(
    configure: Configure, fields: dict[str, Any], where: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(**fields).check()
    assert caught.value.where == where
    assert caught.value.remedy
    assert "hush" not in str(caught.value)
    assert "pnu_123" not in str(caught.value)


@pytest.mark.parametrize(("endpoint", "fine"), [("http://127.0.0.1:5000", True), ("https://s3.example.com", False)])
def test_only_the_keys_of_a_stand_in_on_this_machine_are_no_secret(
    configure: Configure, endpoint: str, fine: bool
) -> None:
    configuration = configure(env={"AWS_ENDPOINT_URL": endpoint, "AWS_SECRET_ACCESS_KEY": "testing"})
    with nullcontext() if fine else pytest.raises(ConfigurationError):
        configuration.check()


def test_a_jobs_environment_has_the_address_and_no_credential() -> None:
    settings = {PREFECT_API_URL: "http://p/api", PREFECT_API_KEY: "pnu_1", PREFECT_API_AUTH_STRING: "a:b"}
    with temporary_settings(settings):
        environment = job_environment()
    assert environment["PREFECT_API_URL"] == "http://p/api"
    assert environment["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "relinquish"
    assert not CREDENTIALS & set(environment)
    assert not [value for value in environment.values() if "pnu_1" in value or "a:b" in value]


@pytest.mark.parametrize(
    ("setting", "name"), [(PREFECT_API_KEY, "PREFECT_API_KEY"), (PREFECT_API_AUTH_STRING, "PREFECT_API_AUTH_STRING")]
)
def test_a_worker_that_logs_in_demands_a_secret_for_its_jobs(configure: Configure, setting: Any, name: str) -> None:
    with temporary_settings({setting: "hush"}):
        with pytest.raises(ConfigurationError) as caught:
            configure().check()
        assert caught.value.where == f"secrets.{name}"
        configure(secrets={name: "arn:aws:secretsmanager:x"}, execution_role_arn="arn:aws:iam::1:role/x").check()
        configure(job_definition="theirs:1").check()


@pytest.mark.parametrize(
    ("tags", "where"),
    [
        ({"aws:owner": "me"}, "tags.aws:owner"),
        ({"note": "tab\there"}, "tags.note"),
        ({"k" * 129: "v"}, "tags." + "k" * 129),
        ({"k": "v" * 257}, "tags.k"),
        ({"": "v"}, "tags."),
    ],
)
def test_tags_that_aws_refuses_are_refused_before(configure: Configure, tags: dict[str, str], where: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(tags=tags).check()
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("template", "where"),
    [
        (
            {"containerProperties": {"environment": [{"name": "PREFECT_API_KEY", "value": "pnu_x"}]}},
            "job_definition_template.containerProperties.environment",
        ),
        (
            {
                "nodeProperties": {
                    "nodeRangeProperties": [{"container": {"environment": [{"name": "prefect_api_key"}]}}]
                }
            },
            "job_definition_template.nodeProperties.nodeRangeProperties[0].container.environment",
        ),
    ],
)
def test_a_credential_in_the_template_is_refused(configure: Configure, template: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(job_definition_template=template).check()
    assert caught.value.where == where
    assert "pnu_x" not in str(caught.value)
