"""Names are data: what people see of them forges nothing, in a terminal or in the UI's markdown."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"[\\`*\[\]<>#|!~]|(?<=:)//|(?<=www)\.")


def printable(text: str) -> str:
    """Return a text without what moves a terminal's cursor, changes its colours or turns its writing around."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def markdown_text(text: str) -> str:
    """Return a text as markdown that shows it as it is, on one line: no heading, link, picture or table comes of it."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", " ".join(printable(text).split()))
