"""Train and evaluate robot policies with NVIDIA Isaac Lab."""
