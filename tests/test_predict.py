import subprocess
import sys
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401 - the .rio accessor
import xarray as xr
from cubes import odc_dataset, rioxarray_array, stackstac_array

import xcloudmask
from xcloudmask import errors
from xcloudmask.blocks import predict_block
from xcloudmask.halo import BlockPlace
from xcloudmask.options import Options
from xcloudmask.prepare import prepare_cube
from xcloudmask.resample import bilinear_up, block_mean


def test_loaders_of_one_scene_give_one_mask(tiny_model):
    dataset = odc_dataset(shape=(70, 60), bands=("red", "green", "blue", "nir"))
    reference = dataset.cloudmask.predict(model=tiny_model)
    stack = dataset.to_dataarray("band").transpose("time", "band", "y", "x")
    xr.testing.assert_identical(stack.cloudmask.predict(model=tiny_model), reference)
    raster = stack.isel(time=0).assign_coords(band=[1, 2, 3, 4]).assign_attrs(long_name=tuple(dataset.data_vars))
    mask = raster.cloudmask.predict(model=tiny_model)
    xr.testing.assert_identical(mask, reference.isel(time=0))
    xr.testing.assert_identical(dataset.isel(time=0).cloudmask.predict(model=tiny_model), reference.isel(time=0))


@pytest.mark.parametrize("cube", [stackstac_array(), rioxarray_array(), rioxarray_array(times=3)])
def test_loaders_as_they_are(cube, tiny_model):
    mask = cube.cloudmask.predict(model=tiny_model)
    assert mask.dims == tuple(dim for dim in cube.dims if dim != "band")
    assert not {"band", "common_name", "title"} & set(mask.coords)
    assert mask.rio.crs.to_epsg() == 32631


def test_stackstac_chunks_of_one_band(tiny_model):
    cube = stackstac_array(shape=(90, 80), times=2)
    lazy = cube.chunk({"time": 1, "band": 1, "y": 48, "x": 80})
    xr.testing.assert_identical(
        lazy.cloudmask.predict(model=tiny_model, normalize="scene").compute(),
        cube.cloudmask.predict(model=tiny_model, normalize="scene"),
    )


@pytest.mark.parametrize("ascending", [True, False])
def test_geographic_grids(ascending, tiny_model):
    cube = odc_dataset(geographic=True, y_ascending=ascending)
    mask = cube.cloudmask.predict(model=tiny_model)
    assert mask.dims == ("time", "latitude", "longitude")
    xr.testing.assert_identical(mask.latitude, cube.latitude)
    assert cube.cloudmask.plan(model=tiny_model).factor >= 1


def test_transposed_input(tiny_model):
    cube = odc_dataset()
    xr.testing.assert_identical(
        cube.transpose("x", "time", "y").cloudmask.predict(model=tiny_model), cube.cloudmask.predict(model=tiny_model)
    )


def test_styles_follow_from_the_classes(tiny_model):
    cube = odc_dataset(nodata_fraction=0.1)
    mask = cube.cloudmask.predict(model=tiny_model)
    for style in ("cloud-noncloud", "valid-invalid"):
        direct = cube.cloudmask.predict(model=tiny_model, output_style=style)
        np.testing.assert_array_equal(direct, mask.cloudmask.to_style(style))
        assert direct.attrs["output_style"] == style


def test_percent_and_probability_agree(tiny_model):
    cube = odc_dataset(nodata_fraction=0.1)
    percent = cube.cloudmask.predict(model=tiny_model, categorise=False)
    proba = cube.cloudmask.predict_proba(model=tiny_model)
    assert percent.dtype == np.uint8
    assert percent.dims == proba.dims == ("time", "cloud_class", "y", "x")
    assert percent.cloud_class.values.tolist() == ["clear", "thick_cloud", "thin_cloud", "cloud_shadow"]
    np.testing.assert_array_equal(percent == 255, np.isnan(proba))
    expected = np.rint(proba.fillna(2.55).values * 100)
    np.testing.assert_array_equal(percent.values, expected)
    cloud = cube.cloudmask.predict_proba(model=tiny_model, output_style="cloud-noncloud")
    np.testing.assert_allclose(cloud[:, 1], proba[:, 1] + proba[:, 2], atol=1e-6)


