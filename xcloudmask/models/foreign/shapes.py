"""Files that take tiles of one shape only."""

from __future__ import annotations

from collections.abc import Sequence

from xcloudmask.errors import ModelError
from xcloudmask.models.spec import ModelSpec

__all__ = ["check_fixed"]


def check_fixed(spec: ModelSpec, shape: Sequence[int | None]) -> int | None:
    """Compare the shape that a file takes with its spec.

    Parameters
    ----------
    spec
        The model.
    shape
        (n, bands, y, x) of the input; None for a side that may be any.

    Returns
    -------
    int or None
        How many tiles the file takes at once, where that is one number only.

    Raises
    ------
    ModelError
        The file takes one shape, and the spec gives another or none.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> check_fixed(get_spec("default"), (1, 3, None, None))
    1
    """
    if len(shape) != 4 or shape[1] not in {None, len(spec.bands)}:
        raise ModelError(
            f"The file of model {spec.name!r} takes tiles of shape {_text(shape)}, and its spec names "
            f"{len(spec.bands)} bands ({', '.join(spec.bands)}). Expected (n, {len(spec.bands)}, y, x). Type bands = "
            "[...] with one name for each channel, in their order."
        )
    rows, columns = shape[2:]
    if rows is None and columns is None:
        return shape[0]
    if rows != columns:
        raise ModelError(
            f"The file of model {spec.name!r} takes tiles of shape {_text(shape)} only. Expected a square, or any "
            "size. Export it with square tiles, or with dynamic shapes."
        )
    if rows != spec.input_px:
        raise ModelError(
            f"The file of model {spec.name!r} takes tiles of {rows} x {columns} px only, and its spec says input_px = "
            f"{spec.input_px}. Type input_px = {rows} and leave tile_px and window_px out, or export it with dynamic "
            "shapes."
        )
    return shape[0]


def _text(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"
