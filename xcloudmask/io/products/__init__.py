"""Products as agencies and companies deliver them: Sentinel-2 ``.SAFE``, Landsat Collection 2, PlanetScope."""

from xcloudmask.io.products.recognise import open_any

__all__ = ["open_any"]
