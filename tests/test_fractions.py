"""Shares of classes: per date, over areas, per tile; the same for every layout of chunks."""

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401  # registers .rio
import shapely
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geom import Geometry

import xcloudmask
from xcloudmask.classes import CLASS_DIM, STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.fractions import class_fractions, clear_fraction

NAMES = list(STYLES["4-class"].meanings)


def make_mask(shape=(3, 20, 30), *, style="4-class", seed=0, nodata=0.2):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(STYLES[style].meanings), shape).astype(np.uint8)
    codes[rng.random(shape) < nodata] = 255
    dims = ("time", "y", "x")[-len(shape) :]
    coords = {"y": 5_000_000.0 - 10 * np.arange(shape[-2]) - 5, "x": 500_000.0 + 10 * np.arange(shape[-1]) + 5}
    if len(shape) == 3:
        coords["time"] = np.arange(shape[0]).astype("M8[D]").astype("M8[ns]")
    mask = xr.DataArray(codes, dims=dims, coords=coords, attrs=mask_attrs(STYLES[style]), name="cloud_mask")
    return mask.rio.write_crs("EPSG:32631")


def make_percent(shape=(2, 12, 14), seed=1):
    rng = np.random.default_rng(seed)
    percent = rng.integers(0, 101, (shape[0], 4, *shape[1:])).astype(np.uint8)
    percent[np.repeat(rng.random((shape[0], 1, *shape[1:])) < 0.2, 4, axis=1)] = 255
    attrs = {"units": "percent", "nodata": 255, "output_style": "4-class"}
    return xr.DataArray(percent, dims=("time", CLASS_DIM, "y", "x"), coords={CLASS_DIM: NAMES}, attrs=attrs)


def reference(codes, inside=True, *, classes=4):
    """Shares and valid share of one (y, x) plane, in plain numpy."""
    seen = (codes < classes) & inside
    with np.errstate(invalid="ignore"):
        shares = np.array([np.sum((codes == code) & inside) for code in range(classes)]) / np.float64(seen.sum())
        return shares, seen.sum() / np.sum(np.broadcast_to(inside, codes.shape))


def assert_same(lazy, eager):
    assert isinstance(lazy.data, da.Array)
    assert isinstance(lazy.valid_fraction.data, da.Array)
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(lazy.compute(), eager)


@pytest.mark.parametrize("style", STYLES)
def test_shares_per_date(style):
    mask = make_mask(style=style)
    shares = class_fractions(mask)
    assert shares.dims == ("time", CLASS_DIM)
    assert shares.dtype == shares.valid_fraction.dtype == np.float64
    assert list(shares[CLASS_DIM].values) == list(STYLES[style].meanings)
    assert shares.valid_fraction.dims == ("time",)
    for step in range(3):
        wanted, valid = reference(mask.values[step], classes=len(STYLES[style].meanings))
        np.testing.assert_array_equal(shares[step], wanted)
        assert shares.valid_fraction[step] == valid
    np.testing.assert_array_equal(clear_fraction(mask), shares.isel({CLASS_DIM: 0}))
    assert "valid_fraction" not in clear_fraction(mask).coords
    assert shares.spatial_ref.attrs == mask.spatial_ref.attrs


def test_no_data_is_nan_and_not_zero():
    mask = make_mask((2, 4, 4))
    mask[1] = 255
    shares = class_fractions(mask)
    assert shares[1].isnull().all()
    assert shares.valid_fraction[1] == 0
    assert np.isclose(shares[0].sum(), 1)


def test_codes_that_are_no_class_do_not_count():
    mask = make_mask((4, 4), nodata=0)
    mask[0] = 7
    assert class_fractions(mask).valid_fraction == 0.75


def test_over_time_and_over_all():
    mask = make_mask()
    per_pixel = class_fractions(mask, dim="time")
    assert per_pixel.dims == (CLASS_DIM, "y", "x")
    wanted, valid = reference(mask.values[:, 3, 4])
    np.testing.assert_array_equal(per_pixel[:, 3, 4], wanted)
    assert per_pixel.valid_fraction[3, 4] == valid
    over_all = class_fractions(mask, dim=["time", "y", "x"])
    np.testing.assert_array_equal(over_all, reference(mask.values)[0])
    rows = class_fractions(mask, dim="x")
    assert rows.dims == ("time", CLASS_DIM, "y")
    np.testing.assert_array_equal(rows[1, :, 2], reference(mask.values[1, 2])[0])


def test_counts_beyond_eight_and_sixteen_bits():
    mask = make_mask((1, 300, 300), nodata=0)
    np.testing.assert_array_equal(class_fractions(mask)[0], reference(mask.values[0])[0])
    long = make_mask((300, 2, 2), nodata=0)
    np.testing.assert_array_equal(class_fractions(long.chunk(time=7), dim="time")[:, 1, 1], reference(long[:, 1, 1])[0])


