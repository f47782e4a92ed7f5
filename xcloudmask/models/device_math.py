"""Validity, statistics and normalisation with torch, on any device, as `tiles` and `normalize` do them with numpy.

Each operation is the one of the numpy path, in the same type of numbers. Sums over unsigned integers of up to 16 bits
are exact; those over floats are taken in another order, so their last bits can differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xcloudmask.normalize import _FLOOR as LEVEL_FLOOR
from xcloudmask.normalize import LEVEL_UNIT

__all__ = ["Numbers", "Statistics", "level_vectors", "rescale", "statistics", "valid_pixels", "zscore"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_SLAB_PX = 2**24
"""Pixels that are summed up at a time: what the sums need besides the pixels stays small."""

_TRAVELS_AS: dict[np.dtype[Any], str] = {np.dtype("u2"): "i2", np.dtype("u4"): "i4", np.dtype(bool): "u1"}
_AS_IT_IS: set[np.dtype[Any]] = {np.dtype(kind) for kind in ("u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")}


@dataclass(frozen=True, slots=True)
class Numbers:
    """How the numbers of a cube travel to a device, and what they are there.

    torch has no arithmetic for unsigned integers of 16 and 32 bits: they travel as signed ones with the same bits.

    Examples
    --------
    >>> numbers = Numbers(np.dtype(np.uint16))
    >>> sent = numbers.for_device(np.array([65535], np.uint16))
    >>> sent.dtype, numbers.on_device(torch.from_numpy(sent)).tolist()
    (dtype('int16'), [65535])
    """

    dtype: np.dtype[Any]
    """Of the cube."""

    @property
    def exact(self) -> bool:
        """Whether sums are taken in integers, as numpy's path does."""
        return self.dtype.kind == "u" and self.dtype.itemsize <= 2

    @property
    def small(self) -> bool:
        """Whether float32 holds every number, so that the mean is subtracted in it."""
        return self.dtype.kind in "iu" and self.dtype.itemsize <= 2

    def for_device(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array in a type that torch can copy; without a copy where torch has it."""
        if self.dtype in _AS_IT_IS:
            return array
        if self.dtype in _TRAVELS_AS:
            return array.view(_TRAVELS_AS[self.dtype])
        return array.astype(np.float64)  # uint64, other byte orders, long floats

    def on_device(self, sent: Tensor) -> Tensor:
        """Return the numbers themselves, integers in a type that holds their sums of two."""
        if self.dtype == np.uint16:
            return sent.to(torch.int32).bitwise_and_(0xFFFF)
        if self.dtype == np.uint32:
            return sent.to(torch.int64).bitwise_and_(0xFFFFFFFF)
        return sent if sent.is_floating_point() or sent.dtype == torch.int64 else sent.to(torch.int32)

    def like(self, value: float) -> float | None:
        """Return a declared value as the cube can hold it; None where it cannot."""
        if self.dtype.kind == "f":
            with np.errstate(over="ignore"):
                return float(self.dtype.type(value))
        if self.dtype.kind == "b":
            return value if value in {0, 1} else None
        limits = np.iinfo(self.dtype)
        return int(value) if value == np.floor(value) and limits.min <= value <= limits.max else None


def valid_pixels(sent: Tensor, numbers: Numbers, nodata: Sequence[float | None]) -> Tensor | None:
    """Find the pixels that every band has data for.

    Parameters
    ----------
    sent
        (band, y, x) as it came to the device.
    numbers
        What it is.
    nodata
        Declared value per band, or None.

    Returns
    -------
    torch.Tensor or None
        (y, x) bool; None where no pixel can be invalid.

    Examples
    --------
    >>> sent = torch.tensor([[[0, -1]]], dtype=torch.int16)
    >>> valid_pixels(sent, Numbers(np.dtype(np.uint16)), [65535]).tolist()
    [[True, False]]
    """
    invalid: Tensor | None = None
    for band, value in zip(sent, nodata, strict=True):
        if band.is_floating_point():
            # float64 can hold what float32 cannot, which is no measurement either; NaN is not less than anything.
            bad = ~(band.abs() <= _FLOAT32_MAX) if band.dtype == torch.float64 else ~band.isfinite()
            invalid = bad if invalid is None else invalid.logical_or_(bad)
        held = None if value is None or np.isnan(value) else numbers.like(value)
        if held is not None:
            bad = numbers.on_device(band) == held
            invalid = bad if invalid is None else invalid.logical_or_(bad)
    return None if invalid is None else ~invalid


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and population standard deviation of windows, as float64 on the device."""

    count: Tensor
    """(n,) valid pixels."""
    mean: Tensor
    """(n, band)."""
    std: Tensor
    """(n, band)."""


def statistics(sent: Tensor, valid: Tensor | None, numbers: Numbers) -> Statistics:
    """Mean and population standard deviation over the valid pixels of each window.

    Parameters
    ----------
    sent
        (n, band, y, x) as it came to the device.
    valid
        (n, y, x) bool; None where all pixels are valid.
    numbers
        What it is.

    Returns
    -------
    Statistics

    Examples
    --------
    >>> sent = torch.tensor([[[[1.0, 3.0]]]], dtype=torch.float64)
    >>> statistics(sent, None, Numbers(np.dtype(np.float64))).std.tolist()
    [[1.0]]
    """
    moments = _whole_moments if numbers.exact else _float_moments
    count, pivot, total, squares = moments(sent, valid, numbers)
    safe = count.clamp(min=1.0)[:, None]
    mean = pivot + total / safe
    variance = (squares - total * total / safe).clamp(min=0.0) / safe
    return Statistics(count, mean, variance.sqrt())


def _count(sent: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return sent.new_full((sent.shape[0],), sent.shape[2] * sent.shape[3], dtype=torch.int64)
    return valid.flatten(1).sum(1, dtype=torch.int64)


def _slabs(sent: Tensor) -> list[slice]:
    rows = max(1, _SLAB_PX // (sent.shape[0] * sent.shape[3]))
    return [slice(row, row + rows) for row in range(0, sent.shape[2], rows)]


def _whole_moments(sent: Tensor, valid: Tensor | None, numbers: Numbers) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Moments of unsigned integers of up to 16 bits: exact, so that their order is nothing."""
    count = _count(sent, valid)
    total, squares = (count.new_zeros(sent.shape[:2]) for _ in range(2))
    for rows in _slabs(sent):
        for band in range(sent.shape[1]):
            values = numbers.on_device(sent[:, band, rows]).to(torch.int64)
            if valid is not None:
                values = values * valid[:, rows]
            total[:, band] += values.sum((1, 2))
            squares[:, band] += (values * values).sum((1, 2))
    pivot = total // count.clamp(min=1)[:, None]
    rest = total - count[:, None] * pivot
    spread = squares - 2 * pivot * total + count[:, None] * pivot * pivot
    return count.double(), pivot.double(), rest.double(), spread.double()


def _float_moments(sent: Tensor, valid: Tensor | None, numbers: Numbers) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Moments in float64, around the first valid pixel of each band: a constant band has a spread of exactly 0."""
    count = _count(sent, valid).double()
    if valid is None:
        first = count.new_zeros(sent.shape[0], dtype=torch.int64)
    else:
        first = valid.flatten(1).to(torch.uint8).argmax(1)
    row, column = first // sent.shape[3], first % sent.shape[3]
    pivot = numbers.on_device(sent[torch.arange(len(sent), device=sent.device), :, row, column]).double()
    pivot = pivot.where(count[:, None] > 0, pivot.new_zeros(()))
    total, squares = torch.zeros_like(pivot), torch.zeros_like(pivot)
    for rows in _slabs(sent):
        for band in range(sent.shape[1]):
            values = numbers.on_device(sent[:, band, rows]).double() - pivot[:, band, None, None]
            if valid is not None:
                values.masked_fill_(~valid[:, rows], 0.0)
            total[:, band] += values.sum((1, 2))
            squares[:, band] += (values * values).sum((1, 2))
    return count, pivot, total, squares


def zscore(sent: Tensor, valid: Tensor, mean: Tensor, std: Tensor, numbers: Numbers) -> Tensor:
    """Subtract the mean and divide by the spread; invalid pixels become 0.

    Parameters
    ----------
    sent
        (n, band, y, x) as it came to the device.
    valid
        (n, y, x) bool.
    mean, std
        (n, band) float64.
    numbers
        What it is.

    Returns
    -------
    torch.Tensor
        (n, band, y, x) float32.

    Examples
    --------
    >>> sent, one = torch.tensor([[[[1.0, 3.0]]]]), torch.ones(1, 1, dtype=torch.float64)
    >>> zscore(sent, torch.ones(1, 1, 2, dtype=torch.bool), 2 * one, one, Numbers(np.dtype(np.float32))).tolist()
    [[[[-1.0, 1.0]]]]
    """
    # A float64 mean keeps a large offset from eating the digits of floats; integers of 16 bits are exact in float32.
    dtype = torch.float32 if numbers.small else torch.float64
    gain = (1.0 / std.where(std > 0, std.new_ones(()))).float()
    result = torch.empty(sent.shape, dtype=torch.float32, device=sent.device)
    for band in range(sent.shape[1]):
        values = numbers.on_device(sent[:, band]).to(dtype)
        result[:, band] = (values - mean[:, band, None, None].to(dtype)).float()
    return result.mul_(gain[:, :, None, None]).masked_fill_(~valid[:, None], 0.0)


def rescale(sent: Tensor, valid: Tensor, scales: Tensor, numbers: Numbers, *, clip: bool = False) -> Tensor:
    """Turn DN into reflectance, or what `normalize.standardised` makes of it; invalid pixels become 0.

    Parameters
    ----------
    sent
        (n, band, y, x) as it came to the device.
    valid
        (n, y, x) bool.
    scales
        (n, 2, band) float64 scale and offset.
    numbers
        What it is.
    clip
        Whether the result is kept between 0 and 1.

    Returns
    -------
    torch.Tensor
        (n, band, y, x) float32.

    Examples
    --------
    >>> sent, scales = torch.tensor([[[[2000]]]]), torch.tensor([[[1e-4], [-0.1]]], dtype=torch.float64)
    >>> valid = torch.ones(1, 1, 1, dtype=torch.bool)
    >>> round(rescale(sent, valid, scales, Numbers(np.dtype(np.int64))).item(), 4)
    0.1
    """
    result = torch.empty(sent.shape, dtype=torch.float32, device=sent.device)
    for band in range(sent.shape[1]):
        values = numbers.on_device(sent[:, band]).double()
        result[:, band] = (values * scales[:, 0, band, None, None]).float()
    result += scales[:, 1, :, None, None].float()
    if clip:
        result.clamp_(0.0, 1.0)
    return result.masked_fill_(~valid[:, None], 0.0)


def level_vectors(stats: Statistics, scales: Tensor) -> Tensor:
    """Level of reflectance of windows, as `normalize.level_vector` has it.

    Parameters
    ----------
    stats
        Statistics of the windows, in the units of the input.
    scales
        (n, 2, band) scale and offset; a band with scale 0 was given up; all NaN for unknown.

    Returns
    -------
    torch.Tensor
        (n, 1 + 2 * bands) float32.

    Examples
    --------
    >>> stats = Statistics(*(torch.full(shape, 1000.0, dtype=torch.float64) for shape in ((1,), (1, 1), (1, 1))))
    >>> scales = torch.tensor([[[1e-4], [0.0]]], dtype=torch.float64)
    >>> [round(value, 4) for value in level_vectors(stats, scales)[0, :2].tolist()]
    [1.0, -0.2017]
    """
    gains, offsets = scales[:, 0], scales[:, 1]
    values = torch.stack([stats.mean * gains + offsets, stats.std * gains], dim=2)
    logs = (values.clamp(min=LEVEL_FLOOR).log() + 2.0) / LEVEL_UNIT
    logs.masked_fill_((gains == 0)[:, :, None], 0.0)
    vectors = torch.cat([torch.ones_like(logs[:, 0, :1]), logs.flatten(1)], dim=1).float()
    return vectors.masked_fill_((gains[:, :1].isnan() | (stats.count == 0)[:, None]), 0.0)
