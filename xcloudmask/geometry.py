"""From a model, a grid and options to tiles, halo and chunks: integers only.

All that `plan` tells of the geometry is decided here, and `predict` follows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xcloudmask.errors import ArgumentError
from xcloudmask.halo import round_up, snap_chunks
from xcloudmask.models.spec import ModelSpec
from xcloudmask.settings import Normalize

__all__ = ["Geometry", "plan_geometry", "resolution_factor", "upsample_factor"]

_TILE_CORE_MAX = 2176
"""Longest side of a tile without its halo: a chunk of 2048 stays one tile, and a whole scene is cut."""
_TILE_SIDE_MAX = 2688
"""Longest side of a tile with its halo: 256 px of context on each side still leave a chunk of 2048 whole."""

_RESOLUTION_SLACK = 0.05
"""A grid of 9.6 m counts as 10 m."""


_UPSAMPLE_MOST = 3
"""Factor that ``upsample=True`` stops at: with 2 and 3 the network of SEnSeI worked on pixels of 500 m (Francis et al.,
2022, IEEE Transactions on Geoscience and Remote Sensing 60), and the work grows with its square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where a cube is cut. Lengths in pixels of the cube, unless they say cells (see `EngineSettings`)."""

    factor: int
    """Pixels averaged to one cell, along each axis."""
    upsample: int
    """Pixels of the model that a cell is interpolated to, along each axis."""
    halo_cells: int
    """Context on both sides of a tile that has neighbours; a multiple of the model's stride."""
    tile_cells: tuple[int, int]
    """Cells that a tile delivers, or side of the moving window."""
    step_cells: int | None
    """Step of the moving window."""
    chunks: tuple[tuple[int, ...], tuple[int, ...]]
    """Chunks along y and x to work in."""
    depth: tuple[int, int]
    """Overlap of the chunks along y and x."""
    multiple: tuple[int, int]
    """Borders of chunks are multiples of this."""

    @property
    def fed_px(self) -> tuple[int, int]:
        """Pixels of the model that are fed at once."""
        y, x = self.tile_shape_cells
        return y * self.upsample, x * self.upsample

    @property
    def tile_shape_cells(self) -> tuple[int, int]:
        """Cells of a tile with its context."""
        halo_y, halo_x = self.tile_halo_cells
        return self.tile_cells[0] + 2 * halo_y, self.tile_cells[1] + 2 * halo_x

    @property
    def tile_halo_cells(self) -> tuple[int, int]:
        """Context along y and x: none where one tile spans the axis, none for the moving window."""
        halo_y, halo_x = (
            0 if self.step_cells or sum(sizes) <= core * self.factor else self.halo_cells
            for sizes, core in zip(self.chunks, self.tile_cells, strict=True)
        )
        return halo_y, halo_x


def resolution_factor(resolution: tuple[float, float] | None, spec: ModelSpec) -> int:
    """Whole number of pixels to average so that a cell is not finer than what the model was trained for.

    Parameters
    ----------
    resolution
        Metres per pixel along y and x; None where unknown (then nothing is averaged).
    spec
        The model.

    Returns
    -------
    int
        1 or more.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> resolution_factor((3.0, 3.0), get_spec("default"))
    4
    """
    if resolution is None:
        return 1
    pixel_m = math.sqrt(resolution[0] * resolution[1])
    return max(1, math.ceil(spec.resolution_m[0] / pixel_m - _RESOLUTION_SLACK))


def upsample_factor(resolution: tuple[float, float] | None, spec: ModelSpec, asked: bool | int) -> int:  # noqa: FBT001
    """Whole number of pixels that a coarse pixel is interpolated to.

    Parameters
    ----------
    resolution
        Metres per pixel along y and x; None where unknown.
    spec
        The model.
    asked
        False or 1 for nothing, True for the smallest number that leads into the model's range, at most 3, or a number.

    Returns
    -------
    int
        1 or more.

    Raises
    ------
    ArgumentError
        The pixel size is unknown, or would become finer than what the model was trained for.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> [upsample_factor((metres, metres), get_spec("default"), True) for metres in (30.0, 60.0, 500.0)]
    [1, 2, 3]
    """
    finest, coarsest = spec.resolution_m
    if asked is False or (asked is not True and asked == 1):
        return 1
    if resolution is None:
        if asked is True:
            raise ArgumentError(
                "upsample=True needs the size of a pixel, which the cube does not tell. Type resolution_m=..., or a "
                "whole number such as upsample=3."
            )
        return asked
    pixel_m = math.sqrt(resolution[0] * resolution[1])
    if asked is True:
        return min(max(1, math.ceil(pixel_m / coarsest - _RESOLUTION_SLACK)), _UPSAMPLE_MOST)
    if pixel_m / asked < finest * (1 - _RESOLUTION_SLACK):
        raise ArgumentError(
            f"upsample={asked} makes pixels of {pixel_m / asked:.4g} m out of {pixel_m:.4g} m. Expected {finest:g} to "
            f"{coarsest:g} m, which model {spec.name!r} was trained for. Leave upsample out, or type upsample=True."
        )
    return asked


