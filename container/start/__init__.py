"""What the image starts with: the entry point, the check of the GPUs, the other nodes of a job."""
