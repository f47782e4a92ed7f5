"""COGs read back by rasterio, rioxarray and GDAL: codes, grid, colours, attribute table; any scheduler."""

import json
import shutil
import subprocess

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr

from xcloudmask._pictures import hex_to_rgb
from xcloudmask.classes import CLASS_DIM, STYLES, mask_attrs
from xcloudmask.io import _raster, _rastercache, to_cog

CODES = np.array([0, 1, 2, 3, 255], np.uint8)
GRIDS = {
    "utm": ("EPSG:32631", (5e5, 10.0), (5e6, -10.0)),
    "south-up": ("EPSG:32733", (5e5, 10.0), (8e6, 10.0)),
    "degrees": ("EPSG:4326", (13.0, 1 / 5400), (52.0, -1 / 9000)),
    "degrees, south-up": ("EPSG:4326", (-70.0, 0.001), (-12.0, 0.001)),
    "sinusoidal": ("+proj=sinu +lon_0=0 +R=6371007.181 +units=m +no_defs", (1e6, 463.3127165), (4e6, -463.3127165)),
}


def make_mask(grid="utm", shape=(2, 700, 530)):
    from odc.geo import CRS

    crs, (left, dx), (top, dy) = GRIDS[grid]
    codes = np.random.default_rng(0).choice(CODES, (shape[0], -(-shape[1] // 10), -(-shape[2] // 10)))
    codes = codes.repeat(10, 1).repeat(10, 2)[:, : shape[1], : shape[2]]
    coords = {
        "time": np.array(["2024-01-01T10:20:30", "2024-02-06"], "M8[ns]")[: shape[0]],
        "y": top + dy * (np.arange(shape[1]) + 0.5),
        "x": left + dx * (np.arange(shape[2]) + 0.5),
        "spatial_ref": ((), 0, {"crs_wkt": CRS(crs).to_wkt(), "GeoTransform": f"{left} {dx} 0 {top} 0 {dy}"}),
    }
    return xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, name="m", attrs=mask_attrs(STYLES["4-class"]))


@pytest.mark.parametrize("grid", GRIDS)
def test_round_trips(tmp_path, grid):
    mask = make_mask(grid)
    for path, date in zip(to_cog(mask.chunk(time=1, y=200, x=530), tmp_path), mask, strict=True):
        read = rioxarray.open_rasterio(path).isel(band=0)
        try:
            assert read.dtype == np.uint8
            assert read.rio.nodata == 255
            assert read.rio.crs.to_dict() == rasterio.CRS.from_wkt(mask.spatial_ref.attrs["crs_wkt"]).to_dict()
            np.testing.assert_allclose(sorted(read.y), sorted(date.y), rtol=1e-12)
            same = read.sortby("y", ascending=bool(date.y[0] < date.y[-1]))
            np.testing.assert_array_equal(same, date)
            _, (left, dx), (top, dy) = GRIDS[grid]
            top = top if dy < 0 else top + dy * 700
            np.testing.assert_allclose(read.rio.transform()[:6], (dx, 0, left, 0, -abs(dy), top), rtol=1e-14)
        finally:
            read.close()
    assert len(to_cog(mask, tmp_path, resume=True)) == 2


@pytest.fixture
def gdalinfo():
    command = shutil.which("gdalinfo")
    if command is None:
        pytest.skip("no gdalinfo on this machine")

    def ask(*arguments):
        return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=True).stdout

    return ask


def test_gdal_reads_colours_classes_and_the_attribute_table(tmp_path, gdalinfo):
    mask = make_mask()[:1]
    (path,) = to_cog(mask, tmp_path)
    told = json.loads(gdalinfo("-json", "-checksum", path))
    (band,) = told["bands"]
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert told["metadata"]["IMAGE_STRUCTURE"]["COMPRESSION"] == "DEFLATE"
    assert (band["type"], band["noDataValue"], band["colorInterpretation"]) == ("Byte", 255, "Palette")
    assert told["geoTransform"] == [5e5, 10, 0, 5e6, 0, -10]
    text = gdalinfo("-norat", path)
    assert [text.index(name) for name in STYLES["4-class"].meanings] == sorted(
        text.index(name) for name in STYLES["4-class"].meanings
    )
    assert band["colorTable"]["entries"][1] == [255, 255, 255, 255]
    rows = table_rows(gdalinfo("-nomd", "-noct", path))
    names = [*STYLES["4-class"].meanings, "nodata"]
    assert [(int(row[0]), int(float(row[1])), row[2]) for row in rows] == [
        (code, int((mask == code).sum()), name) for code, name in zip(CODES, names, strict=True)
    ]
    for row, colour in zip(rows, STYLES["4-class"].colours, strict=False):
        assert tuple(map(int, row[3:])) == (*hex_to_rgb(colour), 255)
    assert rows[-1][-1] == "0"


def table_rows(text):
    from xml.etree import ElementTree as ET

    start, end = text.index("<GDALRasterAttributeTable"), text.index("</GDALRasterAttributeTable>")
    table = ET.fromstring(text[start : end + len("</GDALRasterAttributeTable>")])  # noqa: S314  # of our own file
    usages = [column.find("Usage").text for column in table.findall("FieldDefn")]
    assert usages == ["5", "1", "2", "6", "7", "8", "9"]
    return [[field.text for field in row] for row in table.findall("Row")]


def test_gdal_keeps_the_table_in_copies(tmp_path, gdalinfo):
    from rasterio.shutil import copy

    (path,) = to_cog(make_mask()[:1], tmp_path / "a")
    copy(path, tmp_path / "copy.tif", driver="GTiff")
    assert table_rows(gdalinfo(tmp_path / "copy.tif")) == table_rows(gdalinfo(path))


@pytest.mark.parametrize("styles", [None, list(STYLES)])
def test_files_are_valid_cogs(tmp_path, styles):
    from rio_cogeo import cog_validate

    for path in to_cog(make_mask(shape=(1, 1300, 1100)), tmp_path, style=styles):
        valid, errors, warnings = cog_validate(path, strict=True)
        assert (valid, errors, warnings) == (True, [], [])


def test_percent_bands(tmp_path):
    from rio_cogeo import cog_validate

    rng = np.random.default_rng(0)
    percent = rng.integers(0, 101, (4, 60, 55)).repeat(20, 1).repeat(20, 2).astype(np.uint8)
    percent[:, :300, :300] = 255
    names = list(STYLES["4-class"].meanings)
    mask = xr.DataArray(
        percent, dims=(CLASS_DIM, "y", "x"), coords={CLASS_DIM: names}, attrs={"output_style": "4-class"}
    )
    mask = mask.assign_coords(make_mask(shape=(1, 1200, 1100)).isel(time=0).coords)
    (path,) = to_cog(mask.chunk(y=512), tmp_path / "percent.tif")
    assert cog_validate(path)[0]
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), percent)
        assert file.nodatavals == (255,) * 4
        assert file.overviews(1) == [2, 4] or file.overviews(1) == [2]
    with rasterio.open(path, overview_level=0) as small:
        average = percent[:, 600:, 600:].reshape(4, 300, 2, 250, 2).mean((2, 4))
        assert np.abs(small.read(window=((300, 600), (300, 550))) - average).max() <= 1
    (path,) = to_cog(mask, tmp_path / "near.tif", overview_resampling="nearest")
    with rasterio.open(path, overview_level=0) as small:
        assert set(np.unique(small.read())) <= set(np.unique(percent))


