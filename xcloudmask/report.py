"""`Plan`: what `predict` would do, in words and numbers for people to read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xcloudmask._advice import pixel_ratio, warnings
from xcloudmask._tables import html_table
from xcloudmask.classes import CloudClass
from xcloudmask.errors import ArgumentError
from xcloudmask.graph import overlap_kind
from xcloudmask.graph_ocm import ocm_layout, ocm_tasks
from xcloudmask.models.backends.choice import Engine, resolve_engine
from xcloudmask.models.spec import ModelSpec
from xcloudmask.prepare import Prepared
from xcloudmask.settings import EngineSettings

__all__ = ["Plan", "describe"]

_TASKS_PER_CHUNK = {"map_overlap": (4, 10), "edges": (1, 2)}
"""Tasks of a chunk without and with neighbours, beyond those that load the cube (`python -m benchmarks overlap`)."""

_BYTES_PER_CELL = {"bf16": 100, "fp16": 100, "fp32": 150, "auto": 150, "int8": 110}
"""Memory that the shipped network takes per cell of a tile, rounded up; measured by `python -m benchmarks memory`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `predict` would do with a cube. `str(plan)` is a page of text."""

    model: ModelSpec
    """The model."""
    bands: dict[str, str]
    """Band of the model -> band of the cube, and how it was found."""
    left_out: dict[str, str]
    """Band of the cube that a model of any bands is not fed -> why."""
    nodata: dict[str, float | None]
    """Band of the model -> declared nodata value."""
    scale: str
    """What is known of the scale of reflectance."""
    normalize: str
    """Pixels that the statistics are taken over."""
    shape: dict[str, int]
    """Sizes of the mask."""
    resolution_m: tuple[float, float] | None
    """Metres per pixel along y and x."""
    factor: int
    """Pixels averaged to one pixel of the model, along each axis."""
    upsample: int
    """Pixels of the model that a pixel is interpolated to, along each axis."""
    stride_px: int
    """Borders of tiles and chunks lie on multiples of this, in pixels of the cube (the larger of y and x)."""
    halo_px: int
    """Context around each tile, in pixels of the cube."""
    exact_halo: bool
    """Whether the halo covers all that the model can see."""
    window: str
    """How predictions are put together."""
    chunks: tuple[tuple[int, ...], ...]
    """Chunks of the mask along time, y and x."""
    rechunk: str
    """Why the cube is rechunked; empty where it is not."""
    tile_px: tuple[int, int]
    """Pixels of the model fed at once, along y and x."""
    blocks: int
    """Chunks to work on."""
    tasks: int
    """Tasks of the graph, beyond those that load the cube (about)."""
    pixel_ratio: float
    """Pixels of the model computed over its pixels delivered, or over pixels of the cube where they are coarser."""
    block_bytes: int
    """Memory of the largest chunk at work (about)."""
    device: str
    """Where the model runs; ``auto`` is resolved in each worker."""
    precision: str
    """In which numbers; ``auto`` is resolved in each worker."""
    backend: str
    """What runs the model; ``auto`` is resolved in each worker."""
    warnings: tuple[str, ...]
    """What deserves a thought before the run."""

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the plan as pairs of a label and a text.

        Yields
        ------
        tuple of str
        """
        yield "model", f"{self.model.name} ({self.model.architecture}, sha256 {self.model.sha256[:12]})"
        yield from ((f"band {role}", text) for role, text in self.bands.items())
        yield from (("left out", f"{name}: {why}") for name, why in self.left_out.items())
        yield (
            "nodata",
            ", ".join(f"{role} {'not declared' if v is None else f'{v:g}'}" for role, v in self.nodata.items()),
        )
        yield "reflectance", self.scale
        yield "normalize", self.normalize
        yield "mask", " x ".join(f"{dim} {size}" for dim, size in self.shape.items())
        yield "resolution", _resolution_text(self.resolution_m, self.factor, self.upsample)
        exact = "exact" if self.exact_halo else "not exact"
        if self.halo_px or self.stride_px > 1:
            yield "halo", f"{self.halo_px} px ({exact}), borders on multiples of {self.stride_px} px"
        yield "prediction", self.window
        yield "chunks", " x ".join(_sizes_text(sizes) for sizes in self.chunks)
        yield "rechunk", self.rechunk or "no: the cube's own chunks"
        yield "tile", f"{self.tile_px[0]} x {self.tile_px[1]} pixels of the model fed at once"
        blocks = "1 block" if self.blocks == 1 else f"{self.blocks} blocks"
        yield "work", f"{blocks}, about {self.tasks} tasks, {self.pixel_ratio:.2f} pixels computed per pixel"
        yield "memory", f"about {self.block_bytes / 1e6:,.0f} MB per block at work"
        yield "device", f"{self.device}, backend {self.backend}, precision {self.precision}: {self._engine_text()}"
        yield from (("warning", text) for text in self.warnings)

    def engine(self) -> Engine:
        """Tell what the model would run on in this process; a worker may have other devices and packages.

        Returns
        -------
        Engine

        Raises
        ------
        ArgumentError
            This process does not have the device.
        """
        return resolve_engine(
            backend=self.backend,
            device=self.device,
            precision=self.precision,
            architecture=self.model.architecture,
        )

    def _engine_text(self) -> str:
        try:
            here = f"{self.engine()} on this machine"
        except ArgumentError:
            here = "no such device on this machine"
        return f"{here} (each worker resolves auto for itself)"

    def __str__(self) -> str:
        """Return a page of text."""
        return "\n".join(f"{label:<12} {text}" for label, text in self.rows())

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"<Plan {self.model.name}: {' x '.join(map(str, self.shape.values()))}, {self.blocks} blocks, "
            f"halo {self.halo_px} px, {len(self.warnings)} warnings>"
        )

    def _repr_html_(self) -> str:
        return html_table("xcloudmask plan", self.rows())


