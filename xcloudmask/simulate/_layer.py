"""One layer of cloud: the type that textures, shadows and optics share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CanvasSize", "CloudLayer", "Field"]

Field = npt.NDArray[np.float32]
CanvasSize = Callable[[float, float], tuple[int, int]]
"""Gives the size (y, x) in px on which to draw a layer, for the heights in metres of its base and top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudLayer:
    """One layer of cloud."""

    optical_thickness: npt.NDArray[np.float32]
    """(y, x), at 550 nm."""
    height_m: float
    """Height of the base above the ground."""
    depth_m: float
    """Geometrical thickness of the thickest part."""
    asymmetry: float
    """Asymmetry of scattering: 0.85 water droplets, 0.78 ice crystals, 0.65 haze."""
    angstrom: float = 0.0
    """Optical thickness falls with the wavelength to this power; 0 for droplets and crystals."""
    tilt: float = 0.0
    """Brightness changes with the wavelength to this power: what the atmosphere and its correction do to white."""
    ice: bool = False
    """Ice absorbs more of the short-wave infrared than water."""
    tall_tau: float = 8.0
    """Columns of this optical thickness reach through 63 % of the depth, thicker ones further."""
    anvil: CloudLayer | None = None
    """A second layer that belongs to it, on the same grid: the anvil of a cumulonimbus."""

    def reach(self) -> npt.NDArray[np.float32]:
        """Return how far each column reaches, (y, x), 0 to 1 of the depth: cumulus are as high as they are thick.

        Examples
        --------
        >>> tau = np.array([[0.0, 8.0, 100.0]], np.float32)
        >>> CloudLayer(optical_thickness=tau, height_m=500.0, depth_m=200.0, asymmetry=0.85).reach().round(2)
        array([[0.  , 0.63, 1.  ]], dtype=float32)
        """
        return np.asarray(1.0 - np.exp(np.float32(-1.0 / self.tall_tau) * self.optical_thickness), np.float32)

    def top_m(self) -> npt.NDArray[np.float32]:
        """Return the height of the cloud's top above the ground, (y, x): thick columns reach higher.

        Examples
        --------
        >>> tau = np.array([[0.0, 100.0]], np.float32)
        >>> CloudLayer(optical_thickness=tau, height_m=500.0, depth_m=200.0, asymmetry=0.85).top_m().round()
        array([[500., 700.]], dtype=float32)
        """
        return np.asarray(self.height_m + np.float32(self.depth_m) * self.reach(), np.float32)
