"""A time series to look at: thinned out, matched with its images, and computed a few dates at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask import base as dask_base

from xcloudmask._mask_checks import style_of
from xcloudmask._pictures import is_valid, stretch
from xcloudmask.classes import CLASS_DIM, Style
from xcloudmask.errors import ArgumentError, NotACubeError
from xcloudmask.grid import resolution_m, spatial_dims, time_dim
from xcloudmask.viz._choice import Times, check_max_px, choose_bands, date_text, match_times, positions_of

__all__ = ["Frame", "Series", "open_series"]

_BATCH_MAX = 16
"""Dates computed at once, at most."""

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One date, computed."""

    title: str
    """The date; empty where there is none."""
    codes: Codes | None
    """(y, x) codes of a mask."""
    reference: Codes | None
    """(y, x) codes of the reference."""
    shares: npt.NDArray[Any] | None
    """(class, y, x) percent or probabilities."""
    image: npt.NDArray[np.uint8] | None
    """(y, x, 3), stretched."""
    seen: npt.NDArray[np.bool_] | None
    """(y, x): where the image has data."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """What is to be shown, in the order of y from north to south; nothing is computed yet."""

    layers: tuple[xr.DataArray, ...]
    """Mask, reference, and three bands, as far as they are there; thinned out."""
    positions: tuple[tuple[int | None, ...], ...]
    """For each date, the position in each of the layers."""
    masks: int
    """How many of the layers are masks: 0 for images alone, 2 with a reference."""
    nodata: tuple[float | None, ...]
    """Declared nodata value of each band."""
    style: Style | None
    """The output style of the mask; None for shares and for images alone."""
    classes: tuple[str, ...]
    """The names of the classes of a cube of shares."""
    whole: float
    """What stands for the whole in a cube of shares: 100 or 1."""
    aspect: float
    """Height of a pixel over its width, on the ground."""
    count: int
    """Dates that there are, shown or not."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a picture."""
        y, x = spatial_dims(self.layers[0])
        return self.layers[0].sizes[y], self.layers[0].sizes[x]

    def frames(self) -> Iterator[Frame]:
        """Compute dates that share a chunk together, a few at a time.

        Yields
        ------
        Frame
        """
        start = 0
        while start < len(self.positions):
            stop = start + 1
            while (
                stop < len(self.positions)
                and stop - start < _BATCH_MAX
                and self._chunk(stop) is not None
                and self._chunk(stop) == self._chunk(start)
            ):
                stop += 1
            yield from self.compute(start, stop)
            start = stop

    def compute(self, start: int, stop: int) -> list[Frame]:
        """Compute some dates at once.

        Parameters
        ----------
        start, stop
            Their range.

        Returns
        -------
        list of Frame
        """
        wanted = [
            [_at(layer, position) for layer, position in zip(self.layers, where, strict=True)]
            for where in self.positions[start:stop]
        ]
        untyped: Any = dask_base
        computed = untyped.compute(*[[layer.variable for layer in layers] for layers in wanted])
        return [
            self._frame(date_text(layers[0]), [variable.values for variable in variables])
            for layers, variables in zip(wanted, computed, strict=True)
        ]

    def _chunk(self, index: int) -> int | None:
        """Return the number of the chunk along time that a date lies in; None where nothing is lazy."""
        layer, position = self.layers[0], self.positions[index][0]
        dim = time_dim(layer)
        if layer.chunks is None or dim is None or position is None:
            return None
        ends = np.cumsum(layer.chunksizes[dim])
        return int(np.searchsorted(ends, position, side="right"))

    def _frame(self, title: str, arrays: list[npt.NDArray[Any]]) -> Frame:
        masks, bands = arrays[: self.masks], arrays[self.masks :]
        image = seen = None
        if bands:
            seen = np.logical_and.reduce([is_valid(band, no) for band, no in zip(bands, self.nodata, strict=True)])
            image = stretch(bands, seen)
        return Frame(
            title=title,
            codes=masks[0] if self.style is not None else None,
            reference=masks[1] if len(masks) > 1 else None,
            shares=masks[0] if self.classes else None,
            image=image,
            seen=seen,
        )


