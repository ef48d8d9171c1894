"""The two stacks: data, which stays, and service, which can go and come back."""

from __future__ import annotations

import json
from typing import Any

from aws_cdk import CfnOutput, Stack, Tags
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from infrastructure import names
from infrastructure.config import Config, PrefectCloud
from infrastructure.parts.bridge import Bridge
from infrastructure.parts.compute import Compute
from infrastructure.parts.images import Images
from infrastructure.parts.machines import Machines
from infrastructure.parts.network import Network, retention
from infrastructure.parts.operations import Operations
from infrastructure.parts.permissions import Permissions
from infrastructure.parts.prefect import PrefectAccess, Workers, cloud_access
from infrastructure.parts.prefect_server import PrefectServer
from infrastructure.parts.storage import DataStores, make_key
from isaaclab_flows.schemas.instances import requirements_for
from isaaclab_flows.schemas.names import EXECUTE_DEPLOYMENT


class DataStack(Stack):
    """Network and storage. Protected from deletion; what holds data is kept even then."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, termination_protection=True, **kwargs)
        Tags.of(self).add(names.TAG, config.name)
        self.key = make_key(self, config)
        self.network = Network(self, "Network", config=config, key=self.key)
        self.storage = DataStores(self, "Storage", config=config, network=self.network, key=self.key)
        self._export()

    def _export(self) -> None:
        """Export the same for every configuration: an export that the other stack uses cannot be taken back."""
        network, storage = self.network, self.storage
        if isinstance(network.vpc, ec2.Vpc):
            self.export_value(network.vpc.vpc_id)
            for subnet in (*network.compute, *network.isolated):
                self.export_value(subnet.subnet_id)
        for group in network.groups:
            self.export_value(group.security_group_id)
        for value in (
            self.key.key_arn,
            storage.access_logs.bucket_name,
            storage.file_system.file_system_id,
            storage.file_system.file_system_arn,
            storage.access_point.access_point_id,
        ):
            self.export_value(value)


class ServiceStack(Stack):
    """Everything that works: GPU compute, Prefect, the bridge, operations."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, data: DataStack, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, **kwargs)
        Tags.of(self).add(names.TAG, config.name)
        self._config = config
        self._data = data
        # As an import, so that grants go to the roles of this stack and not into the key's policy in the other one.
        self._key = kms.Key.from_key_arn(self, "Key", data.key.key_arn)
        images = Images(self, "Images", config=config)
        cluster = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=config.name,
            vpc=data.network.vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
        )
        self._jobs_log = self._log("JobsLog", "jobs")
        services_log = self._log("ServicesLog", "services")
        self._server = self._make_server(images, cluster, services_log)
        access = self._server.access if self._server else cloud_access(self, config.prefect)  # type: ignore[arg-type]
        self.permissions = Permissions(
            self,
            "Permissions",
            config=config,
            storage=data.storage,
            key_arn=self._key.key_arn,
            secret_arn=access.secret.secret_arn,
            secret_key_arn=self._key.key_arn if self._server else config.prefect.secret_kms_key_arn,  # type: ignore[union-attr]
        )
        for image in images.simulators.values():
            image.repository.grant_pull(self.permissions.job_execution)
        images.orchestrator.repository.grant_pull(self.permissions.service_execution)
        compute = Compute(
            self,
            "Compute",
            config=config,
            network=data.network,
            machines=Machines(self, "Machines", config=config, images=images.simulators),
        )
        workers = Workers(
            self,
            "Workers",
            config=config,
            network=data.network,
            storage=data.storage,
            permissions=self.permissions,
            access=access,
            cluster=cluster,
            image=images.orchestrator,
            log_group=services_log,
            key=self._key,
            environment=self._environment(compute),
            gpu_pool=self.to_json_string(self._gpu_pool(images, compute, access)),
        )
        if self._server:
            workers.deploy.node.add_dependency(self._server)
        bridge = Bridge(
            self,
            "Bridge",
            config=config,
            network=data.network,
            storage=data.storage,
            permissions=self.permissions,
            access=access,
            key=self._key,
        )
        Operations(
            self,
            "Operations",
            config=config,
            key=self._key,
            storage=data.storage,
            bridge=bridge,
            queues=compute.job_queues,
            services_log=services_log,
            server=self._server,
        )
        CfnOutput(self, "PrefectApiUrl", value=access.api_url)
        CfnOutput(self, "BridgeFunctionName", value=bridge.function.function_name)
        for name, image in images.simulators.items():
            CfnOutput(self, f"Image-{name}".replace("-", ""), value=image.image_uri)

    def _log(self, construct_id: str, purpose: str) -> logs.LogGroup:
        return logs.LogGroup(
            self,
            construct_id,
            log_group_name=names.log_group(self._config, purpose),
            retention=retention(self._config),
            encryption_key=self._key,
        )

    def _make_server(self, images: Images, cluster: ecs.Cluster, log_group: logs.LogGroup) -> PrefectServer | None:
        if isinstance(self._config.prefect, PrefectCloud):
            return None
        return PrefectServer(
            self,
            "PrefectServer",
            config=self._config,
            network=self._data.network,
            key=self._key,
            access_logs=self._data.storage.access_logs,
            cluster=cluster,
            image=images.orchestrator,
            log_group=log_group,
        )

    def _environment(self, compute: Compute) -> dict[str, str]:
        """Return the settings (schemas/settings.py) of the orchestrator."""
        return {
            **self._job_environment(compute),
            "ISAACLAB_FLOWS_EXECUTE_DEPLOYMENT": EXECUTE_DEPLOYMENT,
            "ISAACLAB_FLOWS_QUEUES": compute.queues.model_dump_json(by_alias=True),
            "ISAACLAB_FLOWS_SHARED_PREFIXES": json.dumps(self._config.storage.shared_prefixes),
            "ISAACLAB_FLOWS_VAMS_CUSTOM_ENVIRONMENTS": json.dumps(self._config.vams.custom_environments),
            "ISAACLAB_FLOWS_JOBS_LOG_GROUP": names.log_group(self._config, "jobs"),
        }

    def _job_environment(self, compute: Compute) -> dict[str, str]:
        return {
            "ISAACLAB_FLOWS_OUTPUTS": f"s3://{self._data.storage.assets[0].name}/isaaclab-flows",
            "ISAACLAB_FLOWS_JOBS_FOLDER": f"{names.EFS_MOUNT}/jobs",
            "ISAACLAB_FLOWS_CACHE_FOLDER": f"{names.EFS_MOUNT}/cache",
            "ISAACLAB_FLOWS_INSTANCE_TYPE": compute.first_machine.name,
            # Runs say that they live; the deploy task's automation crashes those that stop saying so.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        }

    def _gpu_pool(self, images: Images, compute: Compute, access: PrefectAccess) -> dict[str, object]:
        """Return the defaults of the GPU work pool's variables (prefect_aws_batch's configuration)."""
        first = compute.queues.sets[0]
        request = requirements_for(first.gpus, families=self._config.compute.families)
        return {
            "job_queue": first.resumable,
            # Each job names the queue of its size; left-over jobs are looked for in all of them.
            "other_queues": [
                queue
                for size in compute.queues.sets
                for queue in (size.resumable, size.on_demand, size.multi_node)
                if queue is not None
            ],
            "image": next(iter(images.simulators.values())).image_uri,
            "vcpu": request.vcpus,
            "memory": request.memory_mib,
            "gpus": request.gpus,
            "shared_memory": 8192,
            "env": {
                **self._job_environment(compute),
                # A machine whose driver does not answer must be given back, not train on its CPU for days.
                "ISAACLAB_FLOWS_DEVICE": "cuda",
                # Containers cannot ask the machine where they are.
                "AWS_DEFAULT_REGION": self._config.region,
                "PREFECT_API_URL": access.api_url,
            },
            "secrets": {access.variable: access.secret_reference},
            "job_role_arn": self.permissions.job.role_arn,
            "execution_role_arn": self.permissions.job_execution.role_arn,
            "efs_file_system_id": self._data.storage.file_system.file_system_id,
            "efs_access_point_id": self._data.storage.access_point.access_point_id,
            "mount_path": names.EFS_MOUNT,
            "log_group": names.log_group(self._config, "jobs"),
            "placement_timeout_seconds": self._config.compute.cannot_be_placed_minutes * 60 + 300,
            "share_identifier": "default",
            # The worker may end only jobs that carry this tag.
            "tags": {names.TAG: self._config.name},
            "job_definition_prefix": self._config.name,
        }