def test_attributes_are_built_from_scratch(tiny_model):
    cube = odc_dataset()
    for name in cube.data_vars:
        cube[name].attrs |= {"scale_factor": 1e-4, "add_offset": -0.1, "units": "1", "_FillValue": 0}
    mask = cube.cloudmask.predict(model=tiny_model)
    assert not set(mask.attrs) & {"scale_factor", "add_offset", "units", "_FillValue"}
    assert mask.attrs["flag_meanings"] == "clear thick_cloud thin_cloud cloud_shadow"
    assert mask.encoding["grid_mapping"] == "spatial_ref"


def test_the_crs_of_a_dataset_that_was_opened_without_decoding_coordinates(tiny_model):
    cube = odc_dataset()
    for band in cube.data_vars.values():
        band.attrs["grid_mapping"] = "spatial_ref"
    opened = cube.reset_coords("spatial_ref")
    mask = opened.cloudmask.predict(model=tiny_model)
    xr.testing.assert_identical(mask, cube.cloudmask.predict(model=tiny_model))
    assert "spatial_ref" in mask.coords
    assert "spatial_ref" in opened.data_vars


def dated_dataset(times=2):
    names = ("red", "green", "nir")
    ends = {"_scale_factor": [1e-4, 2e-5], "_add_offset": [-0.1, 0.0]}
    return odc_dataset(times=2).assign_coords({n + end: ("time", v) for n in names for end, v in ends.items()})


def dated_stack(dims):
    cube = stackstac_array(times=2, dtype="uint16")
    shape = [cube.sizes[dim] for dim in dims]
    cube = cube.assign_coords(scale_factor=(dims, np.full(shape, 1e-4)), add_offset=(dims, np.zeros(shape)))
    item = np.empty((), object)
    item[()] = [{"scale": 1e-4, "offset": -0.1}]
    return cube.assign_coords({"raster:bands": ((), item)})


DATED = {
    "dataset": dated_dataset(),
    "one date": dated_dataset().isel(time=0),
    "lazy": dated_dataset().chunk({"time": 1}),
    **{"stack " + " ".join(dims): dated_stack(dims) for dims in [("time",), ("band",), ("time", "band")]},
    "one of a stack": dated_stack(("time", "band")).isel(time=1),
}


@pytest.mark.parametrize("cube", DATED.values(), ids=DATED)
def test_masks_do_not_inherit_scales(cube, tiny_model, tmp_path):
    dims = ("time",) if "time" in cube.dims else ()
    facts = {"item_id": ["a", "b"], "platform": ["s2a", "s2b"], "processing_baseline": ["05.10", "03.01"]}
    facts |= {"sun_elevation": [50.0, 60.0], "boa_offset_applied": [True, False], "scale": [1, 2]}
    facts = {name: np.array(values[: 2 if dims else 1]) for name, values in facts.items()}
    cube = cube.assign_coords({name: (dims, values if dims else values[0]) for name, values in facts.items()})
    before = cube.copy()
    masks = [
        xcloudmask.predict(cube, model=tiny_model),
        xcloudmask.predict(cube, model=tiny_model, categorise=False),
        xcloudmask.predict_proba(cube, model=tiny_model),
    ]
    stale = {"raster:bands", *(name for name in cube.coords if str(name).endswith(("scale_factor", "add_offset")))}
    of_bands = {name for name, coord in cube.coords.items() if "band" in coord.dims}
    assert len(stale) > 2
    for mask in masks:
        assert set(mask.coords) - {"cloud_class", "spatial_ref"} == set(cube.coords) - stale - of_bands - {
            "spatial_ref"
        }
        for name, values in facts.items():
            np.testing.assert_array_equal(mask[name], values if dims else values[0])
    xr.testing.assert_identical(cube, before)
    written = xcloudmask.open_mask(xcloudmask.to_zarr(masks[0], tmp_path / "masks.zarr"))
    assert not [name for name in written.coords if "scale_factor" in str(name) or "add_offset" in str(name)]
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(written, masks[0])


def test_a_band_given_up_is_fed_as_zeros(tiny_model):
    cube = odc_dataset()
    without = cube.drop_vars("nir")
    with pytest.raises(errors.BandNotFoundError, match="'nir': None"):
        without.cloudmask.predict(model=tiny_model)
    mask = without.cloudmask.predict(model=tiny_model, bands={"nir": None})
    flat = cube.assign(nir=xr.full_like(cube.nir, 7))  # a constant band becomes zeros too
    np.testing.assert_array_equal(mask, flat.cloudmask.predict(model=tiny_model))
    assert "given up" in without.cloudmask.plan(model=tiny_model, bands={"nir": None}).bands["nir"]


