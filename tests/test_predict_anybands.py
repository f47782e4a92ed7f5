"""Masks of a model of any bands: of every sensor, in every shape, and the same whatever does not matter."""

import dataclasses
import json

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from cubes import grid_coords, odc_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from open_model import any_spec
from run_tasks import MemoryLedger, MemorySink, card_of, cell_of, regions, task_of
from stac_shelf import Shelf, grid_cube
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli.app import app
from xcloudmask.errors import ArgumentError, BandNotFoundError, InputError, WeightsError
from xcloudmask.models.loading import load_network
from xcloudmask.models.openbands import OFFSET, THERMAL_K
from xcloudmask.models.sensei import describe
from xcloudmask.openbands import select_open_bands
from xcloudmask.run import estimate
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.plan import make_plan
from xcloudmask.run.process import process_task
from xcloudmask.run.task import Job
from xcloudmask.run.workers import prepare_worker
from xcloudmask.simulate import simulate_scene
from xcloudmask.simulated import evaluate_simulated, usable_sensors
from xcloudmask.stac import load
from xcloudmask.stac.openbands import all_roles
from xcloudmask.training.data import Patch
from xcloudmask.training.predictor import predict_patch

BANDS = ("blue", "green", "red", "nir", "swir16")
HERE = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return any_spec(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def cube():
    return odc_dataset(shape=(96, 112), times=2, bands=BANDS, seed=3, nodata_fraction=0.01)


def mask(cube, spec, **options):
    return xcloudmask.predict(cube, model=spec, **{"scale": 1e-4, **HERE, **options})


def chances(cube, spec, **options):
    return xcloudmask.predict_proba(cube, model=spec, **{"scale": 1e-4, **HERE, **options}).values


# --- what is fed ---


def test_the_engine_gives_what_the_network_with_sensei_gives(cube, spec):
    """Offset, division of kelvin, holes and borders: all as in the training, but folded away."""
    heat = (230.0 + 80.0 * np.random.default_rng(1).random((2, 96, 112))).astype("float32")
    whole = cube.assign(lwir11=(("time", "y", "x"), heat, {"units": "K"}))
    scale = dict.fromkeys(BANDS, 1e-4)
    net = load_network(spec, fold=False)
    descriptors = describe([band.wavelength_nm for band in select_open_bands(whole, scale=scale).bands])
    side = torch.cat((descriptors, torch.ones(6, 1)), dim=1)
    pixels = np.stack([*(cube[name].values * 1e-4 for name in BANDS), heat / THERMAL_K], axis=1) + OFFSET
    valid = cube["blue"].values != 0
    with torch.inference_mode():
        logits = net(torch.from_numpy(np.where(valid[:, None], pixels, 0.0)).float(), side.expand(2, 6, 4))
    expected = np.where(valid[:, None], logits.softmax(1).numpy(), np.nan)
    np.testing.assert_allclose(chances(whole, spec, scale=scale), expected, atol=2e-5)


@pytest.mark.parametrize(
    "sensor", ["landsat-etm-c2-l1", "sentinel-3-slstr-l1b", "planetscope-8b", "sentinel-2-l2a", "hls-l30"]
)
def test_every_band_of_a_sensor_is_fed(sensor, spec):
    scene = simulate_scene(sensor, size_px=64, times=2, chunks=32)
    plan = xcloudmask.plan(scene, model=spec, sensor=sensor)
    assert tuple(plan.bands) == tuple(scene.data_vars) == plan.model.bands
    found = xcloudmask.predict(scene, model=spec, sensor=sensor, **HERE)
    assert found.dtype == np.uint8
    assert found.chunks is not None
    codes = found.values
    assert set(np.unique(codes)) <= {0, 1, 2, 3, 255}
    empty = np.logical_or.reduce([band.values == band.nodata for band in scene.compute().data_vars.values()])
    np.testing.assert_array_equal(codes == 255, empty)


def test_a_part_of_a_spectrum(spec):
    wavelengths = np.array([443.0, 560.0, 665.0, 865.0, 1250.0, 1375.0, 2200.0])
    pixels = np.random.default_rng(0).random((7, 64, 72)).astype("float32")
    coords = grid_coords((64, 72)) | {"wavelength": ("wavelength", wavelengths, {"units": "nm"})}
    spectrum = xr.DataArray(pixels, dims=("wavelength", "y", "x"), coords=coords)
    plan = xcloudmask.plan(spectrum, model=spec, scale=1)
    assert list(plan.bands)[5] == "1375 nm"
    assert "1375 nm, 1375 to 1375; coordinate wavelength, width not told" in plan.bands["1375 nm"]
    three = mask(spectrum, spec, scale=1, bands=["665 nm", "560 nm", "865 nm"])
    assert three.shape == (64, 72)
    assert (three != mask(spectrum, spec, scale=1)).any()


# --- what changes nothing ---


@settings(max_examples=6)
@given(order=st.permutations(BANDS))
def test_the_order_of_the_bands_changes_rounding_at_most(cube, spec, order):
    one = cube.isel(time=0)
    reference = chances(one, spec)
    np.testing.assert_allclose(chances(one[list(order)], spec), reference, atol=1e-5)
    np.testing.assert_allclose(chances(one, spec, bands=list(order)), reference, atol=1e-5)


def test_a_band_more_or_less_changes_the_mask(cube, spec):
    assert (mask(cube, spec) != mask(cube, spec, bands=list(BANDS[:4]))).mean() > 0.01


def test_a_dataset_and_an_array_give_the_same_mask(cube, spec):
    array = cube.to_dataarray("band").transpose("time", "band", "y", "x").assign_attrs(nodata=0)
    xr.testing.assert_equal(mask(cube, spec), mask(array, spec))
    positions = mask(array, spec, bands=[0, 1, 2, 3, 4])
    xr.testing.assert_equal(positions, mask(cube, spec))


def test_masks_and_angles_beside_the_bands_change_nothing(cube, spec):
    qa = xr.Variable(cube["red"].dims, np.arange(cube["red"].size, dtype="uint16").reshape(cube["red"].shape))
    more = cube.assign(SCL=qa, view_zenith=qa.astype("float32"))
    assert dict(xcloudmask.plan(more, model=spec, scale=1e-4).left_out).keys() == {"SCL", "view_zenith"}
    xr.testing.assert_identical(mask(more, spec), mask(cube, spec))


def test_lazy_is_eager(cube, spec, no_compute):
    lazy = mask(cube.chunk({"time": 1, "y": -1, "x": -1}), spec)
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_equal(lazy.compute(), mask(cube, spec))


@pytest.mark.parametrize("chunks", [{"y": 48, "x": 112}, {"y": 40, "x": 30}, {"time": 2, "y": 96, "x": 64}])
def test_the_layout_changes_nothing(cube, spec, chunks):
    with dask.config.set(scheduler="synchronous"):
        found = mask(cube.chunk(chunks), spec, normalize="lattice")
        xr.testing.assert_equal(found.compute(), mask(cube, spec, normalize="lattice"))
        chunked = chances(cube.chunk(chunks), spec)
    # Nearer to the border than the halo it counts whether the network is shown what is beyond, which is nothing.
    inside = (..., slice(40, -40), slice(40, -40))
    np.testing.assert_allclose(chunked[inside], chances(cube, spec)[inside], atol=1e-5)


@settings(max_examples=5)
@given(gain=st.floats(0.1, 8.0), offset=st.integers(0, 5000))
def test_other_numbers_for_the_same_reflectance(cube, spec, gain, offset):
    one = cube.isel(time=0)
    other = one.map(
        lambda band: xr.where(band == 0, np.nan, (band.astype("float64") + offset) * gain, keep_attrs=False)
    )
    found = chances(other, spec, scale=(1e-4 / gain, -1e-4 * offset))
    np.testing.assert_allclose(found, chances(one, spec), atol=1e-4)


def test_kelvin_in_other_numbers(cube, spec):
    dn = np.random.default_rng(2).integers(20_000, 30_000, cube["red"].shape, dtype=np.uint16)
    dims, attrs = cube["red"].dims, {"units": "K", "scale_factor": 0.01, "add_offset": 20.0}
    stored = cube.assign(lwir11=(dims, dn, attrs))
    kelvin = cube.assign(lwir11=(dims, dn * 0.01 + 20.0, {"units": "K"}))
    np.testing.assert_allclose(chances(stored, spec), chances(kelvin, spec), atol=1e-5)
    assert (mask(stored, spec) != mask(cube, spec)).any()


def test_equal_cubes_have_equal_names_and_others_do_not(cube, spec):
    def names(**options):
        return mask(cube.chunk(48), spec, **options).data.name

    assert names() == names()
    assert len({names(), names(bands=list(BANDS[:3])), names(bands=list(BANDS[::-1]))}) == 3


# --- holes, dates, settings ---


def test_nodata_of_each_band(cube, spec):
    one = cube.isel(time=0).copy(deep=True)
    one["red"][10, 20] = 7
    one["swir16"][30, 40] = 9
    found = mask(one, spec, nodata={"red": 7, "swir16": 9})
    assert found[10, 20] == found[30, 40] == 255
    assert ((found == 255) == ((one["blue"] == 0) | (one["red"] == 7) | (one["swir16"] == 9))).all()


def test_scales_of_each_date(cube, spec):
    half = cube.copy(deep=True)
    for name in BANDS:
        half[name][1] = half[name][1] // 2 * 2
    doubled = half.copy(deep=True)
    for name in BANDS:
        doubled[name][1] //= 2
        doubled = doubled.assign_coords({f"{name}_scale_factor": ("time", [1e-4, 2e-4])})
    found = xcloudmask.predict(doubled, model=spec, **HERE)
    xr.testing.assert_equal(found, mask(half, spec))
    gone = doubled.assign_coords(red_scale_factor=("time", [1e-4, np.nan]))
    with pytest.raises(InputError, match="some dates"):
        xcloudmask.predict(gone, model=spec, **HERE)


def test_settings_tell_the_wavelengths_and_not_the_names(cube, spec):
    renamed = cube.rename({"red": "b1"}).assign_attrs()
    renamed["b1"].attrs["common_name"] = "red"
    texts = {mask(one, spec, **options).attrs["settings"] for one, options in ((cube, {}), (renamed, {}))}
    texts.add(mask(cube, spec, bands=list(BANDS[::-1])).attrs["settings"])
    (text,) = texts
    assert json.loads(text)["bands"] == "490 555 655 880 1650 nm"
    assert mask(cube, spec).attrs["model_sha256"] == spec.sha256


def test_plans_tell_bands_and_what_is_left_out(cube, spec):
    text = str(xcloudmask.plan(cube.assign(lwir11=cube["red"]), model=spec, scale=1e-4))
    assert "band red     red (655 nm, 620 to 690; range of red)" in text
    assert "left out     lwir11: no units, and kelvin ('K') is wanted" in text
    assert "chunk, for the tiles alone: no statistics are taken" in text


def test_the_accessor(cube, spec):
    found = cube.cloudmask.predict(model=spec, bands=["red", "green", "nir"], scale=1e-4, **HERE)
    xr.testing.assert_equal(found, mask(cube, spec, bands=["red", "green", "nir"]))


def test_errors_come_before_any_work(cube, spec, no_compute):
    lazy = cube.chunk(48)
    with pytest.raises(InputError, match="needs reflectance"):
        xcloudmask.predict(lazy, model=spec)
    with pytest.raises(BandNotFoundError, match="3 bands or more"):
        mask(lazy[["red", "green"]], spec)


# --- patches and simulated scenes ---


def test_patches_are_predicted_with_their_bands(spec):
    roles = ("blue", "green", "red", "swir22")
    image = np.random.default_rng(0).integers(200, 6000, (4, 64, 64)).astype(np.uint16)
    patch = Patch(
        name="a", source="s", split="eval", image=image, valid=np.ones((64, 64), bool), resolution_m=10.0,
        allowed=np.ones((64, 64), np.uint8), bands=roles, sensor="sentinel-2-l2a", nir=False,
    )  # fmt: skip
    whole = xr.Dataset({name: (("y", "x"), pixels) for name, pixels in zip(roles, image, strict=True)})
    expected = mask(whole, spec, sensor="sentinel-2-l2a")
    agree = (predict_patch(spec, patch, level_known=True) == expected.values).mean()
    assert agree > 0.99  # bf16 here, where the processor has it
    with pytest.raises(ArgumentError, match="3 or more bands"):
        predict_patch(spec, dataclasses.replace(patch, image=image[:2], bands=roles[:2]), level_known=True)
    with pytest.raises(InputError, match="not known"):
        predict_patch(spec, dataclasses.replace(patch, sensor=""), level_known=True)


def test_simulated_scenes_of_all_sensors(spec):
    assert set(usable_sensors(spec)) == set(xcloudmask.SENSORS)
    found = evaluate_simulated(spec, sensors=["landsat-tm-c2-l1"], seeds=[0], **HERE)
    assert list(found) == ["known"]
    assert list(found["known"].sources) == ["landsat-tm-c2-l1"]
    with pytest.raises(ArgumentError, match="takes reflectance"):
        evaluate_simulated(spec, sensors=["hls-l30"], seeds=[0], levels=["unknown"])


# --- the command line, catalogues, campaigns ---


@pytest.fixture(scope="module")
def card(spec, tmp_path_factory):
    return card_of(spec, tmp_path_factory.mktemp("card"))


def test_the_command_line(cube, spec, card, tmp_path):
    source, target = str(tmp_path / "cube.zarr"), str(tmp_path / "mask.zarr")
    cube.drop_encoding().to_zarr(source, consolidated=False)
    command = ["predict", source, target, "--model", card, "--bands", "blue,red", "--band", "nir", "--scale", "1e-4"]
    command += ["--device", "cpu", "--precision", "fp32", "--scheduler", "synchronous", "--quiet"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = xcloudmask.open_mask(target)
    np.testing.assert_array_equal(found.values, mask(cube, spec, bands=["blue", "red", "nir"]).values)
    listed = CliRunner().invoke(app, ["models", "show", card])
    assert "any 3 or more bands" in listed.output


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    found = Shelf(tmp_path_factory.mktemp("shelf"))
    bands = {"coastal": "B01", "green": "B03", "red": "B04", "nir08": "B8A"}
    found.scene("a", grid=grid_cube(shape=(96, 80)), bands=bands, seed=1)
    found.scene("b", grid=grid_cube(shape=(96, 80)), bands={"red": "B04", "nir08": "B8A"}, seed=2)
    return found


def test_all_bands_of_items_are_loaded(shelf, spec):
    items = shelf.items("a")
    assert all_roles(items) == ["coastal", "green", "red", "nir08"]
    assert all_roles(shelf.items("a", "b")) == ["red", "nir08"]
    found = load(items, model=spec)
    assert tuple(found.data_vars) == ("coastal", "green", "red", "nir08")
    assert "attrs: sensor sentinel-2-l2a: B8A" in xcloudmask.plan(found, model=spec).bands["nir08"]
    assert tuple(load(items, model=spec, bands=["B04", "green", "coastal"]).data_vars) == ("B04", "green", "coastal")
    items[0].collection_id = items[0].id = "unknown"
    items[0].properties = {"datetime": items[0].properties["datetime"]}
    with pytest.raises(BandNotFoundError, match="sensor of item"):
        all_roles(items)


@pytest.mark.parametrize("bands", [None, ["coastal", "red", "nir08"]])
def test_campaigns_on_items(shelf, spec, card, tmp_path, bands):
    document = json.loads((shelf.folder / "a.json").read_text())
    reading = {} if bands is None else {"bands": bands}
    job = campaign(spec, card, tmp_path, reading=reading)
    cell = cell_of(grid_cube(shape=(96, 80)))
    codes, reasons = done(job, cell, [document])
    assert reasons == {""}
    loaded = load(shelf.items("a"), model=spec, bands=bands)
    expected = xcloudmask.predict(loaded, model=spec, normalize="lattice", **HERE)
    np.testing.assert_array_equal(codes, expected.values[0])


def test_plans_of_campaigns_find_the_bands_of_each_item(shelf, spec, card, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "_SAMPLE_PX", 64)
    (tmp_path / "items.json").write_text((shelf.folder / "a.json").read_text())
    tables = {
        "source": {"kind": "items", "paths": str(tmp_path / "items.json")},
        "store": {"path": str(tmp_path / "masks"), "chunk_px": 32, "region_px": 64},
        "model": {"name": card, "normalize": "lattice", **HERE},
    }
    make_plan(CampaignConfig.from_dict(tables), out=tmp_path / "plan.sqlite", measure=True)
    with Manifest.open(tmp_path / "plan.sqlite") as manifest:
        tasks = list(manifest.tasks())
    assert set(tasks[0].sources[0]["assets"]) == {"B01", "B03", "B04", "B8A"}
    sink, ledger = MemorySink(), MemoryLedger()
    for task in tasks:
        process_task(task, sink=sink, ledger=ledger)
    assert {record.reason for record in ledger.records} == {""}
    expected = xcloudmask.predict(load(shelf.items("a"), model=spec), model=spec, normalize="lattice", **HERE)
    np.testing.assert_array_equal(sink.plane, expected.values[0])


def test_campaigns_on_cubes(cube, spec, card, tmp_path):
    path = str(tmp_path / "cube.zarr")
    one = cube.isel(time=[0]).drop_encoding()
    one.to_zarr(path, consolidated=False)
    job = campaign(spec, card, tmp_path, scale=[1e-4, 0.0], bands=["red", "green", "nir"])
    codes, reasons = done(job, cell_of(one), [{"cube": path, "time": str(one["time"].values[0])}])
    assert reasons == {""}
    expected = mask(one, spec, normalize="lattice", bands=["red", "green", "nir"])
    np.testing.assert_array_equal(codes, expected.values[0])


def campaign(spec, card, folder, *, reading=None, **options):
    return Job(
        store=str(folder / "campaign"),
        kind="zarr",
        model=card,
        model_sha256=spec.sha256,
        options={"normalize": "lattice", **HERE, **options},
        reading=reading or {},
        policy={"allow_files": True},
        chunk_px=32,
        block_px=64,
    )


def done(job, cell, sources):
    sink, ledger = MemorySink(), MemoryLedger()
    for region in regions(cell, 64):
        process_task(task_of(job, cell, sources, region=region), sink=sink, ledger=ledger)
    return sink.plane, {record.reason for record in ledger.records}


def test_workers_look_at_the_weights_before_they_know_the_bands(spec, card):
    prepare_worker(model=card, sha256=spec.sha256, options={}, nanny=False)
    with pytest.raises(WeightsError, match="planned with"):
        prepare_worker(model=card, sha256="0" * 64, options={}, nanny=False)
