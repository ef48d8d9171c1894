"""Faults of a network file system that pass by themselves, such as a stale handle of EFS."""

from __future__ import annotations

import errno
from collections.abc import Callable

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

PASSING = frozenset({errno.ESTALE, errno.EIO, errno.ETIMEDOUT})
TRIES = 5


def bears_faults[**P, R](work: Callable[P, R]) -> Callable[P, R]:
    """Let a function begin again after such a fault, at most four times within some seconds; the last is raised.

    S3's own faults are none of these: botocore tries those again, below.
    """
    return retry(
        retry=retry_if_exception(lambda error: isinstance(error, OSError) and error.errno in PASSING),
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.2, max=10),
        reraise=True,
    )(work)
