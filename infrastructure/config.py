"""The deployment's configuration: one YAML file, checked completely before anything is synthesised.

This imports the project's nouns (schemas/) for their error sentences, prices and instance families; see
docs/deploy.md for what each setting means to whoever deploys.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from infrastructure import checks
from isaaclab_flows.schemas.config import CamelModel
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.instances import FAMILIES, instance, known_families
from isaaclab_flows.schemas.validation import explain

SCHEMA_FILE = Path(__file__).with_name("config.schema.json")
EXAMPLE_FILE = Path(__file__).with_name("config.example.yaml")

Arn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:(\d{12})?:.+$")]
BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
SharedPrefix = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^*?]*)?$")]
SubnetId = Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]
LOG_RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653)


class ExistingVpc(CamelModel):
    """A VPC that is there already; nothing is looked up in the account."""

    vpc_id: Annotated[str, Field(pattern=r"^vpc-[0-9a-f]{8,17}$")]
    cidr: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+\.\d+/\d+$")]
    """The VPC's IPv4 range."""
    availability_zones: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
    """One for each subnet below, in the same order."""
    private_subnet_ids: Annotated[tuple[SubnetId, ...], Field(strict=False, min_length=2)]
    """With a way out through NAT: GPU machines and services run here."""
    isolated_subnet_ids: Annotated[tuple[SubnetId, ...], Field(strict=False, min_length=2)]
    """EFS and the database live here; private subnets may be named again."""

    @model_validator(mode="after")
    def _one_subnet_a_zone(self) -> Self:
        for key, ids in (
            ("privateSubnetIds", self.private_subnet_ids),
            ("isolatedSubnetIds", self.isolated_subnet_ids),
        ):
            if len(ids) != len(self.availability_zones):
                raise ValueError(
                    f"network.existing.{key} has {len(ids)} subnets for {len(self.availability_zones)} zones:"
                    " name one for each of availabilityZones, in the same order"
                )
            checks.each_once(f"network.existing.{key}", ids)
        checks.each_once("network.existing.availabilityZones", self.availability_zones)
        checks.address_range("network.existing.cidr", self.cidr)
        return self


class NetworkSection(CamelModel):
    """Where machines live."""

    existing: ExistingVpc | None = None
    """Use this VPC; by default a new one is made."""
    cidr: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+\.\d+/(1[6-9]|2[0-2])$")] = "10.42.0.0/16"
    """IPv4 range of a new VPC, /16 to /22."""
    availability_zones: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Two or three zones for a new VPC; by default the region's a and b."""
    nat_gateways: Annotated[int, Field(ge=1, le=3)] = 1
    """For a new VPC; one for each zone survives the loss of a zone and costs as much again."""
    interface_endpoints: bool = True
    """Private ways to ECR, Logs, Batch, Secrets Manager and Step Functions; without them that traffic uses NAT."""

    @model_validator(mode="after")
    def _range_and_zones(self) -> Self:
        checks.each_once("network.availabilityZones", self.availability_zones)
        checks.new_network(checks.address_range("network.cidr", self.cidr), len(self.availability_zones or "ab"))
        return self


class ExistingBucket(CamelModel):
    """A bucket that is there already, such as VAMS's."""

    name: BucketName
    kms_key_arn: Arn | None = None
    """The customer-managed key that it is encrypted with, where it has one."""


class StorageSection(CamelModel):
    """Where data lives."""

    asset_buckets: Annotated[tuple[ExistingBucket, ...], Field(strict=False)] = ()
    """Existing buckets that configurations are read from and outputs written to; by default a new one is made."""
    auxiliary_bucket: ExistingBucket | None = None
    """Existing bucket for what running jobs save; by default a new one is made."""
    auxiliary_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """A new auxiliary bucket's objects go after so many days."""
    shared_prefixes: Annotated[tuple[SharedPrefix, ...], Field(strict=False)] = ()
    """s3:// prefixes that runs from VAMS may read besides their own asset, e.g. of a library of policies."""
    infrequent_access_days: Literal[7, 14, 30, 60, 90] = 30
    """Job folders that nobody read for so long move to EFS's infrequent access."""
    backup: bool = True
    """Daily backups of the file system."""


class Reservation(CamelModel):
    """Machines that are reserved and paid for already."""

    id: Annotated[str, Field(pattern=r"^cr-[0-9a-f]{8,17}$")]
    """The capacity reservation's or capacity block's id."""
    instance_type: str
    availability_zone: str
    """The zone that it lies in."""
    machines: Annotated[int, Field(ge=1, le=1000)]
    capacity_block: bool = False
    """It is a capacity block for ML, not a reservation on demand."""


