"""Network: private subnets with NAT for machines, isolated ones for data, endpoints, and who may speak to whom."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from infrastructure import names
from infrastructure.checks import SUBNETS
from infrastructure.config import Config, PrefectSelfHosted
from isaaclab_flows.schemas.nodes import RENDEZVOUS_PORT

_ENDPOINTS = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Batch": ec2.InterfaceVpcEndpointAwsService.BATCH,
    "Secrets": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "States": ec2.InterfaceVpcEndpointAwsService.STEP_FUNCTIONS,
}
# Linux's ephemeral ports: NCCL, gloo and torch's stores listen where the kernel puts them.
_NCCL_PORTS = (32_768, 60_999)


class Network(Construct):
    """The VPC and its security groups.

    Attributes:
        vpc: The VPC.
        compute: Subnets with a way out, for machines, services and the Lambda.
        isolated: Subnets for EFS and the database.
        jobs: Security group of single-machine jobs.
        nodes: Security group of the machines of multi-node jobs, which speak to each other.
        services: Security group of what runs on Fargate, and of the Lambda in a VPC.
        file_system: Security group of EFS.
        load_balancer, server, database: Security groups of our own Prefect server.
    """

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self.vpc: ec2.IVpc
        if config.network.existing:
            self._use(config)
        else:
            self._make(config, key)
        self.jobs = self._group("Jobs", "Single-machine GPU jobs")
        self.nodes = self._group("Nodes", "GPU machines of multi-node jobs")
        self.services = self._group("Services", "Orchestrator, workers and the bridge")
        self.file_system = self._group("FileSystem", "EFS")
        # A server's are always there, and free: their exports could not be taken back when Prefect Cloud comes.
        self.load_balancer = self._group("LoadBalancer", "Prefect load balancer")
        self.server = self._group("Server", "Prefect server")
        self.database = self._group("Database", "Prefect database")
        self._rules()
        if isinstance(config.prefect, PrefectSelfHosted):
            self._server_rules()
        if config.network.interface_endpoints and not config.network.existing:
            self._endpoints(config)

    @property
    def groups(self) -> tuple[ec2.SecurityGroup, ...]:
        """All security groups that the other stack uses."""
        return (
            self.jobs, self.nodes, self.services, self.file_system, self.load_balancer, self.server, self.database
        )  # fmt: skip

    def _make(self, config: Config, key: kms.IKey) -> None:
        kinds = {
            "public": ec2.SubnetType.PUBLIC,
            # Every machine, task and endpoint takes addresses here.
            "compute": ec2.SubnetType.PRIVATE_WITH_EGRESS,
            "data": ec2.SubnetType.PRIVATE_ISOLATED,
        }
        subnets = [
            ec2.SubnetConfiguration(name=name, subnet_type=kinds[name], cidr_mask=mask) for name, mask in SUBNETS
        ]
        vpc = ec2.Vpc(
            self,
            "Vpc",
            vpc_name=config.name,
            ip_addresses=ec2.IpAddresses.cidr(config.network.cidr),
            # Named, because asking the account for its zones would need credentials at synthesis.
            availability_zones=list(config.zones),
            nat_gateways=config.network.nat_gateways,
            subnet_configuration=subnets,
            restrict_default_security_group=False,
        )
        group = logs.LogGroup(
            self,
            "FlowLogs",
            log_group_name=names.log_group(config, "network"),
            retention=retention(config),
            encryption_key=key,
        )
        vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(group),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )
        vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        self.vpc = vpc
        self.compute = vpc.select_subnets(subnet_group_name="compute").subnets
        self.isolated = vpc.select_subnets(subnet_group_name="data").subnets

    def _use(self, config: Config) -> None:
        existing = config.network.existing
        assert existing is not None
        self.vpc = ec2.Vpc.from_vpc_attributes(
            self,
            "Vpc",
            vpc_id=existing.vpc_id,
            vpc_cidr_block=existing.cidr,
            availability_zones=list(existing.availability_zones),
            private_subnet_ids=list(existing.private_subnet_ids),
            isolated_subnet_ids=list(existing.isolated_subnet_ids),
        )
        self.compute = self.vpc.private_subnets
        self.isolated = self.vpc.isolated_subnets

    def _group(self, construct_id: str, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self, construct_id, vpc=self.vpc, description=f"{description} (isaaclab-flows)", allow_all_outbound=False
        )

    def _rules(self) -> None:
        nfs = ec2.Port.tcp(2049)
        for group in (self.jobs, self.nodes, self.services):
            # AWS's APIs, Prefect's, and NVIDIA's asset server, whose addresses change.
            group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "APIs and NVIDIA asset server")
            group.add_egress_rule(self.file_system, nfs, "EFS")
            self.file_system.add_ingress_rule(group, nfs, "EFS")
        for port, why in (
            (ec2.Port.tcp(RENDEZVOUS_PORT), "torchrun rendezvous"),
            (ec2.Port.tcp_range(*_NCCL_PORTS), "NCCL and torch between the nodes"),
        ):
            self.nodes.add_ingress_rule(self.nodes, port, why)
            self.nodes.add_egress_rule(self.nodes, port, why)

    def _server_rules(self) -> None:
        for group in (self.jobs, self.nodes, self.services):
            self.load_balancer.add_ingress_rule(group, ec2.Port.tcp(443), "Prefect API")
        self.load_balancer.add_egress_rule(self.server, ec2.Port.tcp(4200), "Prefect server")
        self.server.add_ingress_rule(self.load_balancer, ec2.Port.tcp(4200), "Prefect load balancer")
        self.server.add_egress_rule(self.database, ec2.Port.tcp(5432), "PostgreSQL")
        self.server.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "Image, secrets and logs")
        self.database.add_ingress_rule(self.server, ec2.Port.tcp(5432), "Prefect server")

    def _endpoints(self, config: Config) -> None:
        group = self._group("Endpoints", "Interface endpoints")
        sources = [self.jobs, self.nodes, self.services]
        if isinstance(config.prefect, PrefectSelfHosted):
            sources.append(self.server)
        for source in sources:
            group.add_ingress_rule(source, ec2.Port.tcp(443), "AWS APIs")
        for construct_id, service in _ENDPOINTS.items():
            ec2.InterfaceVpcEndpoint(
                self,
                construct_id,
                vpc=self.vpc,
                service=service,
                subnets=ec2.SubnetSelection(subnets=self.compute),
                security_groups=[group],
                open=False,
            )


def retention(config: Config) -> logs.RetentionDays:
    """Return CloudWatch's name of the configured retention."""
    by_days = {
        1: "ONE_DAY", 3: "THREE_DAYS", 5: "FIVE_DAYS", 7: "ONE_WEEK", 14: "TWO_WEEKS", 30: "ONE_MONTH",
        60: "TWO_MONTHS", 90: "THREE_MONTHS", 120: "FOUR_MONTHS", 150: "FIVE_MONTHS", 180: "SIX_MONTHS",
        365: "ONE_YEAR", 400: "THIRTEEN_MONTHS", 545: "EIGHTEEN_MONTHS", 731: "TWO_YEARS", 1827: "FIVE_YEARS",
        3653: "TEN_YEARS",
    }  # fmt: skip
    return getattr(logs.RetentionDays, by_days[config.operations.log_retention_days])
