"""Small pictures inside a page: PNG from numpy alone, WebP with Pillow."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require
from xcloudmask._pictures import hex_to_rgb
from xcloudmask.webreport._html import Html

__all__ = ["data_uri", "indexed_png", "webp"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WEBP_QUALITY = 72


def indexed_png(indices: npt.NDArray[np.uint8], palette: Sequence[str]) -> bytes:
    r"""Return a picture of few colours.

    Parameters
    ----------
    indices
        (y, x), all below the number of colours.
    palette
        Hex colours, 256 at most.

    Notes
    -----
    PNG (Third Edition), W3C 2025: colour type 3, with as few bits a pixel as the colours need.

    Examples
    --------
    >>> indexed_png(np.zeros((1, 1), np.uint8), ["#ff0000"])[:4]
    b'\x89PNG'
    """
    depth = next(bits for bits in (1, 2, 4, 8) if len(palette) <= 2**bits)
    height, width = indices.shape
    header = struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)
    colours = bytes(value for colour in palette for value in hex_to_rgb(colour))
    rows = _pack(indices, depth)
    # Each row begins with its filter, which is none: indices of neighbours have no difference worth to store.
    scanlines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    parts = ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", zlib.compress(scanlines, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _pack(indices: npt.NDArray[np.uint8], depth: int) -> npt.NDArray[np.uint8]:
    """Put 8 // depth pixels into a byte, the leftmost in the highest bits."""
    each = 8 // depth
    height, width = indices.shape
    padded = np.zeros((height, -(-width // each) * each), np.uint8)
    padded[:, :width] = indices
    grouped = padded.reshape(height, -1, each)
    shifts = np.arange(each - 1, -1, -1, dtype=np.uint8) * depth
    packed: npt.NDArray[np.uint8] = np.bitwise_or.reduce(grouped << shifts, axis=2).astype(np.uint8)
    return packed


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def webp(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a photograph-like picture.

    Parameters
    ----------
    image
        (y, x, 3).

    Raises
    ------
    MissingPackageError
        Pillow is not installed.
    """
    picture: Any = require("PIL.Image", extra="viz").fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_WEBP_QUALITY, method=4)
    return buffer.getvalue()


def data_uri(picture: bytes) -> Html:
    """Return a picture as an address that holds it.

    Examples
    --------
    >>> data_uri(indexed_png(np.zeros((1, 1), np.uint8), ["#ff0000"]))[:26]
    'data:image/png;base64,iVBO'
    """
    kind = "png" if picture.startswith(_SIGNATURE) else "webp"
    return Html(f"data:image/{kind};base64,{base64.b64encode(picture).decode()}")
