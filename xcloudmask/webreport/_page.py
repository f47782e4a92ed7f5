"""The page: its parts in order, with a policy that lets a browser load nothing and run nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import Style
from xcloudmask.webreport._chart import class_chart, hatch, legend
from xcloudmask.webreport._count import Counted
from xcloudmask.webreport._dates import Date, days_between
from xcloudmask.webreport._days import calendars, days_legend
from xcloudmask.webreport._document import document, headline, listed, percent
from xcloudmask.webreport._html import Html, join, tag
from xcloudmask.webreport._pictures import Look, clear_map, thumbnails
from xcloudmask.webreport._table import figures_table

__all__ = ["Content", "render"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Content:
    """All that a page shows."""

    title: str
    """Of the page."""
    facts: Sequence[tuple[str, str]]
    """Labels and texts about the masks."""
    style: Style
    """Of the mask."""
    counted: Counted
    """Figures and pictures."""
    images: dict[int, npt.NDArray[np.uint8]] | None
    """Position -> image; None where none was given."""
    pictured: Sequence[int]
    """Positions of the dates with a picture."""
    thinned: int
    """Pixels along a side for each one that is shown."""
    look: Look
    """How pixels lie on the screen."""
    skipped: Sequence[str]
    """What was left out when the images were loaded."""
    view: float
    """Clear share from which a date is a clear view."""

    @property
    def dates(self) -> tuple[Date, ...]:
        """All dates, as time goes."""
        return self.counted.dates

    @property
    def fullest(self) -> int:
        """Most pixels with data on any date."""
        return max(date.valid for date in self.dates)

    @property
    def series(self) -> bool:
        """Whether there are several dates."""
        return len(self.dates) > 1


def render(content: Content) -> str:
    """Return the page.

    Parameters
    ----------
    content
        What it shows.
    """
    return document(content.title, join(*_parts(content)), before=hatch())


def _parts(content: Content) -> list[Html]:
    parts = [_head(content)]
    if content.series:
        parts.append(_over_time(content))
    if content.series and any(date.name.stamp is not None for date in content.dates):
        parts.append(_calendar(content))
    if content.series:
        parts.append(_where(content))
    return [*parts, _thumbs(content), _gaps(content), _table(content)]


def _head(content: Content) -> Html:
    rows = [part for label, text in content.facts for part in (tag("dt", label), tag("dd", text))]
    troubles = _troubles(content)
    warning = None
    if troubles:
        warning = tag(
            "p", "; ".join(troubles), ". See ", tag("a", "what is missing", href="#gaps"), ".", class_="warning"
        )
    return tag(
        "header",
        tag("h1", content.title),
        warning,
        tag("dl", *(headline(*entry) for entry in _numbers(content)), class_="numbers"),
        tag("dl", *rows, class_="facts"),
    )


def _numbers(content: Content) -> list[tuple[str, str, str]]:
    """Return label, figure and note of what to know first."""
    dates = content.dates
    valid, total = sum(date.valid for date in dates), sum(date.total for date in dates)
    clear = percent(sum(date.counts[0] for date in dates) / valid) if valid else "-"
    meaning = content.style.meanings[0].replace("_", " ")
    numbers = []
    if content.series:
        numbers.append(_views(content))
    of_all = "of the pixels with data, on all dates" if content.series else "of the pixels with data"
    numbers.append((meaning.capitalize(), clear, of_all))
    for code, name in enumerate(content.style.meanings[1:], start=1):
        share = percent(sum(date.counts[code] for date in dates) / valid) if valid else "-"
        numbers.append((name.replace("_", " ").capitalize(), share, ""))
    nodata = sum(date.nodata for date in dates)
    numbers.append(("No data", percent(nodata / total) if total else "-", "of all pixels"))
    return numbers


def _views(content: Content) -> tuple[str, str, str]:
    fullest = content.fullest
    views = [date for date in content.dates if date.is_view(at_least=content.view, fullest=fullest)]
    stamps = [date.name.stamp for date in views if date.name.stamp is not None]
    gaps = [days_between(first, last) for first, last in pairwise(stamps)]
    note = f"at most {max(gaps)} days apart" if gaps else ""
    return "Clear views", f"{len(views)} of {len(content.dates)}", note


def _troubles(content: Content) -> list[str]:
    found = [
        (sum(bool(date.error) for date in content.dates), "cannot be read"),
        (sum(not date.error and not date.valid for date in content.dates), "without any data"),
    ]
    texts = [f"{count:,} date{'s' if count > 1 else ''} {what}" for count, what in found if count]
    unknown = sum(date.unknown for date in content.dates)
    if unknown:
        texts.append(f"{unknown:,} pixels with a code that is no class")
    if content.skipped:
        texts.append(f"{len(content.skipped):,} item{'s' if len(content.skipped) > 1 else ''} left out")
    return texts


def _over_time(content: Content) -> Html:
    failed = any(date.error for date in content.dates)
    return tag(
        "section",
        tag("h2", "Clouds over time"),
        tag("p", "Share of each class in all pixels of a date. Figures appear under the pointer.", class_="note"),
        legend(content.style, failed=failed),
        class_chart(content.dates, content.style),
    )


def _calendar(content: Content) -> Html:
    text = (
        "Each day as its clearest date is: clear share of the pixels with data. A clear view covers at least half as "
        "many pixels as the fullest date; what covers less is a triangle."
    )
    return tag(
        "section",
        tag("h2", "Calendar of clear views"),
        tag("p", text, class_="note"),
        days_legend(view=content.view),
        calendars(content.dates, content.style, view=content.view, fullest=content.fullest),
    )


def _where(content: Content) -> Html:
    text = "Share of the dates on which a pixel is clear, among those on which it has data."
    return tag(
        "section",
        tag("h2", "Where it is clear"),
        tag("p", text, class_="note"),
        clear_map(content.counted.clear, content.counted.seen, content.look),
    )


def _thumbs(content: Content) -> Html:
    wanted = set(content.pictured)
    shown = [date for date in content.dates if date.name.position in wanted]
    what = "Mask" if content.images is None else "Image and mask"
    if content.series:
        what = what.replace("ask", "asks").replace("Image", "Images")
    notes = []
    if len(shown) < len(content.dates):
        notes.append(f"{len(shown)} of {len(content.dates):,} dates, evenly chosen. ")
    if content.thinned > 1:
        notes.append(f"One of {content.thinned} pixels is shown along each side. ")
    pictures = thumbnails(shown, content.counted.pictures, content.images, content.style, content.look)
    return tag("section", tag("h2", what), tag("p", *notes, class_="note"), pictures)


def _gaps(content: Content) -> Html:
    parts: list[Html] = []
    failed = [f"{date.name.label}{_item(date)}: {date.error}" for date in content.dates if date.error]
    parts += listed("Dates that cannot be read; no figure counts them", failed)
    empty = [f"{date.name.label}{_item(date)}" for date in content.dates if not date.error and not date.valid]
    parts += listed("Dates without any data", empty)
    unknown = [f"{date.name.label}{_item(date)}: {date.unknown:,} pixels" for date in content.dates if date.unknown]
    parts += listed(f"Codes that a {content.style.name!r} mask does not have; counted as no class", unknown)
    parts += listed("Items that were left out when the images were loaded", list(content.skipped))
    if not parts:
        parts.append(tag("p", "Every date was read and has data."))
    note = (
        "A store keeps no record of the parts that were never computed: they read as no data, and look the same here."
    )
    return tag("section", tag("h2", "What is missing", id="gaps"), *parts, tag("p", note, class_="note"))


def _item(date: Date) -> str:
    return f" ({date.name.item})" if date.name.item else ""


def _table(content: Content) -> Html:
    return tag("section", tag("h2", "Figures"), figures_table(content.dates, content.style))
