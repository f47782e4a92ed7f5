"""Thumbnails: codes as an indexed PNG, with the colours of the style. No library is needed, and bytes never change."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from xcloudmask._pictures import hex_to_rgb
from xcloudmask.classes import NODATA_COLOUR, Style

__all__ = ["png_of"]


def png_of(codes: npt.NDArray[np.uint8], style: Style) -> bytes:
    r"""Return a PNG of codes; pixels without data are transparent.

    Parameters
    ----------
    codes
        (y, x) uint8.
    style
        The output style.

    Returns
    -------
    bytes

    Notes
    -----
    Portable Network Graphics, third edition (W3C): colour type 3, chunks PLTE and tRNS, filter 0.

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> png_of(np.array([[0, 255]], np.uint8), get_style("4-class"))[:4]
    b'\x89PNG'
    """
    count = len(style.colours)
    # What is no class looks like nodata: it is the last colour of the palette.
    indexed = np.where(codes < count, codes, count).astype(np.uint8)
    palette = b"".join(bytes(hex_to_rgb(colour)) for colour in (*style.colours, NODATA_COLOUR))
    lines = np.concatenate([np.zeros((codes.shape[0], 1), np.uint8), indexed], axis=1).tobytes()
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", codes.shape[1], codes.shape[0], 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette),
            _chunk(b"tRNS", bytes([255] * count + [0])),
            _chunk(b"IDAT", zlib.compress(lines, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
