"""Draws docs/deployment.svg from docs/deployment.yaml."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parents[1] / "docs"
SOURCE, PICTURE = DOCS / "deployment.yaml", DOCS / "deployment.svg"
_WIDTH, _HEIGHT = 190, 64
_STEP_X, _STEP_Y = 270, 150
_MARGIN = 24


def draw(source: dict[str, Any]) -> str:
    """Return the picture as SVG; the same source always gives the same text."""
    boxes = source["boxes"]
    columns = max(box["at"][0] for box in boxes.values()) + 1
    rows = max(box["at"][1] for box in boxes.values()) + 1
    width = 2 * _MARGIN + (columns - 1) * _STEP_X + _WIDTH
    height = 2 * _MARGIN + (rows - 1) * _STEP_Y + _HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L10 5L0 10z" fill="#555"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *(_arrow(boxes[start]["at"], boxes[end]["at"], label) for start, end, label in source["arrows"]),
        *(_box(box, source["groups"].get(box.get("group"), "#f4f4f4")) for box in boxes.values()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _corner(at: list[int]) -> tuple[int, int]:
    return _MARGIN + at[0] * _STEP_X, _MARGIN + at[1] * _STEP_Y


def _box(box: dict[str, Any], colour: str) -> str:
    x, y = _corner(box["at"])
    title, text = (escape(str(part)) for part in box["text"])
    middle = x + _WIDTH // 2
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="{colour}" stroke="#555"/>'
        f'<text x="{middle}" y="{y + 27}" text-anchor="middle" font-size="15" font-weight="bold">{title}</text>'
        f'<text x="{middle}" y="{y + 48}" text-anchor="middle" font-size="12">{text}</text>'
    )


def _arrow(start: list[int], end: list[int], label: str) -> str:
    (x1, y1), (x2, y2) = _corner(start), _corner(end)
    if start[1] == end[1]:
        y1 = y2 = y1 + _HEIGHT // 2
        x1, x2 = (x1 + _WIDTH, x2) if x2 > x1 else (x1, x2 + _WIDTH)
    else:
        x1, x2 = x1 + _WIDTH // 2, x2 + _WIDTH // 2
        y1, y2 = (y1 + _HEIGHT, y2) if y2 > y1 else (y1, y2 + _HEIGHT)
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#555" marker-end="url(#tip)"/>'
        f'<text x="{(x1 + x2) // 2}" y="{(y1 + y2) // 2 - 6}" text-anchor="middle" font-size="11" fill="#333"'
        f' paint-order="stroke" stroke="white" stroke-width="4">{escape(label)}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(yaml.safe_load(SOURCE.read_text())))
