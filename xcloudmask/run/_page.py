"""The page on a campaign: what is done, where, how fast, and what failed and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xcloudmask.classes import NODATA_COLOUR, STYLES
from xcloudmask.run.tally import STATUSES, CampaignStatus, Tally
from xcloudmask.run.task import Cell, Record
from xcloudmask.webreport._colours import clear_ramp
from xcloudmask.webreport._document import document, headline, percent
from xcloudmask.webreport._html import Html, join, tag, visible

__all__ = ["Content", "Table", "html_page", "markdown_page", "tables_of"]

_MOST_CELLS = 500
"""Rows of the table of cells."""
_MOST_DRAWN = 5000
"""Cells on the map."""
_MOST_FAILURES = 200
_COLOURS = {"ok": "#3b7d4f", "nodata": NODATA_COLOUR, "quarantined": "#c9504c", "failed": "#e0a030"}
_ORDER = {name: place for place, name in enumerate(name for style in STYLES.values() for name in style.meanings)}
_STAGES = {name: place for place, name in enumerate(("read", "wait", "predict", "write", "total"))}
_STEPS = 11
_IDS_LENGTH = 120
_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All that a page shows."""

    title: str
    """Of the page."""
    facts: Sequence[tuple[str, str]]
    """Labels and texts about the campaign."""
    status: CampaignStatus
    """How far it is."""
    tally: Tally
    """What its records hold."""
    cells: Sequence[Cell]
    """Their grids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a heading."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    texts: int = 1
    """Columns from the left that are texts; the others are numbers."""


def html_page(content: Content) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    content
        What it shows.
    """
    facts = [part for label, text in content.facts for part in (tag("dt", label), tag("dd", text))]
    parts = [
        tag(
            "header",
            tag("h1", content.title),
            tag("p", warning, class_="warning") if (warning := _warning(content)) else None,
            tag("dl", *(headline(*entry) for entry in _numbers(content)), class_="numbers"),
            _progress(content),
            tag("dl", *facts, class_="facts"),
        ),
        _map(content),
        _pace(content.tally),
    ]
    parts += [_section(table) for table in tables_of(content)]
    return document(content.title, join(*parts))


def markdown_page(content: Content) -> str:
    """Return the page as Markdown, without its pictures.

    Parameters
    ----------
    content
        What it shows.
    """
    lines = [f"# {_plain(content.title)}", ""]
    if warning := _warning(content):
        lines += [f"**{_plain(warning)}**", ""]
    lines += [f"- {label}: {value} {note}".rstrip() for label, value, note in _numbers(content)]
    lines += [f"- {label}: {_plain(text)}" for label, text in content.facts]
    for table in tables_of(content):
        lines += ["", f"## {table.title}", ""]
        lines += [table.note, ""] if table.note else []
        if table.rows:
            sides = [":--"] * table.texts + ["--:"] * (len(table.head) - table.texts)
            lines += [_row(table.head), _row(tuple(sides)), *(_row(tuple(map(_plain, row))) for row in table.rows)]
        else:
            lines.append("None.")
    return "\n".join(lines) + "\n"


def tables_of(content: Content) -> list[Table]:
    """Return the tables of a page."""
    return [_classes(content.tally), _stages(content), _reasons(content.tally), _failures(content), _cells(content)]


def _numbers(content: Content) -> list[tuple[str, str, str]]:
    status, tally = content.status, content.tally
    share = status.finished / status.tasks if status.tasks else 1.0
    bad = status.counts.get("failed", 0) + status.counts.get("quarantined", 0)
    valid = sum(count for name, count in tally.pixels.items() if name != "nodata")
    first = next(iter(STYLES["4-class"].meanings))
    clear = percent(tally.pixels.get(first, 0) / valid) if valid and first in tally.pixels else "-"
    return [
        ("Finished", percent(share), f"{status.finished:,} of {status.tasks:,} tasks"),
        ("Without a mask", f"{bad:,}", "failed or quarantined"),
        ("Pending", f"{status.pending:,}", "a further start runs them"),
        ("Clear", clear, "of the pixels with data"),
        ("Masked", _pixels(sum(tally.pixels.values())), "pixels"),
    ]


def _warning(content: Content) -> str:
    counts, texts = content.status.counts, []
    if counts.get("quarantined"):
        texts.append(f"Quarantined, that is given up: {_count(counts['quarantined'])}")
    if counts.get("failed"):
        texts.append(f"Failed, to be tried again by the next start: {_count(counts['failed'])}")
    return "; ".join(texts) + "." if texts else ""


