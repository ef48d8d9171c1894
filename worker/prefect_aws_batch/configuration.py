"""What a work pool of type aws-batch can be told: the form in the UI, and one run's filled-in configuration."""

from __future__ import annotations

from typing import Annotated, Any

from prefect.workers.base import BaseJobConfiguration, BaseVariables
from prefect_aws.credentials import AwsCredentials
from pydantic import BaseModel, Field

from prefect_aws_batch.errors import ConfigurationError
from prefect_aws_batch.secrets import check_environment, check_tags, check_template, job_environment
from prefect_aws_batch.states import EXIT_TEMPORARY, EXIT_TERMINATED

DEFAULT_LOG_GROUP = "/aws/batch/job"
_LATER_IN_THE_FORM = ("name", "env", "labels", "command")


class BatchFields(BaseModel):
    """The fields that the form and the configuration share, in the form's order."""

    job_queue: str | None = Field(
        default=None, title="Job queue", description="Name or ARN of the Batch job queue that runs go to."
    )
    other_queues: list[str] | None = Field(
        default=None,
        title="Other job queues",
        description="Names or ARNs of queues that single runs or deployments may name instead. Jobs whose run is "
        "gone are looked for in them too; left out, in all queues of the account.",
    )
    image: str | None = Field(
        default=None,
        title="Image",
        description="Container image (URI and tag). A job definition is registered for it once, and used again.",
    )
    job_definition: str | None = Field(
        default=None,
        title="Existing job definition",
        description="Name, name:revision or ARN of a job definition of yours. Image, sizes, roles, "
        "volumes, secrets and log group below are then ignored, except that its log group must be named; attempts and "
        "timeout are the form's.",
    )
    vcpu: Annotated[int, Field(ge=1, le=448)] = Field(
        default=1, title="vCPUs", description="vCPUs of each container (of each node, for several nodes)."
    )
    memory: Annotated[int, Field(ge=4, le=25_000_000)] = Field(
        default=2_048,
        title="Memory [MiB]",
        description="Memory of each container. Leave about 10 % of the machine to its agent, or nothing fits it: "
        "14000 for a machine of 16 GiB.",
    )
    gpus: Annotated[int, Field(ge=0, le=16)] = Field(
        default=0, title="GPUs", description="GPUs of each container; 0 for none."
    )
    shared_memory: Annotated[int, Field(ge=64, le=1_000_000)] = Field(
        default=2_048,
        title="Shared memory [MiB]",
        description="Size of /dev/shm. Several processes in one container (NCCL, data loaders) need more than "
        "Docker's 64.",
    )
    secrets: dict[str, str] = Field(
        default_factory=dict,
        title="Secrets",
        description="Environment variables whose values Batch reads itself: variable name to the ARN of a Secrets "
        'Manager secret or SSM parameter. Put the credential of this Prefect API here, e.g. {"PREFECT_API_KEY": '
        '"arn:aws:secretsmanager:…"} or {"PREFECT_API_AUTH_STRING": "arn:…"}; it is never written into a job.',
    )
    job_role_arn: str | None = Field(
        default=None, title="Job role", description="ARN of the IAM role that the container acts as (S3, EFS …)."
    )
    execution_role_arn: str | None = Field(
        default=None,
        title="Execution role",
        description="ARN of the IAM role that pulls the image, reads the secrets and writes the logs; needed with "
        "secrets.",
    )
    efs_file_system_id: str | None = Field(
        default=None,
        title="EFS file system",
        description="File system for job folders and caches (fs-…), mounted with encryption in transit.",
    )
    efs_access_point_id: str | None = Field(
        default=None, title="EFS access point", description="Access point to mount it through (fsap-…)."
    )
    host_path: str | None = Field(
        default=None,
        title="Host folder",
        description="Folder of the host to mount instead of EFS, for engines that have none (tests, one machine).",
    )
    mount_path: Annotated[str, Field(pattern=r"^/[\w./-]*$")] = Field(
        default="/mnt/efs", title="Mount path", description="Where EFS, or the host folder, appears in the container."
    )
    log_group: str = Field(
        default=DEFAULT_LOG_GROUP, title="Log group", description="CloudWatch log group of the container's lines."
    )
    log_options: dict[str, str] = Field(
        default_factory=dict,
        title="Log options",
        description="More options of the container's log driver, awslogs: awslogs-stream-prefix, mode, "
        "max-buffer-size …",
    )
    stream_logs: bool = Field(
        default=True, title="Stream logs", description="Bring the container's lines into the run's logs as it runs."
    )
    timeout_seconds: Annotated[int, Field(ge=60)] | None = Field(
        default=None, title="Timeout [s]", description="Batch ends an attempt that runs longer; none by default."
    )
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        default=3,
        title="Attempts",
        description="Most attempts when the machine is lost (Spot reclaim, host failure). Errors of the flow, the "
        "image or its memory are never tried again.",
    )
    placement_timeout_seconds: Annotated[int, Field(ge=1)] = Field(
        default=3_600,
        title="Placement timeout [s]",
        description="A job that waits longer for a machine is ended, with Batch's own reason.",
    )
    cancel_grace_seconds: Annotated[int, Field(ge=0, le=3_600)] = Field(
        default=90,
        title="Grace on cancelling [s]",
        description="A cancelled run that has started ends itself; after so long its job "
        "is terminated. Jobs that have not started are terminated at once.",
    )
    num_nodes: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=1,
        title="Nodes",
        description="More than 1 makes a multi-node parallel job: node 0 runs the flow run, the others join it.",
    )
    join_command: str = Field(
        default="join",
        title="Command of the other nodes",
        description="What the containers of a multi-node job run on every node but the main one.",
    )
    retry_exit_codes: Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(max_length=2)] = Field(
        default=[EXIT_TERMINATED, EXIT_TEMPORARY],
        title="Exit codes to try again",
        description="A container that ends with one of these is tried again on another machine: by default 143 (it "
        "was told to stop) and 75 (EX_TEMPFAIL: it found its machine unfit).",
    )
    share_identifier: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,255}$")] | None = Field(
        default=None, title="Share identifier", description="Whose share of a fair-share queue the job uses."
    )
    scheduling_priority: Annotated[int, Field(ge=0, le=9_999)] | None = Field(
        default=None,
        title="Scheduling priority",
        description="Priority among jobs of one share identifier; higher goes first.",
    )
    tags: dict[str, str] = Field(
        default_factory=dict, title="Tags", description="Tags of the jobs, passed on to their ECS tasks."
    )
    poll_interval: Annotated[float, Field(ge=0.2, le=300)] = Field(
        default=15.0,
        title="Poll interval [s]",
        description="How often a running job is looked at. Starting jobs are looked at more often.",
    )
    event_queue_url: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        default=None,
        title="Event queue",
        description="URL of an SQS queue that an EventBridge rule sends Batch's job state changes to: jobs are looked "
        "at when an event comes, instead of being polled. Give each pool a queue of its own; 'prefect-aws-batch setup "
        "--events' makes one.",
    )
    event_poll_interval: Annotated[float, Field(ge=0.2, le=3_600)] = Field(
        default=300.0,
        title="Poll interval with events [s]",
        description="How often a job is looked at while events are read, in case that one is lost.",
    )
    job_definition_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w-]{0,80}$")] = Field(
        default="prefect", title="Job definition prefix", description="Registered definitions are <prefix>-<hash>."
    )
    job_definition_template: dict[str, Any] = Field(
        default_factory=dict,
        title="Job definition template",
        description="Parts of a RegisterJobDefinition request, laid over what this form makes: what you say here "
        'wins, e.g. {"containerProperties": {"ulimits": […]}}; null takes a field away.',
    )
    aws_credentials: AwsCredentials = Field(
        default_factory=AwsCredentials,
        title="AWS credentials",
        description="Block to connect with; by default boto3's own chain (environment, profile, role).",
    )


