"""Pictures of a page: the map of what is clear, and image and mask of each date, held to a size in bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA_COLOUR, Style
from xcloudmask.webreport._chart import legend
from xcloudmask.webreport._colours import clear_ramp
from xcloudmask.webreport._dates import Date
from xcloudmask.webreport._html import Html, join, tag
from xcloudmask.webreport._png import data_uri, indexed_png, webp

__all__ = ["Look", "chosen", "clear_map", "thumbnails"]

BYTES_MAX = 2_600_000
"""Of all thumbnails. Base64 makes a third more of it."""
_MAP_STEPS = 11
_SMALL_PX = 140
"""Pictures below this are shown with sharp pixels."""

_Encoded = dict[int, tuple[bytes, Sequence[int]]]
"""Position -> file and (y, x, ...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How pixels lie on the screen."""

    flip_y: bool
    """Whether the first row is the southernmost one."""
    flip_x: bool
    """Whether the first column is the easternmost one."""
    aspect: float
    """Height of a pixel over its width."""

    def turned(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a (y, x, ...) picture with north up."""
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def image(self, picture: bytes, shape: Sequence[int], alt: str) -> Html:
        """Return the element of a picture with (y, x) pixels; width and height keep its place and its shape."""
        height, width = shape[0] * self.aspect, shape[1]
        small = "small" if max(shape[:2]) < _SMALL_PX else None
        scale = 512 / max(height, width)
        size = {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}
        return tag("img", src=data_uri(picture), alt=alt, class_=small, **size)


def chosen(count: int, most: int) -> list[int]:
    """Return evenly spread numbers of dates, the first and the last among them.

    Examples
    --------
    >>> chosen(3, 60), chosen(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    if count <= most:
        return list(range(count))
    return sorted({int(index) for index in np.linspace(0, count - 1, most).round()})


def clear_map(clear: npt.NDArray[np.int64], seen: npt.NDArray[np.int64], look: Look) -> Html:
    """Return the map of the share of dates on which a pixel is clear, of those on which it has data.

    Parameters
    ----------
    clear, seen
        (y, x) numbers of dates.
    look
        How they lie.
    """
    known = seen > 0
    share = clear / np.where(known, seen, 1)
    steps = np.where(known, np.rint(share * (_MAP_STEPS - 1)), _MAP_STEPS).astype(np.uint8)
    picture = indexed_png(look.turned(steps), [*clear_ramp(_MAP_STEPS), NODATA_COLOUR])
    parts = [tag("p", *_map_text(share[known], known.mean()))]
    image = look.image(picture, clear.shape, "Map of the share of dates on which each pixel is clear")
    return tag("div", image, tag("div", _scale(), *parts), class_="map")


def thumbnails(
    dates: Sequence[Date],
    codes: Mapping[int, npt.NDArray[np.uint8]],
    images: Mapping[int, npt.NDArray[np.uint8]] | None,
    style: Style,
    look: Look,
) -> Html:
    """Return image and mask of each date.

    Parameters
    ----------
    dates
        Those to show.
    codes
        Position -> (y, x) codes.
    images
        Position -> (y, x, 3) picture; None where there is no image at all.
    style
        Of the mask.
    look
        How they lie.
    """
    masks, photos = _encoded(codes, images or {}, style, look)
    figures = []
    for date in dates:
        panels = []
        if images is not None and date.name.position in photos:
            panels.append(look.image(*photos[date.name.position], f"Image of {date.name.label}"))
        elif images is not None:
            panels.append(tag("div", "no image", class_="missing"))
        if date.name.position in masks:
            panels.append(look.image(*masks[date.name.position], f"Mask of {date.name.label}"))
        else:
            panels.append(tag("div", "cannot be read", class_="missing"))
        figures.append(tag("figure", tag("div", *panels, class_="pair"), tag("figcaption", *_caption(date))))
    kind = "single" if len(dates) == 1 else "big" if len(dates) <= 4 else "one" if images is None else "two"
    return join(legend(style, failed=False), tag("div", *figures, class_=f"thumbs {kind}"))


def _encoded(
    codes: Mapping[int, npt.NDArray[np.uint8]],
    images: Mapping[int, npt.NDArray[np.uint8]],
    style: Style,
    look: Look,
) -> tuple[_Encoded, _Encoded]:
    """Encode all, at half the size again until they fit."""
    thin = 1
    while True:
        masks = {key: _mask(look.turned(one)[::thin, ::thin], style) for key, one in codes.items()}
        photos: _Encoded = {
            key: (webp(one := look.turned(image)[::thin, ::thin]), one.shape) for key, image in images.items()
        }
        size = sum(len(picture) for picture, _ in (*masks.values(), *photos.values()))
        if size <= BYTES_MAX or thin >= 16:
            return masks, photos
        thin *= 2


def _mask(codes: npt.NDArray[np.uint8], style: Style) -> tuple[bytes, Sequence[int]]:
    nodata = len(style.colours)
    return indexed_png(np.minimum(codes, nodata), [*style.colours, NODATA_COLOUR]), codes.shape


def _caption(date: Date) -> list[object]:
    day = tag("b", date.name.label)
    if date.error:
        return [day, " cannot be read"]
    if date.clear is None:
        return [day, " no data"]
    empty = f", {date.nodata / date.total:.0%} no data".replace("%", " %") if date.nodata else ""
    return [day, f" {date.clear:.0%} clear".replace("%", " %"), empty]


def _map_text(share: npt.NDArray[np.float64], known: float) -> list[str]:
    if not share.size:
        return ["No pixel has data on any date."]
    low, middle, high = np.percentile(share, (5, 50, 95))
    text = f"Half of the pixels are clear on at least {middle:.0%} of the dates on which they have data. "
    text += f"The cloudiest 5 % are clear on at most {low:.0%}, the clearest 5 % on at least {high:.0%}. "
    if known < 1:
        text += f"{1 - known:.1%} of the pixels have no data on any date. "
    return [text.replace("%", " %").replace("  %", " %")]


def _scale() -> Html:
    ramp = clear_ramp(_MAP_STEPS)
    each = 24
    boxes = [
        tag("rect", x=8 + index * each, y=1, width=each, height=14, fill=colour) for index, colour in enumerate(ramp)
    ]
    labels = [
        tag("text", f"{index * 10} %", x=8 + (index + 0.5) * each, y=30, text_anchor="middle") for index in (0, 5, 10)
    ]
    nodata = tag("rect", x=44 + len(ramp) * each, y=1, width=14, height=14, fill=NODATA_COLOUR)
    never = tag("text", "never", x=51 + len(ramp) * each, y=30, text_anchor="middle")
    title = tag("title", "Share of dates on which a pixel is clear: white 0 %, dark green 100 %, grey never seen")
    return tag("svg", title, *boxes, nodata, *labels, never, class_="scale swatch", role="img", viewBox="0 0 344 36")