def test_percent():
    percent = make_percent()
    shares = class_fractions(percent)
    assert shares.dims == ("time", CLASS_DIM)
    seen = percent.where(percent != 255).astype(float)
    np.testing.assert_allclose(shares, seen.mean(["y", "x"]) / 100, rtol=1e-12)
    np.testing.assert_array_equal(shares.valid_fraction, seen.isel({CLASS_DIM: 0}).notnull().mean(["y", "x"]))
    np.testing.assert_array_equal(clear_fraction(percent), shares.sel({CLASS_DIM: "clear"}))
    assert_same(class_fractions(percent.chunk({"time": 1, CLASS_DIM: 3, "y": 5, "x": 4})), shares)
    tiles = class_fractions(percent, tile_px=5)
    assert tiles.dims == ("time", CLASS_DIM, "y", "x")
    assert_same(class_fractions(percent.chunk(y=7, x=4), tile_px=5), tiles)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 17), st.integers(1, 17)),
    st.tuples(st.integers(1, 3), st.integers(1, 17), st.integers(1, 17)),
    st.sampled_from([{}, {"dim": "time"}, {"dim": "y"}, {"tile_px": 1}, {"tile_px": 3}, {"tile_px": 8}]),
    st.integers(0, 9),
)
def test_chunks_do_not_matter(shape, chunks, request, seed):
    mask = make_mask(shape, seed=seed)
    eager = class_fractions(mask, **request)
    assert_same(class_fractions(mask.chunk(dict(zip(mask.dims, chunks, strict=True))), **request), eager)
    if request.get("tile_px"):
        size = request["tile_px"]
        assert eager.sizes["y"] == -(-shape[1] // size)
        wanted, valid = reference(mask.values[-1, -((shape[1] - 1) % size + 1) :, :size])
        np.testing.assert_array_equal(eager[-1, :, -1, 0], wanted)
        assert eager.valid_fraction[-1, -1, 0] == valid


@given(
    st.lists(st.tuples(st.floats(-10, 40), st.floats(-10, 30)), min_size=3, max_size=7, unique=True),
    st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 30)),
    st.booleans(),
)
def test_chunks_do_not_matter_in_areas(corners, chunks, all_touched):
    mask = make_mask()
    pixels = shapely.MultiPoint(corners).convex_hull if all_touched else shapely.make_valid(shapely.Polygon(corners))
    area = shapely.transform(pixels, lambda xy: [500_000, 5_000_000] + xy * [10, -10])
    request = {"geometry": area, "geometry_crs": "mask", "all_touched": all_touched}
    if not shapely.intersects(pixels, shapely.box(0, 0, 30, 20)):
        with pytest.raises(InputError, match="outside the mask"):
            class_fractions(mask, **request)
        return
    eager = class_fractions(mask, **request)
    lazy = class_fractions(mask.chunk(dict(zip(mask.dims, chunks, strict=True))), **request)
    assert_same(lazy, eager)


def test_an_area_takes_the_pixels_whose_centre_is_inside():
    mask = make_mask()
    blob = shapely.Point(500_140.3, 4_999_900.7).buffer(71).union(shapely.box(500_201, 4_999_803, 500_287, 4_999_871))
    inside = shapely.contains_xy(blob, *np.meshgrid(mask.x, mask.y))
    assert 100 < inside.sum() < 300
    shares = class_fractions(mask, geometry=Geometry(blob, "EPSG:32631"))
    assert shares.dims == ("time", CLASS_DIM)
    for step in range(3):
        wanted, valid = reference(mask.values[step], inside)
        np.testing.assert_array_equal(shares[step], wanted)
        assert shares.valid_fraction[step] == valid
    more = class_fractions(mask, geometry=blob, geometry_crs="mask", all_touched=True)
    assert not np.array_equal(more, shares)


def test_all_touched_takes_what_is_touched():
    mask = make_mask((6, 6), nodata=0)
    mask[:] = 0
    mask[2, 3] = 1
    spot = shapely.box(500_031, 4_999_979, 500_033, 4_999_977)  # in the corner of row 2, column 3
    request = {"geometry": spot, "geometry_crs": "mask"}
    assert class_fractions(mask, **request).isnull().all()
    assert class_fractions(mask, **request, all_touched=True).sel({CLASS_DIM: "thick_cloud"}) == 1


