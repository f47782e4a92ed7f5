"""Facets as frames of a GIF: class colours stay exact, the rest of the palette goes to the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._files import partial_file
from xcloudmask._optional import require
from xcloudmask._pictures import hex_to_rgb
from xcloudmask.viz._encode import resize
from xcloudmask.viz._panels import Facet, Panel

__all__ = ["write_gif"]

_GREYS = 16
"""Tones of grey for letters."""
_COLOURS = 256
_MARGIN_PX = 6
_LINE_PX = 18
_FONT_PX = 13
_SMALLEST_PX = 240
"""Smaller pictures are enlarged by a whole factor, or their titles would not fit."""

Pixels = npt.NDArray[np.uint8]


def write_gif(facets: Iterable[Facet], path: Path, *, legend: list[tuple[str, str]], aspect: float, fps: float) -> None:
    """Write facets as a GIF that runs for ever.

    Parameters
    ----------
    facets
        One for each date, all of one size; taken one at a time.
    path
        File to write; it appears when it is complete.
    legend
        Names and colours of the classes.
    aspect
        Height of a pixel over its width.
    fps
        Dates in a second.
    """
    require("PIL.Image", extra="viz")
    with partial_file(path) as partial:
        frames = _frames(facets, legend, aspect)
        first = next(frames)
        # Frames that are equal become one, which lasts as long as both.
        first.save(
            partial,
            format="GIF",
            save_all=True,
            append_images=frames,
            duration=max(20, round(1000 / fps / 10) * 10),
            loop=0,
            optimize=False,
        )


def _frames(facets: Iterable[Facet], legend: list[tuple[str, str]], aspect: float) -> Iterator[Any]:
    for facet in facets:
        yield _frame(facet, legend, aspect)


def _frame(facet: Facet, legend: list[tuple[str, str]], aspect: float) -> Any:
    """Return one frame as an image with a palette."""
    image_module = require("PIL.Image", extra="viz")
    fixed = _fixed_colours(facet, legend)
    panels = [_sized(panel.picture, aspect) for panel in facet.panels]
    photos = [picture for picture, panel in zip(panels, facet.panels, strict=True) if panel.photo]
    palette, places = _palette(photos, fixed)
    photo_places = iter(places)
    drawn = [
        next(photo_places) if panel.photo else _places_of(picture, fixed)
        for picture, panel in zip(panels, facet.panels, strict=True)
    ]
    canvas = _compose(facet, drawn, legend, fixed)
    frame = image_module.fromarray(canvas)
    frame.putpalette(palette.tobytes())
    return frame


def _fixed_colours(facet: Facet, legend: list[tuple[str, str]]) -> Pixels:
    """Return (n, 3) colours that are kept as they are: greys for letters, and all of the classes."""
    greys = np.repeat(np.linspace(0, 255, _GREYS).round().astype(np.uint8)[:, None], 3, axis=1)
    named = np.array([hex_to_rgb(colour) for _, colour in legend], np.uint8).reshape(-1, 3)
    found = [_colours_of(panel.picture)[0] for panel in facet.panels if not panel.photo]
    kept = np.concatenate([named, *found])
    # Shares have up to 256 colours of their own; two neighbours of the ramp are hard to tell apart.
    if len(kept) > _COLOURS // 2:
        kept = kept[:: -(-len(kept) // (_COLOURS // 2))]
    return np.concatenate([greys, kept])


def _palette(photos: list[Pixels], fixed: Pixels) -> tuple[Pixels, list[Pixels]]:
    """Give the rest of the palette to the images: (256, 3) colours and the places of each image in it."""
    palette = np.zeros((_COLOURS, 3), np.uint8)
    palette[: len(fixed)] = fixed
    if not photos:
        return palette, []
    together = np.concatenate(photos, axis=1)
    image = require("PIL.Image", extra="viz").fromarray(np.ascontiguousarray(together))
    reduced = image.quantize(colors=_COLOURS - len(fixed))
    colours = np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)[: _COLOURS - len(fixed)]
    palette[len(fixed) : len(fixed) + len(colours)] = colours
    places = np.asarray(reduced) + np.uint8(len(fixed))
    return palette, np.split(places, np.cumsum([photo.shape[1] for photo in photos])[:-1], axis=1)


def _places_of(picture: Pixels, fixed: Pixels) -> Pixels:
    """Return the place of each pixel in the palette: its own colour, or the nearest."""
    colours, inverse = _colours_of(picture)
    distance = np.abs(colours[:, None].astype(int) - fixed[None].astype(int)).sum(axis=-1)
    places: Pixels = distance.argmin(axis=1).astype(np.uint8)[inverse]
    return places


def _colours_of(picture: Pixels) -> tuple[Pixels, npt.NDArray[np.intp]]:
    """Return the (n, 3) colours of a picture, and which of them each pixel has."""
    numbers = picture.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    found, inverse = np.unique(numbers, return_inverse=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=-1).astype(np.uint8)
    return colours, inverse.reshape(numbers.shape)


def _sized(picture: Pixels, aspect: float) -> Pixels:
    """Make pixels square on the ground, and small pictures larger."""
    height, width = picture.shape[:2]
    tall = min(max(aspect, 0.2), 5.0)
    factor = max(1, -(-_SMALLEST_PX // max(width, height)))
    return resize(picture, max(1, round(height * tall * factor)), width * factor)


def _compose(facet: Facet, drawn: list[Pixels], legend: list[tuple[str, str]], fixed: Pixels) -> Pixels:
    """Put title, panels and legend onto one canvas of places in the palette."""
    height, width = drawn[0].shape
    across = len(drawn) * (width + _MARGIN_PX) + _MARGIN_PX
    rows = _legend_rows(legend, across)
    titled = any(panel.title for panel in facet.panels)
    top = _MARGIN_PX + _LINE_PX * (bool(facet.title) + titled)
    white = _GREYS - 1
    canvas = np.full((top + height + 2 * _MARGIN_PX + _LINE_PX * len(rows), across), white, np.uint8)
    if facet.title:
        _write(canvas, facet.title, _MARGIN_PX, 2, across)
    for place, (panel, pixels) in enumerate(zip(facet.panels, drawn, strict=True)):
        left = _MARGIN_PX + place * (width + _MARGIN_PX)
        canvas[top : top + height, left : left + width] = pixels
        _title(canvas, panel, left, top, width)
    for number, row in enumerate(rows):
        _draw_legend(canvas, row, top + height + _MARGIN_PX + number * _LINE_PX, fixed)
    return canvas


def _title(canvas: Pixels, panel: Panel, left: int, top: int, width: int) -> None:
    if panel.title:
        _write(canvas, panel.title, left, top - _LINE_PX, left + width)


def _write(canvas: Pixels, text: str, left: int, top: int, right: int) -> None:
    """Write a line of text in greys; what does not fit is cut off."""
    image_module, draw_module = require("PIL.Image", extra="viz"), require("PIL.ImageDraw", extra="viz")
    line = image_module.new("L", (max(1, right - left), _LINE_PX), 255)
    draw_module.Draw(line).text((0, 0), text, fill=0, font=_font())
    letters = np.asarray(line) // (_COLOURS // _GREYS)
    part = canvas[top : top + _LINE_PX, left:right]
    part[:] = letters[: part.shape[0], : part.shape[1]]


def _font() -> Any:
    return require("PIL.ImageFont", extra="viz").load_default(size=_FONT_PX)


def _legend_rows(legend: list[tuple[str, str]], across: int) -> list[list[tuple[int, str, str]]]:
    """Break the legend into rows that fit: (left, name, colour)."""
    font = _font()
    rows: list[list[tuple[int, str, str]]] = []
    left = across
    for name, colour in legend:
        width = _LINE_PX + int(font.getlength(name)) + 2 * _MARGIN_PX
        if left + width > across or not rows:
            rows.append([])
            left = _MARGIN_PX
        rows[-1].append((left, name, colour))
        left += width
    return rows


def _draw_legend(canvas: Pixels, row: list[tuple[int, str, str]], top: int, fixed: Pixels) -> None:
    for (left, name, colour), right in zip(row, [*(entry[0] for entry in row[1:]), canvas.shape[1]], strict=True):
        _write(canvas, name, left + _LINE_PX, top, right)
        box = canvas[top + 3 : top + 15, left : left + 13]
        box[:] = 5  # a grey border
        box[1:-1, 1:-1] = _places_of(np.array([[hex_to_rgb(colour)]], np.uint8), fixed)[0, 0]