def describe(prepared: Prepared) -> Plan:
    """Put a prepared cube into words and numbers.

    Parameters
    ----------
    prepared
        The cube and its geometry.

    Returns
    -------
    Plan
    """
    geometry, settings, spec = prepared.geometry, prepared.settings, prepared.spec
    selection = prepared.selection
    nodata = iter(settings.nodata)
    chunks = prepared.chunks
    blocks = math.prod(len(sizes) for sizes in chunks)
    halo = geometry.halo_cells * geometry.upsample
    alone = all(len(sizes) == 1 for sizes in geometry.chunks)
    ocm = settings.normalize == "ocm"
    return Plan(
        model=spec,
        bands={
            role: f"{name} ({how})" if name is not None else how
            for role, name, how in zip(selection.roles, selection.names, selection.how, strict=True)
        },
        left_out=dict(selection.left_out),
        nodata={role: next(nodata) for role, there in zip(selection.roles, settings.present, strict=True) if there},
        scale=_scale_text(prepared),
        normalize=_normalize_text(settings),
        shape={str(dim): size for dim, size in prepared.template.sizes.items()},
        resolution_m=prepared.resolution,
        factor=geometry.factor,
        upsample=geometry.upsample,
        stride_px=max(geometry.multiple),
        halo_px=geometry.halo_cells * geometry.factor,
        exact_halo=spec.exact_halo and not geometry.step_cells and halo >= spec.radius_px,
        window=_window_text(prepared),
        chunks=chunks,
        rechunk=_rechunk_text(prepared),
        tile_px=geometry.fed_px,
        blocks=blocks,
        tasks=ocm_tasks(prepared.stack, settings) if ocm else blocks * _TASKS_PER_CHUNK[overlap_kind()][not alone],
        pixel_ratio=pixel_ratio(prepared) * geometry.upsample**2,
        block_bytes=_patch_bytes(prepared) if ocm else _block_bytes(prepared),
        device=settings.device,
        precision="fp32" if ocm and settings.precision == "auto" else settings.precision,
        backend="torch" if ocm else settings.backend,
        warnings=tuple(warnings(prepared)),
    )


_NORMALIZE_TEXT = {
    "chunk": "z-score per chunk, halo included: labels follow the layout of the chunks",
    "lattice": "z-score per tile of a lattice: the same labels for every layout of chunks",
    "scene": "z-score per time step over the whole scene, in two passes: the same labels for every layout of chunks",
    "ocm": "z-score per patch and band, as OmniCloudMask does: the same labels for every layout of chunks",
}


