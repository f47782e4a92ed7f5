"""The promises of the engine, as properties, with a real convolutional network."""

import itertools

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401 - the .rio accessor
import xarray as xr
from cubes import odc_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import xcloudmask
from xcloudmask.graph import predict_graph
from xcloudmask.options import Options
from xcloudmask.prepare import prepare_cube

SHAPES = st.tuples(st.integers(1, 150), st.integers(1, 150))


@st.composite
def splits(draw, length):
    """Any way to cut an axis into chunks."""
    cuts = sorted(draw(st.sets(st.integers(1, length - 1), max_size=5))) if length > 1 else []
    borders = [0, *cuts, length]
    return tuple(b - a for a, b in itertools.pairwise(borders))


@st.composite
def layouts(draw, shape, times):
    return {"time": draw(splits(times)), "y": draw(splits(shape[0])), "x": draw(splits(shape[1]))}


def scene(shape, *, times=2, seed=0, dtype="float32", holes=0.05):
    return odc_dataset(shape=shape, times=times, seed=seed, dtype=dtype, nodata=None, nodata_fraction=holes)


@given(
    data=st.data(), shape=SHAPES, normalize=st.sampled_from(["lattice", "scene"]), stride=st.sampled_from([None, 32])
)
def test_labels_do_not_depend_on_the_layout(data, shape, normalize, stride, tiny_model):
    cube = scene(shape)
    arguments = {"model": tiny_model, "normalize": normalize, "stride": stride}
    reference = cube.cloudmask.predict(**arguments)
    lazy = cube.chunk(data.draw(layouts(shape, 2))).cloudmask.predict(**arguments)
    workers = data.draw(st.sampled_from([1, 2, 5]))
    with dask.config.set(scheduler="threads", num_workers=workers):
        xr.testing.assert_identical(lazy.compute(), reference)


@given(
    data=st.data(),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    normalize=st.sampled_from(["lattice", "scene"]),
    upsample=st.sampled_from([2, 3, 5]),
    window=st.booleans(),
)
@settings(max_examples=12)
def test_coarse_pixels_do_not_depend_on_the_layout(data, shape, normalize, upsample, window, tiny_model):
    cube = odc_dataset(shape=shape, times=2, dtype="float32", nodata=None, nodata_fraction=0.05, resolution=300.0)
    arguments = {"model": tiny_model, "normalize": normalize, "upsample": upsample}
    if window:
        arguments["stride"] = tiny_model.stride_px
    reference = cube.cloudmask.predict(**arguments)
    lazy = cube.chunk(data.draw(layouts(shape, 2))).cloudmask.predict(**arguments)
    xr.testing.assert_identical(lazy.compute(), reference)
    np.testing.assert_array_equal(reference == 255, np.isnan(cube.red))


@given(data=st.data(), shape=SHAPES, output=st.sampled_from(["labels", "percent", "probability"]))
def test_lazy_equals_eager(data, shape, output, tiny_model):
    """In one chunk, with any normalisation and style."""
    cube = scene(shape)
    call = xcloudmask.predict_proba if output == "probability" else xcloudmask.predict
    arguments = {
        "model": tiny_model,
        "normalize": data.draw(st.sampled_from(["chunk", "lattice", "scene"])),
        "output_style": data.draw(st.sampled_from(["4-class", "cloud-noncloud", "valid-invalid"])),
    }
    if output == "percent":
        arguments["categorise"] = False
    lazy = call(cube.chunk({"time": 1, "y": -1, "x": -1}), **arguments)
    assert isinstance(lazy.data, da.Array)
    xr.testing.assert_identical(lazy.compute(), call(cube, **arguments))


@given(data=st.data(), shape=SHAPES)
def test_chunks_of_chunk_normalisation_are_worked_on_alone(data, shape, tiny_model):
    """With the statistics of the scene, any layout gives the mask of the uncut scene: the halo is exact."""
    cube = scene(shape, times=1)
    whole = xcloudmask.predict_proba(cube, model=tiny_model, normalize="scene", precision="fp32")
    options = Options(model=tiny_model, normalize="scene", precision="fp32")
    prepared = prepare_cube(cube.chunk(data.draw(layouts(shape, 1))), options, output="probability")
    cut = predict_graph(prepared.stack, prepared.settings, chunks=prepared.chunks, depth=prepared.geometry.depth)
    np.testing.assert_allclose(cut.compute(), whole.values, atol=1e-5)