@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "processes"])
def test_the_scheduler_does_not_matter(tmp_path, scheduler):
    mask = make_mask()
    expected = [path.read_bytes() for path in to_cog(mask, tmp_path / "eager")]
    with dask.config.set(scheduler=scheduler, num_workers=2):
        paths = to_cog(mask.chunk(time=2, y=150, x=300), tmp_path / "lazy")
    assert [path.read_bytes() for path in paths] == expected


def test_on_a_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    mask = make_mask()
    expected = [path.read_bytes() for path in to_cog(mask, tmp_path / "eager", style=list(STYLES))]
    with (
        dask.config.set({"distributed.worker.memory.pause": False}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        paths = to_cog(mask.chunk(time=1, y=150, x=300), tmp_path / "lazy", style=list(STYLES))
    assert [path.read_bytes() for path in paths] == expected


def test_several_threads_write_at_once(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    mask = make_mask().chunk(time=1, y=150, x=300)
    expected = [path.read_bytes() for path in to_cog(mask, tmp_path / "one")]
    with rasterio.Env():
        before = rasterio.env.get_gdal_config("GDAL_CACHEMAX")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: to_cog(mask, tmp_path / str(number)), range(8)))
    assert [[path.read_bytes() for path in paths] for paths in found] == [expected] * 8
    with rasterio.Env():
        assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == before
    assert _rastercache._users == 0


def test_irregular_coordinates_are_told(tmp_path):
    mask = make_mask()[0]
    x = mask.x.values.copy()
    x[100:] += 1000
    with pytest.warns(UserWarning, match="not regular"):
        (path,) = to_cog(mask.assign_coords(x=x), tmp_path / "mask.tif")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        rasterio.open(path).close()


def test_files_wait_for_readers_that_must_be_alone(tmp_path):
    """GDAL: a GeoTIFF that is closed while another thread reads JPEG 2000 can end the process."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        with _raster.file_turns.alone():
            writing = pool.submit(to_cog, make_mask(), tmp_path)
            with pytest.raises(TimeoutError):
                writing.result(timeout=1)
            assert list(tmp_path.rglob("*.tif")) == []
        assert len(writing.result(timeout=60)) == 2


def test_no_file_is_open_while_blocks_are_computed(tmp_path):
    """Else a block of JPEG 2000 that waits to be alone would wait for ever, and so would the writer."""
    mask = make_mask().chunk(time=1, y=150)

    def block(codes):
        with _raster.file_turns.alone():
            return codes

    data = da.map_blocks(block, mask.data, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    with dask.config.set({"array.chunk-size": "100 kB"}):
        assert len(to_cog(mask.copy(data=data), tmp_path)) == 2