def _normalize_text(settings: EngineSettings) -> str:
    if settings.takes_statistics:
        return _NORMALIZE_TEXT[settings.normalize]
    return f"{settings.normalize}, for the tiles alone: no statistics are taken"


def _resolution_text(resolution: tuple[float, float] | None, factor: int, upsample: int) -> str:
    if resolution is None:
        return "unknown: taken as it is" if upsample == 1 else f"unknown: interpolated by {upsample}"
    text = f"{resolution[0]:.4g} x {resolution[1]:.4g} m"
    if factor == upsample == 1:
        return text
    how = f"averaged by {factor}" if factor > 1 else f"interpolated by {upsample}"
    return f"{text}, {how} to {resolution[0] * factor / upsample:.4g} m, mask on the cube's own grid"


def _sizes_text(sizes: tuple[int, ...]) -> str:
    if len(set(sizes)) == 1:
        return f"{len(sizes)} of {sizes[0]}"
    return f"{len(sizes)} of {min(sizes)} to {max(sizes)}"


def _scale_text(prepared: Prepared) -> str:
    spec, scales = prepared.spec, prepared.scales
    raw = spec.takes_reflectance
    if not (spec.level or raw):
        return "not used by the model"
    use = "the model takes reflectance" if raw else "the model gets the level of each band"
    if isinstance(scales, np.ndarray):
        known = int(np.isfinite(scales).all(axis=1).sum())
        return f"scale known for {known} of {len(scales)} dates, each with its own: {use}"
    if scales is not None:
        return f"scale of each date from dask coordinates, read with the pixels: {use}"
    if prepared.settings.scale is None:
        return (
            "scale unknown: the model does without the level (give the bands the attributes scale_factor and "
            "add_offset, or type scale=, or sensor= where the sensor fixes them)"
        )
    return f"scale known: {use}"


def _window_text(prepared: Prepared) -> str:
    geometry = prepared.geometry
    if geometry.step_cells is None:
        return "tiles with a halo, cropped"
    side, step = (cells * geometry.factor for cells in (geometry.tile_cells[0], geometry.step_cells))
    if prepared.settings.normalize == "ocm":
        return f"patches of {side} px that share {side - step}, moved off nodata, logits blended (OmniCloudMask)"
    return f"windows of {side} px every {step} px, probabilities averaged"


def _rechunk_text(prepared: Prepared) -> str:
    geometry = prepared.geometry
    reasons = []
    for axis, name in enumerate(prepared.template.dims[-2:]):
        given, planned = prepared.given_chunks[axis], geometry.chunks[axis]
        if given != planned:
            what = f"{name}: {_sizes_text(given)} -> {_sizes_text(planned)}"
            why = f"borders on multiples of {geometry.multiple[axis]} px, none smaller than {geometry.depth[axis]} px"
            reasons.append(f"{what} ({why})")
    return "; ".join(reasons)


def _patch_bytes(prepared: Prepared) -> int:
    """A patch in the network, and a chunk in the middle with the patches that touch it."""
    settings, chunks = prepared.settings, prepared.geometry.chunks
    layout, classes = ocm_layout(settings, chunks), len(CloudClass)
    patch = math.prod(settings.tile_px)
    y, x = (len(sizes) // 2 for sizes in chunks)
    touching = sum(layout.touches(window, y, x) for window in layout.visitors(y, x) if window[0] == 0)
    blend = touching * patch + max(chunks[0]) * max(chunks[1])
    total: int = patch * _BYTES_PER_CELL["fp32" if settings.precision == "auto" else settings.precision]
    return total + blend * classes * 4


def _block_bytes(prepared: Prepared) -> int:
    geometry, stack = prepared.geometry, prepared.stack
    sides = [max(sizes) + 2 * depth for sizes, depth in zip(geometry.chunks, geometry.depth, strict=True)]
    times = max(stack.chunks[0])
    # The raw block is held twice while it is put together from its neighbours.
    raw = 2 * times * stack.shape[1] * math.prod(sides) * stack.dtype.itemsize
    codes = 1 if prepared.settings.output == "labels" else 4 * prepared.settings.codes
    cells = (prepared.settings.batch_size or 1) * math.prod(geometry.fed_px)
    total: int = raw + times * math.prod(sides) * codes + cells * _BYTES_PER_CELL[prepared.settings.precision]
    return total
