"""The steps, one module for each outside thing. Order and policy live in flows."""
