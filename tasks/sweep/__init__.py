"""Evaluation sweeps: planned, evaluated in groups, kept as a table, ranked, drawn and reported."""
