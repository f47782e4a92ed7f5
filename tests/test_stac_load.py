"""Items to a cube: grids, offsets, signing, files that cannot be read."""

from __future__ import annotations

import datetime as dt
import json

import dask
import numpy as np
import odc.geo.xr  # noqa: F401 - registers .odc
import pytest
import stac_items as cat
import xarray as xr
from odc.geo.geom import multipoint
from stac_shelf import ROLES, SIDE, Shelf, grid_cube, of

import xcloudmask
from xcloudmask.errors import (
    ArgumentError,
    ArgumentTypeError,
    BandNotFoundError,
    HrefError,
    InputError,
)
from xcloudmask.radiometry import known_scale, reflectance
from xcloudmask.stac import HrefPolicy, load, split_by_grid


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


# --- shape, names, laziness ---


def test_cube_of_two_dates(shelf, no_compute):
    shelf.scene("b", time="2024-05-24T10:50:31Z", seed=1)
    shelf.scene("a", extra={"platform": "Sentinel-2B"})
    cube = load(shelf.items("b", "a"))
    assert list(cube.data_vars) == ["red", "green", "nir"]
    assert cube["red"].dims == ("time", "y", "x")
    assert cube["red"].dtype == np.uint16
    assert cube["red"].attrs == {
        "nodata": 0,
        "scale_factor": 1e-4,
        "add_offset": -0.1,
        "units": "1",
        "band": "B04",
    }
    assert cube.attrs == {"sensor": "sentinel-2-l2a"}
    assert cube["platform"].values.tolist() == ["sentinel-2b", "sentinel-2a"], "by date"
    assert cube["processing_baseline"].values.tolist() == ["05.10", "05.10"]
    assert cube["sun_elevation"].values.tolist() == [50.0, 50.0]
    assert cube["sun_azimuth"].values.tolist() == [158.0, 158.0]
    assert all(item_id.startswith("S2A_MSIL2A") for item_id in cube["item_id"].values)
    assert cube.odc.geobox == grid_cube().odc.geobox
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(cube["nir"].values[1], shelf.pixels["b", "nir"])


def test_chunks(shelf):
    shelf.scene("a", grid=grid_cube(shape=(96, 2100)))
    items = shelf.items("a")
    assert load(items)["red"].chunks == ((1,), (96,), (2048, 52)), "one tile of the model"
    assert load(items, chunks=64)["red"].chunks == ((1,), (64, 32), (64,) * 32 + (52,))
    assert load(items, chunks={"x": 1024})["red"].chunks == ((1,), (96,), (1024, 1024, 52))


@pytest.mark.parametrize("chunks", [0, {"y": -1}, {"band": 3}])
def test_wrong_chunks(shelf, chunks):
    shelf.scene("a")
    with pytest.raises(ArgumentError, match="chunks="):
        load(shelf.items("a"), chunks=chunks)


@pytest.mark.parametrize("chunks", ["auto", 2.5, True, {"y": "all"}])
def test_chunks_of_wrong_type(shelf, chunks):
    shelf.scene("a")
    with pytest.raises(ArgumentTypeError, match="chunks="):
        load(shelf.items("a"), chunks=chunks)


def test_keys_are_the_same_each_time(shelf):
    shelf.scene("a")
    first, again = (load(shelf.items("a"))["red"].data for _ in range(2))
    assert set(first.dask) == set(again.dask)


def test_bands_in_any_spelling(shelf):
    shelf.scene("a", bands={**ROLES, "narrow": "B8A"})
    cube = load(shelf.items("a"), bands=["B8A", "red", "B04_10m"])
    assert list(cube.data_vars) == ["B8A", "red", "B04_10m"]
    assert cube["B8A"].attrs["band"] == "B8A"
    np.testing.assert_array_equal(cube["red"], cube["B04_10m"])
    with pytest.raises(BandNotFoundError, match="has no band 'swir16'"):
        load(shelf.items("a"), bands=["swir16"])
    for wrong in ("red", [], ["red", "red"], [3]):
        with pytest.raises(ArgumentError, match="bands="):
            load(shelf.items("a"), bands=wrong)


