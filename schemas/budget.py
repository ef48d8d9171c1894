"""What a job may cost at most: money, time, a moment by which it ends."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class BudgetConfig(BaseModel):
    """What a job may use; the first that is used up ends it, and all that it has saved is published."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
    )

    max_dollars: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Dollars for its machines, by the price an hour in its summary and the time of all its attempts."""
    max_hours: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Hours of simulation, all attempts together."""
    deadline: Annotated[AwareDatetime, Field(strict=False)] | None = None
    """The moment by which it ends, with its time zone: 2027-01-31T08:00:00+01:00."""

    @property
    def is_limited(self) -> bool:
        """Whether anything is limited."""
        return self != BudgetConfig()
