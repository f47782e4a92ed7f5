"""Small tables of HTML for Jupyter, with every text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

__all__ = ["html_table"]

_CELL = "text-align:left;vertical-align:top;padding:1px 10px 1px 0"


def html_table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of labels and texts.

    Parameters
    ----------
    caption
        What the table is of.
    rows
        Labels and texts; line breaks of a text are kept.

    Returns
    -------
    str

    Examples
    --------
    >>> "&lt;b&gt;" in html_table("model", [("name", "<b>")])
    True
    """
    cells = "".join(
        f'<tr><th scope="row" style="{_CELL};white-space:nowrap">{html.escape(label)}</th>'
        f'<td style="{_CELL};white-space:pre-wrap">{html.escape(text)}</td></tr>'
        for label, text in rows
    )
    style = "text-align:left;font-weight:bold"
    return f'<table><caption style="{style}">{html.escape(caption)}</caption>{cells}</table>'
