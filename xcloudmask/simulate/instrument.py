"""What a sensor does to an image: noise, stripes, saturation, few bits, missing pixels (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError

__all__ = ["Instrument", "degrade", "draw_instrument"]

_Image = npt.NDArray[np.float32]
_Valid = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Faults of a sensor and its product. The default has none."""

    read_noise: float = 0.0
    """Standard deviation of the noise that does not depend on the light, in reflectance."""
    shot_noise: float = 0.0
    """Standard deviation of the noise at a reflectance of 1; it grows with the root of the light."""
    stripes: float = 0.0
    """Relative spread of the detectors' gains: one gain per column, since the track runs from top to bottom."""
    saturation: float | None = None
    """Reflectance above which all pixels read the same; None for no limit."""
    levels: int | None = None
    """Number of levels between 0 and the brightest pixel (or the saturation): 256 for 8 bits; None for no rounding."""
    swath_edge: float = 0.0
    """Share of the width that lies beyond the edge of the swath."""
    edge_tilt_deg: float = 12.0
    """Angle of the swath's edge from the columns."""
    gaps: float = 0.0
    """Share of the rows lost to gaps across the track, such as those of Landsat 7 after 2003."""
    lost_lines: int = 0
    """Single rows that are missing."""
    lost_blocks: int = 0
    """Rectangles that are missing, as after a lost packet."""

    def __post_init__(self) -> None:
        """Refuse what no sensor does."""
        for name in ("read_noise", "shot_noise", "stripes", "lost_lines", "lost_blocks"):
            if not getattr(self, name) >= 0:
                raise ArgumentError(f"{name}={getattr(self, name)} is negative. Expected 0 or more.")
        for name in ("swath_edge", "gaps"):
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(f"{name}={getattr(self, name)}: expected a share from 0 to less than 1.")
        if self.levels is not None and self.levels < 2:
            raise ArgumentError(f"levels={self.levels}: expected at least 2, such as 256 for 8 bits.")
        if self.saturation is not None and not self.saturation > 0:
            raise ArgumentError(f"saturation={self.saturation}: expected a reflectance above 0.")


def degrade(
    image: _Image, valid: _Valid | None = None, *, instrument: Instrument, rng: np.random.Generator
) -> tuple[_Image, _Valid]:
    """Send an image through a sensor with faults.

    Parameters
    ----------
    image
        (band, y, x) reflectance.
    valid
        (y, x), True where there is data; None for everywhere.
    instrument
        The faults.
    rng
        Source of randomness; nothing is drawn for faults that are off.

    Returns
    -------
    image, valid
        (band, y, x) float32, 0 where not valid, and (y, x). Pixels that were not valid stay so.

    Raises
    ------
    ArgumentError
        The shapes do not fit.

    Notes
    -----
    Shot and read noise: the photon transfer curve, Janesick (2007), Photon Transfer, SPIE. Stripes are gains of single
    detectors of a push-broom sensor: Gascon et al. (2017), Remote Sensing 9(6), 584. Gaps: the scan line corrector of
    Landsat 7, Storey, Scaramuzza and Schmidt (2005), Pecora 16; they lose 22 % of a scene, none at its middle.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> eight_bits = Instrument(saturation=1.0, levels=256)
    >>> ramp = np.linspace(0.0, 1.0, 4096, dtype=np.float32).reshape(1, 64, 64)
    >>> image, valid = degrade(ramp, instrument=eight_bits, rng=rng)
    >>> len(np.unique(image)), bool(valid.all())
    (256, True)
    """
    shape = image.shape[1:]
    if image.ndim != 3 or (valid is not None and valid.shape != shape):
        found = image.shape if valid is None else (image.shape, valid.shape)
        raise ArgumentError(f"Found shapes {found}. Expected an image (band, y, x) and valid (y, x) of one size.")
    seen = np.array(image, np.float32)
    kept = np.ones(shape, bool) if valid is None else np.array(valid, bool)
    if instrument.stripes > 0:
        seen *= 1.0 + np.float32(instrument.stripes) * rng.standard_normal((len(seen), 1, shape[1]), np.float32)
    if instrument.read_noise > 0 or instrument.shot_noise > 0:
        light = np.maximum(seen, 0.0)
        spread = np.sqrt(np.float32(instrument.read_noise**2) + np.float32(instrument.shot_noise**2) * light)
        seen += spread * rng.standard_normal(seen.shape, np.float32)
    if instrument.saturation is not None:
        np.minimum(seen, np.float32(instrument.saturation), out=seen)
    if instrument.levels is not None:
        seen = _rounded(seen, kept, instrument)
    kept &= _received((shape[0], shape[1]), instrument, rng)
    return np.where(kept, seen, np.float32(0.0)), kept