def test_two_spellings_in_one_cube(shelf):
    shelf.scene("a", time="2024-05-14T10:50:31Z")
    shelf.scene("b", cat.cdse, time="2024-05-24T10:50:31Z")
    cube = load(shelf.items("a", "b"))
    assert cube.sizes["time"] == 2
    np.testing.assert_array_equal(cube["red"].values[1], shelf.pixels["b", "red"])


def test_two_sensors_in_one_cube(shelf):
    bands = {"red": "SR_B4", "green": "SR_B3", "nir": "SR_B5"}
    for name, satellite, day in (("a", "LC08", 14), ("b", "LE07", 15)):
        own = bands if satellite == "LC08" else {"red": "SR_B3", "green": "SR_B2", "nir": "SR_B4"}
        shelf.scene(
            name, lambda shot, baseline, satellite=satellite: cat.usgs(shot, satellite=satellite), bands=own,
            time=f"2024-05-{day}T10:50:31Z",
        )  # fmt: skip
    cube = load(shelf.items("a", "b"))
    assert cube.attrs == {}
    assert cube["red"].attrs["band"] == "SR_B4 SR_B3"
    assert cube["red"].attrs["scale_factor"] == 2.75e-5
    assert cube["platform"].values.tolist() == ["landsat-8", "landsat-7"]


def test_times_with_and_without_zones(shelf):
    """West of Greenwich by name, and nothing said: UTC."""
    items = [of(shelf.scene(name, time=f"2024-05-{day}T10:50:31Z")) for name, day in (("a", 14), ("b", 15))]
    items[0].datetime = items[0].datetime.replace(tzinfo=None)
    items[1].datetime = dt.datetime.fromisoformat("2024-05-14T05:50:31-05:00")
    cube = load(items, policy=HrefPolicy(allow_files=True))
    assert set(cube["time"].values.astype("M8[s]").astype(str)) == {"2024-05-14T10:50:31"}


def test_nothing_to_load():
    with pytest.raises(InputError, match="no items"):
        load([])
    with pytest.raises(ArgumentTypeError, match="Expected pystac Items"):
        load([{"type": "Feature"}])


# --- offsets ---


def mixed(shelf):
    """The same reflectance, stored before and after processing baseline 04.00."""
    shelf.scene("old", baseline="03.01", time="2021-05-14T10:50:31Z")
    shelf.scene("new", baseline="05.10", time="2024-05-14T10:50:31Z", offset=1000)
    for role, band in ROLES.items():
        pixels = shelf.pixels["old", role] + np.uint16(1000)
        pixels[:8, :8] = 0
        cat.write_tif(shelf.folder / f"new-{band}.tif", {band: pixels}, grid_cube(), nodata=0)
    return load(shelf.items("old", "new"))


def test_mixed_baselines_have_offsets_along_time(shelf):
    cube = mixed(shelf)
    assert cube["red_add_offset"].values.tolist() == [0.0, -0.1]
    assert cube["red_scale_factor"].values.tolist() == [1e-4, 1e-4]
    assert cube["red_add_offset"].dims == ("time",)
    assert "scale_factor" not in cube["red"].attrs
    assert cube["processing_baseline"].values.tolist() == ["03.01", "05.10"]


def test_mixed_baselines_are_the_same_reflectance_and_the_same_masks(shelf, tiny_model):
    cube = mixed(shelf)
    old, new = (
        reflectance(cube["red"].isel(time=step), scale=1e-4, offset=float(cube["red_add_offset"][step]))
        for step in range(2)
    )
    np.testing.assert_allclose(old, new, atol=1e-6)
    mask = xcloudmask.predict(cube, model=tiny_model).values
    assert len(np.unique(mask[mask != 255])) > 1
    np.testing.assert_array_equal(mask[0], mask[1])
    without = cube.drop_vars([name for name in cube.coords if str(name).endswith(("_scale_factor", "_add_offset"))])
    plain = xcloudmask.predict(without, model=tiny_model, sensor=None).values
    np.testing.assert_array_equal(plain[0], plain[1])


