import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401 - the .rio accessor
import xarray as xr
from cubes import odc_dataset, rioxarray_array, stackstac_array

import xcloudmask
from xcloudmask import errors


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
        "print([cube.cloudmask.predict(normalize=n).data.name for n in ('chunk', 'lattice', 'scene')])\n"
    )
    names = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(names) == 1
    assert len(set(eval(names.pop()))) == 3  # noqa: S307 - our own output


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
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
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
        from dataclasses import replace

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
