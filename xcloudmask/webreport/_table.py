"""The figures of each date, as a table and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from xcloudmask.classes import Style
from xcloudmask.webreport._dates import Date
from xcloudmask.webreport._html import Html, clean, join, tag, visible
from xcloudmask.webreport._pictures import chosen

__all__ = ["csv_text", "figures_table", "harmless"]

_MOST_ROWS = 2500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets run a text that begins so."""
_ITEM_LENGTH = 200
_ENDLESS = 10**9


def figures_table(dates: Sequence[Date], style: Style) -> Html:
    """Return the table, and the same as CSV to be copied.

    Parameters
    ----------
    dates
        As time goes.
    style
        Of the mask.
    """
    shown = [dates[index] for index in chosen(len(dates), _MOST_ROWS)]
    platforms, items = any(date.name.platform for date in shown), any(date.name.item for date in shown)
    texts = ["Date (UTC)", *(["Platform"] if platforms else []), *(["Item"] if items else [])]
    names = [*(meaning.replace("_", " ") for meaning in style.meanings), "no data"]
    head = [tag("th", title, class_="text", scope="col") for title in texts]
    head += [tag("th", f"{name} %", scope="col") for name in names]
    rows = [tag("tr", *_cells(date, platforms=platforms, items=items)) for date in shown]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    note = f"{len(shown):,} of {len(dates):,} dates, evenly chosen. " if len(shown) < len(dates) else ""
    return join(
        tag("p", note, "Classes in percent of the pixels with data, no data in percent of all pixels.", class_="note"),
        tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="Figures of each date"),
        tag(
            "details",
            tag("summary", "The same as CSV, in shares from 0 to 1 (a click selects all of it)"),
            tag("pre", clean(csv_text(shown, style), longest=_ENDLESS)),
        ),
    )


def csv_text(dates: Sequence[Date], style: Style) -> str:
    """Return the figures as comma-separated values; what cannot be known is empty.

    Parameters
    ----------
    dates
        As time goes.
    style
        Of the mask.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["time", "platform", "item_id", *style.meanings, "nodata", "error"])
    for date in dates:
        time = date.name.label if date.name.stamp is None else str(date.name.stamp)
        shares = [date.share(code) for code in range(len(style.meanings))]
        empty = date.nodata / date.total if date.total else None
        figures = ["" if value is None else f"{value:.6f}" for value in (*shares, empty)]
        texts = [harmless(text) for text in (time, date.name.platform, date.name.item)]
        writer.writerow([*texts, *figures, harmless(date.error)])
    return buffer.getvalue()


def _cells(date: Date, *, platforms: bool, items: bool) -> list[Html]:
    cells = [tag("td", date.name.label, class_="text")]
    if platforms:
        cells.append(tag("td", date.name.platform[:_ITEM_LENGTH], class_="text"))
    if items:
        cells.append(tag("td", date.name.item[:_ITEM_LENGTH], class_="text long"))
    if date.error:
        return [*cells, tag("td", "cannot be read", colspan=len(date.counts) + 1)]
    shares = [date.share(code) for code in range(len(date.counts))]
    cells += [tag("td", "" if share is None else f"{share * 100:.1f}") for share in shares]
    return [*cells, tag("td", f"{date.nodata / date.total * 100:.1f}")]


def harmless(text: str) -> str:
    """Return a text that neither a spreadsheet nor a terminal runs."""
    short = visible(text[:_ITEM_LENGTH])
    return f"'{short}" if short.startswith(_FORMULA) else short
