"""Where shadows fall and how dark they are: sun, view, height of the clouds (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xcloudmask.errors import ArgumentError
from xcloudmask.simulate._layer import CloudLayer
from xcloudmask.simulate.optics import is_cirrus_band, two_stream
from xcloudmask.simulate.spectra import THERMAL_NM
from xcloudmask.simulate.textures import soften

__all__ = ["Canvas", "Sun", "View", "self_shading", "shade_ground"]

_SUN_WIDTH = 0.0093
"""Angle under which the sun is seen, in radians."""
_SLABS = 24
"""A layer is cut into so many flat slabs at most."""

_Field = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sun:
    """Where the sun stands."""

    zenith_deg: float
    """Angle from the vertical."""
    azimuth_deg: float
    """Clockwise from north; the image has north at its top."""

    def __post_init__(self) -> None:
        """Refuse a sun below the horizon."""
        _check_zenith(self.zenith_deg)

    def shadow_shift_px(self, height_m: float, *, resolution_m: float) -> tuple[float, float]:
        """Return how far (y, x), in px, the shadow of something at that height lies from the point below it."""
        return _fall_px(self.zenith_deg, self.azimuth_deg, height_m / resolution_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Where the satellite stands, seen from the ground."""

    zenith_deg: float = 0.0
    """Angle from the vertical."""
    azimuth_deg: float = 0.0
    """Clockwise from north; the image has north at its top."""

    def __post_init__(self) -> None:
        """Refuse a satellite below the horizon."""
        _check_zenith(self.zenith_deg)

    def parallax_px(self, height_m: float, *, resolution_m: float) -> tuple[float, float]:
        """Return how far (y, x), in px, something at that height is seen from the point below it."""
        return _fall_px(self.zenith_deg, self.azimuth_deg, height_m / resolution_m)


def _check_zenith(zenith_deg: float) -> None:
    if not 0.0 <= zenith_deg < 90.0:
        raise ArgumentError(f"zenith_deg={zenith_deg}: expected an angle from the vertical, 0 to less than 90.")