def test_the_level_is_used_where_the_scale_is_known(tiny_model):
    cube = odc_dataset(nodata=None)
    plain = cube.cloudmask.predict_proba(model=tiny_model)
    known = cube.copy()
    for name in known.data_vars:
        known[name].attrs |= {"scale_factor": 1e-4, "add_offset": 0.0}
    level = known.cloudmask.predict_proba(model=tiny_model)
    assert float(np.abs(level - plain).max()) > 0.01
    assert "known" in known.cloudmask.plan(model=tiny_model).scale
    # the same reflectance, stored in another scale, is the same input
    half = cube.astype("float64") / 2
    for name in half.data_vars:
        half[name].attrs |= {"scale_factor": 2e-4, "add_offset": 0.0}
    np.testing.assert_allclose(half.cloudmask.predict_proba(model=tiny_model), level, atol=0.02)


def with_times(cube, scales, offsets):
    """The same scale and offset for each band, per time step."""
    dated = {f"{band}_scale_factor": ("time", scales) for band in cube.data_vars}
    return cube.assign_coords(dated | {f"{band}_add_offset": ("time", offsets) for band in cube.data_vars})


def with_attrs(cube, scale, offset):
    return cube.assign({k: band.assign_attrs(scale_factor=scale, add_offset=offset) for k, band in cube.items()})


@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
def test_each_time_step_has_its_own_level(normalize, tiny_model):
    cube = odc_dataset(times=3, nodata=None)
    dated = with_times(cube, [1e-4, 2e-4, np.nan], [0.0, -0.1, 0.0])
    arguments = {"model": tiny_model, "normalize": normalize, "precision": "fp32"}
    together = dated.cloudmask.predict_proba(**arguments)
    alone = [
        with_attrs(cube, 1e-4, 0.0).isel(time=[0]),
        with_attrs(cube, 2e-4, -0.1).isel(time=[1]),
        cube.isel(time=[2]),
    ]
    for step, one in enumerate(alone):
        np.testing.assert_allclose(together[step], one.cloudmask.predict_proba(**arguments)[0], atol=1e-6)
    assert float(np.abs(together - cube.cloudmask.predict_proba(**arguments)).max()) > 0.01
    assert "scale known for 2 of 3 dates" in dated.cloudmask.plan(**arguments).scale
    # in chunks of several time steps, and with coordinates that are dask arrays
    for lazy in (dated.chunk({"time": 2}), dated.chunk({"time": 3, "y": 64}).compute().chunk({"time": 1})):
        xr.testing.assert_allclose(lazy.cloudmask.predict_proba(**arguments).compute(), together, atol=1e-6)
    assert "from dask coordinates" in dated.chunk().cloudmask.plan(**arguments).scale


def test_one_level_for_all_dates_is_no_table(tiny_model):
    cube = odc_dataset(nodata=None)
    dated = with_times(cube, [1e-4] * 2, [-0.1] * 2)
    same = with_attrs(cube, 1e-4, -0.1)
    xr.testing.assert_equal(
        dated.cloudmask.predict(model=tiny_model).reset_coords(drop=True),
        same.cloudmask.predict(model=tiny_model).reset_coords(drop=True),
    )
    assert prepare_cube(dated, Options(model=tiny_model), output="labels").scales is None
    unknown = with_times(cube, [np.nan] * 2, [-0.1] * 2)
    assert "scale unknown" in unknown.cloudmask.plan(model=tiny_model).scale


def test_the_argument_goes_before_the_coordinates_and_these_before_the_attributes(tiny_model):
    cube = odc_dataset(nodata=None)
    for scale in (3e-4, (3e-4, 0.0), {"red": 3e-4, "green": (3e-4, 0.0), "nir": 3e-4}):
        np.testing.assert_array_equal(
            with_times(cube, [1e-4, 2e-4], [0, 0]).cloudmask.predict_proba(model=tiny_model, scale=scale),
            with_attrs(cube, 3e-4, 0.0).cloudmask.predict_proba(model=tiny_model),
        )
    dated = with_times(cube, [1e-4, 2e-4], [0, -0.1])
    np.testing.assert_array_equal(
        with_attrs(dated, 3e-4, 0.0).cloudmask.predict_proba(model=tiny_model),
        dated.cloudmask.predict_proba(model=tiny_model),
    )
    assert "scale unknown" in cube.cloudmask.plan(model=tiny_model, scale={"red": 1e-4}).scale


