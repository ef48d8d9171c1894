#!/bin/bash
# Runs once on every GPU machine, before the ECS agent starts: use an image that is already there (tags are hashes of
# the content), keep containers away from the machine's own role and give them theirs (logs are written with the job's
# execution role, for the machine's may not), tell CloudWatch how busy the GPUs are.
cat >>/etc/ecs/ecs.config <<'END'
ECS_IMAGE_PULL_BEHAVIOR=prefer-cached
ECS_IMAGE_CLEANUP_INTERVAL=30m
ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=10m
ECS_AWSVPC_BLOCK_IMDS=true
ECS_ENABLE_TASK_IAM_ROLE=true
ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST=true
ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE=true
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
ECS_CONTAINER_STOP_TIMEOUT=110s
END
cat >/usr/local/sbin/metadata-guard <<'GUARD'
@GUARD@
GUARD
chmod 755 /usr/local/sbin/metadata-guard
cat >/etc/systemd/system/metadata-guard.service <<'END'
[Unit]
Description=Keeps the containers of jobs away from the machine's metadata
Before=ecs.service
[Service]
# In the slice of the jobs' containers, so that the slice (and the rule about it) lives as long as the machine.
Slice=ecstasks.slice
ExecStart=/usr/bin/sleep infinity
ExecStartPost=/usr/local/sbin/metadata-guard ecstasks.slice
Restart=always
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now metadata-guard.service
mkdir -p /opt/aws/amazon-cloudwatch-agent/etc
cat >/opt/aws/amazon-cloudwatch-agent/etc/gpu.json <<'END'
{"metrics": {"namespace": "@NAMESPACE@", "append_dimensions": {"InstanceType": "${aws:InstanceType}"},
 "aggregation_dimensions": [["Deployment"]],
 "metrics_collected": {"nvidia_gpu": {"measurement": ["utilization_gpu", "memory_used"],
  "metrics_collection_interval": 60, "append_dimensions": {"Deployment": "@DEPLOYMENT@"}}}}}
END
(dnf install -y amazon-cloudwatch-agent && /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl \
  -a fetch-config -m ec2 -s -c file:/opt/aws/amazon-cloudwatch-agent/etc/gpu.json) &
