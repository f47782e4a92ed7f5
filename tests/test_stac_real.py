"""Real scenes wrapped in items: the same pixels and the same masks as the files."""

from __future__ import annotations

import json
import warnings

import numpy as np
import odc.geo.xr  # noqa: F401 - registers .odc
import pytest
import stac_items as cat
import xarray as xr

import xcloudmask
from xcloudmask.errors import ReadError
from xcloudmask.stac import load, read_items

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenes(data_dir):
    return data_dir / "scenes"


def as_items(folder, document):
    (folder / "item.json").write_text(json.dumps(document))
    return read_items(folder / "item.json")


def of_files(paths):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xcloudmask.open_cube(paths).load()


def document(hrefs, cube, *, declared, **more):
    box = cube.odc.geobox
    outline = box.extent.to_crs("EPSG:4326")
    shot = cat.Shot(
        hrefs=hrefs,
        epsg=box.crs.epsg,
        transform=tuple(box.transform)[:6],
        shape=tuple(box.shape),
        footprint=json.loads(json.dumps(outline.json)),
    )
    item = cat.planetary_computer_s2(shot, baseline="02.07", **more)
    for asset in item["assets"].values():
        if not declared:
            del asset["proj:shape"], asset["proj:transform"]
    return item


@pytest.mark.parametrize("declared", [True, False])
def test_sentinel2_in_utm(scenes, tmp_path, declared):
    names = {"B04": "red", "B03": "green", "B08": "nir"}
    paths = {band: scenes / "sentinel2_l1c_10m" / f"ref_input_S2_{band}.tif" for band in names}
    files = of_files(list(paths.values()))
    hrefs = {band: str(path.resolve()) for band, path in paths.items()}
    cube = load(as_items(tmp_path, document(hrefs, files, declared=declared)))
    assert cube.odc.geobox == files.odc.geobox
    for band, role in names.items():
        # The files have 65535 where there is no data, the product has 0.
        expected = files[band].where(files[band] != 65535, 0)
        np.testing.assert_array_equal(cube[role].values[0], expected)
    plain = files.rename(names).assign_attrs(cube.attrs)
    for role in names.values():
        plain[role].attrs = dict(cube[role].attrs) | {"nodata": 65535}
    np.testing.assert_array_equal(xcloudmask.predict(cube).values[0], xcloudmask.predict(plain).values)


def test_sentinel2_in_degrees(scenes, tmp_path):
    """Pixels that are no squares, on a grid that is no projection."""
    paths = {band: scenes / "sentinel2_wgs84_20190522" / f"{band}.tif" for band in ("B03", "B04", "B08")}
    files = of_files(list(paths.values()))
    hrefs = {band: str(path.resolve()) for band, path in paths.items()}
    cube = load(as_items(tmp_path, document(hrefs, files, declared=False)), chunks=512)
    assert cube["red"].shape == (1, *files["B04"].shape)
    np.testing.assert_array_equal(cube["red"].values[0], files["B04"])
    xr.testing.assert_allclose(cube["longitude"].rename(longitude="x").variable, files["x"].variable)


def test_files_without_a_grid_are_an_error(scenes, tmp_path):
    (folder,) = (scenes / "landsat").glob("LC08_L2SP_218074*")
    bands = ("SR_B3", "SR_B4", "SR_B5")
    hrefs = {band: str(next(folder.glob(f"*{band}.TIF")).resolve()) for band in bands}
    ring = [[-45, -20], [-44, -20], [-44, -19], [-45, -20]]
    shot = cat.Shot(
        hrefs=hrefs,
        epsg=32623,
        transform=(30.0, 0.0, 600_000.0, 0.0, -30.0, 7_800_000.0),
        shape=(300, 300),
        footprint={"type": "Polygon", "coordinates": [ring]},
    )
    item = cat.planetary_computer_landsat(shot)
    with pytest.raises(ReadError, match=r"asset 'red'"):
        load(as_items(tmp_path, item))["red"].compute()
    del item["properties"]["proj:shape"]
    with pytest.raises(ReadError, match=r"asset .red."):
        load(as_items(tmp_path, item))