def _progress(content: Content) -> Html:
    """Return a bar of all tasks by status, the rest empty."""
    tasks, at, bars = max(1, content.status.tasks), 0.0, []
    for name in STATUSES:
        count = content.status.counts.get(name, 0)
        width = 100 * count / tasks
        if count:
            label = tag("title", f"{name}: {count:,}")
            bars.append(tag("rect", label, x=f"{at:.3f}", y=0, width=f"{width:.3f}", height=10, fill=_COLOURS[name]))
        at += width
    frame = tag("rect", x=0, y=0, width=100, height=10, fill="none", class_="empty")
    box = tag(
        "svg", *bars, frame, viewBox="0 0 100 10", preserveAspectRatio="none", width="100%", height=18, role="img"
    )
    swatches = [
        tag("li", tag("svg", tag("rect", width=12, height=12, fill=colour), width=12, height=12, class_="swatch"), name)
        for name, colour in _COLOURS.items()
    ]
    return join(box, tag("ul", *swatches, class_="legend"))


def _map(content: Content) -> Html:
    outlines = [(cell, ring) for cell in content.cells[:_MOST_DRAWN] if (ring := _ring(cell)) is not None]
    if not outlines:
        return Html("")
    points = [point for _, ring in outlines for point in ring]
    west, east = (pick(x for x, _ in points) for pick in (min, max))
    south, north = (pick(y for _, y in points) for pick in (min, max))
    shrink = max(0.1, math.cos(math.radians((south + north) / 2)))
    unit = 1000 / max((east - west) * shrink, north - south, 1e-9)
    ramp = clear_ramp(_STEPS)
    shapes = []
    for cell, ring in outlines:
        tasks, done = content.status.cells.get(cell.name, (0, 0))
        corners = " ".join(f"{(x - west) * shrink * unit:.1f},{(north - y) * unit:.1f}" for x, y in ring)
        share = done / tasks if tasks else 0.0
        label = tag("title", f"{cell.name}: {done:,} of {tasks:,} tasks")
        shapes.append(tag("polygon", label, points=corners, fill=ramp[round(share * (_STEPS - 1))], stroke="#78838d"))
    width, height = max(1.0, (east - west) * shrink * unit), max(1.0, (north - south) * unit)
    picture = tag("svg", *shapes, viewBox=f"-4 -4 {width + 8:.0f} {height + 8:.0f}", width="100%", role="img")
    note = "Longitude and latitude, north up. The darker a cell, the more of its tasks are finished."
    more = f" {len(content.cells) - _MOST_DRAWN:,} more are not drawn." if len(content.cells) > _MOST_DRAWN else ""
    return tag("section", tag("h2", "Cells"), tag("p", note + more, class_="note"), tag("div", picture, class_="map"))


