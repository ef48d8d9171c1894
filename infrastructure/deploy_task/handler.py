"""CloudFormation's custom resource that runs the deploy task and waits for its end.

The task creates Prefect's pools, deployments and automations. A failed task fails the deployment of the stack, with
the task's own reason; deleting the resource does nothing.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import boto3

POLL_SECONDS = 10.0
# CloudFormation gets an answer before Lambda's limit of 15 minutes ends this.
MARGIN_SECONDS = 30.0


def handler(event: dict[str, Any], context: Any) -> None:
    """Answer one CloudFormation event."""
    try:
        reason = "" if event["RequestType"] == "Delete" else run(event["ResourceProperties"], context)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    answer(event, context, reason)


def run(properties: dict[str, Any], context: Any) -> str:
    """Run the task; return why it failed, or nothing."""
    ecs = boto3.client("ecs")
    started = ecs.run_task(
        cluster=properties["cluster"],
        taskDefinition=properties["taskDefinition"],
        launchType="FARGATE",
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": properties["subnets"],
                "securityGroups": properties["securityGroups"],
                "assignPublicIp": "DISABLED",
            }
        },
    )
    if started["failures"]:
        return f"The deploy task could not be started: {started['failures'][0].get('reason', 'no reason given')}"
    arn = started["tasks"][0]["taskArn"]
    while context.get_remaining_time_in_millis() / 1000 > MARGIN_SECONDS + POLL_SECONDS:
        tasks = ecs.describe_tasks(cluster=properties["cluster"], tasks=[arn])["tasks"]
        if tasks and tasks[0]["lastStatus"] == "STOPPED":
            return _outcome(tasks[0], properties["logGroup"])
        time.sleep(POLL_SECONDS)
    ecs.stop_task(cluster=properties["cluster"], task=arn, reason="the deploy task took too long")
    return f"The deploy task {arn} did not end in time; its log is in {properties['logGroup']}"


def _outcome(task: dict[str, Any], log_group: str) -> str:
    container: dict[str, Any] = next(iter(task.get("containers", [])), {})
    if container.get("exitCode") == 0:
        return ""
    why = container.get("reason") or task.get("stoppedReason") or "no reason given"
    return f"The deploy task ended with {container.get('exitCode', 'no exit code')} ({why}); its log is in {log_group}"


def answer(event: dict[str, Any], context: Any, reason: str) -> None:
    """Tell CloudFormation."""
    body = {
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": reason[:1000] or "done",
        "PhysicalResourceId": event.get("PhysicalResourceId", "isaaclab-flows-deploy"),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(  # noqa: S310
        event["ResponseURL"], data=json.dumps(body).encode(), headers={"Content-Type": ""}, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        print(body["Status"], body["Reason"], response.status, context.log_stream_name)  # noqa: T201
