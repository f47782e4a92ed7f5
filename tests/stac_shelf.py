"""A folder of scenes with items in the spelling of a catalogue, for tests of loading."""

from __future__ import annotations

import json

import numpy as np
import pystac
import stac_items as cat

from xcloudmask.stac import HrefPolicy, read_items

LOCAL = HrefPolicy(allow_private=True)
SIDE = 160
ROLES = {"red": "B04", "green": "B03", "nir": "B08"}


def grid_cube(*, epsg=32631, x=600_000.0, y=5_400_000.0, pixel=10.0, shape=(SIDE, SIDE)):
    """An empty cube that says where pixels are."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_zeros

    return xr_zeros(GeoBox(shape, Affine(pixel, 0, x, 0, -pixel, y), f"EPSG:{epsg}"), dtype="uint8").to_dataset(
        name="z"
    )


class Shelf:
    """A folder of scenes."""

    def __init__(self, folder, url=None):
        self.folder = folder
        self.url = (lambda name: str(folder / name)) if url is None else url
        self.pixels = {}

    def scene(
        self, name, build=cat.planetary_computer_s2, *, time="2024-05-14T10:50:31Z", offset=0, bands=ROLES, seed=0,
        grid=None, extra=None, **more,
    ):  # fmt: skip
        cube, hrefs = grid_cube() if grid is None else grid, {}
        shape = cube["z"].shape
        rng = np.random.default_rng(seed)
        for role, band in bands.items():
            pixels = rng.integers(200, 9000, shape, dtype=np.uint16) + np.uint16(offset)
            pixels[:8, :8] = 0
            self.pixels[name, role] = pixels
            cat.write_tif(self.folder / f"{name}-{band}.tif", {band: pixels}, cube, nodata=0)
            hrefs[band] = self.url(f"{name}-{band}.tif")
        item = build(cat.Shot.of(cube, hrefs=hrefs, time=time), **({"baseline": "05.10"} | more))
        item["properties"].update(extra or {})
        (self.folder / f"{name}.json").write_text(json.dumps(item))
        return item

    def items(self, *names):
        return read_items([self.folder / f"{name}.json" for name in names])


def of(item):
    return pystac.Item.from_dict(item)
