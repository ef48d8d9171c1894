"""What people see of a run: artifacts in the Prefect UI, log lines, headlines."""