def test_longitude_and_latitude_unless_told():
    mask = make_mask()
    square = Geometry(shapely.box(500_052, 4_999_848, 500_248, 4_999_952), "EPSG:32631")
    lonlat = square.to_crs("EPSG:4326", resolution=1)
    wanted = class_fractions(mask, geometry=square)
    requests = [
        lonlat,
        lonlat.geom,
        lonlat.json,
        {"type": "Feature", "properties": {}, "geometry": lonlat.json},
    ]
    for geometry in requests:
        xr.testing.assert_identical(class_fractions(mask, geometry=geometry), wanted)
    xr.testing.assert_identical(class_fractions(mask, geometry=square.geom, geometry_crs=32631), wanted)


def test_points_and_lines_count():
    mask = make_mask(nodata=0)
    point = shapely.Point(500_034, 4_999_977)
    shares = class_fractions(mask, geometry=point, geometry_crs="mask")
    np.testing.assert_array_equal(shares.argmax(CLASS_DIM), mask[:, 2, 3])
    line = shapely.LineString([(500_005, 4_999_975), (500_095, 4_999_975)])
    shares = class_fractions(mask, geometry=line, geometry_crs="mask")
    np.testing.assert_array_equal(shares[0], reference(mask.values[0, 2, :10])[0])


class GeoSeries:
    """What is used of geopandas.GeoSeries."""

    def __init__(self, geometries, index, crs):
        self.values, self.index, self.crs = geometries, index, crs

    def __iter__(self):
        return iter(self.values)

    @property
    def geometry(self):
        return self


def test_several_geometries_become_a_dim():
    mask = make_mask()
    boxes = [shapely.box(500_000, 4_999_900, 500_100, 5_000_000), shapely.box(500_100, 4_999_850, 500_300, 4_999_950)]
    alone = [class_fractions(mask, geometry=box, geometry_crs="mask") for box in boxes]
    listed = class_fractions(mask, geometry=boxes, geometry_crs="mask")
    assert listed.dims == ("geometry", "time", CLASS_DIM)
    assert listed.valid_fraction.dims == ("geometry", "time")
    assert listed.geometry.values.tolist() == [0, 1]
    for one, other in zip(listed, alone, strict=True):
        xr.testing.assert_identical(one.drop_vars("geometry"), other)
    series = class_fractions(mask.chunk(x=7), geometry=GeoSeries(boxes, ["north", "south"], "EPSG:32631"))
    assert series.geometry.values.tolist() == ["north", "south"]
    np.testing.assert_array_equal(series, listed)
    lonlat = [Geometry(box, "EPSG:32631").to_crs("EPSG:4326", resolution=1).json for box in boxes]
    features = [{"type": "Feature", "id": f"f{i}", "geometry": one} for i, one in enumerate(lonlat)]
    collection = class_fractions(mask, geometry={"type": "FeatureCollection", "features": features})
    assert collection.geometry.values.tolist() == ["f0", "f1"]
    np.testing.assert_array_equal(collection, listed)


def test_geojson_may_name_its_crs():
    mask = make_mask()
    box = shapely.box(500_000, 4_999_900, 500_100, 5_000_000)
    expected = class_fractions(mask, geometry=box, geometry_crs="mask")
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
    feature = {"type": "Feature", "geometry": shapely.geometry.mapping(box)}
    collection = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    xr.testing.assert_identical(class_fractions(mask, geometry=feature | {"crs": crs}), expected)
    np.testing.assert_array_equal(class_fractions(mask, geometry=collection)[0], expected)
    crs["properties"]["name"] = "EPSG:nonsense"
    with pytest.raises(ArgumentError, match="nonsense"):
        class_fractions(mask, geometry=collection)