def draw_instrument(rng: np.random.Generator) -> Instrument:
    """Draw the faults of a product, most of them absent, as in archives.

    Parameters
    ----------
    rng
        Source of randomness.

    Returns
    -------
    Instrument

    Examples
    --------
    >>> draw_instrument(np.random.default_rng(0)) == draw_instrument(np.random.default_rng(0))
    True
    """

    def sometimes(chance: float, low: float, high: float) -> float:
        # Both are drawn in any case, so that one fault does not change the next.
        happens, value = rng.random() < chance, float(rng.uniform(low, high))
        return value if happens else 0.0

    saturation = sometimes(0.1, 0.35, 1.2)
    return Instrument(
        read_noise=sometimes(0.5, 0.0, 0.006),
        shot_noise=sometimes(0.5, 0.0, 0.012),
        stripes=sometimes(0.1, 0.002, 0.03),
        saturation=saturation or None,
        levels=256 if sometimes(0.15, 0.5, 1.0) else None,
        swath_edge=sometimes(0.08, 0.03, 0.6),
        edge_tilt_deg=float(rng.uniform(-20.0, 20.0)),
        gaps=sometimes(0.03, 0.05, 0.3),
        lost_lines=round(sometimes(0.03, 1.0, 8.0)),
        lost_blocks=round(sometimes(0.03, 1.0, 4.0)),
    )


def _rounded(image: _Image, valid: _Valid, instrument: Instrument) -> _Image:
    """Round to equal steps from 0 to the top; what is below 0 becomes 0."""
    levels = int(instrument.levels or 2)
    known = image[:, valid]
    top = instrument.saturation or (float(known.max()) if known.size else 1.0)
    step = np.float32(max(top, 1e-6) / (levels - 1))
    return np.asarray(np.clip(np.round(image / step), 0, levels - 1) * step, np.float32)


def _received(shape: tuple[int, int], instrument: Instrument, rng: np.random.Generator) -> _Valid:
    """Pixels that arrived."""
    rows, columns = shape
    y, x = np.arange(rows)[:, None], np.arange(columns)
    kept = np.ones(shape, bool)
    if instrument.swath_edge > 0:
        edge = (1.0 - instrument.swath_edge) * columns - np.tan(np.radians(instrument.edge_tilt_deg)) * (y - rows / 2)
        # The edge is at the right or at the left.
        kept &= (x < edge) if rng.random() < 0.5 else (columns - 1 - x < edge)
    if instrument.gaps > 0:
        period, start = float(rng.uniform(12.0, 40.0)), float(rng.uniform(0.0, 40.0))
        # Wedges: narrow towards the middle of the scene, which lies on one side; lines of sight are a bit oblique.
        widening = np.linspace(*((0.4, 1.6) if rng.random() < 0.5 else (1.6, 0.4)), columns)
        kept &= ((y + 0.12 * x + start) % period) >= np.clip(instrument.gaps * widening, 0.0, 0.95) * period
    if instrument.lost_lines:
        kept[rng.integers(rows, size=instrument.lost_lines)] = False
    for _ in range(instrument.lost_blocks):
        top, left = rng.integers(rows), rng.integers(columns)
        height, width = rng.integers(1, max(2, rows // 3)), rng.integers(1, max(2, columns // 3))
        kept[top : top + height, left : left + width] = False
    return kept
