"""Job definitions: made from a configuration, named by what they hold, and submitted with what a run adds.

Everything here is a pure function; :mod:`prefect_aws_batch.registrar` talks to Batch.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect_aws_batch.configuration import DEFAULT_LOG_GROUP, BatchJobConfiguration
from prefect_aws_batch.errors import ConfigurationError
from prefect_aws_batch.states import BatchJob

RUN_ID_TAG = "prefect.io/flow-run-id"
POOL_TAG = "prefect.io/work-pool-name"
WORKER_TAG = "prefect.io/worker-name"
ATTEMPTS_TAG = "prefect-aws-batch/attempts-before"

RUN_ID_PARAMETER = "flow_run_id"
_VOLUME = "jobs"
MAIN_NODE = 0
_MOST_TAGS = 50
_MOST_OVERRIDES = 8_192
"""Bytes of JSON."""
_MOST_JOB_NAME = 128


# First match wins; Batch takes at most five, and a star only at the end. A Spot reclaim reads `Host EC2 (instance …)
# terminated`. All else is an error that a second try would repeat, or one that takes more to tell: the worker submits
# those again.
def evaluate_on_exit(retry_exit_codes: Sequence[int]) -> list[dict[str, str]]:
    """Return the rules by which Batch itself tries again.

    Args:
        retry_exit_codes: At most two.
    """
    return [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        *({"onExitCode": str(code), "action": "RETRY"} for code in retry_exit_codes),
        {"onReason": "DockerTimeoutError*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ]


def job_definition(configuration: BatchJobConfiguration) -> dict[str, Any]:
    """Return a RegisterJobDefinition request without its name."""
    container = _container(configuration)
    request: dict[str, Any] = {"propagateTags": True}
    if configuration.num_nodes == 1:
        request |= {"type": "container", "platformCapabilities": ["EC2"], "containerProperties": container}
    else:
        request |= {"type": "multinode", "nodeProperties": _nodes(configuration, container)}
    if configuration.share_identifier:
        # A fair-share queue refuses jobs without one. Its value, like attempts and timeout, is each submission's own.
        request["schedulingPriority"] = 0
    return overlay(request, configuration.job_definition_template)


def definition_name(prefix: str, definition: dict[str, Any]) -> str:
    """Return the name of a definition: equal content has an equal name, however it was written down."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return f"{prefix}-{hashlib.sha256(canonical.encode()).hexdigest()[:20]}"


