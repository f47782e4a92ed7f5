"""Shares of the classes over time, as bars in SVG. Lengths along time are in percent, so that text keeps its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xcloudmask._pictures import hex_to_rgb
from xcloudmask.classes import NODATA_COLOUR, Style
from xcloudmask.webreport._dates import MONTHS, Date
from xcloudmask.webreport._html import Html, join, tag

__all__ = ["bar_order", "class_chart", "hatch", "legend", "shares_text"]

_HEIGHT = 240
_MOST_BARS = 400
_THINNEST = 0.3
"""Percent of the width: below that, bars stand side by side in place of where time puts them."""
_THICKEST = 4.0
_TICKS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    """One date, or the mean of several neighbours."""

    dates: tuple[Date, ...]
    centre: float
    width: float


def bar_order(style: Style) -> list[int]:
    """Return codes from the bottom of a bar to its top: clear, then what is nearest to it.

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> bar_order(get_style("4-class"))
    [0, 3, 2, 1]
    """
    return [0, *range(len(style.meanings) - 1, 0, -1)]


def class_chart(dates: Sequence[Date], style: Style) -> Html:
    """Return the chart, and a note on what a bar is.

    Parameters
    ----------
    dates
        As time goes.
    style
        Of the mask.
    """
    grouped = -(-len(dates) // _MOST_BARS)
    groups = [tuple(dates[start : start + grouped]) for start in range(0, len(dates), grouped)]
    bars, timely = _placed(groups)
    grid = [_line(share) for share in (0, 25, 50, 75, 100)]
    labels = tag(
        "div", *(tag("span", f"{share} %") for share in (100, 75, 50, 25, 0)), class_="yaxis", aria_hidden="true"
    )
    chart = tag(
        "svg",
        tag("title", "Share of each class over time", id="chart-title"),
        tag("desc", "One bar per date: clear, classes of cloud and shadow, no data. The table below has the figures."),
        *grid,
        *(_bar(bar, style) for bar in bars),
        *_ticks(bars, timely=timely),
        class_="chart",
        role="img",
        aria_labelledby="chart-title",
        width="100%",
        height=_HEIGHT + 26,
    )
    notes = []
    if grouped > 1:
        notes.append(f"Each bar is the mean of {grouped} dates that follow each other. ")
    if not timely and len(groups) > 1:
        notes.append("Bars stand side by side in the order of time, not at a distance of time. ")
    return join(tag("div", labels, chart, class_="plot"), tag("p", *notes, class_="note") if notes else None)


def legend(style: Style, *, failed: bool) -> Html:
    """Return the colours of classes, no data, and of dates that could not be read."""
    entries = [
        tag("li", _swatch(style.colours[code]), style.meanings[code].replace("_", " ")) for code in bar_order(style)
    ]
    entries.append(tag("li", _swatch("url(#nodata)"), "no data"))
    if failed:
        entries.append(tag("li", _swatch("none", class_="failed"), "cannot be read"))
    return tag("ul", *entries, class_="legend")


def shares_text(date: Date, style: Style) -> str:
    """Return what a date shows, for people.

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> from xcloudmask.webreport._dates import Name
    >>> name = Name(position=0, label="14 May 2024", stamp=None, item="", platform="")
    >>> shares_text(Date(name=name, counts=(3, 1), nodata=4, unknown=0), get_style("cloud-noncloud"))
    '14 May 2024: not cloud 75.0 %, cloud 25.0 % of the pixels with data; no data 50.0 % of all'
    """
    if date.error:
        return f"{date.name.label}: cannot be read ({date.error[:200]})"
    if not date.valid:
        return f"{date.name.label}: no data at all"
    shares = [f"{style.meanings[code].replace('_', ' ')} {date.share(code):.1%}" for code in range(len(date.counts))]
    text = (
        f"{date.name.label}: {', '.join(shares)} of the pixels with data; no data {date.nodata / date.total:.1%} of all"
    )
    return text.replace("%", " %")


def _placed(groups: Sequence[tuple[Date, ...]]) -> tuple[list[_Bar], bool]:
    """Put bars where time says, if that leaves them wide enough to be seen."""
    stamps = [group[len(group) // 2].name.stamp for group in groups]
    if len(groups) > 1 and None not in stamps:
        seconds = np.array(stamps, "M8[s]").astype(np.int64)
        gaps = np.diff(seconds)
        narrowest = gaps.min() / (seconds[-1] - seconds[0] + gaps.min()) * 100 if gaps.min() > 0 else 0.0
        width = min(0.86 * narrowest, _THICKEST)
        if width >= _THINNEST:
            left, usable = width / 2, 100 - width
            at = left + usable * (seconds - seconds[0]) / (seconds[-1] - seconds[0])
            return [_Bar(dates=group, centre=float(x), width=width) for group, x in zip(groups, at, strict=True)], True
    each = 100 / len(groups)
    width = min(0.86 * each, 14.0)
    return [_Bar(dates=group, centre=each * (index + 0.5), width=width) for index, group in enumerate(groups)], False


def _bar(bar: _Bar, style: Style) -> Html:
    x, width = f"{bar.centre - bar.width / 2:.3f}%", f"{bar.width:.3f}%"
    texts = [shares_text(date, style) for date in bar.dates[:3]]
    if len(bar.dates) > len(texts):
        texts.append(f"and {len(bar.dates) - len(texts)} more dates")
    read = [date for date in bar.dates if not date.error and date.total]
    if not read:
        box = tag("rect", x=x, y=1, width=width, height=_HEIGHT - 1, class_="failed")
        return tag("g", tag("title", "\n".join(texts)), box)
    parts = [
        (style.colours[code], _mean([date.counts[code] / date.total for date in read])) for code in bar_order(style)
    ]
    parts.append(("url(#nodata)", _mean([(date.nodata + date.unknown) / date.total for date in read])))
    boxes, bottom = [], float(_HEIGHT)
    for colour, share in parts:
        if share > 0:
            bottom = abs(bottom - share * _HEIGHT)  # no -0.00
            boxes.append(tag("rect", x=x, y=f"{bottom:.2f}", width=width, height=f"{share * _HEIGHT:.2f}", fill=colour))
    return tag("g", tag("title", "\n".join(texts)), *boxes, class_="bar")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ticks(bars: Sequence[_Bar], *, timely: bool) -> list[Html]:
    """Return a label under some of the bars, or at the first days of months."""
    marks = _months(bars) if timely else [(bar.centre, bar.dates[0].name.label) for bar in bars]
    chosen = marks[:: -(-len(marks) // _TICKS)] if marks else []
    return [_tick(at, text, minor=index % 2 == 1) for index, (at, text) in enumerate(chosen)]


def _months(bars: Sequence[_Bar]) -> list[tuple[float, str]]:
    """Return where months begin, or years where there are many."""
    stamps = [bar.dates[len(bar.dates) // 2].name.stamp for bar in bars]
    first, last = stamps[0], stamps[-1]
    if first is None or last is None:
        return []
    seconds = (last - first).astype(int)
    scale = (bars[-1].centre - bars[0].centre) / seconds
    years = seconds > 4 * 366 * 86400
    unit = "Y" if years else "M"
    begins = np.arange(first.astype(f"M8[{unit}]") + 1, last.astype(f"M8[{unit}]") + 1)
    found = []
    for begin in begins:
        at = bars[0].centre + scale * (begin.astype("M8[s]") - first).astype(int)
        year, month = str(begin.astype("M8[M]")).split("-")
        found.append((float(at), year if years else f"{MONTHS[int(month) - 1]} {year}"))
    if len(found) < 2:
        return [(bar.centre, bar.dates[0].name.label.rsplit(" ", 1)[0]) for bar in bars]
    return found


def _tick(at: float, text: str, *, minor: bool) -> Html:
    x = f"{at:.3f}%"
    anchor = "start" if at < 6 else "end" if at > 94 else "middle"
    line = tag("line", x1=x, x2=x, y1=_HEIGHT, y2=_HEIGHT + 5, class_="axis")
    label = tag("text", text[:40], x=x, y=_HEIGHT + 20, text_anchor=anchor)
    return tag("g", line, label, class_="tick minor" if minor else "tick")


def _line(share: int) -> Html:
    y = _HEIGHT - share / 100 * _HEIGHT + (0.5 if share == 100 else -0.5 if share == 0 else 0)
    return tag("line", x1="0%", x2="100%", y1=y, y2=y, class_="axis" if share in (0, 100) else "grid")


def hatch() -> Html:
    """Return the pattern of no data, for all drawings of a page: its grey alone would be one of many colours."""
    dark = "#" + "".join(f"{round(0.72 * value):02x}" for value in hex_to_rgb(NODATA_COLOUR))
    lines = tag("path", d="M-1,1 l2,-2 M0,6 l6,-6 M5,7 l2,-2", stroke=dark, stroke_width=1.2)
    pattern = tag(
        "pattern",
        tag("rect", width=6, height=6, fill=NODATA_COLOUR),
        lines,
        id="nodata",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
    )
    return tag("svg", tag("defs", pattern), class_="defs", width=0, height=0, aria_hidden="true")


def _swatch(fill: str, class_: str | None = None) -> Html:
    box = tag("rect", x=0.5, y=0.5, width=13, height=13, fill=fill, class_=class_)
    return tag("svg", box, class_="swatch", width=14, height=14, aria_hidden="true")
