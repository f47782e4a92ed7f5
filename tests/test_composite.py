"""Composites against plain numpy; the same for every layout of chunks; in little memory."""

import sys
import threading
import warnings
from importlib.util import find_spec

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from processes import run_limited
from scipy.optimize import minimize

import xcloudmask
from xcloudmask import _composite_graph as graph
from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.composite import composite
from xcloudmask.distance import cloud_distance
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError
from xcloudmask.masks import to_style
from xcloudmask.radiometry import to_reflectance

PICKS = ("best-pixel", "first-clear", "last-clear")
METHODS = ("median", *PICKS, *(["geomedian"] if find_spec("geomad") else []))
needs_geomad = pytest.mark.skipif(find_spec("geomad") is None, reason="not installed: pip install geomad")


def make_mask(shape=(6, 9, 11), *, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.choice(np.array([0, 0, 0, 1, 2, 3, 255], np.uint8), shape)
    coords = {
        "time": np.datetime64("2024-01-03", "ns") + np.arange(shape[0]) * np.timedelta64(11, "D"),
        "y": 5_000_000.0 - 10 * np.arange(shape[1]),
        "x": 500_000.0 + 10 * np.arange(shape[2]),
        "spatial_ref": ((), 32631, {"crs_wkt": "a projection"}),
        "item_id": ("time", [f"scene {step}" for step in range(shape[0])]),
    }
    return xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, attrs=mask_attrs(STYLES["4-class"]))


def make_cube(mask, dtype="uint16", *, seed=1, names=("red", "nir")):
    """Noise with gaps: 0 in integers, NaN in floats."""
    rng = np.random.default_rng(seed)
    variables = {}
    for name in names:
        values = rng.integers(1, 4000, mask.shape).astype(dtype)
        values[rng.random(mask.shape) < 0.1] = 0 if np.dtype(dtype).kind in "iu" else np.nan
        variables[name] = (mask.dims, values, {"nodata": 0} if np.dtype(dtype).kind in "iu" else {"units": "1"})
    cube = xr.Dataset(variables, coords=mask.coords, attrs={"sensor": "none"})
    for name in names:
        cube[name].encoding["grid_mapping"] = "spatial_ref"
    return cube


def observations(cube, mask, *, all_bands):
    """(band, time, y, x) floats, NaN where there is no clear observation; in order of time."""
    stack = np.stack([np.where(cube[name] == 0, np.nan, cube[name].values).astype(float) for name in cube.data_vars])
    stack[:, mask.values != 0] = np.nan
    if all_bands:
        stack[:, np.isnan(stack).any(axis=0)] = np.nan
    order = np.argsort(mask.time.values)
    return stack[:, order], order


def reference_pick(cube, mask, method):
    stack, order = observations(cube, mask, all_bands=True)
    seen = ~np.isnan(stack[0])
    step = np.arange(len(order), dtype=float)[:, None, None]
    score = {"first-clear": step, "last-clear": -step}.get(method)
    if score is None:
        score = -cloud_distance(mask, max_px=200).values[order]
    best = np.where(seen, score, np.inf).argmin(axis=0)
    values = np.take_along_axis(stack, best[None, None], axis=1)[:, 0]
    times = np.where(seen.any(axis=0), mask.time.values[order][best], np.datetime64("NaT"))
    return values, times


def check(found, values, names=("red", "nir")):
    for name, wanted in zip(names, values, strict=True):
        integer = found[name].dtype.kind in "iu"
        np.testing.assert_array_equal(found[name], np.nan_to_num(np.rint(wanted)) if integer else wanted)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint8", "int32", "float32", "float64"])