def _ring(cell: Cell) -> list[tuple[float, float]] | None:
    """Return the corners of a cell in degrees; None where they lie on both sides of the antimeridian, or nowhere."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    a, b, c, d, e, f = cell.transform
    height, width = cell.shape
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    try:
        turn = Transformer.from_crs(cell.crs, "EPSG:4326", always_xy=True)
        ring = [turn.transform(a * x + b * y + c, d * x + e * y + f) for x, y in corners]
    except ProjError:
        return None
    longitudes = [x for x, _ in ring]
    fits = all(math.isfinite(value) for point in ring for value in point)
    return ring if fits and max(longitudes) - min(longitudes) < 180 else None


def _pace(tally: Tally) -> Html:
    if len(tally.hours) < 2:
        return Html("")
    most, count = max(tally.hours.values()), len(tally.hours)
    bars = []
    for index, (hour, tasks) in enumerate(tally.hours.items()):
        height = 100 * tasks / most
        label = tag("title", f"{hour}: {tasks:,} tasks")
        place = {"x": f"{index + 0.05:.2f}", "y": f"{100 - height:.2f}", "width": "0.9", "height": f"{height:.2f}"}
        bars.append(tag("rect", label, fill=_COLOURS["ok"], **place))
    box = f"0 0 {count} 100"
    chart = tag("svg", *bars, viewBox=box, preserveAspectRatio="none", width="100%", height=120, role="img")
    span = "day" if len(next(iter(tally.hours))) == 10 else "hour"
    hours = list(tally.hours)
    note = f"Tasks that ended in each {span} in which any did, {hours[0]} to {hours[-1]} UTC; at most {most:,}."
    return tag("section", tag("h2", "Pace"), tag("p", note, class_="note"), chart)


def _classes(tally: Tally) -> Table:
    total = sum(tally.pixels.values())
    valid = total - tally.pixels.get("nodata", 0)
    rows = []
    for name, count in sorted(tally.pixels.items(), key=lambda pair: _ORDER.get(pair[0], len(_ORDER))):
        share = "" if name == "nodata" or not valid else percent(count / valid)
        rows.append((name.replace("_", " "), _pixels(count), share, percent(count / total) if total else ""))
    head = ("Class", "Pixels", "Of those with data", "Of all")
    return Table(title="Classes", note="Pixels of regions that are done.", head=head, rows=rows)


def _stages(content: Content) -> Table:
    tally = content.tally
    tasks = sum(tally.counts.values())
    mega = sum(tally.pixels.values()) / 1e6
    rows = [
        (stage, f"{seconds:,.1f}", f"{seconds / tasks:,.3f}", f"{seconds / mega:,.3f}" if mega else "")
        for stage, seconds in sorted(tally.seconds.items(), key=lambda pair: _STAGES.get(pair[0], len(_STAGES)))
    ]
    note = f"More than one attempt: {_count(tally.repeated)}."
    head = ("Stage", "Seconds of workers", "Per task", "Per megapixel")
    return Table(title="Time", note=note, head=head, rows=rows)


def _reasons(tally: Tally) -> Table:
    rows = [(text, f"{count:,}") for text, count in tally.reasons]
    note = "Numbers are shown as #, addresses as dots."
    return Table(title="Why tasks failed", note=note if rows else "", head=("Reason", "Tasks"), rows=rows)


def _failures(content: Content) -> Table:
    failures = content.tally.failures
    shown = failures[:_MOST_FAILURES]
    bad = sum(content.tally.counts.get(name, 0) for name in ("failed", "quarantined"))
    note = f"{len(shown):,} of {bad:,}." if bad > len(shown) else ""
    head = ("Task", "Status", "Items", "Reason")
    return Table(title="Tasks without a mask", note=note, head=head, rows=[_failure(one) for one in shown], texts=4)


def _failure(record: Record) -> tuple[str, ...]:
    ids = ", ".join(record.ids)
    return record.name, record.status, ids[:_IDS_LENGTH], record.reason[:_REASON_LENGTH]


def _cells(content: Content) -> Table:
    grids: Mapping[str, Cell] = {cell.name: cell for cell in content.cells}
    names = sorted(content.status.cells, key=lambda name: (-_missing(content, name), name))
    rows = []
    for name in names[:_MOST_CELLS]:
        tasks, done = content.status.cells[name]
        counts, cell = content.tally.cells.get(name, {}), grids.get(name)
        crs, size = ("", "") if cell is None else (cell.crs[:40], f"{cell.shape[1]:,} x {cell.shape[0]:,}")
        rows.append((name, crs, size, f"{tasks:,}", f"{done:,}", *(f"{counts.get(one, 0):,}" for one in STATUSES)))
    head = ("Cell", "CRS", "Pixels", "Tasks", "Finished", *STATUSES)
    note = f"{_MOST_CELLS} of {len(names):,}, those with most to do first." if len(names) > _MOST_CELLS else ""
    return Table(title="Figures of each cell", note=note, head=head, rows=rows, texts=3)


def _missing(content: Content, name: str) -> int:
    tasks, done = content.status.cells[name]
    return tasks - done


def _section(table: Table) -> Html:
    if not table.rows:
        return tag("section", tag("h2", table.title), tag("p", table.note or "None."))
    kinds = ["text" if index < table.texts else None for index in range(len(table.head))]
    head = [tag("th", text, class_=kind, scope="col") for text, kind in zip(table.head, kinds, strict=True)]
    rows = [
        tag("tr", *(tag("td", text, class_=kind and f"{kind} long") for text, kind in zip(row, kinds, strict=True)))
        for row in table.rows
    ]
    body = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    note = tag("p", table.note, class_="note") if table.note else None
    scroll = tag("div", body, class_="scroll", tabindex=0, role="region", aria_label=table.title)
    return tag("section", tag("h2", table.title), note, scroll)


def _count(tasks: int) -> str:
    return f"{tasks:,} task{'' if tasks == 1 else 's'}"


def _pixels(count: float) -> str:
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{count / size:,.3g} {name}"
    return f"{count:,.0f}"


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    short = " ".join(visible(text).split())
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|" else letter for letter in short)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