class ComputeSection(CamelModel):
    """GPU machines."""

    images: Annotated[tuple[Literal["isaac-sim", "newton"], ...], Field(strict=False, min_length=1, max_length=2)] = (
        "isaac-sim",
        "newton",
    )
    """Images to build and publish; the first is what jobs run in unless the work pool says otherwise."""
    families: Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=3)] = FAMILIES
    """Instance families in the order in which they are tried."""
    gpus_per_machine: Annotated[tuple[Literal[1, 2, 4, 8], ...], Field(strict=False, min_length=1, max_length=4)] = (
        1,
        4,
    )
    """Sizes of machines to offer; each has queues of its own."""
    max_machines: Annotated[int, Field(ge=1, le=1000)] = 8
    """At most so many of each size and purchase option at once."""
    spot: bool = True
    """Spot machines first; jobs go on from their checkpoints when one is taken away."""
    multi_node: bool = True
    """Queues for jobs on several machines side by side (placement groups, on demand)."""
    volume_gib: Annotated[int, Field(ge=100, le=16_384)] = 100
    """Each machine's volume; NVIDIA's image alone unpacks to tens of GiB."""
    cannot_be_placed_minutes: Annotated[int, Field(ge=10, le=1440)] = 60
    """A job that no machine can be had for ends after so long, with the reason."""
    reservations: Annotated[tuple[Reservation, ...], Field(strict=False)] = ()
    """Used before any other machine; one for each size of machine."""
    machine_image: Annotated[str, Field(pattern=r"^ami-[0-9a-f]{8,17}$")] | None = None
    """A machine image (AMI) of your own with the ECS agent and NVIDIA's driver; by default AWS's newest."""
    session_manager: bool = False
    """Let people enter the machines through Systems Manager's Session Manager."""

    @field_validator("families")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for family in value:
            if family not in known_families():
                raise ValueError(f"compute.families has {family!r}; allowed are {', '.join(known_families())}")
        return value

    @field_validator("images", "families", "gpus_per_machine")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"{list(value)} names something twice: name each once")
        return value


class PrefectCloud(CamelModel):
    """Prefect Cloud."""

    mode: Literal["cloud"]
    api_url: Annotated[
        str, Field(pattern=r"^https://api\.prefect\.cloud/api/accounts/[0-9a-f-]+/workspaces/[0-9a-f-]+$")
    ]
    """The workspace's API URL."""
    secret_kms_key_arn: Arn | None = None
    """The customer-managed key that the secret is encrypted with, where it has one."""
    secret_arn: Annotated[Arn, Field(pattern=r":secretsmanager:.*:secret:.+-[A-Za-z0-9]{6}$")]
    """Secrets Manager secret `{"api_key": "pnu_…"}`; its full ARN, with the six characters at its end."""


class PrefectSelfHosted(CamelModel):
    """A Prefect server of our own: Fargate behind an internal load balancer, Aurora PostgreSQL, basic auth, TLS."""

    mode: Literal["selfHosted"]
    host_name: Annotated[str, Field(pattern=r"^([a-z0-9-]{1,63}\.)+[a-z]{2,63}$", max_length=253)]
    """Name of the server inside the VPC; a private hosted zone is made for it."""
    certificate_arn: Annotated[Arn, Field(pattern=r":acm:.*:certificate/")]
    """ACM certificate for that name, in the same region."""
    database_min_acu: Annotated[float, Field(ge=0.5, le=16, multiple_of=0.5)] = 0.5
    """Capacity units that the database idles at (1 unit: about 2 GiB)."""
    database_max_acu: Annotated[float, Field(ge=1, le=64, multiple_of=0.5)] = 4.0

    @model_validator(mode="after")
    def _least_below_most(self) -> Self:
        if self.database_min_acu > self.database_max_acu:
            raise ValueError(
                f"prefect.databaseMinAcu is {self.database_min_acu}, more than databaseMaxAcu"
                f" ({self.database_max_acu}): raise the maximum or lower the minimum"
            )
        return self


