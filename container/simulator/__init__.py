"""The simulator: the only code that imports Isaac Lab and torch. A child process that speaks through files."""
