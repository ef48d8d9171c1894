"""The bridge from VAMS to Prefect: standard library and boto3 only, so that a cold Lambda answers quickly."""
