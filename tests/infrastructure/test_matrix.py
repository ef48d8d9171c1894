"""Rules over every kind of deployment: what AWS would refuse, or drop without a word, cannot come back."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.infrastructure.conftest import CHANGES, Deployment
from tests.infrastructure.iam import Policies
from tests.infrastructure.templates import Resolver, as_list, environment_of

READS = {
    "secretsmanager:GetSecretValue": ("kms:Decrypt",),
    "s3:GetObject": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey",),
    "sqs:SendMessage": ("kms:Decrypt", "kms:GenerateDataKey"),
}


def _encrypted(deployment: Deployment) -> Iterator[tuple[str, str, str]]:
    """Yield everything that is encrypted with a customer's key: an action on it, its ARN and the key's."""
    resolve = Resolver(deployment)
    for name, secret in deployment.resources("AWS::SecretsManager::Secret").items():
        yield "secretsmanager:GetSecretValue", f"<{name}>", resolve(secret["Properties"]["KmsKeyId"])
    for bucket in deployment.resources("AWS::S3::Bucket").values():
        (rule,) = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        key = rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID")
        if key:
            arn = f"arn:aws:s3:::{bucket['Properties']['BucketName']}/requests/x"
            yield from ((action, arn, resolve(key)) for action in ("s3:GetObject", "s3:PutObject"))
    for queue_name, queue in deployment.resources("AWS::SQS::Queue").items():
        if "KmsMasterKeyId" in queue["Properties"]:
            yield "sqs:SendMessage", f"<{queue_name}.Arn>", resolve(queue["Properties"]["KmsMasterKeyId"])
    storage = deployment.config.storage
    for given in (*storage.asset_buckets, storage.auxiliary_bucket):
        if given and given.kms_key_arn:
            yield "s3:GetObject", f"arn:aws:s3:::{given.name}/x", given.kms_key_arn
            yield "s3:PutObject", f"arn:aws:s3:::{given.name}/x", given.kms_key_arn
    prefect = deployment.config.prefect
    if prefect.mode == "cloud" and prefect.secret_kms_key_arn:
        yield "secretsmanager:GetSecretValue", prefect.secret_arn, prefect.secret_kms_key_arn


def test_who_may_read_an_encrypted_thing_may_decrypt_it(matrix: dict[str, Deployment]) -> None:
    for variant, deployment in matrix.items():
        policies = Policies.of(deployment)
        checked = 0
        for (action, resource, key), role in itertools.product(_encrypted(deployment), policies.statements):
            if policies.may(role, action, resource, {"s3:prefix": "requests/x"}):
                checked += 1
                for needed in READS[action]:
                    assert policies.may(role, needed, key), f"{variant}: {role} may {action}, but not {needed}"
        assert checked > 5, variant


def test_what_a_container_is_given_as_a_secret_its_execution_role_may_read_and_decrypt(
    matrix: dict[str, Deployment],
) -> None:
    for variant, deployment in matrix.items():
        policies, resolve = Policies.of(deployment), Resolver(deployment)
        keys = {arn: key for action, arn, key in _encrypted(deployment) if action.startswith("secretsmanager")}
        for task in deployment.resources("AWS::ECS::TaskDefinition").values():
            role = resolve(task["Properties"]["ExecutionRoleArn"]).strip("<>").removesuffix(".Arn")
            for container in task["Properties"]["ContainerDefinitions"]:
                for entry in container.get("Secrets", []):
                    secret = _secret_of(resolve(entry["ValueFrom"]), list(keys))
                    assert policies.may(role, "secretsmanager:GetSecretValue", secret), f"{variant}: {role}"
                    if secret in keys:
                        assert policies.may(role, "kms:Decrypt", keys[secret]), f"{variant}: {role} cannot decrypt"


def _secret_of(reference: str, known: list[str]) -> str:
    """Return the secret's own ARN of a container's reference, which ends in `:field::`."""
    bare = reference.rstrip(":").rpartition(":")[0]
    # The database's secret is referred to through its attachment to the cluster.
    return next((name for name in known if name.strip("<>").startswith(bare.strip("<>")[:20])), bare)


def test_services_that_publish_to_the_encrypted_topic_get_through(matrix: dict[str, Deployment]) -> None:
    """EventBridge names no source account: with that condition its messages are dropped without a word."""
    for variant, deployment in matrix.items():
        resolve = Resolver(deployment)
        (key,) = deployment.resources("AWS::KMS::Key").values()
        (topic,) = deployment.resources("AWS::SNS::TopicPolicy").values()
        for document, actions in (
            (key["Properties"]["KeyPolicy"], {"kms:Decrypt", "kms:GenerateDataKey*"}),
            (topic["Properties"]["PolicyDocument"], {"sns:Publish"}),
        ):
            statements = [s for s in resolve(document)["Statement"] if s["Effect"] == "Allow"]
            for service in ("events", "cloudwatch", "budgets"):
                found = [s for s in statements if f"{service}.amazonaws.com" in str(s["Principal"])]
                assert found, f"{variant}: {service}"
                assert actions <= {a for s in found for a in as_list(s["Action"])}, f"{variant}: {service}"
                for statement in found:
                    if service == "events":
                        assert "Condition" not in statement, variant
                    else:
                        assert "aws:SourceAccount" in str(statement["Condition"]), f"{variant}: {service}"


# Alarms on what happens; for all others silence means that something is gone.
EVENTS = {
    "bridge-errors", "bridge-throttled", "dead-letters", "queue-blocked", "jobs-failed", "heartbeats-late",
    "file-system-busy",
}  # fmt: skip
PRESENT = {"orchestrator-down", "batch-worker-down", "orchestrator-memory", "request-unanswered", "observer-silent"}
SERVER = {"server-down", "database-full"}


def test_silence_is_fine_only_where_it_means_that_nothing_happened(matrix: dict[str, Deployment]) -> None:
    for variant, deployment in matrix.items():
        alarms = {
            alarm["Properties"]["AlarmName"].removeprefix(f"{deployment.config.name}-"): alarm["Properties"]
            for alarm in deployment.resources("AWS::CloudWatch::Alarm").values()
        }
        server = SERVER if deployment.config.prefect.mode == "selfHosted" else set()
        assert alarms.keys() == EVENTS | PRESENT | server, variant
        for name, alarm in alarms.items():
            assert alarm["TreatMissingData"] == ("notBreaching" if name in EVENTS else "breaching"), name


def test_machines_own_role_joins_its_cluster_and_nothing_else(matrix: dict[str, Deployment]) -> None:
    for variant, deployment in matrix.items():
        (name,) = (n for n in deployment.resources("AWS::IAM::Role") if n.startswith("MachinesRole"))
        role = deployment.resources("AWS::IAM::Role")[name]["Properties"]
        assert "ManagedPolicyArns" not in role, variant
        actions = {a for s in Policies.of(deployment).statements[name] for a in as_list(s["Action"])}
        services = {action.partition(":")[0] for action in actions}
        allowed = {"ecs", "cloudwatch"}
        if deployment.config.keep_warm_instance:
            allowed.add("ecr")
        if deployment.config.compute.session_manager:
            allowed |= {"ssm", "ssmmessages"}
        assert services == allowed, variant
        assert not {"ssm:GetParameter", "ssm:GetParameters"} & actions


def test_every_machine_keeps_jobs_from_its_metadata_before_the_agent_starts(matrix: dict[str, Deployment]) -> None:
    for deployment in matrix.values():
        for template in deployment.resources("AWS::EC2::LaunchTemplate").values():
            data = template["Properties"]["LaunchTemplateData"]
            text = Resolver(deployment)(data["UserData"])
            assert text.startswith("MIME-Version: 1.0\n"), "Batch merges user data of this kind only"
            assert text.rstrip().endswith("--==BOUNDARY==--")
            assert not re.search("@[A-Z]+@", text)
            assert "-m cgroup --path" in text
            # The machine's role may not write logs: the job's execution role does.
            assert "ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE=true" in text
            assert "Before=ecs.service" in text
            assert data["MetadataOptions"]["HttpTokens"] == "required"
            assert len(text) < 12_000, "EC2 takes 16 KB, and Batch adds its own"


def test_the_deploy_task_may_be_run_in_every_revision(matrix: dict[str, Deployment]) -> None:
    """A policy that names one revision changes a second before that revision is run: IAM does not know it yet."""
    for variant, deployment in matrix.items():
        policies = Policies.of(deployment)
        (role,) = (name for name in policies.statements if name.startswith("WorkersDeployRunner"))
        (statement,) = (s for s in policies.statements[role] if "ecs:RunTask" in as_list(s["Action"]))
        assert statement["Resource"].endswith(f":task-definition/{deployment.config.name}-deploy:*"), variant


def test_the_orchestrator_carries_what_it_takes(matrix: dict[str, Deployment]) -> None:
    for variant, deployment in matrix.items():
        (task,) = (
            t["Properties"]
            for t in deployment.resources("AWS::ECS::TaskDefinition").values()
            if t["Properties"]["Family"].endswith("-orchestrator")
        )
        command = task["ContainerDefinitions"][0]["Command"]
        limit = int(command[command.index("--limit") + 1])
        assert limit == deployment.config.operations.concurrent_runs
        assert 512 + 200 * limit <= int(task["Memory"]), variant


def test_what_is_written_to_in_a_read_only_container_is_the_scratch_volume(matrix: dict[str, Deployment]) -> None:
    for deployment in matrix.values():
        for task in deployment.resources("AWS::ECS::TaskDefinition").values():
            for container in task["Properties"]["ContainerDefinitions"]:
                if container.get("ReadonlyRootFilesystem"):
                    assert [m["ContainerPath"] for m in container["MountPoints"]] == ["/scratch"]
                    assert "PREFECT_HOME" not in environment_of(container)


def test_a_warm_machine_comes_first_and_alone_is_always_there(matrix: dict[str, Deployment]) -> None:
    for variant, deployment in matrix.items():
        resolve = Resolver(deployment)
        environments = deployment.resources("AWS::Batch::ComputeEnvironment")
        warm = {f"<{n}>" for n, e in environments.items() if e["Properties"]["ComputeResources"]["MinvCpus"]}
        assert bool(warm) is deployment.config.keep_warm_instance, variant
        for queue in deployment.resources("AWS::Batch::JobQueue").values():
            order = [resolve(e["ComputeEnvironment"]) for e in queue["Properties"]["ComputeEnvironmentOrder"]]
            name = queue["Properties"]["JobQueueName"]
            if warm and name.endswith(("gpu1-resumable", "gpu1-on-demand")):
                assert order[0] in warm, f"{variant}: {name}"
            assert not warm & set(order[1:]), f"{variant}: {name}"
        if warm:
            ours = environments[warm.pop().strip("<>")]["Properties"]["ComputeResources"]
            assert ours["MinvCpus"] == ours["MaxvCpus"]
            template = resolve(ours["LaunchTemplate"]["LaunchTemplateId"]).strip("<>")
            text = resolve(deployment.resources("AWS::EC2::LaunchTemplate")[template])
            assert "docker pull" in str(text)


def test_every_queue_is_one_that_a_job_can_ask_for(matrix: dict[str, Deployment]) -> None:
    from isaaclab_flows.schemas.config import ComputeConfig
    from isaaclab_flows.schemas.instances import instance
    from isaaclab_flows.schemas.placement import Queues, place

    for variant, deployment in matrix.items():
        resolve = Resolver(deployment)
        (told,) = (
            environment_of(container)["ISAACLAB_FLOWS_QUEUES"]
            for task in deployment.resources("AWS::ECS::TaskDefinition").values()
            for container in task["Properties"]["ContainerDefinitions"]
            if container["Name"] == "orchestrator"
        )
        queues = Queues.model_validate_json(resolve(told))
        asked = set()
        for found, nodes, capacity in itertools.product(queues.sets, (1, 2), ("auto", "spot", "on-demand")):
            if (nodes == 2 and (capacity == "spot" or not found.multi_node)) or (capacity == "spot" and not found.spot):
                continue
            compute = ComputeConfig(num_nodes=nodes, gpus_per_node=found.gpus, capacity=capacity)
            placement = place(compute, queues)
            asked.add(placement.job_queue)
            for entry in _machines(deployment, placement.job_queue):
                assert instance(entry).fits(placement.requirements), f"{variant}: {entry}"
        made = {q["Properties"]["JobQueueName"] for q in deployment.resources("AWS::Batch::JobQueue").values()}
        assert asked == made, variant


def _machines(deployment: Deployment, queue: str) -> list[str]:
    resolve = Resolver(deployment)
    environments = deployment.resources("AWS::Batch::ComputeEnvironment")
    (found,) = (
        q["Properties"]
        for q in deployment.resources("AWS::Batch::JobQueue").values()
        if q["Properties"]["JobQueueName"] == queue
    )
    used = [resolve(entry["ComputeEnvironment"]).strip("<>") for entry in found["ComputeEnvironmentOrder"]]
    return [m for name in used for m in environments[name]["Properties"]["ComputeResources"]["InstanceTypes"]]


def test_spot_machines_are_chosen_by_price_as_the_estimate_is(matrix: dict[str, Deployment]) -> None:
    for deployment in matrix.values():
        for environment in deployment.resources("AWS::Batch::ComputeEnvironment").values():
            resources = environment["Properties"]["ComputeResources"]
            wanted = "SPOT_PRICE_CAPACITY_OPTIMIZED" if resources["Type"] == "SPOT" else "BEST_FIT_PROGRESSIVE"
            assert resources["AllocationStrategy"] == wanted


# --- updates ---------------------------------------------------------------------------------------------------------

KEPT = (
    "AWS::EFS::FileSystem", "AWS::EFS::AccessPoint", "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::EC2::VPC",
    "AWS::EC2::Subnet", "AWS::RDS::DBCluster", "AWS::EC2::SecurityGroup", "AWS::ECS::Cluster", "AWS::ECS::Service",
    "AWS::SNS::Topic", "AWS::Lambda::Function", "AWS::Batch::ComputeEnvironment", "AWS::Batch::JobQueue",
    "AWS::EC2::LaunchTemplate", "AWS::Logs::LogGroup", "AWS::SQS::Queue", "AWS::IAM::Role",
)  # fmt: skip


def _create_only(kind: str) -> list[list[str]]:
    """Return the paths of the properties whose change replaces a resource, from CloudFormation's own schema."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return [path.removeprefix("/properties/").split("/") for path in schema.get("createOnlyProperties", [])]


