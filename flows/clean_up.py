"""clean up: delete the folders of old jobs from the shared file system, never a live one."""

from __future__ import annotations

import time

from prefect import flow, get_run_logger

from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.tasks.job.clean_up import choose, delete, forget_calls, human, survey, total
from isaaclab_flows.tasks.job.folder import jobs_folder


@flow(name="clean-up")
def clean_up(older_than_days: float = 30.0, quota_gib: float | None = None, dry_run: bool = False) -> list[str]:
    """Delete job folders that are old, then the oldest finished ones until the quota holds; return their job ids.

    What a job published is not touched: the folder holds what a resume or a rerun would start from.

    Args:
        older_than_days: Delete jobs that nothing has touched for so many days; at least 1.
        quota_gib: Most that all job folders may take together [GiB]; empty has no limit.
        dry_run: Only say what would be deleted.

    Raises:
        ConfigError: An age or a quota that makes no sense.
    """
    logger = get_run_logger()
    if older_than_days < 1:
        raise ConfigError(
            f"'older_than_days' is {older_than_days}", where="older_than_days", remedy="Allowed: 1 or more."
        )
    if quota_gib is not None and quota_gib < 0:
        raise ConfigError(f"'quota_gib' is {quota_gib}", where="quota_gib", remedy="Allowed: 0 or more, or none.")
    folder, now = jobs_folder(), time.time()
    stored = list(survey(folder, now=now))
    quota = None if quota_gib is None else int(quota_gib * 2**30)
    chosen = choose(stored, now=now, older_than_days=older_than_days, quota_bytes=quota)
    live = sum(job.live for job in stored)
    logger.info("%d jobs in %s take %s; %d of them live", len(stored), folder, human(total(stored)), live)
    deleted = []
    for job in chosen:
        if dry_run:
            logger.info("Would delete %s (%s)", job.path.name, human(job.size))
        elif not delete(job, now=time.time()):
            logger.info("Left %s alone: somebody began to work in it", job.path.name)
            continue
        deleted.append(job)
    if not dry_run:
        forget_calls(folder, older_than_days=older_than_days, now=now)
    left = total(stored) - total(deleted)
    logger.info("%s %d jobs (%s)", "Would delete" if dry_run else "Deleted", len(deleted), human(total(deleted)))
    if quota is not None and left > quota:
        logger.warning(
            "The remaining jobs take %s, over the quota of %s: they are live or have not ended. Raise the quota, or "
            "wait for them.",
            human(left),
            human(quota),
        )
    return [job.path.name for job in deleted]