def test_only_touched_blocks_are_computed():
    computed = []

    def block(codes, block_info=None):
        computed.append(tuple(block_info[0]["chunk-location"][1:]))
        return codes

    mask = make_mask((1, 40, 40))
    lazy = mask.copy(data=mask.chunk(y=10, x=10).data.map_blocks(block, dtype=np.uint8, meta=np.empty((0, 0, 0), "u1")))
    diagonal = shapely.LineString([(500_002, 4_999_998), (500_398, 4_999_602)]).buffer(8)
    shares = class_fractions(lazy, geometry=diagonal, geometry_crs="mask")
    assert computed == []
    with dask.config.set(scheduler="sync"):
        found = shares.compute()
    # The buffered diagonal reaches over the corners between the blocks of the diagonal.
    assert set(computed) == {(i, j) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    xr.testing.assert_identical(found, class_fractions(mask, geometry=diagonal, geometry_crs="mask"))


def test_tiles_know_where_they_are():
    mask = make_mask((1, 5, 7))
    mask.encoding["grid_mapping"] = "spatial_ref"
    tiles = class_fractions(mask, tile_px=3)
    assert dict(tiles.sizes) == {"time": 1, CLASS_DIM: 4, "y": 2, "x": 3}
    np.testing.assert_array_equal(tiles.x, [500_015, 500_045, 500_065])
    np.testing.assert_array_equal(tiles.y, [4_999_985, 4_999_960])
    np.testing.assert_array_equal(tiles[0, :, 1, 2], reference(mask.values[0, 3:, 6:])[0])
    assert tiles.encoding["grid_mapping"] == "spatial_ref"
    assert tiles.rio.crs == mask.rio.crs
    xr.testing.assert_identical(class_fractions(mask, tile_m=31), tiles)
    whole = class_fractions(mask, tile_px=100, dim="time")
    assert dict(whole.sizes) == {CLASS_DIM: 4, "y": 1, "x": 1}


def test_a_stale_transform_does_not_stay_on_tiles():
    mask = make_mask((6, 6)).rio.write_transform()
    assert "GeoTransform" in mask.spatial_ref.attrs
    tiles = class_fractions(mask, tile_px=2)
    assert tiles.rio.transform().a == 20
    assert "GeoTransform" in mask.spatial_ref.attrs


def test_nothing_is_computed(no_compute):
    mask = make_mask().chunk(time=1, y=8, x=9)
    box = shapely.box(500_000, 4_999_900, 500_100, 5_000_000)
    requests = [{}, {"dim": "time"}, {"tile_px": 5}, {"tile_m": 40}, {"geometry": box, "geometry_crs": "mask"}]
    requests += [{"geometry": [box, box], "geometry_crs": "mask"}]
    for request in requests:
        assert isinstance(class_fractions(mask, **request).data, da.Array)
        assert isinstance(clear_fraction(mask, **request).data, da.Array)
    assert isinstance(mask.cloudmask.class_fractions().data, da.Array)


def test_keys_are_deterministic():
    mask = make_mask().chunk(y=8)
    box = shapely.box(500_000, 4_999_900, 500_100, 5_000_000)
    for request in ({}, {"tile_px": 5}, {"geometry": box, "geometry_crs": "mask"}):
        one, other = class_fractions(mask, **request), class_fractions(mask, **request)
        assert one.data.name == other.data.name
    assert class_fractions(mask, tile_px=5).data.name != class_fractions(mask, tile_px=6).data.name


def test_few_tasks():
    mask = make_mask((2, 64, 64)).chunk(time=1, y=4, x=4)
    assert len(class_fractions(mask).data.__dask_graph__()) < 4 * mask.data.npartitions


def test_public_names():
    assert xcloudmask.class_fractions is class_fractions
    assert xcloudmask.clear_fraction is clear_fraction


def test_wrong_arguments():
    mask = make_mask()
    box = shapely.box(500_000, 4_999_900, 500_100, 5_000_000)
    cases = [
        ({"dim": "band"}, ArgumentError, "no dimension 'band'"),
        ({"tile_px": 0}, ArgumentError, "above 0"),
        ({"tile_px": 2.5}, ArgumentTypeError, "float"),
        ({"tile_px": 2, "tile_m": 20}, ArgumentError, "exclude"),
        ({"tile_px": 2, "dim": "x"}, ArgumentError, "cannot be counted over"),
        ({"tile_px": 2, "geometry": box}, ArgumentError, "exclude"),
        ({"geometry": box, "dim": "time", "geometry_crs": "mask"}, ArgumentError, "counts over 'y' and 'x'"),
        ({"geometry": box}, InputError, r"cannot be projected.*EPSG:4326.*geometry_crs="),
        ({"geometry": shapely.box(3, 3, 4, 4)}, InputError, r"outside the mask.*geometry_crs="),
        ({"geometry": shapely.Polygon()}, ArgumentError, "empty"),
        ({"geometry": "POLYGON"}, ArgumentTypeError, "str"),
        ({"geometry": {"type": "Polygon"}}, ArgumentError, "no GeoJSON"),
        ({"geometry": []}, ArgumentError, "no geometry in it"),
        ({"geometry": box, "geometry_crs": "EPSG:0"}, ArgumentError, "no CRS"),
        ({"geometry": Geometry(box, "EPSG:32631"), "geometry_crs": "EPSG:4326"}, ArgumentError, "Leave geometry_crs="),
        ({"geometry": Geometry(box, "EPSG:32631"), "geometry_crs": "mask"}, ArgumentError, "Leave it out"),
    ]
    for request, error, match in cases:
        with pytest.raises(error, match=match):
            class_fractions(mask, **request)
    bare = mask.drop_vars("spatial_ref")
    with pytest.raises(InputError, match="no CRS"):
        class_fractions(bare, geometry=box)
    with pytest.raises(InputError, match="not known in metres"):
        class_fractions(bare, tile_m=100)
    with pytest.raises(InputError, match="no regular grid"):
        class_fractions(mask.drop_vars(["x", "y"]), geometry=box)
    with pytest.raises(NotACubeError, match="uint8 percent"):
        class_fractions(make_percent().astype(np.float32).assign_attrs(units="1"))
