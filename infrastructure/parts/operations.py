"""Operations: what is measured, what wakes somebody, and what is shown on one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from aws_cdk import Duration
from aws_cdk import aws_batch as batch
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_efs as efs
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config
from infrastructure.nag import accept
from infrastructure.parts.alarms import Watched, file_metric, heartbeats_late, make_alarms, own_metric
from infrastructure.parts.bridge import Bridge
from infrastructure.parts.compute import machines_of
from infrastructure.parts.network import retention
from infrastructure.parts.prefect_server import PrefectServer
from infrastructure.parts.storage import DataStores

HEARTBEAT_LATE = "VAMS's heartbeat failed"
"""What tasks/vams/callback.py logs when a heartbeat did not get through."""
_FOLDER = Path(__file__).resolve().parents[1]
_OUTCOMES = {"SUCCEEDED": "JobsSucceeded", "FAILED": "JobsFailed"}


class Operations(Construct):
    """Topic, observer, event rules, alarms, dashboard and budget."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        key: kms.IKey,
        storage: DataStores,
        bridge: Bridge,
        queues: Sequence[batch.CfnJobQueue],
        services_log: logs.LogGroup,
        server: PrefectServer | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        self._key = key
        self._queues = queues
        self.topic = self._make_topic()
        self.observer = self._observer(storage)
        self._watch_queues()
        logs.MetricFilter(
            self,
            "HeartbeatsLate",
            log_group=services_log,
            filter_pattern=logs.FilterPattern.literal(f'"{HEARTBEAT_LATE}"'),
            metric_namespace=names.METRIC_NAMESPACE,
            metric_name=f"HeartbeatsLate-{config.name}",
            metric_value="1",
            default_value=0,
        )
        make_alarms(self, config, self.topic, Watched(bridge, self.observer, storage.file_system, server))
        self._dashboard(bridge, storage.file_system)
        self._budget()

    def _make_topic(self) -> sns.Topic:
        topic = sns.Topic(
            self,
            "Alarms",
            topic_name=f"{self._config.name}-alarms",
            display_name=f"isaaclab-flows {self._config.name}",
            master_key=self._key,
            enforce_ssl=True,
        )
        # A policy of one's own takes the place of the default one, which lets alarms publish.
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": self._config.account}},
            )
        )
        if self._config.operations.alarm_email:
            topic.add_subscription(subscriptions.EmailSubscription(self._config.operations.alarm_email))
        return topic

    def _observer(self, storage: DataStores) -> lambda_.Function:
        """Make the Lambda that measures what CloudWatch does not know: queues, unanswered requests, running costs."""
        config = self._config
        group = logs.LogGroup(
            self,
            "ObserverLog",
            log_group_name=names.log_group(config, "observer"),
            retention=retention(config),
            encryption_key=self._key,
        )
        role = iam.Role(
            self,
            "Observer",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Measures {config.name}",
        )
        for statement in (
            iam.PolicyStatement(actions=["batch:ListJobs", "ec2:DescribeInstances"], resources=["*"]),
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],
                conditions={"StringEquals": {"cloudwatch:namespace": names.METRIC_NAMESPACE}},
            ),
            # It lists names and ages; what is in the documents stays closed to it.
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[storage.requests.arn],
                conditions={"StringLike": {"s3:prefix": [f"{names.REQUESTS_PREFIX}*"]}},
            ),
            iam.PolicyStatement(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[group.log_group_arn]),
        ):
            role.add_to_policy(statement)
        accept(
            role.node.find_child("DefaultPolicy"),
            {"AwsSolutions-IAM5[Resource::*]": "Listing and PutMetricData have no resource level."},
        )
        machines = [machine for gpus in config.compute.gpus_per_machine for machine in machines_of(config, gpus)]
        function = lambda_.Function(
            self,
            "ObserverFunction",
            function_name=f"{config.name}-observer",
            runtime=lambda_.Runtime.PYTHON_3_12,
            handler="handler.handler",
            code=lambda_.Code.from_asset(str(_FOLDER / "observer"), exclude=["**/__pycache__"]),
            timeout=Duration.minutes(2),
            role=role.without_policy_updates(),
            log_group=group,
            environment_encryption=self._key,
            environment={
                "DEPLOYMENT": config.name,
                "QUEUES": ",".join(str(queue.job_queue_name) for queue in self._queues),
                "REQUESTS_BUCKET": names.bucket(config, "requests"),
                "REQUESTS_PREFIX": names.REQUESTS_PREFIX,
                "UNANSWERED_MINUTES": str(config.operations.unanswered_minutes),
                "DOLLARS_PER_HOUR": json.dumps(
                    {m.name: m.dollars_per_hour for m in machines if m.dollars_per_hour is not None}
                ),
                "TAG": names.TAG,
                "METRIC_NAMESPACE": names.METRIC_NAMESPACE,
            },
        )
        accept(function, {"AwsSolutions-L1": "Python 3.12 is the version that the project is tested on."})
        role.add_to_policy(iam.PolicyStatement(actions=["kms:Decrypt"], resources=[self._key.key_arn]))
        rule = events.Rule(
            self,
            "Observe",
            rule_name=f"{config.name}-observe",
            schedule=events.Schedule.rate(Duration.minutes(5)),
        )
        rule.add_target(targets.LambdaFunction(function, retry_attempts=0))
        return function

    def _watch_queues(self) -> None:
        arns = [queue.ref for queue in self._queues]
        blocked = events.Rule(
            self,
            "QueueBlocked",
            rule_name=f"{self._config.name}-queue-blocked",
            description="A job at the head of a queue cannot be placed and holds up the others",
            event_pattern=events.EventPattern(
                source=["aws.batch"], detail_type=["Batch Job Queue Blocked"], detail={"jobQueue": arns}
            ),
        )
        blocked.add_target(targets.SnsTopic(self.topic))
        group = logs.LogGroup(
            self,
            "BatchEvents",
            log_group_name=names.log_group(self._config, "batch-events"),
            retention=retention(self._config),
            encryption_key=self._key,
        )
        # Written out: the construct would bring a Lambda with an AWS SDK to set one policy.
        logs.CfnResourcePolicy(
            self,
            "BatchEventsPolicy",
            policy_name=f"{self._config.name}-batch-events",
            policy_document=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Principal": {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]},
                            "Action": ["logs:CreateLogStream"],
                            "Resource": f"{self._log_arn('batch-events')}:*",
                        },
                        {
                            "Effect": "Allow",
                            "Principal": {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]},
                            "Action": ["logs:PutLogEvents"],
                            "Resource": f"{self._log_arn('batch-events')}:*:*",
                            # What EventBridge says of itself is the rule, not the account.
                            "Condition": {"ArnEquals": {"aws:SourceArn": [self._rule_arn(s) for s in _OUTCOMES]}},
                        },
                    ],
                }
            ),
        )
        for status, name in _OUTCOMES.items():
            rule = events.CfnRule(
                self,
                name,
                name=self._rule_of(status),
                state="ENABLED",
                event_pattern={
                    "source": ["aws.batch"],
                    "detail-type": ["Batch Job State Change"],
                    "detail": {"status": [status], "jobQueue": arns},
                },
                targets=[events.CfnRule.TargetProperty(id="log", arn=self._log_arn("batch-events"))],
            )
            rule.node.add_dependency(group)

    def _log_arn(self, purpose: str) -> str:
        config = self._config
        group = names.log_group(config, purpose)
        return f"arn:{config.partition}:logs:{config.region}:{config.account}:log-group:{group}"

    def _rule_arn(self, status: str) -> str:
        config = self._config
        return f"arn:{config.partition}:events:{config.region}:{config.account}:rule/{self._rule_of(status)}"

    def _rule_of(self, status: str) -> str:
        return f"{self._config.name}-jobs-{status.lower()}"

    def _dashboard(self, bridge: Bridge, file_system: efs.FileSystem) -> None:
        outcomes = [
            cloudwatch.Metric(
                namespace="AWS/Events",
                metric_name="MatchedEvents",
                dimensions_map={"RuleName": self._rule_of(status)},
                statistic="Sum",
                period=Duration.hours(1),
                label=name,
            )
            for status, name in _OUTCOMES.items()
        ]
        own = partial(own_metric, self._config)
        cost = cloudwatch.MathExpression(
            expression="hourly * 24",
            using_metrics={"hourly": own("DollarsPerHour", "Average").with_(period=Duration.days(1))},
            label="$ a day, machines at the on-demand price",
            period=Duration.days(1),
        )
        gpu = [own("nvidia_smi_utilization_gpu", statistic) for statistic in ("Average", "Maximum")]
        rows: list[list[tuple[str, list[cloudwatch.IMetric]]]] = [
            [
                (
                    "Jobs waiting and working",
                    [own("Waiting"), own("Working")],
                ),
                ("Jobs by outcome, an hour", list(outcomes)),
                ("GPU use [%]", list(gpu)),
            ],
            [
                ("Cost a day [$]", [cost]),
                (
                    "Heartbeats that failed; requests unanswered",
                    [heartbeats_late(self._config), own("Unanswered")],
                ),
                (
                    "Bridge",
                    [
                        bridge.function.metric_invocations(),
                        bridge.function.metric_errors(),
                        bridge.function.metric_duration(statistic="p99"),
                    ],
                ),
            ],
            [
                (
                    "EFS",
                    [
                        file_metric(file_system, "PercentIOLimit", "Maximum"),
                        file_metric(file_system, "MeteredIOBytes", "Sum"),
                    ],
                )
            ],
        ]
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=self._config.name,
            widgets=[
                [cloudwatch.GraphWidget(title=title, left=metrics, width=8) for title, metrics in row] for row in rows
            ],
        )

    def _budget(self) -> None:
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("budgets.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": self._config.account}},
            )
        )
        subscriber = budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=self.topic.topic_arn)
        budget = budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=f"{self._config.name}-monthly",
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(
                    amount=self._config.operations.monthly_budget_dollars, unit="USD"
                ),
                # Counts what carries the tag, once it is activated as a cost allocation tag.
                cost_filters={"TagKeyValue": [f"user:{names.TAG}${self._config.name}"]},
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind, comparison_operator="GREATER_THAN", threshold=threshold
                    ),
                    subscribers=[subscriber],
                )
                for kind, threshold in (("ACTUAL", 80), ("FORECASTED", 100))
            ],
        )
        budget.node.add_dependency(self.topic)