def test_median(dtype):
    mask = make_mask()
    cube = (
        make_cube(mask, "float32").fillna(0).clip(0, 200).astype(dtype) if dtype == "uint8" else make_cube(mask, dtype)
    )
    for name in cube.data_vars:
        cube[name].attrs = {"nodata": 0}
    stack, _ = observations(cube, mask, all_bands=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no clear observation
        wanted = np.array([[np.nanmedian(column) for column in one.reshape(6, -1).T] for one in stack])
    found = composite(cube, mask)
    check(found, wanted.reshape(2, 9, 11).astype(np.result_type(dtype, np.float32)))
    assert {found[name].dtype for name in cube.data_vars} == {np.dtype(dtype)}
    np.testing.assert_array_equal(found.clear_count, (mask == 0).sum("time"))
    assert found.clear_count.dtype == np.uint16


@pytest.mark.parametrize("method", PICKS)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_picks(method, dtype):
    mask = make_mask(seed=4)
    cube = make_cube(mask, dtype)
    values, times = reference_pick(cube, mask, method)
    found = composite(cube, mask, method=method)
    check(found, values)
    np.testing.assert_array_equal(found.chosen_time, times)
    assert found.chosen_time.dtype == mask.time.dtype
    assert np.isnat(found.chosen_time).any()
    assert {found[name].dtype for name in cube.data_vars} == {np.dtype(dtype)}
    assert np.unique(found.chosen_time).size > 3


def test_all_bands_come_from_one_date():
    mask = make_mask(seed=2)
    cube = make_cube(mask)
    found = composite(cube, mask, method="best-pixel")
    for y, x in np.ndindex(9, 11):
        time = found.chosen_time.values[y, x]
        if not np.isnat(time):
            one = cube.sel(time=time).isel(y=y, x=x)
            assert (found.red.values[y, x], found.nir.values[y, x]) == (one.red, one.nir)


def test_the_best_pixel_is_far_from_clouds():
    codes = np.zeros((3, 1, 9), np.uint8)
    codes[0, 0, 0] = codes[1, 0, 8] = 1
    codes[2] = 1
    mask = make_mask((3, 1, 9)).copy(data=codes)
    found = composite(make_cube(mask, "float64").fillna(1.0), mask, method="best-pixel")
    # The second date on the left, the first on the right; in the middle, as far from both, the earlier one.
    np.testing.assert_array_equal(found.chosen_time[0], mask.time.values[[1, 1, 1, 1, 0, 0, 0, 0, 0]])
    near = composite(make_cube(mask, "float64").fillna(1.0), mask, method="best-pixel", max_distance_px=2)
    np.testing.assert_array_equal(near.chosen_time[0], mask.time.values[[1, 1, 0, 0, 0, 0, 0, 0, 0]])


@needs_geomad
def test_the_geometric_median_minimises_the_sum_of_distances():
    mask = make_mask((9, 3, 4), seed=3)
    cube = make_cube(mask, "float64", names=("red", "green", "nir"))
    found = composite(cube, mask, method="geomedian")
    stack, _ = observations(cube, mask, all_bands=True)
    checked = 0
    for y, x in np.ndindex(3, 4):
        points = stack[:, :, y, x].T
        points = points[~np.isnan(points[:, 0])]
        median = np.array([found[name].values[y, x] for name in cube.data_vars])
        if not len(points):
            assert np.isnan(median).all()
            continue

        def cost(middle, points=points):
            return np.linalg.norm(points - middle, axis=1).sum()

        best = min(cost(point) for point in [*points, minimize(cost, points.mean(0), method="Nelder-Mead").x])
        assert cost(median) <= best * (1 + 1e-6) + 1e-6
        checked += 1
    assert checked > 6


@needs_geomad
def test_the_geometric_median_follows_gain_and_offset():
    mask = make_mask((5, 4, 4))
    cube = make_cube(mask, "float64")
    found = composite(cube, mask, method="geomedian")
    moved = composite(cube * 1e-4 - 0.1, mask, method="geomedian")
    np.testing.assert_allclose(moved.red, found.red * 1e-4 - 0.1, rtol=1e-5, atol=1e-7)


@given(
    st.sampled_from(METHODS),
    st.sampled_from([None, "MS", "9D"]),
    st.tuples(*[st.integers(1, 7)] * 6),
    st.permutations(range(5)),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_chunks_do_not_matter(method, freq, chunks, order, min_clear, seed):
    mask = make_mask((5, 6, 7), seed=seed).isel(time=order)
    cube = make_cube(mask, "float32" if seed % 2 else "uint16")
    request = {"method": method, "freq": freq, "min_clear": min_clear, "max_distance_px": 4}
    eager = composite(cube, mask, **request)
    lazy = composite(
        cube.chunk(dict(zip(mask.dims, chunks[:3], strict=True))),
        mask.chunk(dict(zip(mask.dims, chunks[3:], strict=True))),
        **request,
    )
    for name in eager.data_vars:
        assert isinstance(lazy[name].data, da.Array), name
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(lazy.compute(), eager)


@pytest.mark.parametrize("method", METHODS)
def test_small_blocks_give_the_same(method, monkeypatch):
    """The plan from bytes cuts chunks; the strips within a block do not matter either."""
    mask = make_mask((5, 12, 13))
    cube = make_cube(mask)
    eager = composite(cube, mask, method=method)
    monkeypatch.setattr(graph, "BLOCK_BYTES", 200)
    monkeypatch.setattr("xcloudmask._composite_blocks.STRIP_VALUES", 60)
    lazy = composite(cube.chunk(x=8), mask.chunk(time=1), method=method)
    if method == "median":
        assert max(lazy.red.chunks[0]) * max(lazy.red.chunks[1]) * 5 * 3 <= 2 * 200
    xr.testing.assert_identical(lazy.compute(scheduler="sync"), eager)


@pytest.mark.parametrize("method", METHODS)
def test_periods(method):
    mask = make_mask((6, 5, 4)).isel(time=[4, 0, 5, 2, 1, 3])
    mask = mask.assign_coords(
        time=mask.time.where(mask.time < np.datetime64("2024-02-01"), mask.time + np.timedelta64(60, "D"))
    )
    cube = make_cube(mask)
    found = composite(cube, mask, method=method, freq="MS")
    months = np.unique(mask.time.values.astype("M8[M]"))
    assert found.time.values.astype("M8[M]").tolist() == np.arange(months[0], months[-1] + 1).tolist()
    empty = ~np.isin(found.time.values.astype("M8[M]"), months)
    assert empty.any()
    assert (found.red[empty] == 0).all()
    assert (found.clear_count[empty] == 0).all()
    assert found.red.dtype == np.uint16
    for month in months:
        inside = mask.time.values.astype("M8[M]") == month
        alone = composite(cube.isel(time=inside), mask.isel(time=inside), method=method)
        xr.testing.assert_identical(found.sel(time=month.astype("M8[ns]"), drop=True), alone)
    assert "item_id" not in found.coords


@pytest.mark.parametrize("method", METHODS)
def test_too_few_clear_dates(method):
    mask = make_mask()
    cube = make_cube(mask)
    once, thrice = composite(cube, mask, method=method), composite(cube, mask, method=method, min_clear=3)
    few = once.clear_count < 3
    assert few.any()
    assert (thrice.red.values[few] == 0).all()
    np.testing.assert_array_equal(thrice.red.where(~few), once.red.where(~few))
    xr.testing.assert_identical(thrice.clear_count, once.clear_count)
    if method in PICKS:
        np.testing.assert_array_equal(np.isnat(thrice.chosen_time), np.isnat(once.chosen_time) | few)


def test_nodata_and_dtype():
    mask = make_mask()
    mask[:] = 0
    mask[:, 0, 0] = 1
    cube = make_cube(mask)
    cube["bare"] = cube.red.drop_attrs()
    cube["holes"] = cube.red.astype("float32").assign_attrs(nodata=-9999.0)
    cube["holes"][:, 1, 1] = -9999
    found = composite(cube, mask)
    assert found.red[0, 0] == 0
    assert found.red.attrs == {"nodata": 0}
    assert found.bare.dtype == np.float32
    assert np.isnan(found.bare[0, 0])
    assert found.holes.dtype == np.float32
    assert np.isnan(found.holes[1, 1])
    assert found.holes.attrs == {"nodata": -9999.0}
    floats = composite(cube, mask, as_float=True)
    assert floats.red.dtype == np.float32
    assert np.isnan(floats.red[0, 0])
    halves = floats.red.values % 1
    assert (halves == 0.5).any()
    np.testing.assert_array_equal(np.rint(floats.red.fillna(0)), found.red)
    picked = composite(cube[["red"]], mask, method="first-clear", as_float=True)
    assert picked.red.dtype == np.uint16


def test_what_is_kept():
    mask = make_mask()
    cube = make_cube(mask).assign(
        height=mask[0].astype("f4").drop_vars(["time", "item_id"]), angle=("time", np.ones(6))
    )
    before = cube.copy(deep=True)
    found = composite(cube, mask, method="last-clear")
    assert list(found.data_vars) == ["red", "nir", "height", "clear_count", "chosen_time"]
    xr.testing.assert_identical(found.height.drop_vars("spatial_ref"), cube.height.drop_vars("spatial_ref"))
    assert found.attrs == cube.attrs
    assert found.red.encoding == {"grid_mapping": "spatial_ref"}
    assert set(found.coords) == {"y", "x", "spatial_ref"}
    assert found.spatial_ref.attrs == cube.spatial_ref.attrs
    xr.testing.assert_identical(cube, before)
    assert cube.red.encoding == before.red.encoding


def test_dims_in_any_order():
    mask = make_mask()
    cube = make_cube(mask)
    wanted = composite(cube, mask, method="first-clear")
    turned = composite(cube.transpose("x", "time", "y"), mask.transpose("y", "x", "time"), method="first-clear")
    assert turned.red.dims == ("x", "y")
    xr.testing.assert_equal(turned.transpose("y", "x"), wanted)


@pytest.mark.parametrize("method", METHODS)
def test_an_array_with_bands(method):
    mask = make_mask()
    cube = make_cube(mask)
    stack = cube.to_array("band", name="scene").transpose("time", "band", "y", "x").assign_attrs(nodata=0)
    wanted = composite(cube, mask, method=method, freq="MS")
    found = composite(stack, mask, method=method, freq="MS")
    assert found.dims == ("time", "band", "y", "x")
    assert found.name == "scene"
    np.testing.assert_array_equal(found.sel(band="nir"), wanted.nir)
    np.testing.assert_array_equal(found.clear_count, wanted.clear_count)
    assert ("chosen_time" in found.coords) == (method in PICKS)
    lazy = composite(stack.chunk(time=2, band=1, y=4, x=5), mask.chunk(time=3), method=method, freq="MS")
    xr.testing.assert_identical(lazy.compute(scheduler="sync"), found)
    whole = composite(stack, mask, method=method)
    assert whole.dims == ("band", "y", "x")


def test_styles_and_classes():
    mask = make_mask()
    cube = make_cube(mask)
    xr.testing.assert_identical(composite(cube, to_style(mask, "valid-invalid")), composite(cube, mask))
    shadows = composite(cube, to_style(mask, "cloud-noncloud"))
    xr.testing.assert_identical(shadows, composite(cube, mask, classes=("thick_cloud", "thin_cloud")))
    np.testing.assert_array_equal(shadows.clear_count, mask.isin([0, 3]).sum("time"))
    everything = composite(cube, mask, classes=())
    np.testing.assert_array_equal(everything.clear_count, (mask != 255).sum("time"))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_computed(method, no_compute):
    mask = make_mask().chunk(time=1, y=4)
    cube = make_cube(mask.copy(data=np.zeros(mask.shape, np.uint8)))
    for given_cube in (cube, cube.chunk(time=1)):
        for given_mask in (mask, mask.copy(data=np.zeros(mask.shape, np.uint8))):
            if given_mask.chunks is not None or given_cube.red.chunks is not None:
                found = composite(given_cube, given_mask, method=method, freq="9D")
                assert all(isinstance(found[name].data, da.Array) for name in found.data_vars)
    one, other = (composite(cube.chunk(time=1), mask, method=method) for _ in range(2))
    assert [one[name].data.name for name in one] == [other[name].data.name for name in other]


def test_each_pixel_is_read_once():
    reads = []

    def block(values, block_info=None):
        reads.append(block_info[0]["chunk-location"])
        return values

    mask = make_mask()
    cube = make_cube(mask).chunk(time=1, y=5, x=6)
    for method in METHODS:
        reads.clear()
        counted = cube.map(lambda one: one.copy(data=one.data.map_blocks(block, dtype=one.dtype, meta=one.data._meta)))
        dask.compute(composite(counted, mask.chunk(time=1, y=5, x=6), method=method), scheduler="sync")
        assert len(reads) == 2 * cube.red.data.npartitions


@pytest.mark.parametrize(
    ("values", "match"),
    [([0.0, 0.0, -0.1, -0.1, -0.1, -0.1], "red_add_offset.*to_reflectance"), ([0.0, np.nan] + [0.0] * 4, "nan")],
)
@pytest.mark.parametrize("method", METHODS)
def test_scales_that_differ_are_refused(method, values, match):
    mask = make_mask()
    coords = {"red_scale_factor": ("time", [1e-4] * 6), "red_add_offset": ("time", values)}
    cube = make_cube(mask, names=("red",)).assign_coords(coords)
    with pytest.raises(InputError, match=match):
        composite(cube, mask, method=method)
    if np.isfinite(values).all():
        found = composite(to_reflectance(cube), mask, method=method)
        assert found.red.dtype == np.float32
        assert found.red.encoding["quantity"] == "reflectance"
    alike = composite(cube.assign_coords(red_add_offset=("time", [-0.1] * 6)), mask, method=method, freq="MS")
    assert alike.red_add_offset.dims == ()
    assert alike.red_add_offset == -0.1
    lazy = cube.assign_coords(red_add_offset=("time", da.from_array(np.array(values))))
    with pytest.raises(InputError, match=r"dask array.*assign_coords"):
        composite(lazy, mask, method=method)


def test_scales_of_bands_and_suns_that_differ_are_refused():
    mask = make_mask()
    stack = make_cube(mask).to_array("band")
    offsets = np.zeros((6, 2))
    same = composite(stack.assign_coords(add_offset=(("time", "band"), offsets)), mask)
    assert same.add_offset.dims == ("band",)
    offsets[3, 1] = -0.1
    with pytest.raises(InputError, match="add_offset"):
        composite(stack.assign_coords(add_offset=(("time", "band"), offsets)), mask)
    level1 = make_cube(mask, names=("red",)).assign_attrs(sensor="landsat-oli-c2-l1")
    composite(level1.assign_coords(sun_elevation=("time", [40.0] * 6)), mask)
    with pytest.raises(InputError, match="sun_elevation"):
        composite(level1.assign_coords(sun_elevation=("time", np.linspace(40, 50, 6))), mask)


def test_layers_have_no_median():
    mask = make_mask()
    cube = make_cube(mask).assign(SCL=mask.drop_attrs().assign_attrs(nodata=0))
    for method in sorted({"median", "geomedian"} & set(METHODS)):
        with pytest.raises(InputError, match=r"drop_vars\(\['SCL'\]\)"):
            composite(cube, mask, method=method)
    found = composite(cube, mask, method="first-clear")
    assert found.SCL.dtype == np.uint8


def test_times_that_are_no_dates():
    mask = make_mask().drop_vars(["time", "item_id"])
    cube = make_cube(make_mask()).drop_vars(["time", "item_id"])
    found = composite(cube, mask, method="first-clear")
    dated = composite(make_cube(make_mask()), make_mask(), method="first-clear")
    assert found.chosen_time.dtype == np.int32
    times = np.append(make_mask().time.values, np.datetime64("NaT"))
    np.testing.assert_array_equal(times[found.chosen_time], dated.chosen_time)


def test_public_names():
    mask = make_mask()
    xr.testing.assert_identical(make_cube(mask).cloudmask.composite(mask), xcloudmask.composite(make_cube(mask), mask))


def test_wrong_arguments():
    mask = make_mask()
    cube = make_cube(mask)
    cases = [
        ((cube, mask), {"method": "mean"}, ArgumentError, "'mean' is unknown"),
        ((cube, mask), {"min_clear": 0}, ArgumentError, "1 or more"),
        ((cube, mask), {"min_clear": 1.5}, ArgumentTypeError, "float"),
        ((cube, mask), {"max_distance_px": 0, "method": "best-pixel"}, ArgumentError, "1 or more"),
        ((cube, mask), {"freq": "moon"}, ArgumentError, "no frequency"),
        ((cube, mask), {"classes": "clouds"}, ArgumentError, "unknown"),
        ((cube.isel(time=0), mask), {}, NotACubeError, "no time dimension"),
        ((cube, mask[0]), {}, InputError, "Expected one per date"),
        ((cube, mask[1:]), {}, InputError, "'time' has 5"),
        ((cube, mask.astype(float)), {}, NotACubeError, "no mask"),
        ((cube.red.values, mask), {}, NotACubeError, "ndarray"),
        ((composite(cube, mask, freq="MS"), mask), {}, InputError, "in the mask and"),
        ((cube.isel(time=slice(0)), mask.isel(time=slice(0))), {}, InputError, "no dates"),
        ((cube.assign(when=mask.astype("M8[ns]")), mask), {}, InputError, "real numbers"),
        (
            (
                cube.drop_vars(["red", "nir"]).assign(time_only=("time", np.ones(6)), flat=mask[0].drop_vars("time")),
                mask,
            ),
            {},
            NotACubeError,
            "No variable",
        ),
    ]
    for positional, request, error, match in cases:
        with pytest.raises(error, match=match):
            composite(*positional, **request)
    again = composite(cube, mask, freq="11D")
    with pytest.raises(InputError, match="is a composite"):
        composite(again, mask.assign_coords(time=again.time))


def test_without_geomad(monkeypatch):
    monkeypatch.setitem(sys.modules, "geomad", None)
    with pytest.raises(xcloudmask.errors.MissingPackageError, match=r"xcloudmask\[composite\]"):
        composite(make_cube(make_mask()), make_mask(), method="geomedian")


# --- cubes larger than memory ---

LARGE, CHUNK_PX, MEMORY_MB = (10, 5120, 5120), 512, 112


def _made(kind, block_id=None):
    """A block of a cube whose composite is known: date n holds n + 1, and has clouds where n is odd."""
    step = block_id[0]
    return np.full((1, CHUNK_PX, CHUNK_PX), step + 1 if kind == "f8" else step % 2, kind)


def write_large(path, method):
    threading.stack_size(2**19)
    dask.config.set(scheduler="threads", num_workers=1)
    chunks = tuple((size,) * (length // size) for length, size in zip(LARGE, (1, CHUNK_PX, CHUNK_PX), strict=True))
    red, codes = (
        xr.DataArray(
            da.map_blocks(_made, chunks=chunks, kind=kind, dtype=kind, meta=np.empty((0, 0, 0), kind)),
            dims=("time", "y", "x"),
        )
        for kind in ("f8", "u1")
    )
    assert red.nbytes + codes.nbytes > 20 * MEMORY_MB * 2**20
    mask, cube = codes.assign_attrs(mask_attrs(STYLES["4-class"])), red.assign_attrs(nodata=0).to_dataset(name="red")
    composite(cube, mask, method=method).to_zarr(path, zarr_format=3, consolidated=False)


@pytest.mark.parametrize(("method", "wanted"), [("median", 5), ("last-clear", 9)])
def test_cubes_larger_than_memory(tmp_path, method, wanted):
    path = str(tmp_path / "composite.zarr")
    run_limited("test_composite:write_large", memory_mb=MEMORY_MB, path=path, method=method)
    found = xr.open_zarr(path, consolidated=False, mask_and_scale=False)
    assert found.red.shape == LARGE[1:]
    sample = found.isel(y=slice(None, None, 97), x=slice(None, None, 101)).load()
    assert (sample.red == wanted).all()
    assert (sample.clear_count == 5).all()
