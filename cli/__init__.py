"""The command-line program `isaaclab-flows`. Every module imports lazily: `--help` answers at once."""
