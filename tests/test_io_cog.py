"""COGs: codes, georeference, colours and tags; nearest overviews; bounded memory; never half a file."""

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

from xcloudmask._pictures import hex_to_rgb
from xcloudmask.classes import CLASS_DIM, STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, InputError, NotACubeError, ReadError, WriteError
from xcloudmask.io import _cogwrite, open_cube, to_cog
from xcloudmask.io._cogblocks import batches, compute_pieces

CODES = np.array([0, 1, 2, 3, 255], np.uint8)
TIMES = np.array(["2024-01-01T10:20:30", "2024-01-06"], "M8[ns]")


def make_mask(shape=(2, 70, 90), *, chunks=None, ascending=False, style="4-class", crs="EPSG:32631"):
    from odc.geo import CRS

    codes = np.random.default_rng(0).choice(CODES, shape)
    step = 20 if ascending else -20
    coords = {
        "time": TIMES,
        "y": 5_000_000.0 + step * np.arange(shape[1]),
        "x": 600_000.0 + 20 * np.arange(shape[2]),
    }
    if crs is not None:
        coords["spatial_ref"] = ((), 0, {"crs_wkt": CRS(crs).to_wkt()})
    attrs = mask_attrs(STYLES[style]) | {"model": "default", "normalize": "chunk"}
    mask = xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, name="clouds", attrs=attrs)
    return mask if chunks is None else mask.chunk(chunks)


@pytest.mark.parametrize("chunks", [None, {"time": 1, "y": 32, "x": 32}])
def test_one_file_per_date(tmp_path, chunks):
    mask = make_mask(chunks=chunks)
    paths = to_cog(mask, tmp_path / "masks")
    assert [path.name for path in paths] == ["clouds_20240101T102030.tif", "clouds_20240106T000000.tif"]
    sidecars = [f"{path.name}.aux.xml" for path in paths]
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {*sidecars, *(path.name for path in paths)}
    for date, path in enumerate(paths):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), mask.values[date])
            assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), 255)
            assert file.crs.to_epsg() == 32631
            assert file.transform == Affine(20, 0, 599_990, 0, -20, 5_000_010)
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_colours_names_and_shares(tmp_path):
    mask = make_mask().isel(time=0)
    (path,) = to_cog(mask, tmp_path / "mask.tif")
    with rasterio.open(path) as file:
        table = file.colormap(1)
        for code, colour in enumerate(STYLES["4-class"].colours):
            assert table[code][:3] == hex_to_rgb(colour)
        tags = file.tags()
        assert file.descriptions == ("cloud mask, 4-class",)
    assert tags["flag_meanings"] == "clear thick_cloud thin_cloud cloud_shadow"
    assert tags["flag_values"] == "0 1 2 3"
    assert tags["datetime"] == "2024-01-01T10:20:30Z"
    assert tags["model"] == "default"
    valid = mask.values[mask.values != 255]
    assert float(tags["percent_thin_cloud"]) == pytest.approx(100 * np.mean(valid == 2), abs=1e-3)
    assert float(tags["percent_nodata"]) == pytest.approx(100 * np.mean(mask.values == 255), abs=1e-3)


@pytest.mark.parametrize(("resampling", "isolated_pixels_stay"), [("nearest", True), ("mode", False)])
def test_overviews_invent_no_class(tmp_path, resampling, isolated_pixels_stay):
    mask = make_mask((2, 1100, 1300)).isel(time=0)
    mask.values[:] = np.where(np.random.default_rng(1).random(mask.shape) < 0.1, 3, 0)
    (path,) = to_cog(mask, tmp_path / "mask.tif", overview_resampling=resampling)
    with rasterio.open(path) as file:
        factor = file.overviews(1)[0]
        small = file.read(1, out_shape=(mask.shape[0] // factor, mask.shape[1] // factor))
    assert set(np.unique(small)) <= {0, 3}
    assert (np.mean(small == 3) > 0.08) == isolated_pixels_stay


def test_rows_run_from_north_to_south(tmp_path):
    mask = make_mask(ascending=True, chunks={"y": 32}).isel(time=0)
    (path,) = to_cog(mask, tmp_path / "mask.tif")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), mask.values[::-1])
        assert file.transform.e == -20


