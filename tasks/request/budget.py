"""How long a job may go on: the first of its time limit and of what its budget allows."""

from __future__ import annotations

from dataclasses import dataclass

from isaaclab_flows.schemas.budget import BudgetConfig
from isaaclab_flows.schemas.errors import ConfigError, LimitReachedError

_HOUR = 3600.0


@dataclass(frozen=True)
class End:
    """When a job is ended, and why.

    Args:
        seconds: From now.
        key: The configuration's key that says so.
        why: The sentence's middle: what was reached.
        remedy: What to do about it.
    """

    seconds: float
    key: str
    why: str
    remedy: str

    def error(self) -> LimitReachedError:
        """Return the error of a job that was ended by it."""
        return LimitReachedError(
            f"The job was ended because {self.why}; what it has saved is kept", where=self.key, remedy=self.remedy
        )


def end_of(
    budget: BudgetConfig, *, timeout_minutes: int, dollars_per_hour: float | None, used_seconds: float, now: float
) -> End:
    """Return the end that comes first.

    Args:
        budget: The job's budget.
        timeout_minutes: Its time limit, which counts from this run.
        dollars_per_hour: What all of its machines cost; None where no price is known.
        used_seconds: What earlier attempts have simulated.
        now: Unix time [s].
    """
    ends = [
        End(
            60.0 * timeout_minutes,
            "computeConfig.timeoutMinutes",
            f"it ran for {timeout_minutes} min, its time limit",
            "Raise computeConfig.timeoutMinutes and run it again: it goes on from its last checkpoint.",
        )
    ]
    if budget.max_hours is not None:
        ends.append(
            End(
                budget.max_hours * _HOUR - used_seconds,
                "budgetConfig.maxHours",
                f"it has simulated for {budget.max_hours:g} h in all, its budget",
                "Raise budgetConfig.maxHours and run it again: it goes on from its last checkpoint.",
            )
        )
    if budget.max_dollars is not None and dollars_per_hour:
        ends.append(
            End(
                budget.max_dollars / dollars_per_hour * _HOUR - used_seconds,
                "budgetConfig.maxDollars",
                f"it has cost about ${budget.max_dollars:,.2f} at ${dollars_per_hour:,.2f} an hour, its budget",
                "Raise budgetConfig.maxDollars and run it again: it goes on from its last checkpoint.",
            )
        )
    if budget.deadline is not None:
        ends.append(
            End(
                budget.deadline.timestamp() - now,
                "budgetConfig.deadline",
                f"its deadline {budget.deadline.isoformat()} has come",
                "Set a later budgetConfig.deadline and run it again: it goes on from its last checkpoint.",
            )
        )
    return min(ends, key=lambda end: end.seconds)


def require_checkable(budget: BudgetConfig, *, dollars_per_hour: float | None, now: float) -> None:
    """Refuse a budget that nothing can be checked against.

    Args:
        budget: The job's budget.
        dollars_per_hour: What its machines cost; None where no price is known.
        now: Unix time [s].

    Raises:
        ConfigError: Dollars without a price, or a deadline that has passed.
    """
    if budget.max_dollars is not None and dollars_per_hour is None:
        raise ConfigError(
            f"'budgetConfig.maxDollars' is {budget.max_dollars:g}, but no price of this machine is known",
            where="budgetConfig.maxDollars",
            remedy="Use budgetConfig.maxHours, or name the machine with ISAACLAB_FLOWS_INSTANCE_TYPE.",
        )
    if budget.deadline is not None and budget.deadline.timestamp() <= now:
        raise ConfigError(
            f"'budgetConfig.deadline' is {budget.deadline.isoformat()}, which has passed",
            where="budgetConfig.deadline",
            remedy="Name a moment to come, with its time zone.",
        )