class Vams(CamelModel):
    """The bridge to VAMS."""

    version: Literal["2.5", "2.6"] = "2.5"
    """2.5 registers with VAMS 2.4 to 2.5.1, 2.6 with 2.6 and later; runs of either are understood whatever it says."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,19}$")] = "vams"
    """VAMS's own `config.name`: it may call only functions with that in their name."""
    id_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{1,50}$")] | None = None
    """The pipelines and workflows are called `<idPrefix>-training` and `<idPrefix>-evaluation`; by default
    `<name>-flows-…`."""
    replace_vams_isaac_lab: bool = False
    """Allow the idPrefix `isaaclab`, whose ids are those of VAMS's own Isaac Lab pipeline: that one is overwritten
    (2.6) or makes the deployment fail (2.5), and VAMS's next deployment takes the ids back."""
    custom_environments: bool = True
    """Take archives with tasks of their own from VAMS's users: code of theirs, which runs in the job with its role."""
    evaluate_uploads: bool = False
    """2.6: evaluate every `.pt` that is uploaded to an asset."""
    import_function_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """Value of the VAMS core stack's output ImportGlobalPipelineWorkflowFunctionNameOutput."""
    training_timeout_seconds: Annotated[int, Field(ge=600, le=604_800)] = 90_000
    """VAMS gives a training up after so long, queueing included; more than the job's own limit (6 h by default), so
    that the reason arrives first."""
    evaluation_timeout_seconds: Annotated[int, Field(ge=600, le=604_800)] = 90_000
    heartbeat_timeout_seconds: Annotated[int, Field(ge=120, le=86_400)] = 900
    """VAMS gives up when no heartbeat arrives for so long; they go out every minute from the start."""
    training_parameters: dict[str, Any] = {}
    """Registered defaults beneath every training's configuration file."""
    evaluation_parameters: dict[str, Any] = {}
    """Registered defaults beneath every evaluation's configuration file."""

    @model_validator(mode="after")
    def _ids_of_our_own(self) -> Self:
        if (self.id_prefix or "").casefold() == "isaaclab" and not self.replace_vams_isaac_lab:
            raise ValueError(
                "vams.idPrefix is 'isaaclab': isaaclab-training and isaaclab-evaluation are the ids of VAMS's own Isaac"
                " Lab pipeline; choose another prefix, or set vams.replaceVamsIsaacLab to true once that one is off"
            )
        return self

    @model_validator(mode="after")
    def _parameters_are_registered(self) -> Self:
        if self.version != "2.5" and (self.training_parameters or self.evaluation_parameters):
            raise ValueError(
                "vams.trainingParameters and evaluationParameters are registered with VAMS 2.5 only: in 2.6, write a"
                " template in VAMS"
            )
        return self

    @model_validator(mode="after")
    def _heartbeat_before_timeout(self) -> Self:
        shortest = min(self.training_timeout_seconds, self.evaluation_timeout_seconds)
        if self.heartbeat_timeout_seconds >= shortest:
            raise ValueError(
                f"vams.heartbeatTimeoutSeconds is {self.heartbeat_timeout_seconds}, not less than the timeout of"
                f" {shortest}: VAMS refuses that; lower it or raise the timeouts"
            )
        return self


class OperationsSection(CamelModel):
    """Logs, alarms and money."""

    log_retention_days: int = 90
    alarm_email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None = None
    """Gets alarms and budget warnings, once its owner has confirmed."""
    monthly_budget_dollars: Annotated[int, Field(ge=1)] = 500
    """Warnings at 80 % and at a forecast of 100 %."""
    unanswered_minutes: Annotated[int, Field(ge=5, le=10_080)] = 1560
    """Alarm when a request is without an answer for so long; more than VAMS's timeout means that nobody waits."""
    concurrent_runs: Annotated[int, Field(ge=4, le=100)] = 16
    """Pipelines that the orchestrator carries at a time; more wait. Its memory follows: some 200 MiB for each."""

    @field_validator("log_retention_days")
    @classmethod
    def _cloudwatch_knows(cls, value: int) -> int:
        if value not in LOG_RETENTION_DAYS:
            raise ValueError(
                f"operations.logRetentionDays is {value}: CloudWatch allows {', '.join(map(str, LOG_RETENTION_DAYS))}"
            )
        return value