def test_cubes_are_stored_as_they_are(shelf, tmp_path):
    """DN, offsets per date and names of items come back from Zarr; warnings are errors here."""
    cube = mixed(shelf).drop_encoding()
    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    again = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False, mask_and_scale=False)
    for name in ("red", "red_add_offset", "item_id", "platform", "sun_elevation"):
        assert again[name].values.tolist() == cube[name].values.tolist()
    assert again.attrs == {"sensor": "sentinel-2-l2a"}
    assert again["red"].attrs["nodata"] == 0


def test_unknown_offsets_are_nan_next_to_known_ones(shelf):
    shelf.scene("a", cat.earth_search_v1, applied=True)
    shelf.scene("b", cat.earth_search_v1, applied=False, time="2024-05-24T10:50:31Z")
    cube = load(shelf.items("a", "b"))
    np.testing.assert_array_equal(cube["red_add_offset"], [0.0, np.nan])
    np.testing.assert_array_equal(cube["red_scale_factor"], [1e-4, np.nan])
    alone = load(shelf.items("b"))
    assert not {"scale_factor", "add_offset"} & set(alone["red"].attrs)
    assert "red_add_offset" not in alone.coords


def test_the_scale_reaches_the_model(shelf):
    from xcloudmask.bands import select_bands

    shelf.scene("a")
    cube = load(shelf.items("a"))
    assert known_scale(select_bands(cube, roles=("red", "green", "nir"))) == ((1e-4,) * 3, (-0.1,) * 3)
    assert "scale known" in xcloudmask.plan(cube).scale


# --- grids ---


def test_items_side_by_side_make_one_cube(shelf):
    shelf.scene("west", time="2024-05-14T10:50:31Z")
    shelf.scene("east", time="2024-05-14T10:50:45Z", grid=grid_cube(x=600_000 + 10 * SIDE - 200, y=5_400_000 + 50))
    cube = load(shelf.items("west", "east"))
    assert cube.sizes == {"time": 2, "y": SIDE + 5, "x": 2 * SIDE - 20}
    west, east = cube["red"].values
    np.testing.assert_array_equal(west[5:, :SIDE], shelf.pixels["west", "red"])
    np.testing.assert_array_equal(east[:SIDE, SIDE - 20 :], shelf.pixels["east", "red"])
    assert (west[:5] == 0).all()
    assert (east[:, : SIDE - 20] == 0).all()


