"""Markdown that cannot be broken from inside: escaped text, and tables of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

_SPECIAL = re.compile(r"([\\`*_{}\[\]|#])")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write rows below their head, every cell escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(c if c == "---" else text(c) for c in line) + " |"
        for line in lines
    )


def text(value: str) -> str:
    """Escape Markdown and put the text on one line."""
    flat = escape(" ".join(value.split()), quote=False)  # Markdown lets HTML through
    return _SPECIAL.sub(r"\\\1", flat)
