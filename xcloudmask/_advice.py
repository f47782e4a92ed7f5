"""What `plan` warns of: pixels that the model was not trained for, halos and chunks that are too small."""

from __future__ import annotations

import math
from collections.abc import Iterator

from xcloudmask.geometry import upsample_factor
from xcloudmask.graph_ocm import ocm_layout
from xcloudmask.halo import fitting_core
from xcloudmask.prepare import Prepared

__all__ = ["pixel_ratio", "warnings"]

_CHUNK_PX = 2048
"""Chunks of this side are advised where smaller ones cost too much."""
_RATIO_MAX = 1.5
"""Pixels computed over pixels delivered above which larger chunks are worth a word."""


def pixel_ratio(prepared: Prepared) -> float:
    """Pixels computed over pixels delivered, on the grid of the cells.

    Parameters
    ----------
    prepared
        The cube and its geometry.

    Returns
    -------
    float
    """
    geometry = prepared.geometry
    if prepared.settings.normalize == "ocm":
        layout = ocm_layout(prepared.settings, geometry.chunks)
        return (
            math.prod(len(starts) for starts in layout.starts[0]) * layout.sizes[0].side ** 2 / math.prod(layout.shape)
        )
    if geometry.step_cells:
        return math.prod(side / geometry.step_cells for side in geometry.tile_cells)
    ratio, follows = 1.0, prepared.settings.normalize == "chunk"
    for axis, sizes in enumerate(geometry.chunks):
        halo, core = geometry.tile_halo_cells[axis], geometry.tile_cells[axis]
        computed = 0
        for size in sizes:
            cells = -(-size // geometry.factor)
            side = fitting_core(cells, core=core, stride=_stride(prepared)) if follows else core
            computed += -(-cells // side) * (side + 2 * halo)
        ratio *= computed * geometry.factor / sum(sizes)
    return ratio


def _stride(prepared: Prepared) -> int:
    stride, upsample = prepared.spec.stride_px, prepared.geometry.upsample
    return stride // math.gcd(stride, upsample)


def warnings(prepared: Prepared) -> Iterator[str]:
    """Say what deserves a thought before the run.

    Parameters
    ----------
    prepared
        The cube and its geometry.

    Yields
    ------
    str
    """
    yield from _resolution(prepared)
    yield from _halo(prepared)
    yield from _chunks(prepared)


def _resolution(prepared: Prepared) -> Iterator[str]:
    geometry, (finest, coarsest) = prepared.geometry, prepared.spec.resolution_m
    if prepared.resolution is None:
        yield f"The pixel size is unknown. The model expects {finest:g} to {coarsest:g} m. Type resolution_m=..."
        return
    pixel_m = math.sqrt(math.prod(prepared.resolution))
    seen_m = pixel_m * geometry.factor / geometry.upsample
    what = f"Pixels of {pixel_m:.4g} m"
    if geometry.upsample > 1:
        what += f", interpolated by {geometry.upsample} to {seen_m:.4g} m,"
    elif geometry.factor > 1:
        what += f", averaged by {geometry.factor} to {seen_m:.4g} m,"
    if seen_m < finest * 0.9:
        yield f"{what} are finer than the {finest:g} m that the model was trained for. Load the cube coarser."
    elif seen_m > coarsest * 1.05:
        advice = _upsampling(prepared, pixel_m) if geometry.factor == geometry.upsample == 1 else ""
        yield f"{what} are coarser than the {coarsest:g} m that the model was trained for.{advice}"


def _upsampling(prepared: Prepared, pixel_m: float) -> str:
    by = upsample_factor(prepared.resolution, prepared.spec, asked=True)
    return f" Type upsample=True to interpolate them by {by} to {pixel_m / by:.4g} m ({by**2} times the work)."


def _halo(prepared: Prepared) -> Iterator[str]:
    geometry, spec = prepared.geometry, prepared.spec
    halo = geometry.halo_cells * geometry.upsample
    if prepared.settings.normalize == "ocm":
        if None in prepared.settings.nodata:
            yield "A band declares no nodata value, and OmniCloudMask takes 0 by default. Type nodata=0 to do so."
        return
    if not spec.exact_halo:
        yield f"Model {spec.name!r} has global layers: no halo is exact, and borders of tiles can show."
    elif geometry.step_cells is None and halo < spec.radius_px and not _one_block(prepared):
        yield (
            f"A halo of {halo} px is smaller than the receptive radius of {spec.radius_px} px: borders of chunks can "
            "show. Leave halo_px out."
        )


def _chunks(prepared: Prepared) -> Iterator[str]:
    geometry, ratio = prepared.geometry, pixel_ratio(prepared)
    small = max(map(max, geometry.chunks)) * geometry.upsample < 1024
    if geometry.step_cells is None and ratio > _RATIO_MAX and small:
        cells, halo = geometry.upsample**2, prepared.spec.halo_px
        wanted = round((1.0 + 2.0 * halo / _CHUNK_PX) ** 2, 2)
        yield (
            f"Small chunks: {ratio * cells:.1f} pixels are computed per pixel. Chunks of "
            f"{_CHUNK_PX // geometry.upsample} px need {wanted * cells:.4g}."
        )


def _one_block(prepared: Prepared) -> bool:
    return all(len(sizes) == 1 for sizes in prepared.geometry.chunks)