def test_models_that_take_reflectance_refuse_an_unknown_scale(tiny_model):
    raw = replace(tiny_model, name="raw", normalization="none", level=False)
    cube = odc_dataset(nodata_fraction=0.1)
    for unknown in (cube, with_times(cube, [1e-4, np.nan], [0, 0]), cube.chunk()):
        with pytest.raises(errors.InputError, match=r"Model 'raw' takes reflectance.*Type scale=\(1e-4, 0.0\)"):
            unknown.cloudmask.predict(model=raw)
    with pytest.raises(errors.InputError, match="not known for nir"):
        cube.cloudmask.plan(model=raw, scale={"red": 1e-4, "green": 1e-4})
    lazy = with_times(cube, [1e-4, np.nan], [0, 0]).chunk().cloudmask.predict(model=raw)
    with pytest.raises(errors.InputError, match="the scale of a time step is not known"):
        lazy.compute(scheduler="synchronous")
    assert "the model takes reflectance" in cube.cloudmask.plan(model=raw, scale=1e-4).scale
    given = cube.cloudmask.predict_proba(model=raw, scale=(1e-4, -0.1), precision="fp32")
    itself = cube.cloudmask.to_reflectance(scale=(1e-4, -0.1))
    xr.testing.assert_allclose(itself.cloudmask.predict_proba(model=raw, precision="fp32"), given, atol=1e-4)
    assert float(np.abs(cube.cloudmask.predict_proba(model=raw, scale=1e-3) - given).max()) > 0.01


def test_fine_grids_are_averaged_and_brought_back(tiny_model):
    coarse = odc_dataset(shape=(64, 64), times=1, resolution=12.0, nodata=None)
    fine = coarse.isel(y=np.repeat(np.arange(64), 4), x=np.repeat(np.arange(64), 4))
    step = 3.0
    fine = fine.assign_coords(y=5.4e6 - step * np.arange(256), x=6e5 + step * np.arange(256))
    plan = fine.cloudmask.plan(model=tiny_model)
    assert plan.factor == 4
    assert plan.stride_px == 32
    mask = fine.cloudmask.predict(model=tiny_model, precision="fp32")
    assert mask.shape == (1, 256, 256)
    xr.testing.assert_identical(mask.x, fine.x)
    # at the centres of the cells the interpolation changes little
    reference = coarse.cloudmask.predict(model=tiny_model, precision="fp32", resolution_m=12)
    assert (mask.values[0, 2::4, 2::4] == reference.values[0]).mean() > 0.85
    proba = fine.cloudmask.predict_proba(model=tiny_model)
    np.testing.assert_allclose(proba.sum("cloud_class"), 1, atol=1e-5)


@pytest.mark.parametrize("normalize", ["lattice", "scene"])
def test_fine_grids_do_not_depend_on_the_layout(normalize, tiny_model):
    cube = odc_dataset(shape=(301, 270), times=1, resolution=5.0, nodata_fraction=0.1)
    arguments = {"model": tiny_model, "normalize": normalize}
    lazy = cube.chunk({"y": 130, "x": 150}).cloudmask.predict(**arguments)
    xr.testing.assert_identical(lazy.compute(), cube.cloudmask.predict(**arguments))


def test_coarse_grids_are_interpolated_and_brought_back(tiny_model):
    """As if the cube had been interpolated before, with the statistics of its own pixels."""
    coarse = odc_dataset(shape=(40, 48), times=2, resolution=150.0, nodata=None)
    proba = coarse.cloudmask.predict_proba(model=tiny_model, precision="fp32", upsample=True)
    assert coarse.cloudmask.plan(model=tiny_model, upsample=True).upsample == 3
    assert proba.shape == (2, 4, 40, 48)
    xr.testing.assert_identical(proba.x, coarse.x)
    np.testing.assert_allclose(proba.sum("cloud_class"), 1, atol=1e-5)

    def finer(band):
        value = (band - band.mean(("y", "x"))) / band.std(("y", "x"))
        return xr.DataArray(bilinear_up(value.astype("float32").values, 3), dims=("time", "y", "x"))

    fine = xr.Dataset({name: finer(band) for name, band in coarse.data_vars.items()})
    settings = prepare_cube(fine, Options(model=tiny_model, precision="fp32"), output="probability").settings
    places = tuple(BlockPlace(start=0, stop=side, depth=0, length=side) for side in (120, 144))
    # Count, mean and spread that leave the bands as they are: only the interpolation is compared.
    table = np.tile([1.0, 0.0, 1.0], (2, 3))
    block = np.stack([fine[name] for name in ("red", "green", "nir")], axis=1)
    expected = block_mean(predict_block(block, places=places, settings=settings, scene=table), 3)
    np.testing.assert_allclose(proba, expected, atol=1e-5)
    # a constant shade per pixel would look different
    assert float(np.abs(proba - coarse.cloudmask.predict_proba(model=tiny_model, precision="fp32")).max()) > 0.05