def test_the_declared_transform_is_kept_to_the_last_bit(tmp_path):
    declared = Affine(0.00019446717011477552, 0, -111.93141764318219, 0, -0.0001087675532796607, 57.105787570770836)
    a, _, c, _, e, f = declared[:6]
    mask = make_mask(crs="EPSG:4326").isel(time=0)
    mask = mask.assign_coords(x=c + a * (np.arange(90) + 0.5), y=f + e * (np.arange(70) + 0.5))
    mask["spatial_ref"].attrs["GeoTransform"] = f"{c} {a} 0 {f} 0 {e}"
    (path,) = to_cog(mask, tmp_path / "mask.tif")
    with rasterio.open(path) as file:
        assert file.transform == declared
    (path,) = to_cog(mask.isel(x=slice(3, None, 2), y=[5]), tmp_path / "part.tif")
    with rasterio.open(path) as file:
        assert file.transform.a == pytest.approx(2 * a)
        assert file.transform.c == pytest.approx(c + 2.5 * a)
        assert (file.transform.e, file.transform.f) == pytest.approx((e, f + 5 * e))


def test_percentages_become_bands(tmp_path):
    percent = np.random.default_rng(0).integers(0, 101, (4, 30, 40)).astype(np.uint8)
    percent[:, :2] = 255
    names = list(STYLES["4-class"].meanings)
    coords = {CLASS_DIM: names, "y": np.arange(30.0, 0, -1), "x": np.arange(40.0)}
    mask = xr.DataArray(percent, dims=(CLASS_DIM, "y", "x"), coords=coords, attrs={"output_style": "4-class"})
    (path,) = to_cog(mask, tmp_path / "mask.tif")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), percent)
        assert file.descriptions == tuple(f"{name} (percent)" for name in names)
        assert [colour.name for colour in file.colorinterp] == ["gray", "undefined", "undefined", "undefined"]
        mean = float(percent[1, 2:].mean())
        assert float(file.tags()["percent_thick_cloud"]) == pytest.approx(mean, abs=1e-3)


def test_what_other_readers_see(tmp_path):
    from rio_cogeo import cog_validate

    (path,) = to_cog(make_mask((2, 1100, 1300)).isel(time=0), tmp_path / "mask.tif")
    assert cog_validate(path)[0]
    opened = open_cube(path, bands=["mask"])
    assert opened["time"] == TIMES[0]
    assert int(opened["mask"].attrs["nodata"]) == 255


def test_without_georeference(tmp_path):
    mask = make_mask(crs=None).isel(time=0).drop_vars(["x", "y", "time"])
    (path,) = to_cog(mask, tmp_path / "masks")
    assert path.name == "clouds.tif"
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        file = rasterio.open(path)
    with file:
        np.testing.assert_array_equal(file.read(1), mask)


def test_names_that_mean_something_else(tmp_path):
    with pytest.raises(ArgumentError, match=r"Type mask\.tif for one file"):
        to_cog(make_mask().isel(time=[0]), tmp_path / "mask.png")
    assert to_cog(make_mask().isel(time=[0]), f"{tmp_path}/masks.v2.png/")[0].parent == tmp_path / "masks.v2.png"


def test_no_pixels_are_no_file(tmp_path):
    with pytest.raises(InputError, match="'x' has no entries"):
        to_cog(make_mask().isel(time=[0]).isel(x=[]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_of_dates(tmp_path):
    mask = make_mask().assign_coords(time=[TIMES[0], TIMES[0]])
    assert [path.stem for path in to_cog(mask, tmp_path)] == ["clouds_20240101T102030_1", "clouds_20240101T102030_2"]
    mask = make_mask().drop_vars("time")
    assert [path.stem for path in to_cog(mask, tmp_path)] == ["clouds_0", "clouds_1"]


@pytest.mark.parametrize("chunks", [(1, 256, 512), (2, 300, 500), (1, 1100, 100)])
def test_blocks_are_small_and_each_chunk_is_computed_once(tmp_path, chunks):
    largest, calls = [], []

    def watched(mask, batch):
        blocks = compute_pieces(mask, batch)
        largest.append(sum(block.nbytes for block in blocks))
        return blocks

    def counted(block):
        if block.size:
            calls.append(1)
        return block

    mask = make_mask((2, 1100, 1300), chunks=dict(zip(("time", "y", "x"), chunks, strict=True)))
    expected = mask.values
    data = da.map_blocks(counted, mask.data, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    with dask.config.set({"array.chunk-size": "1 MB"}), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cogwrite, "compute_pieces", watched)
        paths = to_cog(mask.copy(data=data), tmp_path)
    one_row_of_chunks = max(mask.chunks[0]) * max(mask.chunks[1]) * 1300
    assert max(largest) <= max(1_000_000, one_row_of_chunks)
    assert len(calls) == mask.data.npartitions
    for date, path in enumerate(paths):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), expected[date])


