"""The simulator as a child process: its order, its processes, its supervision, and what its death means."""