@pytest.mark.parametrize("options", [{}, {"output_style": "cloud-noncloud"}, {"categorise": False}])
def test_coarse_masks_agree_with_their_probabilities(options, tiny_model):
    cube = odc_dataset(shape=(37, 41), times=1, resolution=300.0, nodata_fraction=0.2)
    mask = cube.cloudmask.predict(model=tiny_model, upsample=4, **options)
    proba = cube.cloudmask.predict_proba(model=tiny_model, upsample=4, output_style=mask.attrs["output_style"])
    np.testing.assert_array_equal(np.isnan(proba).any("cloud_class"), cube.red == 0)
    if options.get("categorise", True):
        np.testing.assert_array_equal(mask, proba.argmax("cloud_class", skipna=False).where(cube.red != 0, 255))
    else:
        np.testing.assert_array_equal(mask == 255, np.isnan(proba))
        np.testing.assert_allclose(mask.where(mask != 255), proba * 100, atol=0.51)


def test_upsampling_is_asked_for(tiny_model):
    cube = odc_dataset(shape=(40, 48), times=1, resolution=100.0)
    plain = cube.cloudmask.predict(model=tiny_model)
    xr.testing.assert_identical(cube.cloudmask.predict(model=tiny_model, upsample=1), plain)
    assert not cube.cloudmask.predict(model=tiny_model, upsample=True).equals(plain)
    fine = odc_dataset(shape=(40, 48), times=1, resolution=10.0)
    xr.testing.assert_identical(
        fine.cloudmask.predict(model=tiny_model, upsample=True), fine.cloudmask.predict(model=tiny_model)
    )


def test_moving_window_averages(tiny_model):
    cube = odc_dataset(shape=(120, 100), times=1, nodata=None)
    proba = cube.cloudmask.predict_proba(model=tiny_model, stride=32)
    np.testing.assert_allclose(proba.sum("cloud_class"), 1, atol=1e-5)
    assert "windows of 64 px every 32 px" in cube.cloudmask.plan(model=tiny_model, stride=32).window
    with pytest.raises(errors.ArgumentError, match="Type stride=32"):
        cube.cloudmask.predict(model=tiny_model, stride=30)
    with pytest.raises(errors.ArgumentError, match="Type stride=64"):
        cube.cloudmask.predict(model=tiny_model, stride=512)


def test_nothing_public_computes(no_compute, tiny_model):
    cube = odc_dataset(shape=(130, 140), chunks={"time": 1, "y": 50, "x": 60})
    for normalize in ("chunk", "lattice", "scene"):
        mask = cube.cloudmask.predict(model=tiny_model, normalize=normalize)
        assert isinstance(mask.data, da.Array)
    cube.cloudmask.predict_proba(model=tiny_model)
    cube.cloudmask.plan(model=tiny_model)
    cube.cloudmask.predict(model=tiny_model, normalize="scene", upsample=3, resolution_m=100)
    dated = with_times(cube, [1e-4, 2e-4], [0.0, -0.1]).chunk()
    assert dated.red_scale_factor.chunks
    dated.cloudmask.predict(model=tiny_model)
    cube.cloudmask.to_reflectance(scale=1e-4)
    mask.cloudmask.clear_fraction()
    mask.cloudmask.to_style("valid-invalid")
    mask.cloudmask.dilate(px=2)
    cube.cloudmask.apply(mask, dilate_px=3)
    stackstac_array(chunks={"y": 40}).cloudmask.predict(model=tiny_model)
    rioxarray_array(chunks={"y": 40}).cloudmask.predict(model=tiny_model)
    with pytest.raises(AssertionError, match="computed"):  # the trap works
        mask.compute()


