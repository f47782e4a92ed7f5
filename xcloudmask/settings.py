"""`EngineSettings`: what a block needs to know besides its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xcloudmask.classes import OutputStyle, get_style
from xcloudmask.models.spec import ModelSpec

__all__ = ["EngineSettings", "Normalize", "Output"]

Normalize = Literal["chunk", "lattice", "scene", "ocm"]
Output = Literal["labels", "percent", "probability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """All that a block needs to know besides its pixels; small, frozen, part of the graph's keys.

    Lengths are in cells: `factor` x `factor` pixels of the cube, which the model sees as one pixel of its own, or one
    pixel of the cube, which it sees as `upsample` x `upsample`. One of the two is 1.
    """

    spec: ModelSpec
    """The model."""
    normalize: Normalize = "chunk"
    """Over which pixels the statistics are taken."""
    output: Output = "labels"
    """Codes, percent per code, or probability per code."""
    style: OutputStyle = "4-class"
    """Which codes."""
    factor: int = 1
    """Pixels of the cube averaged to one cell, along each axis."""
    upsample: int = 1
    """Pixels of the model that a cell is interpolated to, along each axis."""
    halo_px: tuple[int, int]
    """Context on both sides of a tile along y and x; multiples of the stride, 0 where one tile spans the axis."""
    tile_px: tuple[int, int]
    """Cells a tile delivers along y and x; multiples of the stride. Side of the patches of ``normalize="ocm"``."""
    step_px: int | None = None
    """Step of the moving window, or of the patches of ``normalize="ocm"``; None for the halo crop."""
    present: tuple[bool, ...] = (True, True, True)
    """Per band of the model: False where it was given up and is fed as zeros."""
    nodata: tuple[float | None, ...] = (None, None, None)
    """Declared nodata value per band that is present."""
    scale: tuple[float, ...] | None = None
    """Per band of the model, reflectance = value * scale + offset; 0 for a band given up. None where it is unknown, or
    differs between time steps: then each block is given its own."""
    offset: tuple[float, ...] | None = None
    """See `scale`."""
    device: str = "auto"
    """Where the model runs; resolved in the worker."""
    precision: str = "auto"
    """In which numbers; resolved in the worker."""
    backend: str = "auto"
    """What runs the model; resolved in the worker."""
    batch_size: int | None = None
    """Tiles fed at once; None for automatic."""

    @property
    def takes_statistics(self) -> bool:
        """Whether the model is fed anything that depends on the statistics of windows, tiles or scenes."""
        return self.spec.normalization == "zscore" or self.spec.level

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Pixels fed to the network along y and x."""
        y, x = (core + 2 * halo for core, halo in zip(self.tile_px, self.halo_px, strict=True))
        return y * self.upsample, x * self.upsample

    @property
    def codes(self) -> int:
        """Number of codes of the output style."""
        return len(get_style(self.style).meanings)

    @property
    def fast_labels(self) -> bool:
        """Whether labels come straight from the logits: no averaging, no interpolation."""
        return self.output == "labels" and self.factor == self.upsample == 1 and self.step_px is None
