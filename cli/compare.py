"""`isaaclab-flows compare`: what was evaluated before, side by side, with what could be chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from isaaclab_flows.cli.console import say

if TYPE_CHECKING:
    from isaaclab_flows.schemas.sweep import Metric


def run_compare(places: Sequence[str], *, metric: Metric, as_json: bool, outputs: str | None) -> None:
    """Compare recorded evaluations and print the result.

    Args:
        places: Folders, metrics.csv files, job ids, or names.
        metric: What to compare by.
        as_json: Print JSON and nothing else.
        outputs: Where ids and names are looked for; by default the settings' outputs.
    """
    from isaaclab_flows.schemas.settings import settings
    from isaaclab_flows.tasks.sweep.recorded import compare

    found = compare(places, outputs=outputs or settings().outputs, metric=metric)
    document = found.document()
    if as_json:
        say(json.dumps(document, indent=2, allow_nan=False))
        return
    rows = [["", "episodes", "mean", "95 % interval", "worst tenth", "success", "best is better by"]]
    told = {difference["b"]: difference for difference in document["differences"]}
    for entry in document["entries"]:
        name = entry["name"]
        rows.append(
            [
                name,
                f"{entry['episodes']:,}",
                _number(entry["mean"]),
                _span(entry),
                _number(entry["worst_tenth"]),
                "–" if entry["success"] is None else f"{entry['success']:.0%}",
                _verdict(told[name]) if name in told else "best",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    say()
    say(found.statement)
    seldom = max(entry["unseen_rate"] for entry in document["entries"])
    say(f"What happens in fewer than {seldom:.1%} of the episodes may not have been seen.")
    for note in found.notes:
        say(note)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _span(values: dict[str, float | None]) -> str:
    return "–" if values["low"] is None else f"{_number(values['low'])} … {_number(values['high'])}"


def _verdict(difference: dict[str, float | None]) -> str:
    word = "differs" if difference["significant"] else "could be chance"
    return f"{_number(difference['difference'])} ({_span(difference)}), {word}"