class Config(CamelModel):
    """`infrastructure/config.yaml`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,22}[a-z0-9]$")]
    """Prefix of everything, 3 to 24 of a-z, 0-9 and hyphen; several deployments live in one account."""
    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    enabled: bool = True
    """false deploys nothing."""
    accept_nvidia_eula: bool = False
    """You have read and accept NVIDIA's licence of Isaac Sim; the image isaac-sim needs it."""
    auto_register_with_vams: Annotated[bool, Field(alias="autoRegisterWithVAMS")] = False
    """Register both workflows with VAMS on deploy."""
    keep_warm_instance: bool = False
    """Keep one machine running, so that a job starts in seconds instead of minutes; it costs day and night."""
    prefect: Annotated[PrefectCloud | PrefectSelfHosted, Field(discriminator="mode")]
    network: NetworkSection = NetworkSection()
    storage: StorageSection = StorageSection()
    compute: ComputeSection = ComputeSection()
    vams: Vams = Vams()
    operations: OperationsSection = OperationsSection()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if "isaac-sim" in self.compute.images and not self.accept_nvidia_eula:
            raise ValueError(
                "acceptNvidiaEula is false, but compute.images has 'isaac-sim', which NVIDIA's licence covers: read it"
                " and set acceptNvidiaEula to true, or set compute.images to ['newton']"
            )
        if self.auto_register_with_vams and not self.vams.import_function_name:
            raise ValueError(
                "autoRegisterWithVAMS is true, but vams.importFunctionName is missing: it is the VAMS core stack's"
                " output ImportGlobalPipelineWorkflowFunctionNameOutput"
            )
        if self.keep_warm_instance and 1 not in self.compute.gpus_per_machine:
            raise ValueError(
                "keepWarmInstance is true, but compute.gpusPerMachine has no 1: the warm machine is a one-GPU machine"
            )
        checks.supported_region(self.region)
        if self.compute.images[0] == "isaac-sim":
            checks.can_render(self.compute.families)
        checks.zones_of(self.region, self.zones)
        checks.families_there(self.region, self.compute.families)
        checks.sizes_there(self.compute.families, self.compute.gpus_per_machine)
        for reservation in self.compute.reservations:
            checks.reservation_fits(
                reservation.instance_type,
                reservation.availability_zone,
                self.zones,
                self.compute.gpus_per_machine,
                self.compute.families,
            )
        checks.each_once(
            "compute.reservations", [str(instance(r.instance_type).gpus) + " GPUs" for r in self.compute.reservations]
        )
        self._others_are_here()
        if self.network.nat_gateways > len(self.zones):
            raise ValueError(
                f"network.natGateways is {self.network.nat_gateways} for {len(self.zones)} zones: at most one a zone"
            )
        return self

    def _others_are_here(self) -> None:
        """What is named by its ARN is used from this account and region, or could never be."""
        where = {"account": self.account, "region": self.region}
        if isinstance(self.prefect, PrefectCloud):
            checks.arn_is_here("prefect.secretArn", self.prefect.secret_arn, **where)
            if self.prefect.secret_kms_key_arn:
                checks.arn_is_here("prefect.secretKmsKeyArn", self.prefect.secret_kms_key_arn, **where)
        else:
            checks.arn_is_here("prefect.certificateArn", self.prefect.certificate_arn, **where)
        buckets = [*self.storage.asset_buckets, self.storage.auxiliary_bucket]
        for bucket in buckets:
            if bucket and bucket.kms_key_arn:
                # A bucket's key may be another account's; S3 uses keys of the bucket's own region only.
                checks.arn_is_here(f"kmsKeyArn of the bucket {bucket.name!r}", bucket.kms_key_arn, region=self.region)

    @property
    def partition(self) -> str:
        """AWS's partition, of which one is supported."""
        return "aws"

    @property
    def zones(self) -> tuple[str, ...]:
        """Availability zones in use."""
        if self.network.existing:
            return self.network.existing.availability_zones
        return self.network.availability_zones or (f"{self.region}a", f"{self.region}b")


def load_config(path: Path) -> Config:
    """Read and check the configuration.

    Raises:
        ConfigError: It is missing, not YAML, or wrong; the sentence names key, value and remedy.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            "The deployment's configuration is missing",
            where=str(path),
            remedy=f"Copy {EXAMPLE_FILE.name} to it and fill it in.",
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Not valid YAML: {error}", where=str(path), remedy="Mend the file's syntax.") from error
    if not isinstance(data, dict):
        raise ConfigError("The configuration is no mapping", where=str(path), remedy="It has keys like 'name'.")
    return check_config(data, source=str(path))


def check_config(data: dict[str, Any], *, source: str) -> Config:
    """Check a configuration that is already an object; ConfigError says what is wrong."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise explain(error, Config, source=source) from error


def json_schema() -> str:
    """Return the configuration's JSON Schema as it is committed."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json_schema())
