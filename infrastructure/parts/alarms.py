"""What wakes somebody, each with what silence means: nothing to say, or nobody left to say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_efs as efs
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config
from infrastructure.parts.bridge import Bridge
from infrastructure.parts.prefect_server import PrefectServer

_FIVE = Duration.minutes(5)
_OR_MORE = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
_LESS = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
_FINE = cloudwatch.TreatMissingData.NOT_BREACHING
_SILENCE = cloudwatch.TreatMissingData.BREACHING


@dataclass(frozen=True)
class Watched:
    """What has alarms."""

    bridge: Bridge
    observer: lambda_.Function
    file_system: efs.FileSystem
    server: PrefectServer | None


@dataclass(frozen=True)
class Alarm:
    """One alarm."""

    name: str
    metric: cloudwatch.Metric
    threshold: float
    meaning: str
    periods: int = 1
    less: bool = False
    """It is raised below the threshold instead of from it on."""
    missing: cloudwatch.TreatMissingData = _FINE
    """What it means that the metric has no data."""


def make_alarms(scope: Construct, config: Config, topic: sns.ITopic, watched: Watched) -> None:
    """Make every alarm, each of which tells the topic."""
    action = actions.SnsAction(topic)
    for found in (*_events(config, watched), *_services(config, watched), *_server(watched)):
        alarm = cloudwatch.Alarm(
            scope,
            f"Alarm-{found.name}",
            alarm_name=f"{config.name}-{found.name}",
            alarm_description=found.meaning,
            metric=found.metric,
            threshold=found.threshold,
            evaluation_periods=found.periods,
            comparison_operator=_LESS if found.less else _OR_MORE,
            treat_missing_data=found.missing,
        )
        alarm.add_alarm_action(action)


def own_metric(config: Config, metric: str, statistic: str = "Maximum") -> cloudwatch.Metric:
    """Return a metric that this deployment publishes itself."""
    return cloudwatch.Metric(
        namespace=names.METRIC_NAMESPACE,
        metric_name=metric,
        dimensions_map={"Deployment": config.name},
        statistic=statistic,
        period=_FIVE,
    )


def heartbeats_late(config: Config) -> cloudwatch.Metric:
    """Return how many heartbeats to VAMS did not get through."""
    return cloudwatch.Metric(
        namespace=names.METRIC_NAMESPACE,
        metric_name=f"HeartbeatsLate-{config.name}",
        statistic="Sum",
        period=_FIVE,
    )


def file_metric(file_system: efs.FileSystem, metric: str, statistic: str) -> cloudwatch.Metric:
    """Return a metric of the file system."""
    return cloudwatch.Metric(
        namespace="AWS/EFS",
        metric_name=metric,
        dimensions_map={"FileSystemId": file_system.file_system_id},
        statistic=statistic,
        period=_FIVE,
    )


def _matched(rule: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/Events",
        metric_name="MatchedEvents",
        dimensions_map={"RuleName": rule},
        statistic="Sum",
        period=_FIVE,
    )


def _container(config: Config, service: str, metric: str, statistic: str = "Maximum") -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="ECS/ContainerInsights",
        metric_name=metric,
        dimensions_map={"ClusterName": config.name, "ServiceName": f"{config.name}-{service}"},
        statistic=statistic,
        period=_FIVE,
    )


def _events(config: Config, watched: Watched) -> Sequence[Alarm]:
    """What happens or does not: no data is no event."""
    function = watched.bridge.function
    return (
        Alarm(
            "bridge-errors",
            function.metric_errors(period=_FIVE),
            1,
            "The bridge raised: a request was not started by this delivery. Its log says why.",
        ),
        Alarm(
            "bridge-throttled",
            function.metric_throttles(period=_FIVE),
            1,
            "Lambda's concurrency is used up; VAMS's retry acts twice, then the workflow fails.",
        ),
        Alarm(
            "dead-letters",
            watched.bridge.dead_letters.metric_approximate_number_of_messages_visible(period=_FIVE),
            1,
            "An asynchronous call of the bridge failed for good; VAMS itself never calls it so.",
        ),
        Alarm(
            "queue-blocked",
            _matched(f"{config.name}-queue-blocked"),
            1,
            "A job cannot be placed and holds up its queue: docs/deploy.md.",
        ),
        Alarm(
            "jobs-failed",
            _matched(f"{config.name}-jobs-failed"),
            1,
            "A GPU job failed; its flow run says why.",
        ),
        Alarm(
            "heartbeats-late",
            heartbeats_late(config),
            10,
            "Heartbeats to VAMS do not get through; its workflow will time out.",
            periods=2,
        ),
        Alarm(
            "file-system-busy",
            # Elastic throughput has no burst credits; this is the limit that is left.
            file_metric(watched.file_system, "PercentIOLimit", "Maximum"),
            90,
            "EFS is at its limit of operations: too many small files at once?",
            periods=3,
        ),
    )


def _services(config: Config, watched: Watched) -> Sequence[Alarm]:
    """What has to be there all the time: no data means that it is gone."""
    workers = [
        Alarm(
            f"{service}-down",
            _container(config, service, "RunningTaskCount"),
            1,
            f"The service {config.name}-{service} has no running task: {what}.",
            periods=2,
            less=True,
            missing=_SILENCE,
        )
        for service, what in (
            ("orchestrator", "nothing starts, and no request is answered"),
            ("batch-worker", "runs stay Pending in the GPU pool"),
        )
    ]
    return (
        *workers,
        Alarm(
            "orchestrator-memory",
            _container(config, "orchestrator", "MemoryUtilized"),
            0.9 * _memory_of_orchestrator(config),
            "The orchestrator is nearly out of memory: raise operations.concurrentRuns, which makes it larger.",
            periods=2,
            missing=_SILENCE,
        ),
        Alarm(
            "request-unanswered",
            own_metric(config, "Unanswered"),
            1,
            "A request is without an answer for longer than VAMS waits, or nobody measures it: look at its flow run.",
            periods=3,
            missing=_SILENCE,
        ),
        Alarm(
            "observer-silent",
            own_metric(config, "Unanswered", "SampleCount"),
            1,
            "The observer measures nothing: its log says why. Queues, costs and unanswered requests are unseen.",
            periods=3,
            less=True,
            missing=_SILENCE,
        ),
    )


def _memory_of_orchestrator(config: Config) -> int:
    from infrastructure.parts.prefect import orchestrator_size

    return orchestrator_size(config.operations.concurrent_runs)[1]


def _server(watched: Watched) -> Sequence[Alarm]:
    if watched.server is None:
        return ()
    return (
        Alarm(
            "server-down",
            watched.server.targets.metrics.healthy_host_count(period=_FIVE),
            1,
            "No healthy Prefect server is behind the load balancer.",
            periods=2,
            less=True,
            missing=_SILENCE,
        ),
        Alarm(
            "database-full",
            watched.server.database.metric_acu_utilization(period=_FIVE),
            95,
            "The database is at databaseMaxAcu, or gone: raise it.",
            periods=3,
            missing=_SILENCE,
        ),
    )