@given(
    gain=st.tuples(*[st.floats(1e-6, 1e6)] * 3),
    offset=st.tuples(*[st.floats(-100, 100)] * 3),
    normalize=st.sampled_from(["chunk", "lattice", "scene"]),
)
def test_gain_and_offset_of_a_band_change_no_label(gain, offset, normalize, tiny_model):
    cube = scene((70, 90), dtype="float64")
    changed = cube.copy()
    for name, g, o in zip(cube.data_vars, gain, offset, strict=True):
        changed[name] = (cube[name] + o * cube[name].std()) * g
    arguments = {"model": tiny_model, "normalize": normalize, "precision": "fp32"}
    before = cube.cloudmask.predict_proba(**arguments)
    after = changed.cloudmask.predict_proba(**arguments)
    np.testing.assert_allclose(after, before, atol=1e-4)
    # Only a tie of two classes, to the last digits, may fall the other way.
    margin = np.diff(np.sort(before.values, axis=1)[:, -2:], axis=1)[:, 0]
    same = before.argmax("cloud_class", skipna=False) == after.argmax("cloud_class", skipna=False)
    assert same.values[~(margin < 1e-4)].all()


@given(
    shape=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    processed=st.lists(st.booleans(), min_size=3, max_size=3),
    normalize=st.sampled_from(["chunk", "lattice", "scene"]),
    holes=st.sampled_from([0.0, 0.1]),
)
def test_mixed_baselines_give_the_same_bytes(shape, processed, normalize, holes, tiny_model):
    """Sentinel-2 03.01 and 05.10 in one cube: the 1000 DN of some dates change no label where the level is unknown."""
    old = odc_dataset(shape=shape, times=3, nodata=0, nodata_fraction=holes)
    added = xr.DataArray([1000 if new else 0 for new in processed], dims="time").astype("uint16")
    mixed = old.map(lambda band: (band + added).where(band > 0, 0).astype("uint16").transpose(*band.dims))
    mixed = mixed.map(lambda band: band.assign_attrs(nodata=0))
    arguments = {"model": tiny_model, "normalize": normalize, "precision": "fp32"}
    mask = old.cloudmask.predict(**arguments)
    assert mixed.cloudmask.predict(**arguments).values.tobytes() == mask.values.tobytes()
    # With the offset of each date known, the level is the same, too.
    offsets = [-0.1 if new else 0.0 for new in processed]
    dated = mixed.assign_coords({f"{band}_scale_factor": ("time", [1e-4] * 3) for band in mixed.data_vars})
    dated = dated.assign_coords({f"{band}_add_offset": ("time", offsets) for band in mixed.data_vars})
    before = old.cloudmask.predict_proba(**arguments, scale=1e-4)
    after = dated.cloudmask.predict_proba(**arguments)
    np.testing.assert_allclose(after, before, atol=1e-5)
    known = dated.cloudmask.predict(**arguments)
    margin = np.diff(np.sort(before.values, axis=1)[:, -2:], axis=1)[:, 0]
    differ = known.values != old.cloudmask.predict(**arguments, scale=1e-4).values
    assert not differ[margin > 1e-4].any()
    reflected = dated.cloudmask.to_reflectance()
    xr.testing.assert_allclose(
        reflected.reset_coords(drop=True), old.cloudmask.to_reflectance(scale=1e-4).reset_coords(drop=True), atol=1e-6
    )


@given(shape=SHAPES, times=st.integers(1, 3), style=st.sampled_from(["4-class", "cloud-noncloud", "valid-invalid"]))
def test_mask_alphabet_and_coordinates(shape, times, style, tiny_model):
    cube = scene(shape, times=times, holes=0.3)
    mask = cube.cloudmask.predict(model=tiny_model, output_style=style)
    codes = set(mask.attrs["flag_values"].tolist())
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= codes | {255}
    np.testing.assert_array_equal(mask == 255, np.isnan(cube.red))
    assert mask.dims == cube.red.dims
    assert set(mask.coords) == set(cube.coords)
    for name in cube.coords:
        xr.testing.assert_identical(mask[name], cube[name])
    assert mask.rio.crs == cube.rio.crs
    xr.testing.assert_identical(cube, scene(shape, times=times, holes=0.3))  # nothing done to the caller's cube


@given(
    y=st.integers(0, 199),
    x=st.integers(0, 199),
    poison=st.sampled_from([np.nan, np.inf, -np.inf, 1e300]),
    band=st.sampled_from(["red", "green", "nir"]),
    normalize=st.sampled_from(["chunk", "lattice", "scene"]),
)
@settings(max_examples=20)
def test_a_poisoned_pixel_harms_only_its_neighbourhood(y, x, poison, band, normalize, tiny_model):
    cube = scene((200, 200), times=1, dtype="float64", holes=0).chunk({"y": 64, "x": 64})
    changed = cube.copy(deep=True).compute()
    changed[band].values[0, y, x] = poison
    changed = changed.chunk({"time": 1, "y": 64, "x": 64})
    arguments = {"model": tiny_model, "normalize": normalize, "precision": "fp32"}
    before, after = (c.cloudmask.predict_proba(**arguments).compute()[0] for c in (cube, changed))
    assert np.isnan(after[:, y, x]).all()
    assert int(np.isnan(after).any("cloud_class").sum()) == 1
    rows, columns = np.ogrid[:200, :200]
    reach = np.maximum(np.abs(rows - y), np.abs(columns - x)) <= tiny_model.radius_px
    # Beyond its reach only the statistics can tell that one pixel of some thousands is gone.
    assert float(np.abs(after - before).where(~reach).max()) < 0.02
    if normalize == "lattice":  # and not even those in tiles that do not see it
        sees = _tile_sees(rows, y) & _tile_sees(columns, x)
        np.testing.assert_array_equal(after.values[:, ~sees], before.values[:, ~sees])