def _fall_px(zenith_deg: float, azimuth_deg: float, height_px: float) -> tuple[float, float]:
    """Offset on the ground, in px, of a line from that direction through a point at that height."""
    length = height_px * np.tan(np.radians(zenith_deg))
    azimuth = np.radians(azimuth_deg)
    return float(length * np.cos(azimuth)), float(-length * np.sin(azimuth))


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """A window of a sky that is larger than the image, so that clouds outside throw their shadows into it.

    Layers are drawn where they are seen. A shadow lies from its cloud by the sun's shift less the parallax. Where this
    is at most the size of the window, the canvas reaches far enough for it, and no cloud is used twice. A shadow that
    falls further comes from clouds that cannot be in the window: the sky there is the same canvas turned by
    180 degrees.

    Shadow geometry: Zhu and Woodcock (2012), Remote Sensing of Environment 118, section 3.2. Light that a layer passes
    in all: the two streams of `xcloudmask.simulate.optics`.
    """

    window: tuple[int, int]
    """(y, x) size of the image, in px."""
    resolution_m: float
    """Size of a pixel."""
    sun: Sun
    """Where the light comes from."""
    view: View
    """Where the image is taken from."""

    def shift_px(self, height_m: float) -> tuple[float, float]:
        """Return how far (y, x) a shadow is seen from its cloud at that height."""
        shadow = self.sun.shadow_shift_px(height_m, resolution_m=self.resolution_m)
        seen = self.view.parallax_px(height_m, resolution_m=self.resolution_m)
        return shadow[0] - seen[0], shadow[1] - seen[1]

    def shape(self, base_m: float, top_m: float) -> tuple[int, int]:
        """Return the size (y, x) on which to draw a layer between two heights."""
        linked = all(abs(far) < extent for far, extent in zip(self.shift_px(base_m), self.window, strict=True))
        slabs = self._slabs(base_m, top_m, self.window, smear_only=not linked)
        reach = [max((abs(shift[axis]) for _, shift in slabs), default=0) for axis in (0, 1)]
        # Rounded up: transforms of prime sizes are slow.
        size = [
            extent + far if far == 0 else -(-(extent + far) // 16) * 16
            for extent, far in zip(self.window, reach, strict=True)
        ]
        return size[0], size[1]

    def crop(self, layer: CloudLayer) -> CloudLayer:
        """Return the part of a layer that is seen in the window."""
        return replace(layer, optical_thickness=self._cut(layer.optical_thickness, (0, 0)))

    def sunlight(self, layer: CloudLayer, *, onto_m: float = 0.0) -> _Field:
        """Return the sunlight, (y, x) from 0 to 1, that a layer leaves at a height below it.

        Direct light, and what the droplets or crystals scatter downwards, spread over a disk as wide as the layer is
        high: under a broad veil of cirrus it makes up for most of what the direct light lost, so that only compact and
        thick clouds throw dark shadows.

        Parameters
        ----------
        layer
            A layer on the whole canvas.
        onto_m
            Height of what lies in the shadow, itself displaced by the view; 0 is the ground.

        Returns
        -------
        numpy.ndarray
            (y, x) of the window.
        """
        slant = float(np.cos(np.radians(self.sun.zenith_deg)))
        # Light scattered by a few degrees still counts as direct: delta scaling, Joseph et al. (1976), J. Atmos. Sci.
        # 33.
        scaled = np.float32((1.0 - layer.asymmetry**2) / slant) * layer.optical_thickness
        base = max(layer.height_m - onto_m, 0.0)
        room = (scaled.shape[0] - self.window[0], scaled.shape[1] - self.window[1])
        linked = all(abs(round(shift)) <= free for shift, free in zip(self.shift_px(base), room, strict=True))
        if not linked:
            scaled = scaled[::-1, ::-1]
        reach = layer.reach() if linked else layer.reach()[::-1, ::-1]
        shadow = np.zeros(self.window, np.float32)
        slabs = self._slabs(base, base + layer.depth_m, room, smear_only=not linked)
        for part, shift in slabs:
            # The upper slabs belong to the thickest columns; their light edges soften the cut.
            slab = self._cut(scaled, shift)
            if part > 0.0:
                slab = slab * np.clip(4.0 * (self._cut(reach, shift) - np.float32(part)) + 0.5, 0.0, 1.0)
            np.maximum(shadow, slab, out=shadow)
        penumbra_px = _SUN_WIDTH * base / slant**2 / self.resolution_m
        # At least the blur of the optics.
        direct = soften(np.exp(-shadow), max(penumbra_px, 2.0))
        lowest = self._cut(scaled, slabs[0][1] if slabs else (0, 0))
        downwards = two_stream(lowest * np.float32(slant / (1.0 - layer.asymmetry**2)), asymmetry=layer.asymmetry)[1]
        scattered = soften(np.maximum(downwards - np.exp(-lowest), 0.0), base / slant / self.resolution_m)
        return np.asarray(np.minimum(direct + scattered, 1.0), np.float32)

    def _slabs(
        self, base_m: float, top_m: float, room: tuple[int, int], *, smear_only: bool
    ) -> list[tuple[float, tuple[int, int]]]:
        """Cut a layer into flat slabs: share of its depth, and shift (up to `room` px) of its shadow from the cloud."""
        smear = np.hypot(*self.shift_px(top_m - base_m))
        start = self.shift_px(base_m) if smear_only else (0.0, 0.0)
        slabs = []
        for part in np.linspace(0.0, 1.0, int(np.clip(smear / 2, 1, _SLABS))):
            dy, dx = self.shift_px(base_m + part * (top_m - base_m))
            shift = (round(dy - start[0]), round(dx - start[1]))
            if all(abs(far) <= free for far, free in zip(shift, room, strict=True)):
                slabs.append((float(part), shift))
        return slabs

    def _cut(self, field: _Field, shift: tuple[int, int]) -> _Field:
        """Cut the window out of a canvas, at the place whose shadow falls on it."""
        direction = self.shift_px(1000.0)
        rows, columns = (
            slice(start, start + extent)
            for start, extent in (
                # Shadows that fall towards higher indices come from lower ones: the window lies at the far end.
                ((size - extent if along > 0 else 0) - far, extent)
                for size, extent, along, far in zip(field.shape, self.window, direction, shift, strict=True)
            )
        )
        return field[rows, columns]


def shade_ground(image: _Field, sunlight: _Field, *, wavelengths_nm: npt.NDArray[np.float32], diffuse: float) -> _Field:
    """Weaken the direct light on the ground; path radiance and diffuse light stay.

    Parameters
    ----------
    image
        (band, y, x) reflectance; kelvin beyond 3000 nm.
    sunlight
        (y, x) share of sunlight left.
    wavelengths_nm
        Centre of each band.
    diffuse
        Share of diffuse light at 550 nm.

    Returns
    -------
    numpy.ndarray
        (band, y, x). The cirrus band, which does not see the ground, and temperatures are as they were.

    Notes
    -----
    Diffuse light falls with the wavelength, between Rayleigh's power of -4 and that of aerosols, about -1.3 (Angstrom,
    1929): shadows are darkest in the near and short-wave infrared (Zhu and Woodcock, 2012). Path radiance is at most
    that of the darkest pixels (Chavez, 1988, Remote Sensing of Environment 24), and at most what a clear atmosphere
    gives: over a desert no pixel is dark. Water is little more than path radiance, so shadows hardly show on it.

    Examples
    --------
    >>> bright = np.full((1, 8, 8), 0.4, np.float32)
    >>> waves = np.array([842.0], np.float32)
    >>> shaded = shade_ground(bright, np.zeros((8, 8), np.float32), wavelengths_nm=waves, diffuse=0.2)
    >>> bool((shaded < 0.1).all())
    True
    """
    shaded = np.empty_like(image)
    for index, wave in enumerate(wavelengths_nm.tolist()):
        band = image[index]
        if wave > THERMAL_NM or is_cirrus_band(wave):
            shaded[index] = band
            continue
        darkest = 0.8 * float(np.quantile(band[::8, ::8], 0.005))
        path = np.float32(np.clip(darkest, 0.0, 0.07 * (wave / 550.0) ** -2.5))
        share = np.float32(np.clip(diffuse * (wave / 550.0) ** -1.4, 0.03, 0.8))
        shaded[index] = path + (band - path) * (share + (1.0 - share) * sunlight)
    return shaded


def self_shading(layer: CloudLayer, sun: Sun, *, strength: float) -> _Field:
    """Bright flanks towards the sun and dark ones away from it.

    Parameters
    ----------
    layer
        A layer, in the window.
    sun
        Where the light comes from.
    strength
        0 for none; 0.5 for half the light on the steepest flanks.

    Returns
    -------
    numpy.ndarray
        (y, x) factor around 1.

    Examples
    --------
    >>> ramp = np.linspace(0.0, 40.0, 8, dtype=np.float32) * np.ones((8, 1), np.float32)
    >>> layer = CloudLayer(optical_thickness=ramp, height_m=500.0, depth_m=300.0, asymmetry=0.85)
    >>> east, west = (self_shading(layer, Sun(zenith_deg=45.0, azimuth_deg=a), strength=0.3) for a in (90.0, 270.0))
    >>> bool(west.mean() > 1 > east.mean())
    True
    """
    dy, dx = _fall_px(45.0, sun.azimuth_deg, 1.0)
    height = np.sqrt(layer.optical_thickness)
    # Fine and broad relief: the flanks of a cloud, and the lumps on them.
    slope = np.float32(0.6) * _slope(height, dy, dx, 1) + np.float32(0.4) * _slope(soften(height, 5.0), dy, dx, 3)
    return np.asarray(1.0 - np.float32(strength) * np.tanh(slope), np.float32)


def _slope(height: _Field, dy: float, dx: float, step: int) -> _Field:
    """How much the surface falls along the light; the border repeats its neighbours."""
    wide = np.pad(height, step, mode="edge")
    down = wide[: -2 * step, step:-step] - wide[2 * step :, step:-step]
    right = wide[step:-step, : -2 * step] - wide[step:-step, 2 * step :]
    return np.float32(dy) * down + np.float32(dx) * right