def test_wide_masks_are_written_by_columns(tmp_path):
    mask = make_mask((2, 1030, 3000), chunks={"y": 1024, "x": 512}).isel(time=[0])
    pieces = [piece for batch in _pieces_of(mask, "600 kB") for piece in batch]
    assert {piece.columns for piece in pieces} == {(n, min(n + 512, 3000)) for n in range(0, 3000, 512)}
    with dask.config.set({"array.chunk-size": "600 kB"}):
        (path,) = to_cog(mask, tmp_path)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), mask.values[0])
    assert {piece.columns for batch in _pieces_of(mask.chunk(x=500), "600 kB") for piece in batch} == {(0, 3000)}


def _pieces_of(mask, size):
    with dask.config.set({"array.chunk-size": size}):
        yield from batches(mask.expand_dims(CLASS_DIM, axis=1), {0})


def test_small_dates_are_computed_together(tmp_path):
    calls = []

    def count(graph, keys, **kwargs):
        calls.append(keys)
        return dask.get(graph, keys)

    with dask.config.set(scheduler=count):
        to_cog(make_mask(chunks={"time": 1}), tmp_path)
    assert len(calls) == 1


def broken_block(block, block_info=None):
    if block_info and block_info[0]["array-location"][0][0] == 1:
        raise ReadError("scene.tif cannot be read")
    return block


def test_never_half_a_file(tmp_path):
    mask = make_mask(chunks={"time": 1, "y": 32, "x": 32})
    data = da.map_blocks(broken_block, mask.data, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    broken = mask.copy(data=data)
    with dask.config.set({"array.chunk-size": "3600 B"}), pytest.raises(ReadError, match=r"scene\.tif"):
        to_cog(broken, tmp_path / "masks")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        "clouds_20240101T102030.tif",
        "clouds_20240101T102030.tif.aux.xml",
    ]
    with pytest.raises(ReadError, match=r"scene\.tif"):
        to_cog(broken.isel(time=[1]), tmp_path / "others" / "deep")
    assert not (tmp_path / "others").exists()


def test_existing_files(tmp_path):
    mask = make_mask().isel(time=0)
    (path,) = to_cog(mask, tmp_path / "mask.tif")
    before = path.read_bytes()
    with pytest.raises(WriteError, match=r"mask\.tif exists.*overwrite=True"):
        to_cog(mask, path)
    assert path.read_bytes() == before
    to_cog(mask.isel(x=slice(9)), path, overwrite=True)
    with rasterio.open(path) as file:
        assert file.width == 9


def test_wrong_arguments(tmp_path):
    mask = make_mask()
    with pytest.raises(ArgumentError, match=r"2 dates.*masks/"):
        to_cog(mask, tmp_path / "masks.tif")
    with pytest.raises(ArgumentError, match="'cubic'"):
        to_cog(mask, tmp_path, overview_resampling="cubic")
    with pytest.raises(ArgumentError, match="nowhere"):
        to_cog(mask, "nowhere://bucket/masks/")
    with pytest.raises(ArgumentError, match="style=\\[\\]"):
        to_cog(mask, tmp_path, style=[])
    with pytest.raises(ArgumentError, match="'6-class'"):
        to_cog(mask, tmp_path, style="6-class")
    with pytest.raises(ArgumentError, match="one of them"):
        to_cog(mask, tmp_path, overwrite=True, resume=True)
    with pytest.raises(ArgumentError, match=r"one file.*Give a folder"):
        to_cog(mask.isel(time=0), tmp_path / "mask.tif", name_template="{style}.tif")
    with pytest.raises(ArgumentError, match=r"2 styles.*mask/"):
        to_cog(mask.isel(time=0), tmp_path / "mask.tif", style=["4-class", "valid-invalid"])
    with pytest.raises(NotACubeError, match=r"mask\.isel\(member=0\)"):
        to_cog(mask.expand_dims(member=2), tmp_path)
    with pytest.raises(NotACubeError):
        to_cog(mask.drop_attrs(), tmp_path)
    with pytest.raises(NotACubeError, match="float32"):
        to_cog(mask.expand_dims({CLASS_DIM: 4}).astype("float32"), tmp_path)
    (tmp_path / "a_file").write_text("")
    with pytest.raises(WriteError, match=r"a_file cannot be written"):
        to_cog(mask.isel(time=0), tmp_path / "a_file" / "mask.tif")
    (tmp_path / "b.tif").mkdir()
    with pytest.raises(WriteError, match=r"b\.tif is a folder"):
        to_cog(mask.isel(time=0), tmp_path / "b.tif", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_file", "b.tif"]