def open_series(
    mask: xr.DataArray | xr.Dataset,
    *,
    rgb: xr.DataArray | xr.Dataset | None,
    time: Times,
    max_px: int,
    reference: xr.DataArray | None = None,
    most: int | None = None,
    pixels: int | None = None,
) -> Series:
    """Check what is to be shown, match dates, and thin out; nothing is computed.

    Parameters
    ----------
    mask
        A mask, a cube of percent or probabilities, or a cube of images.
    rgb, reference
        As given by the user.
    time
        As given by the user.
    max_px
        Longest side of a picture.
    most
        Dates shown where the user leaves the choice; None for all.
    pixels
        The most pixels that all dates and layers may have together: more of them are thinned out more.

    Returns
    -------
    Series
    """
    side = check_max_px(max_px)
    style, classes, whole = _kind(mask, rgb, reference)
    masks = [mask] if isinstance(mask, xr.DataArray) and (style is not None or classes) else []
    if reference is not None:
        masks.append(_checked_reference(reference, style))
    image = rgb if masks else mask
    bands = [] if image is None else choose_bands(image)
    layers = [*masks, *(band for band, _ in bands)]
    lead = layers[0]
    positions = positions_of(lead, time, most=most)
    others = [match_times(lead, layer, positions) for layer in layers[1:]]
    dim = time_dim(lead)
    step = _step(lead, side, pixels, pictures=len(positions) * (len(masks) * max(len(classes), 1) + bool(bands)))
    resolution = resolution_m(lead)
    turned = _turned(lead)
    return Series(
        layers=tuple(_thin(layer, step, turned) for layer in layers),
        positions=tuple(zip(positions, *others, strict=True)),
        masks=len(masks),
        nodata=tuple(nodata for _, nodata in bands),
        style=style,
        classes=classes,
        whole=whole,
        aspect=resolution[0] / resolution[1] if resolution else 1.0,
        count=1 if dim is None else lead.sizes[dim],
    )


def _kind(
    mask: xr.DataArray | xr.Dataset, rgb: object, reference: object
) -> tuple[Style | None, tuple[str, ...], float]:
    """Tell masks from shares from images: the style, the classes and their whole."""
    if isinstance(mask, xr.DataArray) and CLASS_DIM in mask.dims:
        if reference is not None:
            raise ArgumentError("reference= goes with a mask of classes, and this is a cube of shares.")
        names = mask.coords[CLASS_DIM].values if CLASS_DIM in mask.coords else range(mask.sizes[CLASS_DIM])
        return (
            None,
            tuple(" ".join(str(name).split())[:40] for name in names),
            100.0 if mask.dtype.kind in "iu" else 1.0,
        )
    if _is_image(mask):
        if rgb is not None or reference is not None:
            raise NotACubeError(
                "This is a cube of images, not a mask, so it takes no rgb= and no reference=. "
                "Type: xcloudmask.plot(cube), or xcloudmask.plot(mask, rgb=cube)"
            )
        return None, (), 1.0
    return style_of(mask), (), 1.0  # type: ignore[arg-type]  # refuses what is no DataArray


def _is_image(obj: object) -> bool:
    """Whether this has several bands: a Dataset, or an array with a third dimension besides time."""
    if isinstance(obj, xr.Dataset):
        return True
    if not isinstance(obj, xr.DataArray) or "output_style" in obj.attrs:
        return False
    return len(set(obj.dims) - {*spatial_dims(obj), time_dim(obj)}) == 1


def _checked_reference(reference: xr.DataArray, style: Style | None) -> xr.DataArray:
    found = style_of(reference)
    if style is None or found.name != style.name:
        wanted = None if style is None else style.name
        raise ArgumentError(
            f"reference= is a {found.name!r} mask, the mask a {wanted!r} one. "
            f"Type: reference=xcloudmask.to_style(reference, {wanted!r})"
        )
    return reference


def _step(lead: xr.DataArray, side: int, pixels: int | None, *, pictures: int) -> int:
    """Return every how many pixels one is shown."""
    rows, columns = (lead.sizes[dim] for dim in spatial_dims(lead))
    if not rows or not columns:
        raise NotACubeError(f"There is nothing to show: the mask has {rows} x {columns} pixels.")
    step = -(-max(rows, columns) // side)
    if pixels is not None:
        while pictures * -(-rows // step) * -(-columns // step) > pixels and step < max(rows, columns):
            step += 1
    return step


def _thin(layer: xr.DataArray, step: int, turned: tuple[bool, bool]) -> xr.DataArray:
    """Take every step-th pixel, north up and west left."""
    y, x = dims = spatial_dims(layer)
    thinned = layer.transpose(..., y, x).isel(dict.fromkeys(dims, slice(None, None, step)))
    back = [dim for dim, turn in zip(dims, turned, strict=True) if turn]
    return thinned.isel(dict.fromkeys(back, slice(None, None, -1)))


def _turned(layer: xr.DataArray) -> tuple[bool, bool]:
    """Whether the first row is the southernmost one, and the first column the easternmost."""
    y, x = spatial_dims(layer)
    return _runs(layer, y) is True, _runs(layer, x) is False


def _runs(layer: xr.DataArray, dim: str) -> bool | None:
    """Whether a coordinate grows; None where there is none."""
    if dim not in layer.coords or layer.sizes[dim] < 2:
        return None
    return float(layer.coords[dim][0]) < float(layer.coords[dim][-1])


def _at(layer: xr.DataArray, position: int | None) -> xr.DataArray:
    dim = time_dim(layer)
    taken = layer if dim is None or position is None else layer.isel({dim: position})
    if CLASS_DIM in taken.dims:
        return taken.transpose(CLASS_DIM, ...)
    return taken
