"""Pictures as files: PNG and JPEG through Pillow, and their text in a page."""

from __future__ import annotations

import base64
import html
import json
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require

__all__ = ["data_url", "encode_classes", "encode_photo", "encode_photo_with_holes", "in_frame", "json_text", "resize"]

_JPEG_QUALITY = 85
_CLEARANCE = 255
"""The place in the palette of a PNG that stands for transparent."""


def encode_photo(picture: npt.NDArray[np.uint8]) -> bytes:
    """Write an image of many colours as a JPEG.

    Parameters
    ----------
    picture
        (y, x, 3) uint8.

    Returns
    -------
    bytes
    """
    return _saved(_image(picture), format="JPEG", quality=_JPEG_QUALITY)


def encode_classes(picture: npt.NDArray[np.uint8]) -> bytes:
    """Write a picture of few colours as a PNG, every pixel as it is.

    Parameters
    ----------
    picture
        (y, x, 3) or, with transparency, (y, x, 4) uint8.

    Returns
    -------
    bytes
    """
    return _saved(_image(picture), format="PNG", optimize=True)


def encode_photo_with_holes(picture: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_]) -> bytes:
    """Write an image as a PNG of 255 colours, transparent where it has no data.

    Parameters
    ----------
    picture
        (y, x, 3) uint8.
    seen
        (y, x) bool.

    Returns
    -------
    bytes
    """
    reduced = _image(picture).quantize(colors=_CLEARANCE)
    places = np.where(seen, np.asarray(reduced), _CLEARANCE).astype(np.uint8)
    image = require("PIL.Image", extra="viz").fromarray(places)
    # A palette that ends before its transparent place makes that place black.
    palette = [*(reduced.getpalette() or []), *([0] * 768)][:768]
    image.putpalette(palette)
    return _saved(image, format="PNG", transparency=_CLEARANCE)


def data_url(content: bytes, kind: str) -> str:
    """Return an image as an address that holds it.

    Parameters
    ----------
    content
        A PNG or JPEG.
    kind
        ``"png"`` or ``"jpeg"``.

    Returns
    -------
    str

    Examples
    --------
    >>> data_url(b"abc", "png")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def json_text(value: object) -> str:
    r"""Return JSON that can stand in a script of a page: no text of it can end the script.

    Parameters
    ----------
    value
        Plain data.

    Returns
    -------
    str

    Examples
    --------
    >>> json_text("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def in_frame(page: str, *, height_px: int) -> str:
    """Return a page as a frame of another page, which shares no names and no styles with it.

    Parameters
    ----------
    page
        HTML.
    height_px
        Of the frame.

    Returns
    -------
    str
    """
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts" '
        f'style="width:100%;height:{height_px}px;border:0"></iframe>'
    )


def resize(picture: npt.NDArray[np.uint8], rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """Take the nearest pixel of each.

    Parameters
    ----------
    picture
        (y, x, ...).
    rows, columns
        The new size.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> resize(np.array([[1, 2]], np.uint8), 1, 4).tolist()
    [[1, 1, 2, 2]]
    """
    height, width = picture.shape[:2]
    down = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    across = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    taken: npt.NDArray[np.uint8] = picture[down[:, None], across[None, :]]
    return taken


def _image(picture: npt.NDArray[np.uint8]) -> Any:
    return require("PIL.Image", extra="viz").fromarray(np.ascontiguousarray(picture))


def _saved(image: Any, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()
