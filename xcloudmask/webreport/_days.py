"""Which days are clear: a calendar for each year, months down and days across."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xcloudmask.classes import Style
from xcloudmask.webreport._chart import shares_text
from xcloudmask.webreport._colours import clear_ramp
from xcloudmask.webreport._dates import MONTHS, Date
from xcloudmask.webreport._html import Html, join, tag

__all__ = ["calendars", "days_legend"]

_STEPS = 5
_CELL, _PITCH = 13, 15
_LEFT, _TOP = 34, 20
_MOST_YEARS = 40
_SIZE = (_LEFT + 31 * _PITCH + 2, _TOP + 12 * _PITCH + 2)


def calendars(dates: Sequence[Date], style: Style, *, view: float, fullest: int) -> Html:
    """Return a calendar for each year that has a date.

    Parameters
    ----------
    dates
        As time goes; those without a time are left out.
    style
        Of the mask.
    view
        Clear share from which a date is a clear view.
    fullest
        Most pixels with data on any date.
    """
    by_day: dict[np.datetime64, list[Date]] = {}
    for date in dates:
        if date.name.stamp is not None:
            by_day.setdefault(date.name.stamp.astype("M8[D]"), []).append(date)
    years = sorted({int(str(day.astype("M8[Y]"))) for day in by_day})
    parts = [_year(year, by_day, style, view=view, fullest=fullest) for year in years[-_MOST_YEARS:]]
    left_out = years[:-_MOST_YEARS]
    note = tag("p", f"The years before {years[-_MOST_YEARS]} are left out.", class_="note") if left_out else None
    return join(tag("div", *parts, class_="calendars"), note)


def days_legend(*, view: float) -> Html:
    """Return what the cells mean."""
    ramp = clear_ramp(_STEPS)
    each = 100 // _STEPS
    entries = [
        tag(
            "li",
            _swatch(tag("rect", x=1, y=1, width=12, height=12, fill=colour)),
            f"{step * each}-{(step + 1) * each} %",
        )
        for step, colour in enumerate(ramp)
    ]
    ring = tag("rect", x=1.5, y=1.5, width=11, height=11, fill=ramp[-1], class_="view")
    entries += [
        tag("li", _swatch(ring), f"clear view (at least {view:.0%})".replace("%", " %")),
        tag("li", _swatch(tag("path", d="M1,1 h12 l-12,12 z", fill=ramp[2])), "partly covered"),
        tag("li", _swatch(tag("rect", x=1, y=1, width=12, height=12, fill="url(#nodata)")), "no data"),
        tag("li", _swatch(tag("rect", x=1.5, y=1.5, width=11, height=11, class_="empty")), "no date"),
    ]
    return tag("ul", *entries, class_="legend")


def _year(year: int, by_day: dict[np.datetime64, list[Date]], style: Style, *, view: float, fullest: int) -> Html:
    start = np.datetime64(f"{year:04d}-01-01", "D")
    days = np.arange(start, np.datetime64(f"{year + 1:04d}-01-01", "D"))
    empty, cells = [], []
    for day in days:
        x, y = _corner(day)
        if day in by_day:
            cells.append(_cell(by_day[day], x, y, style, view=view, fullest=fullest))
        else:
            empty.append(f"M{x + 0.5},{y + 0.5}h{_CELL - 1}v{_CELL - 1}h{1 - _CELL}z")
    shown = [found for day, found in by_day.items() if start <= day < start + len(days)]
    views = sum(any(date.is_view(at_least=view, fullest=fullest) for date in found) for found in shown)
    title = f"{year}: {len(shown)} days with a date, {views} of them a clear view"
    months = [
        tag("text", month, x=_LEFT - 6, y=_TOP + index * _PITCH + 11, text_anchor="end")
        for index, month in enumerate(MONTHS)
    ]
    numbers = [
        tag("text", str(day), x=_LEFT + (day - 1) * _PITCH + _CELL / 2, y=_TOP - 6, text_anchor="middle")
        for day in (1, 5, 10, 15, 20, 25, 30)
    ]
    chart = tag(
        "svg",
        tag("title", title),
        *months,
        *numbers,
        tag("path", d=Html("".join(empty)), class_="empty"),
        *cells,
        class_="year",
        role="img",
        viewBox=f"0 0 {_SIZE[0]} {_SIZE[1]}",
    )
    caption = join(tag("b", str(year)), f" {views} clear of {len(shown)}")
    return tag("figure", tag("figcaption", caption), chart)


def _corner(day: np.datetime64) -> tuple[int, int]:
    _, month, number = str(day).rsplit("-", 2)
    return _LEFT + (int(number) - 1) * _PITCH, _TOP + (int(month) - 1) * _PITCH


def _cell(found: list[Date], x: int, y: int, style: Style, *, view: float, fullest: int) -> Html:
    """Draw a day as its clearest date is; a date that covers the area goes before one that does not."""
    best = max(found, key=lambda date: (date.valid > 0, not date.is_partial(fullest), date.clear or 0.0))
    title = tag("title", "\n".join(shares_text(date, style) for date in found[:6]))
    box = {"x": x + 0.5, "y": y + 0.5, "width": _CELL - 1, "height": _CELL - 1}
    if best.clear is None:
        failed = all(date.error for date in found)
        return tag("rect", title, **box, fill=None if failed else "url(#nodata)", class_="failed" if failed else "day")
    colour = clear_ramp(_STEPS)[min(int(best.clear * _STEPS), _STEPS - 1)]
    if best.is_partial(fullest):
        return tag("path", title, d=f"M{x},{y} h{_CELL} l-{_CELL},{_CELL} z", fill=colour, class_="day")
    is_view = best.is_view(at_least=view, fullest=fullest)
    return tag("rect", title, **box, fill=colour, class_="view" if is_view else "day")


def _swatch(shape: Html) -> Html:
    return tag("svg", shape, class_="swatch", width=14, height=14, aria_hidden="true")
