"""The job folder: its paths, its lease, its checkpoints and events, its hand-over between machines, its end."""
