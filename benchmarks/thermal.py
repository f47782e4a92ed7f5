"""The 95th percentile of the brightness temperatures of simulated scenes: `xcloudmask.models.openbands.THERMAL_K`.

``python -m benchmarks.thermal`` prints percentiles over 400 scenes of all biomes, two in three under clouds.
"""

from __future__ import annotations

import sys

import numpy as np

from xcloudmask.simulate.clouds import add_clouds
from xcloudmask.simulate.surface import draw_surface

LWIR_NM = (10_600.0, 10_900.0, 11_190.0)
SIZE_PX = 96


def percentiles(scenes: int) -> dict[int, float]:
    """Draw scenes and return percentiles of their brightness temperature, in kelvin."""
    values = []
    for index in range(scenes):
        rng = np.random.default_rng((95, index))
        surface = draw_surface((SIZE_PX, SIZE_PX), bands=[LWIR_NM], resolution_m=30.0, rng=rng)
        image = surface.reflectance
        if index % 3:
            scene = add_clouds(image, wavelengths_nm=[LWIR_NM[1]], resolution_m=30.0, rng=rng, sun=surface.sun)
            image = scene.image
        values.append(image[0, ::4, ::4].ravel())
    found = np.percentile(np.concatenate(values), (1, 5, 50, 95, 99))
    return dict(zip((1, 5, 50, 95, 99), map(float, found), strict=True))


if __name__ == "__main__":
    for percent, kelvin in percentiles(int(sys.argv[1]) if len(sys.argv) > 1 else 400).items():
        print(f"{percent:2d} %  {kelvin:.1f} K")
