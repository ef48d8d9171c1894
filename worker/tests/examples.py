"""The run and the pool of the tests."""

from uuid import UUID

RUN_ID = UUID("0b8f5c1e-3f6a-4a43-9d35-0a1b2c3d4e5f")
POOL = "gpu"