def test_keys_are_the_same_in_another_process():
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from cubes import odc_dataset\n"
        "import dask.array as da, xarray as xr, xcloudmask\n"
        "cube = xr.Dataset({b: (('y', 'x'), da.ones((400, 400), chunks=200)) for b in ('red', 'green', 'nir')})\n"
        "names = [cube.cloudmask.predict(normalize=n).data.name for n in ('chunk', 'lattice', 'scene')]\n"
        "cube = cube.expand_dims(time=2)\n"
        "cube = cube.assign_coords({f'{b}_scale_factor': ('time', [1e-4, 2e-4]) for b in cube.data_vars})\n"
        "names += [cube.cloudmask.predict().data.name, cube.chunk().cloudmask.predict().data.name]\n"
        "print(names + [cube.cloudmask.predict(upsample=3, resolution_m=100).data.name])\n"
    )
    names = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(names) == 1
    assert len(set(eval(names.pop()))) == 6  # noqa: S307 - our own output


def test_the_graph_is_small(tiny_model):
    """No model travels, and no more than eleven tasks a chunk are added to those of the cube."""
    n = 8
    cube = xr.Dataset(
        {b: (("y", "x"), da.zeros((n * 64, n * 64), chunks=64, dtype="u2")) for b in ("red", "green", "nir")}
    )
    mask = cube.cloudmask.predict(model=tiny_model)
    (optimised,) = dask.optimize(mask.data)
    tasks = len(dict(optimised.__dask_graph__()))
    sources = 1  # the three zeros are one array
    assert tasks / n**2 - sources <= 11
    import cloudpickle

    assert len(cloudpickle.dumps(dict(optimised.__dask_graph__()))) < 4000 * n**2


@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
def test_a_table_of_scales_costs_two_tasks_per_date(normalize, tiny_model):
    times, n = 5, 3
    data = da.zeros((times, n * 64, n * 64), chunks=(1, 64, 64), dtype="u2")
    cube = xr.Dataset(dict.fromkeys(("red", "green", "nir"), (("time", "y", "x"), data)))
    dated = with_times(cube, [1e-4] * times, np.linspace(-0.1, 0.0, times))

    def tasks(cube):
        (optimised,) = dask.optimize(cube.cloudmask.predict(model=tiny_model, normalize=normalize).data)
        return len(dict(optimised.__dask_graph__()))

    assert tasks(dated) <= tasks(cube) + 2 * times


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
def test_schedulers_agree(normalize, tiny_model):
    cube = odc_dataset(shape=(150, 140), chunks={"time": 1, "y": 64, "x": 64}, nodata_fraction=0.05)
    mask = cube.cloudmask.predict(model=tiny_model, normalize=normalize)
    reference = mask.compute(scheduler="synchronous")
    xr.testing.assert_identical(mask.compute(scheduler="threads"), reference)
    if normalize == "chunk":
        with dask.config.set({"multiprocessing.context": "spawn"}):
            xr.testing.assert_identical(mask.compute(scheduler="processes", num_workers=2), reference)


@pytest.mark.slow
def test_a_cluster_of_two_processes_gives_the_same_bytes(tiny_model):
    distributed = pytest.importorskip("distributed")
    cube = odc_dataset(shape=(200, 190), chunks={"time": 1, "y": 64, "x": 64}, nodata_fraction=0.05)
    masks = {n: cube.cloudmask.predict(model=tiny_model, normalize=n) for n in ("chunk", "lattice", "scene")}
    threaded = {n: mask.compute(scheduler="threads") for n, mask in masks.items()}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        for n, mask in masks.items():
            assert mask.compute().values.tobytes() == threaded[n].values.tobytes()


def test_precision_and_device_are_resolved_late(tiny_model):
    cube = odc_dataset(times=1)
    a = cube.cloudmask.predict(model=tiny_model, device="cpu", precision="fp32", batch_size=2)
    assert a.shape == (1, 64, 96)
    lazy = cube.chunk().cloudmask.predict(model=tiny_model, device="cuda:7")
    with pytest.raises(errors.ArgumentError, match="not available"):
        lazy.compute(scheduler="synchronous")