def _at(properties: Any, path: list[str]) -> Any:
    for part in path:
        if not isinstance(properties, dict):
            return None
        properties = properties.get(part)
    return properties


def _updatable(matrix: dict[str, Deployment]) -> dict[str, Deployment]:
    return {name: matrix[name] for name in ("cloud", *CHANGES)}


def test_every_configuration_exports_the_same(matrix: dict[str, Deployment]) -> None:
    """CloudFormation updates the data stack first, and refuses to take back what the service stack still imports."""
    exports = {name: set(_exports(deployment)) for name, deployment in _updatable(matrix).items()}
    for name, found in exports.items():
        assert found == exports["cloud"], f"{name}: {found ^ exports['cloud']}"


def _exports(deployment: Deployment) -> list[str]:
    outputs = deployment.data.get("Outputs", {}).values()
    return [str(Resolver(deployment)(output["Export"]["Name"])) for output in outputs if "Export" in output]


def test_every_setting_can_be_changed_into_every_other(matrix: dict[str, Deployment]) -> None:
    for (before_name, before), (after_name, after) in itertools.permutations(_updatable(matrix).items(), 2):
        change = f"{before_name} -> {after_name}"
        for template in ("data", "service"):
            old, new = getattr(before, template)["Resources"], getattr(after, template)["Resources"]
            for name in old.keys() & new.keys():
                _assert_not_replaced(change, name, old[name], new[name], before, after)
            for name in old.keys() - new.keys():
                # A registration with VAMS is kept on purpose, and registering again overwrites it.
                registration = old[name]["Type"].startswith(("Custom::", "AWS::CloudFormation::CustomResource"))
                kept = not registration and old[name].get("DeletionPolicy") in ("Retain", "RetainExceptOnCreate")
                assert not kept, f"{change}: {name} stays behind, and its name is taken when it comes back"