def overlay(base: dict[str, Any], template: dict[str, Any]) -> dict[str, Any]:
    """Return base with the operator's template laid over it: mappings merge, None removes, all else is replaced."""
    result = dict(base)
    for key, value in template.items():
        below = result.get(key)
        if value is None:
            result.pop(key, None)
            continue
        result[key] = overlay(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _container(configuration: BatchJobConfiguration) -> dict[str, Any]:
    needs = [("VCPU", configuration.vcpu), ("MEMORY", configuration.memory), ("GPU", configuration.gpus)]
    container: dict[str, Any] = {
        "resourceRequirements": [{"type": kind, "value": str(value)} for kind, value in needs if value],
        # The init passes SIGTERM on; without one, a shell as process 1 ignores it.
        "linuxParameters": {"initProcessEnabled": True, "sharedMemorySize": configuration.shared_memory},
    }
    optional = {
        "image": configuration.image,
        "jobRoleArn": configuration.job_role_arn,
        "executionRoleArn": configuration.execution_role_arn,
        "secrets": [{"name": name, "valueFrom": arn} for name, arn in sorted(configuration.secrets.items())],
    }
    container |= {key: value for key, value in optional.items() if value}
    if volume := _volume(configuration):
        container["volumes"] = [volume]
        container["mountPoints"] = [
            {"sourceVolume": _VOLUME, "containerPath": configuration.mount_path, "readOnly": False}
        ]
    if configuration.log_group != DEFAULT_LOG_GROUP or configuration.log_options:
        container["logConfiguration"] = {
            "logDriver": "awslogs",
            "options": {"awslogs-group": configuration.log_group, **configuration.log_options},
        }
    return container


def _volume(configuration: BatchJobConfiguration) -> dict[str, Any] | None:
    if configuration.host_path:
        return {"name": _VOLUME, "host": {"sourcePath": configuration.host_path}}
    if not configuration.efs_file_system_id:
        return None
    efs: dict[str, Any] = {"fileSystemId": configuration.efs_file_system_id, "transitEncryption": "ENABLED"}
    if configuration.efs_access_point_id:
        efs["authorizationConfig"] = {"accessPointId": configuration.efs_access_point_id, "iam": "ENABLED"}
    return {"name": _VOLUME, "efsVolumeConfiguration": efs}


def _nodes(configuration: BatchJobConfiguration, container: dict[str, Any]) -> dict[str, Any]:
    # The run's id is a parameter of the command, so that one definition serves all runs.
    command = f"prefect flow-run execute Ref::{RUN_ID_PARAMETER}".split()
    join = shlex.split(configuration.join_command)
    last = configuration.num_nodes - 1
    return {
        "numNodes": configuration.num_nodes,
        "mainNode": MAIN_NODE,
        "nodeRangeProperties": [
            {"targetNodes": f"{MAIN_NODE}:{MAIN_NODE}", "container": {**container, "command": command}},
            {
                "targetNodes": f"1:{last}",
                "container": {**container, "command": join},
            },
        ],
    }


def job_name(flow_name: str, flow_run_id: UUID, run_count: int, resubmission: int) -> str:
    """Return the name that one execution of a flow run has in Batch, whoever submits it and how often.

    Args:
        flow_name: For people; only what Batch allows of it is kept.
        flow_run_id: The run.
        run_count: How often Prefect ran it before (a rerun from the UI is another execution).
        resubmission: How often this worker submitted that execution again after its machine was lost.
    """
    end = f"-{flow_run_id}-{run_count + 1}" + (f"-{resubmission}" if resubmission else "")
    slug = re.sub(r"[^A-Za-z0-9]+", "-", flow_name).strip("-") or "flow"
    return slug[: _MOST_JOB_NAME - len(end)] + end


def submission(
    configuration: BatchJobConfiguration, *, name: str, definition: str, flow_run_id: UUID, attempts_before: int = 0
) -> dict[str, Any]:
    """Return a SubmitJob request.

    Args:
        configuration: The run's.
        name: The job's name.
        definition: Name or ARN of its definition.
        flow_run_id: The run.
        attempts_before: Attempts that earlier jobs of the run have used up; the rest are this job's.
    """
    environment = [
        {"name": key, "value": value} for key, value in sorted(configuration.env.items()) if value is not None
    ]
    # The tasks of one node of several are told what to do by the definition; its command must not be replaced.
    request: dict[str, Any] = {
        "jobName": name,
        "jobQueue": configuration.job_queue,
        "jobDefinition": definition,
        "tags": job_tags(configuration),
        "propagateTags": True,
    }
    if configuration.num_nodes == 1:
        command = shlex.split(configuration.command or "prefect flow-run execute")
        request["containerOverrides"] = {"command": command, "environment": environment}
    else:
        request["parameters"] = {RUN_ID_PARAMETER: str(flow_run_id)}
        request["nodeOverrides"] = {
            "nodePropertyOverrides": [{"targetNodes": "0:", "containerOverrides": {"environment": environment}}]
        }
    template = configuration.job_definition_template
    if "retryStrategy" not in template:
        request["retryStrategy"] = {
            "attempts": max(configuration.attempts - attempts_before, 1),
            "evaluateOnExit": evaluate_on_exit(configuration.retry_exit_codes),
        }
    if attempts_before:
        request["tags"] |= {ATTEMPTS_TAG: str(attempts_before)}
    if configuration.timeout_seconds and "timeout" not in template:
        request["timeout"] = {"attemptDurationSeconds": configuration.timeout_seconds}
    if configuration.share_identifier:
        request["shareIdentifier"] = configuration.share_identifier
        if configuration.scheduling_priority is not None:
            request["schedulingPriorityOverride"] = configuration.scheduling_priority
    return request


def attempts_of(job: BatchJob) -> int:
    """Return how many attempts a run has used up when this job has ended, those of earlier jobs among them."""
    return attempts_before(job) + max(job.attempts, 1)


def attempts_before(job: BatchJob) -> int:
    """Return how many attempts a run had used up before this job was submitted."""
    before = job.tags.get(ATTEMPTS_TAG, "")
    return int(before) if before.isdigit() else 0


def check_submission(request: dict[str, Any]) -> None:
    """Refuse what Batch would take, and then fail the job for.

    Raises:
        ConfigurationError: The overrides are too long.
    """
    for kind in ("containerOverrides", "nodeOverrides"):
        overrides = request.get(kind, {})
        size = len(json.dumps(overrides, separators=(",", ":")).encode())
        if size > _MOST_OVERRIDES:
            environment = _environment_of(overrides)
            longest = max(environment, key=lambda variable: len(variable["value"]), default={"name": "command"})["name"]
            raise ConfigurationError(
                f"The job's environment and command take {size} bytes, and Batch takes {_MOST_OVERRIDES}; "
                f"the longest variable is {longest}",
                where=f"env.{longest}",
                remedy="Put long values into S3, a secret or the image, and name them instead.",
            )


def _environment_of(overrides: dict[str, Any]) -> list[dict[str, str]]:
    parts = [overrides, *(part["containerOverrides"] for part in overrides.get("nodePropertyOverrides", []))]
    return [variable for part in parts for variable in part.get("environment", [])]


def job_tags(configuration: BatchJobConfiguration) -> dict[str, str]:
    """Return the job's tags: Prefect's labels, by which a worker finds its jobs again, and the operator's."""
    labels = {key: value for key, value in configuration.labels.items() if value}
    tags = {**configuration.tags, **{key: value for key, value in labels.items() if key.startswith("prefect.io/")}}
    tags |= {key: value for key, value in labels.items() if key not in tags}
    allowed = {re.sub(r"[^\w +\-=.:/@]", "-", key)[:128]: _tag_value(value) for key, value in tags.items()}
    # Those that adoption needs come first, should there be more than AWS takes.
    first = (RUN_ID_TAG, POOL_TAG, WORKER_TAG)
    ordered = [key for key in first if key in allowed] + [key for key in allowed if key not in first]
    return {key: allowed[key] for key in ordered[:_MOST_TAGS]}


def _tag_value(value: str) -> str:
    return re.sub(r"[^\w +\-=.:/@]", "-", value)[:256]