class TestBadInput:
    def check(self, error, match, cube=None, **arguments):
        cube = odc_dataset() if cube is None else cube
        for function in (xcloudmask.predict, xcloudmask.plan):
            with pytest.raises(error, match=match) as caught:
                function(cube, **arguments)
            assert isinstance(caught.value, errors.XCloudMaskError)

    def test_arguments(self):
        self.check(errors.UnknownModelError, "No model is called 'best'", model="best")
        self.check(errors.ArgumentError, "normalize='window'", normalize="window")
        self.check(errors.ArgumentError, "Expected one of '4-class'", output_style="classes")
        self.check(errors.ArgumentTypeError, "halo_px='64' is a str. Expected a whole number", halo_px="64")
        self.check(errors.ArgumentTypeError, "stride=64.0 is a float", stride=64.0)
        self.check(errors.ArgumentTypeError, "stride=True is a bool", stride=True)
        self.check(errors.ArgumentError, "halo_px=-8 is too small", halo_px=-8)
        self.check(errors.ArgumentError, "batch_size=0", batch_size=0)
        self.check(errors.ArgumentTypeError, "batch_size='many'", batch_size="many")
        self.check(errors.ArgumentTypeError, "resolution_m='10'", resolution_m="10")
        self.check(errors.ArgumentError, "positive number of metres", resolution_m=-10)
        self.check(errors.ArgumentError, "has 3 values", resolution_m=(1, 2, 3))
        self.check(errors.ArgumentTypeError, "nodata='0'", nodata="0")
        self.check(errors.ArgumentTypeError, "scale='1e-4' is no scale", scale="1e-4")
        self.check(errors.ArgumentTypeError, "a pair \\(scale, offset\\)", scale=(1e-4, 0.0, 0.0))
        self.check(errors.ArgumentTypeError, "is no scale", scale={"red": True})
        self.check(errors.ArgumentError, "needs a positive scale", scale=-1e-4)
        self.check(errors.ArgumentError, "needs a positive scale", scale=(1e-4, float("nan")))
        self.check(errors.ArgumentError, "has the band 'swir'", scale={"swir": 1e-4})
        self.check(errors.ArgumentTypeError, "upsample='yes' is a str", upsample="yes")
        self.check(errors.ArgumentError, "upsample=0 is too small", upsample=0)
        self.check(errors.ArgumentError, "upsample=2 makes pixels of 5 m", upsample=2)
        self.check(errors.ArgumentTypeError, "categorise='no'", categorise="no")
        self.check(errors.ArgumentError, "device='gpu'", device="gpu")
        self.check(errors.ArgumentError, "precision='int4'", precision="int4")

    def test_bands(self):
        self.check(errors.BandNotFoundError, "blue", cube=odc_dataset(bands=("blue", "green", "nir")))
        self.check(errors.InputError, "red", bands={"red": "B99"})

    def test_a_mask_as_input(self, tiny_model):
        mask = odc_dataset().cloudmask.predict(model=tiny_model)
        self.check(errors.NotACubeError, "mask", cube=mask)

    def test_unknown_chunks(self):
        data = da.zeros((3, 64, 8), chunks=32)[:, da.from_array(np.arange(64) > 3)]
        self.check(
            errors.ChunkError, "compute_chunk_sizes", cube=xr.DataArray(data, dims=("band", "y", "x")), bands=[0, 1, 2]
        )

    def test_empty_cube(self):
        self.check(errors.InputError, "empty", cube=odc_dataset().isel(time=slice(0)))
        self.check(errors.InputError, "empty", cube=odc_dataset().isel(y=slice(0)))

    def test_all_bands_given_up(self, tiny_model):
        model = replace(tiny_model, optional_bands=tiny_model.bands)
        self.check(errors.InputError, "All bands were given up", model=model, bands=dict.fromkeys(model.bands))

    def test_duck_arrays(self):
        class Duck(np.lib.mixins.NDArrayOperatorsMixin):
            """A duck array that is neither numpy nor dask."""

            shape, dtype, ndim = (64, 64), np.dtype("uint16"), 2

            def __array_function__(self, *args):
                return NotImplemented

            def __array_ufunc__(self, *args, **kwargs):
                return NotImplemented

        cube = xr.Dataset({b: (("y", "x"), Duck()) for b in ("red", "green", "nir")})
        self.check(errors.NotACubeError, "Expected a numpy or a dask array", cube=cube)

    def test_no_cube_at_all(self):
        self.check(errors.NotACubeError, "ndarray", cube=np.zeros((3, 8, 8)))

    def test_a_wrong_time_dimension_is_named(self):
        cube = odc_dataset().rename(time="member")
        self.check(errors.NotACubeError, "member", cube=cube.drop_vars("member"))