@dataclass(frozen=True, slots=True)
class _Lengths:
    """The lengths of a model in cells, so that tiles of whole cells lie on multiples of its stride."""

    stride: int
    radius: int
    tile: int
    window: int
    core: int
    longest: int

    @classmethod
    def of(cls, spec: ModelSpec, upsample: int) -> _Lengths:
        stride = spec.stride_px // math.gcd(spec.stride_px, upsample)
        tile, window = (max(side // upsample // stride * stride, stride) for side in (spec.tile_px, spec.window_px))
        # A file that takes one shape is fed smaller tiles filled up, never larger ones.
        longest = min(_TILE_SIDE_MAX, spec.input_px or _TILE_SIDE_MAX) // upsample
        core = _TILE_CORE_MAX // upsample
        return cls(stride, -(-spec.radius_px // upsample), tile, window, core, longest)


def plan_geometry(
    chunks: tuple[Sequence[int], Sequence[int]],
    spec: ModelSpec,
    *,
    factor: int,
    normalize: Normalize,
    halo_px: int | None,
    step_px: int | None,
    upsample: int = 1,
) -> Geometry:
    """Plan tiles, halo and chunks.

    Parameters
    ----------
    chunks
        Chunks of the cube along y and x.
    spec
        The model.
    factor
        Pixels averaged to one cell, along each axis.
    normalize
        ``"chunk"``: tiles follow the chunks; ``"lattice"`` and ``"scene"``: chunks follow the tiles.
    halo_px
        Context in pixels of the cube, rounded up to the stride; None for the receptive radius of the model.
    step_px
        Step of the moving window in pixels of the cube; None for the halo crop.
    upsample
        Pixels of the model that a pixel of the cube is interpolated to, along each axis.

    Returns
    -------
    Geometry

    Raises
    ------
    ArgumentError
        The step is no multiple of the model's stride, or larger than the window.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> spec = get_spec("default")
    >>> chunks = ((1000, 1000), (2000,))
    >>> plan = plan_geometry(chunks, spec, factor=1, normalize="chunk", halo_px=None, step_px=None)
    >>> plan.chunks, plan.depth
    (((1000, 1000), (2000,)), (72, 72))
    """
    lengths = _Lengths.of(spec, upsample)
    halo = _halo_cells(lengths, factor, halo_px)
    cells = tuple(-(-sum(sizes) // factor) for sizes in chunks)
    step = None if step_px is None else _step_cells(step_px, lengths, factor, spec.name)
    if step is not None:
        tile = tuple(min(lengths.window, round_up(side, lengths.stride)) for side in cells)
        depth = tuple(side * factor for side in tile)
    else:
        # Interpolation looks one pixel farther.
        depth = (halo * factor + (upsample > 1),) * 2
        tile = tuple(min(lengths.tile, round_up(side, lengths.stride)) for side in cells)
    follow = normalize == "chunk"
    multiple = tuple((lengths.stride if follow else side) * factor for side in tile)
    snapped = tuple(
        snap_chunks(sizes, multiple=m, minimum=max(m, d)) for sizes, m, d in zip(chunks, multiple, depth, strict=True)
    )
    if step is None and follow:
        tile = tuple(_largest_core(sizes, factor, halo, lengths) for sizes in snapped)
    return Geometry(
        factor=factor,
        upsample=upsample,
        halo_cells=halo,
        tile_cells=(tile[0], tile[1]),
        step_cells=step,
        chunks=(snapped[0], snapped[1]),
        depth=(depth[0], depth[1]),
        multiple=(multiple[0], multiple[1]),
    )


def _halo_cells(lengths: _Lengths, factor: int, halo_px: int | None) -> int:
    if halo_px is not None:
        return round_up(-(-halo_px // factor), lengths.stride)
    # Interpolation back to pixels looks one cell farther.
    return round_up(lengths.radius + (factor > 1), lengths.stride)


def _step_cells(step_px: int, lengths: _Lengths, factor: int, name: str) -> int:
    unit = lengths.stride * factor
    window = lengths.window * factor
    if step_px % unit or step_px > window:
        near = min(max(round_up(step_px, unit), unit), window)
        raise ArgumentError(
            f"stride={step_px} px does not suit model {name!r}. Expected a multiple of {unit} px, at most "
            f"{window}. Type stride={near}."
        )
    return step_px // factor


def _largest_core(sizes: Sequence[int], factor: int, halo: int, lengths: _Lengths) -> int:
    """Cells that a tile delivers so that the largest chunk is cut into few equal tiles."""
    largest = -(-max(sizes) // factor)
    longest = max(min(lengths.core, lengths.longest - 2 * halo), lengths.stride)
    pieces = -(-largest // longest)
    return round_up(-(-largest // pieces), lengths.stride)
