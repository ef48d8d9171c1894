"""What numbers allow to be said, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from isaaclab_flows.tasks.statistics.comparison import FEWEST_UNITS, Judgement

MOST_NAMED: Final = 5


def judgement_statement(judged: Judgement, *, names: Mapping[str, str]) -> str:
    """Return which differences from the best are significant, what could not have been seen, and how scores were kept.

    Args:
        judged: Two policies or more.
        names: What people call them.
    """
    best, told = judged.order[0], judged.differences
    worse = [d for d in told if d.significant]
    others = f"{len(told)} others" if len(told) > 1 else "the other"
    how = "start by start" if judged.paired else "as independent, because their starts differ"
    said = [
        f"{names[best]} differs significantly from {len(worse)} of {others} (compared {how}; 5 % level for all"
        " comparisons together)."
    ]
    if judged.tied:
        shown = ", ".join(names[name] for name in judged.tied[:MOST_NAMED])
        more = " …" if len(judged.tied) > MOST_NAMED else ""
        said.append(f"No significant difference from: {shown}{more}.")
        said.append(_power(judged))
    if judged.apart:
        said.append("The order comes from one half of the starts, the scores from the other.")
    else:
        said.append("The starts are too few to choose by some and score by others: the best one's score is too good.")
    return " ".join(said)


def _power(judged: Judgement) -> str:
    seen = [d.detectable for d in judged.differences if not d.significant and d.detectable is not None]
    if not seen:
        return f"These are too few starts to tell any difference: at least {FEWEST_UNITS} are needed."
    return f"A difference of {max(seen):,.3g} or more would have been seen (in 80 of 100 such evaluations)."