def _assert_not_replaced(
    change: str, name: str, old: dict[str, Any], new: dict[str, Any], before: Deployment, after: Deployment
) -> None:
    assert old["Type"] == new["Type"], f"{change}: {name}"
    if old["Type"] not in KEPT or old == new:
        return
    for path in _create_only(old["Type"]):
        was, becomes = (
            Resolver(deployment)(_at(resource.get("Properties", {}), path))
            for deployment, resource in ((before, old), (after, new))
        )
        assert was == becomes, f"{change}: {name} ({old['Type']}) is replaced by its {'.'.join(path)}"


def test_the_rules_see_what_they_are_about(matrix: dict[str, Deployment]) -> None:
    """Each is shown a deployment with the fault that it is for."""
    own = matrix["own server"]
    for name, policy in own.resources("AWS::IAM::Policy").items():
        if name.startswith("PrefectServerExecution"):
            without = [s for s in policy["Properties"]["PolicyDocument"]["Statement"] if "kms" not in str(s["Action"])]
            faulty = _with(own, "service", name, PolicyDocument={"Statement": without})
    with pytest.raises(AssertionError, match="kms:Decrypt"):
        test_who_may_read_an_encrypted_thing_may_decrypt_it({"faulty": faulty})
    with pytest.raises(AssertionError, match="cannot decrypt"):
        test_what_a_container_is_given_as_a_secret_its_execution_role_may_read_and_decrypt({"faulty": faulty})
    (name,) = own.resources("AWS::EFS::FileSystem")
    replaced = _with(own, "data", name, PerformanceMode="maxIO")
    with pytest.raises(AssertionError, match="replaced by its PerformanceMode"):
        test_every_setting_can_be_changed_into_every_other({**matrix, "own server": replaced})


def _with(deployment: Deployment, part: str, name: str, **properties: Any) -> Deployment:
    template = copy.deepcopy(getattr(deployment, part))
    template["Resources"][name]["Properties"].update(properties)
    return dataclasses.replace(deployment, **{part: template})
