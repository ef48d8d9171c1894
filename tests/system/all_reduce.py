"""A stand-in for distributed training: every process adds its rank and host; rank 0 writes down the sum."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
total = torch.tensor([1.0 + dist.get_rank()])
dist.all_reduce(total)
if dist.get_rank() == 0:
    text = f"{int(total)} from {dist.get_world_size()} on node {os.environ['AWS_BATCH_JOB_NODE_INDEX']}"
    (Path(os.environ["ISAACLAB_FLOWS_JOBS_FOLDER"]) / "sum.txt").write_text(text)
dist.destroy_process_group()