class BatchVariables(BatchFields, BaseVariables):
    """The form of a work pool of type aws-batch."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the form's schema, with what people set first at the top."""
        schema: dict[str, Any] = super().model_json_schema(*args, **kwargs)
        properties = schema["properties"]
        first = {key: value for key, value in properties.items() if key not in _LATER_IN_THE_FORM}
        schema["properties"] = first | {key: properties[key] for key in _LATER_IN_THE_FORM}
        return schema


class BatchJobConfiguration(BatchFields, BaseJobConfiguration):
    """One flow run's job, filled in."""

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        """Return what every job needs of the worker's own settings; the base class passes all of them on."""
        return job_environment()

    def check(self) -> None:
        """Check what no single field can say.

        Raises:
            ConfigurationError: No queue, no image, contradictions, or a credential where it does not belong.
        """
        if not self.job_queue:
            raise ConfigurationError(
                "The job queue is missing", where="job_queue", remedy="Set it in the work pool or the deployment."
            )
        if not self.image and not self.job_definition and not self.has_own_image:
            raise ConfigurationError(
                "Neither an image nor an existing job definition is named",
                where="image",
                remedy="Set 'image', or 'job_definition' to one of yours.",
            )
        if self.efs_access_point_id and not self.efs_file_system_id:
            raise ConfigurationError(
                f"The access point '{self.efs_access_point_id}' is given without its file system",
                where="efs_file_system_id",
                remedy="Set the file system that the access point belongs to.",
            )
        if self.efs_file_system_id and self.host_path:
            raise ConfigurationError(
                f"Both '{self.efs_file_system_id}' and the host folder '{self.host_path}' would be {self.mount_path}",
                where="host_path",
                remedy="Set one of them.",
            )
        check_tags(self.tags)
        check_template(self.job_definition_template)
        check_environment(
            self.env, self.secrets, self.execution_role_arn, definition_is_given=bool(self.job_definition)
        )

    @property
    def has_own_image(self) -> bool:
        """Whether the operator's template brings the image."""
        template = self.job_definition_template
        return bool(template.get("containerProperties", {}).get("image") or template.get("nodeProperties"))
