#!/bin/bash
# metadata-guard CGROUP: refuses what the processes of a control group send to the metadata service.
# Jobs on one machine use the host's network, so that neither hops nor addresses tell them from the ECS agent; the
# control group that ECS puts their containers into does.
set -eu
rule=(OUTPUT -d 169.254.169.254 -m cgroup --path "$1" -j REJECT)
iptables -C "${rule[@]}" 2>/dev/null || iptables -I "${rule[@]}"
