"""Scale and offset of one band: for all time steps, or for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from xcloudmask._sensor import Band
from xcloudmask.grid import time_dim

__all__ = ["BandScale", "along", "constant", "level1_scale"]


@dataclass(frozen=True, slots=True, eq=False)
class BandScale:
    """Quantity = value * gain + offset, for all time steps or for each."""

    gain: xr.Variable
    """() or (time,) float64; NaN where unknown; numpy, or dask where the cube's coordinate is."""
    offset: xr.Variable
    """As `gain`."""

    @property
    def lazy(self) -> bool:
        """Whether the numbers are dask arrays, which are not computed."""
        return any(isinstance(variable.chunks, tuple) for variable in (self.gain, self.offset))

    @property
    def known(self) -> xr.Variable:
        """() or (time,) bool: where the scale is known."""
        known: xr.Variable = (self.gain > 0) & np.isfinite(self.gain + self.offset)
        return known

    @property
    def constant(self) -> tuple[float, float] | None:
        """Scale and offset where they are known and the same for all time steps."""
        if self.lazy:
            return None
        pairs = np.stack(np.broadcast_arrays(self.gain.values, self.offset.values), axis=-1).reshape(-1, 2)
        if not self.known.values.all() or (pairs != pairs[0]).any():
            return None
        return float(pairs[0, 0]), float(pairs[0, 1])


def constant(pair: tuple[float, float]) -> BandScale:
    """The same scale and offset for all time steps."""
    return BandScale(xr.Variable((), np.float64(pair[0])), xr.Variable((), np.float64(pair[1])))


def along(
    coord: xr.DataArray | None, dims: set[str | None], band_dim: str | None, layer: int, *, default: float
) -> xr.Variable | None:
    """One coordinate as () or (time,) numbers for one band; None where it is none of that."""
    if coord is None:
        return xr.Variable((), np.float64(default))
    variable: xr.Variable = coord.variable
    if variable.dtype.kind not in "iuf" or not set(variable.dims) <= dims:
        return None
    if band_dim in variable.dims:
        variable = variable.isel({band_dim: layer})
    return variable.astype(np.float64)


def level1_scale(array: xr.DataArray, band: Band | None, *, thermal: bool) -> BandScale | None:
    """Scale of Level 1 where all scenes have the same but for the sun, whose elevation the cube tells of each date."""
    if band is None or band.level1_gain is None or array.dtype.kind not in "iu":
        return None
    mult, add = band.level1_gain
    if band.quantity == "brightness_temperature":
        return constant((mult, add)) if thermal else None
    coord = array.coords.get("sun_elevation")
    elevation = None if coord is None else along(coord, {time_dim(array)}, None, 0, default=np.nan)
    if elevation is None:
        return None
    sine: xr.Variable = np.sin(np.deg2rad(elevation))  # type: ignore[assignment]  # a ufunc returns what it is given
    above = sine.where(sine > 0, np.nan)
    return BandScale(mult / above, add / above)