@given(
    y=st.integers(0, 89),
    x=st.integers(0, 89),
    poison=st.sampled_from([np.nan, np.inf, 1e300]),
    upsample=st.sampled_from([2, 3]),
)
@settings(max_examples=10)
def test_a_poisoned_coarse_pixel_harms_only_the_tiles_that_see_it(y, x, poison, upsample, tiny_model):
    cube = odc_dataset(shape=(90, 90), times=1, dtype="float64", nodata=None, resolution=150.0)
    changed = cube.copy(deep=True)
    changed["red"].values[0, y, x] = poison
    arguments = {"model": tiny_model, "normalize": "lattice", "precision": "fp32", "upsample": upsample}
    plan = cube.cloudmask.plan(**arguments)
    tile = plan.stride_px  # of a lattice: its tiles
    before, after = (c.cloudmask.predict_proba(**arguments)[0] for c in (cube, changed))
    assert np.isnan(after[:, y, x]).all()
    assert int(np.isnan(after).any("cloud_class").sum()) == 1
    rows, columns = np.ogrid[:90, :90]
    # Interpolation looks one pixel beyond the halo.
    reach = {"tile": tile, "halo": plan.halo_px + 1}
    sees = _tile_sees(rows, y, **reach) & _tile_sees(columns, x, **reach)
    np.testing.assert_array_equal(after.values[:, ~sees], before.values[:, ~sees])


def _tile_sees(pixel, poison, *, tile=64, halo=40):
    """Whether the tile that a pixel lies in reads the poisoned one, along an axis."""
    start = pixel // tile * tile
    return (start - halo <= poison) & (poison < start + tile + halo)


@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 97), (101, 1), (127, 131), (64, 64), (65, 63)])
def test_odd_shapes(shape, normalize, tiny_model):
    cube = scene(shape, holes=0).chunk({"y": 7, "x": 11})
    mask = cube.cloudmask.predict(model=tiny_model, normalize=normalize).compute()
    assert mask.shape == (2, *shape)
    assert set(np.unique(mask)) <= {0, 1, 2, 3}


@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
@pytest.mark.parametrize("stride", [None, 32])
def test_all_nodata_never_reaches_the_model(normalize, stride, tiny_model, monkeypatch):
    monkeypatch.setattr("xcloudmask.blocks.get_runner", lambda *a, **k: pytest.fail("the model was asked for"))
    cube = (scene((100, 100)) * np.nan).chunk({"y": 50})
    assert (cube.cloudmask.predict(model=tiny_model, normalize=normalize, stride=stride).compute() == 255).all()


@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
def test_one_valid_pixel(normalize, tiny_model):
    cube = scene((100, 90), times=1, holes=0)
    keep = (cube.x == cube.x[33]) & (cube.y == cube.y[77])
    mask = cube.where(keep).chunk({"y": 30}).cloudmask.predict(model=tiny_model, normalize=normalize).compute()
    assert int((mask != 255).sum()) == 1
    assert int(mask[0, 77, 33]) in {0, 1, 2, 3}


def test_duplicate_times(tiny_model):
    cube = scene((40, 40), times=1, holes=0)
    twice = xr.concat([cube, cube, cube], dim="time")
    mask = twice.chunk({"time": 2}).cloudmask.predict(model=tiny_model)
    assert mask.sizes["time"] == 3
    np.testing.assert_array_equal(mask[0], mask[2])


def test_chunks_smaller_than_the_halo(tiny_model):
    cube = scene((130, 140), times=1)
    chunked = cube.chunk({"y": 5, "x": 3})
    plan = chunked.cloudmask.plan(model=tiny_model)
    assert min(min(c) for c in plan.chunks[1:]) >= plan.halo_px
    assert "multiples of 8 px" in plan.rechunk
    assert chunked.cloudmask.predict(model=tiny_model).compute().shape == (1, 130, 140)


def test_batches_and_threads_change_no_label(tiny_model):
    import torch

    cube = scene((200, 150), times=3)
    arguments = {"model": tiny_model, "normalize": "lattice"}
    reference = cube.cloudmask.predict(**arguments, batch_size=4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        xr.testing.assert_identical(cube.cloudmask.predict(**arguments, batch_size=4), reference)
    finally:
        torch.set_num_threads(before)
