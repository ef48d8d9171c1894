"""Every few minutes: what CloudWatch does not know by itself, as metrics.

Queue depths, requests that have no answer, and what the running machines cost. Environment: DEPLOYMENT, QUEUES
(comma-separated), REQUESTS_BUCKET, REQUESTS_PREFIX, UNANSWERED_MINUTES, DOLLARS_PER_HOUR (JSON: instance type to
price), TAG, METRIC_NAMESPACE.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

WAITING = ("SUBMITTED", "PENDING", "RUNNABLE")
WORKING = ("STARTING", "RUNNING")
_DOCUMENT = re.compile(r"(?P<job>[^/]+)/(?P<file>request|answer-\d+)\.json$")


def handler(_event: object, _context: object) -> dict[str, float]:
    """Measure and publish."""
    cloudwatch = boto3.client("cloudwatch")
    metrics = {**depths(boto3.client("batch")), "Unanswered": unanswered(boto3.client("s3"), datetime.now(UTC))}
    metrics["DollarsPerHour"] = dollars_per_hour(boto3.client("ec2"))
    dimensions = [{"Name": "Deployment", "Value": os.environ["DEPLOYMENT"]}]
    data = [{"MetricName": name, "Dimensions": dimensions, "Value": value} for name, value in metrics.items()]
    cloudwatch.put_metric_data(Namespace=os.environ["METRIC_NAMESPACE"], MetricData=data)
    return metrics


def depths(batch: Any) -> dict[str, float]:
    """Return how many jobs wait and work, all queues together."""
    found = {"Waiting": 0.0, "Working": 0.0}
    for queue in os.environ["QUEUES"].split(","):
        for name, statuses in (("Waiting", WAITING), ("Working", WORKING)):
            for status in statuses:
                pages = batch.get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus=status)
                found[name] += sum(len(page["jobSummaryList"]) for page in pages)
    return found


def unanswered(s3: Any, now: datetime) -> float:
    """Return how many requests are older than the limit and have no answer beside them."""
    limit = now - timedelta(minutes=float(os.environ["UNANSWERED_MINUTES"]))
    # Older ones were counted for two days already; nobody waits for them any more.
    oldest = limit - timedelta(days=2)
    asked: dict[str, datetime] = {}
    answered: dict[str, datetime] = {}
    for key, modified in _objects(s3):
        if match := _DOCUMENT.search(key):
            times = asked if match["file"] == "request" else answered
            times[match["job"]] = max(modified, times.get(match["job"], modified))
    return float(sum(oldest < asked[job] < limit for job in asked.keys() - answered.keys()))


def _objects(s3: Any) -> Iterator[tuple[str, datetime]]:
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=os.environ["REQUESTS_BUCKET"], Prefix=os.environ["REQUESTS_PREFIX"]
    )
    for page in pages:
        for found in page.get("Contents", []):
            yield found["Key"], found["LastModified"]


def dollars_per_hour(ec2: Any) -> float:
    """Return what this deployment's running machines cost an hour at the on-demand price."""
    prices: dict[str, float] = json.loads(os.environ["DOLLARS_PER_HOUR"])
    filters = [
        {"Name": f"tag:{os.environ['TAG']}", "Values": [os.environ["DEPLOYMENT"]]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    machines = (machine for page in pages for found in page["Reservations"] for machine in found["Instances"])
    return sum(prices.get(machine["InstanceType"], 0.0) for machine in machines)