def test_coarser_bands_come_to_the_finest_grid(shelf):
    shelf.scene("a", bands={"red": "B04", "narrow": "B8A"})
    coarse = np.arange(1, 1 + (SIDE // 2) ** 2, dtype=np.uint16).reshape(SIDE // 2, SIDE // 2)
    cat.write_tif(shelf.folder / "a-B8A.tif", {"B8A": coarse}, grid_cube(pixel=20.0, shape=coarse.shape), nodata=0)
    document = json.loads((shelf.folder / "a.json").read_text())
    document["assets"]["B8A"] |= {"proj:shape": [SIDE // 2] * 2, "proj:transform": [20, 0, 600_000, 0, -20, 5_400_000]}
    (shelf.folder / "a.json").write_text(json.dumps(document))
    cube = load(shelf.items("a"), bands=["red", "nir"])
    np.testing.assert_array_equal(cube["nir"].values[0], np.kron(coarse, np.ones((2, 2), np.uint16)))
    assert cube["nir"].attrs["band"] == "B8A"


def test_several_zones_are_an_error_that_says_what_to_type(shelf):
    shelf.scene("a")
    shelf.scene("b", grid=grid_cube(epsg=32632, x=300_000))
    shelf.scene("c", grid=grid_cube(x=600_003), time="2024-05-24T10:50:31Z")
    items = shelf.items("a", "b")
    with pytest.raises(InputError, match=r"(?s)2 grids.*EPSG:32631.*EPSG:32632.*split_by_grid.*crs='EPSG:3263"):
        load(items)
    with pytest.raises(InputError, match=r"(?s)2 grids.*offset 0, 0.*offset 0.3, 0.*resolution=10"):
        load(shelf.items("a", "c"))
    groups = split_by_grid(items)
    assert [len(group) for group in groups.values()] == [1, 1]
    assert [load(group).odc.geobox.crs.epsg for group in groups.values()] == [32631, 32632]
    together = load(items, crs="EPSG:32631")
    assert together.sizes["time"] == 2
    assert together.odc.geobox.crs.epsg == 32631
    assert together.odc.geobox.resolution.x == 10
    assert all((together["red"].values[step] > 0).sum() > 0.8 * SIDE**2 for step in range(2))


def test_asked_grids(shelf):
    shelf.scene("a")
    items = shelf.items("a")
    assert load(items, resolution=20).sizes == {"time": 1, "y": SIDE // 2, "x": SIDE // 2}
    means = load(items, resolution=20, resampling="average")["red"].values[0]
    blocks = shelf.pixels["a", "red"].reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    np.testing.assert_allclose(means[8:, 8:], blocks[8:, 8:], atol=1)
    assert load(items, crs=32631).odc.geobox == grid_cube().odc.geobox
    assert load(items, crs="EPSG:4326", resolution=1e-4).odc.geobox.crs.epsg == 4326
    with pytest.raises(ArgumentError, match="other units"):
        load(items, crs="EPSG:4326")
    for wrong in (0, -10, "10", True):
        with pytest.raises(ArgumentError, match="resolution="):
            load(items, resolution=wrong)


def test_cut_to_an_area(shelf):
    shelf.scene("a")
    whole = grid_cube().odc.geobox
    part = whole[32:64, 40:100].extent.to_crs("EPSG:4326")
    for area in (
        {"bbox": part.boundingbox},
        {"geometry": part},
        {"geometry": {"type": "Feature", "geometry": part.json}},
    ):
        cube = load(shelf.items("a"), **area)
        top, left = (round((a - b) / 10) for a, b in ((5_399_995, cube.y[0].item()), (cube.x[0].item(), 600_005)))
        # A box in degrees is a little larger than the same box in metres; pixels are the same.
        assert 28 <= top <= 32
        assert 36 <= left <= 40
        assert 32 <= cube.sizes["y"] <= 40
        rows, columns = slice(top, top + cube.sizes["y"]), slice(left, left + cube.sizes["x"])
        np.testing.assert_array_equal(cube["red"].values[0], shelf.pixels["a", "red"][rows, columns])
    assert load(shelf.items("a"), bbox=(-10, 40, 20, 60)).odc.geobox == whole, "no larger than the items"
    assert load(shelf.items("a"), bbox=part.boundingbox, resolution=20).sizes["x"] < SIDE // 2
    for more in ({}, {"resolution": 20}):
        with pytest.raises(InputError, match="No item touches"):
            load(shelf.items("a"), bbox=(10, 10, 11, 11), **more)
    with pytest.raises(ArgumentError, match="bbox and geometry"):
        load(shelf.items("a"), bbox=(1, 1, 2, 2), geometry=part)
    with pytest.raises(ArgumentError, match="GeoJSON"):
        load(shelf.items("a"), geometry="POINT (1 1)")


def cropped(shelf, rows, columns, **options):
    """The cube of a box of pixels: a rectangle on the grid is none in degrees, so the box is a geometry of points."""
    part = grid_cube(shape=BIG).odc.geobox[rows, columns]
    # Points well inside of the first and last pixels: their bounding box in UTM is the part.
    corners = [part.transform * at for at in ((0.5, 0.5), (part.shape[1] - 0.5, part.shape[0] - 0.5))]
    points = multipoint(corners, crs=part.crs).to_crs("EPSG:4326")
    return load(shelf.items("a"), geometry=points.json, **options), part


BIG = (1400, 1900)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (37, 300), (511, 5), (512, 1), (1, 1023)])
def test_chunks_of_a_crop_begin_on_blocks(shelf, top, left, no_compute):
    """The corner is what was asked for, the first chunks are smaller; nothing outside of the crop is read."""
    shelf.scene("a", grid=grid_cube(shape=BIG))
    cube, part = cropped(shelf, slice(top, None), slice(left, None), chunks=512)
    assert cube.odc.geobox == part
    # The transform that other packages take from the attribute.
    assert list(map(float, cube.spatial_ref.attrs["GeoTransform"].split())) == list(part.transform.to_gdal())
    rows, columns = cube["red"].chunks[1:]
    assert rows[0] == 512 - top % 512
    assert columns[0] == 512 - left % 512
    assert set(rows[1:-1] + columns[1:-1]) <= {512}
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(cube["red"].values[0], shelf.pixels["a", "red"][top:, left:])


def test_crops_from_one_corner_of_the_blocks_have_their_own_tasks(shelf):
    shelf.scene("a", grid=grid_cube(shape=BIG))
    one, other = (cropped(shelf, slice(top, None), slice(0, None), chunks=512)[0]["red"] for top in (100, 140))
    tasks, others = ({key for key in cube.data.dask if isinstance(key, tuple)} for cube in (one, other))
    assert tasks.isdisjoint(others)
    here, there = dask.compute(one, other)
    np.testing.assert_array_equal(here.values[:, 40:], there.values)
    np.testing.assert_array_equal(there.values[0], shelf.pixels["a", "red"][140:])


def test_crops_that_fit_into_a_chunk_or_no_block_are_left_alone(shelf):
    shelf.scene("a", grid=grid_cube(shape=BIG))
    cube, _ = cropped(shelf, slice(100, 500), slice(100, 1800), chunks=500)
    assert cube["red"].chunks[1:] == ((400,), (500, 500, 500, 200)), "500 px fit no blocks"
    cube, _ = cropped(shelf, slice(100, 500), slice(100, 1800), chunks={"y": 512, "x": 1024})
    assert cube["red"].chunks[1:] == ((400,), (924, 776))
    asked, _ = cropped(shelf, slice(100, None), slice(100, None), chunks=512, resolution=20)
    assert asked["red"].chunks[2][0] == 512, "other pixels than the files'"


def test_masks_of_a_crop_are_those_of_its_array(shelf, tiny_model):
    """Chunks begin off the stride of the network; the corner of the crop is where the phase begins all the same."""
    shelf.scene("a", grid=grid_cube(shape=BIG))
    cube, _ = cropped(shelf, slice(333, None), slice(805, None), chunks=512)
    plain = cube.compute()
    for normalize in ("lattice", "scene"):
        mask = xcloudmask.predict(cube, model=tiny_model, normalize=normalize)
        expected = xcloudmask.predict(
            plain.chunk({"time": 1, "y": 512, "x": 512}), model=tiny_model, normalize=normalize
        )
        assert len(np.unique(expected)) > 2
        np.testing.assert_array_equal(mask, expected)
    by_chunk = xcloudmask.predict(cube, model=tiny_model)
    borders = dict(zip(cube["red"].dims, cube["red"].chunks, strict=True))
    np.testing.assert_array_equal(by_chunk, xcloudmask.predict(plain.chunk(borders), model=tiny_model))


def test_masks_of_a_crop_go_to_zarr(shelf, tiny_model, tmp_path):
    shelf.scene("a", grid=grid_cube(shape=BIG))
    cube, part = cropped(shelf, slice(333, None), slice(805, None), chunks=512)
    mask = xcloudmask.predict(cube, model=tiny_model)
    xcloudmask.io.to_zarr(mask, tmp_path / "masks.zarr")
    again = xcloudmask.io.open_mask(tmp_path / "masks.zarr")
    np.testing.assert_array_equal(again, mask)
    assert again.odc.geobox == part


def test_grids_out_of_the_files(shelf):
    """HLS of LP DAAC declares none."""
    bands = {"red": "B04", "green": "B03", "nir": "B05"}
    shelf.scene("a", lambda shot, baseline: cat.hls(shot, product="L30"), bands=bands)
    cube = load(shelf.items("a"))
    assert cube.odc.geobox == grid_cube().odc.geobox
    assert cube["red"].dtype == np.int16, "as the product is"


def test_types_out_of_the_files(shelf):
    item = shelf.scene("a", cat.earth_search_v0)
    item |= {"collection": "somebody", "id": "x"}
    item["properties"] = {"datetime": "2024-06-01T00:00:00Z", "proj:epsg": 32631}
    (shelf.folder / "a.json").write_text(json.dumps(item))
    cube = load(shelf.items("a"))
    assert cube["red"].dtype == np.uint16
    assert (cube.attrs, cube["red"].attrs) == ({}, {"nodata": 0}), "which the file declares"
    with dask.config.set(scheduler="synchronous"):
        mask = cube.cloudmask.predict()
        assert (mask.values[0, :8, :8] == 255).all()
        assert (mask.values[0, 8:, 8:] != 255).any()
    known = load(shelf.items("a"), sensor="sentinel-2-l2a")
    assert known.attrs == {"sensor": "sentinel-2-l2a"}
    assert known["red"].attrs["nodata"] == 0


def test_rotated_grids_are_refused(shelf):
    item = shelf.scene("a")
    item["assets"]["B04"]["proj:transform"] = [10, 1, 600_000, 1, -10, 5_400_000]
    with pytest.raises(InputError, match="rotated"):
        load([of(item)], policy=HrefPolicy(allow_files=True))


def test_band_beyond_those_of_the_file(shelf):
    cat.write_tif(shelf.folder / "p.tif", {"blue": np.ones((32, 32), np.uint16)}, grid_cube(shape=(32, 32)), nodata=0)
    shot = cat.Shot.of(grid_cube(shape=(32, 32)), hrefs={"all": str(shelf.folder / "p.tif")})
    (shelf.folder / "p.json").write_text(json.dumps(cat.planet(shot)))
    with pytest.raises(BandNotFoundError, match="has 1 bands, and band 3"):
        load(shelf.items("p"))


@pytest.mark.parametrize("code", ["nonsense", {"a": 1}, [1], 999_999])
def test_coordinate_systems_that_are_none(shelf, code):
    item = of(shelf.scene("a"))
    item.properties["proj:code"] = code
    with pytest.raises(InputError, match="is no CRS"):
        load([item], policy=HrefPolicy(allow_files=True))
    with pytest.raises(ArgumentError, match="crs="):
        load(shelf.items("a"), crs="nonsense")


def test_items_far_apart_make_no_cube_of_nothing(shelf):
    shelf.scene("a")
    shelf.scene("b", grid=grid_cube(y=-100_000_000.0))
    items = shelf.items("a")
    far = json.loads((shelf.folder / "b.json").read_text()) | {"id": "far"}
    with pytest.raises(InputError, match="far apart"):
        load([*items, of(far)], policy=HrefPolicy(allow_files=True))
    with pytest.raises(InputError, match="far apart"):
        load(items, resolution=1e-6)


@pytest.mark.parametrize("shape", [[0, 10], [-5, 10], [1e12, 1e12], [float("nan"), 3]])
def test_shapes_that_are_none(shelf, shape):
    item = shelf.scene("a")
    for asset in item["assets"].values():
        asset["proj:shape"] = shape
    policy = HrefPolicy(allow_files=True)
    if shape == [0, 10]:
        assert load([of(item)], policy=policy).sizes["x"] == SIDE, "the header of the file counts"
        return
    with pytest.raises(HrefError, match="max_pixels"):
        load([of(item)], policy=policy)


def test_tasks_of_two_bands_of_one_file_have_two_names(shelf):
    """The same variable, the same address, another band: dask must not take one for the other."""
    bands = {name: np.full((32, 32), value, np.uint16) for value, name in enumerate(("blue", "green", "red", "nir"), 1)}
    grid = grid_cube(shape=(32, 32))
    cat.write_tif(shelf.folder / "p.tif", bands, grid, nodata=0)
    item = cat.planet(cat.Shot.of(grid, hrefs={"all": str(shelf.folder / "p.tif")}))
    turned = json.loads(json.dumps(item))
    turned["assets"]["ortho_analytic_4b_sr"]["eo:bands"].reverse()
    one, other = (load([of(i)], bands=["red"], policy=HrefPolicy(allow_files=True))["red"] for i in (item, turned))
    assert one.data.name != other.data.name
    here, there = dask.compute(one, other)
    assert (here == 3).all()
    assert (there == 2).all()


def test_jpeg_2000_in_many_threads(shelf):
    """Lossless JPEG 2000 beside GeoTIFFs; GDAL must have one file open at a time then."""
    import rasterio

    item = shelf.scene("a", grid=grid_cube(shape=(256, 256)))
    with rasterio.open(shelf.folder / "a-B04.tif") as file:
        profile, pixels = file.profile, file.read()
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    profile = {key: profile[key] for key in ("width", "height", "count", "dtype", "crs", "transform")}
    with rasterio.open(shelf.folder / "a-B04.jp2", "w", driver="JP2OpenJPEG", **profile, **options) as file:
        file.write(pixels)
    item["assets"]["B04"]["href"] = str(shelf.folder / "a-B04.jp2")
    cube = load([of(item)], policy=HrefPolicy(allow_files=True), chunks=64, on_error="skip")
    with dask.config.set(scheduler="threads", num_workers=4):
        np.testing.assert_array_equal(cube.compute()["red"].values[0], shelf.pixels["a", "red"])


# --- time steps ---


def test_solar_days(shelf):
    shelf.scene("first", time="2024-05-14T10:50:31Z")
    shelf.scene("later", time="2024-05-14T10:50:45Z", seed=1, grid=grid_cube(x=601_000))
    shelf.scene("next", time="2024-05-15T10:50:31Z", seed=2)
    items = shelf.items("next", "later", "first")
    cube = load(items, groupby="solar_day")
    assert cube.sizes["time"] == 2
    assert [len(text.split()) for text in cube["item_id"].values] == [2, 1]
    day = cube["red"].values[0]
    np.testing.assert_array_equal(day[8:, 8:SIDE], shelf.pixels["first", "red"][8:, 8:], "the first is on top")
    np.testing.assert_array_equal(day[:, SIDE:], shelf.pixels["later", "red"][:, 60:])
    assert load(items).sizes["time"] == 3


def test_a_mosaic_of_two_offsets_is_refused(shelf):
    shelf.scene("a", baseline="03.01")
    shelf.scene("b", baseline="05.10", time="2024-05-14T10:50:45Z")
    with pytest.raises(InputError, match=r"(?s)2024-05-14 have different scales.*groupby='id'"):
        load(shelf.items("a", "b"), groupby="solar_day")


@pytest.mark.parametrize("choice", [{"groupby": "time"}, {"on_error": "ignore"}])
def test_choices(shelf, choice):
    with pytest.raises(ArgumentError, match="Expected one of"):
        load([], **choice)
