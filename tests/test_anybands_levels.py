"""A model of any bands with z-scores: gains do not matter, the level does, and it can do without either."""

import numpy as np
import pytest
import torch
import xarray as xr
from cubes import odc_dataset
from open_model import any_spec

import xcloudmask
from xcloudmask.errors import ModelError
from xcloudmask.models.loading import load_network
from xcloudmask.models.openbands import THERMAL_K, OpenBand, with_bands
from xcloudmask.models.spec import ModelSpec
from xcloudmask.simulate import simulate_scene
from xcloudmask.training.bandfeed import AnyBands
from xcloudmask.training.bandwindow import BandWindow
from xcloudmask.training.labels import CLEAR

BANDS = ("blue", "green", "red", "nir", "swir16")
HERE = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return any_spec(tmp_path_factory.mktemp("model"), level=1)


@pytest.fixture(scope="module")
def cube():
    """One chunk, so that there is one window."""
    plain = odc_dataset(shape=(64, 72), times=1, bands=BANDS, seed=3, nodata_fraction=0.01).isel(time=0)
    heat = (230.0 + 80.0 * np.random.default_rng(1).random((64, 72))).astype("float32")
    return plain.assign(lwir11=(("y", "x"), heat, {"units": "K"}))


def chances(cube, spec, **options):
    return xcloudmask.predict_proba(cube, model=spec, **HERE, **options).values


@pytest.mark.parametrize("known", [True, False])
def test_the_engine_feeds_what_the_training_feeds(cube, spec, known):
    plan = xcloudmask.plan(cube, model=spec, scale=dict.fromkeys(BANDS, 1e-4))
    wavelengths = dict(plan.model.config)["wavelengths_nm"]
    values = [*(cube[name].values * 1e-4 for name in BANDS), cube["lwir11"].values]
    window = BandWindow(
        image=np.stack(values).astype(np.float32),
        wavelengths_nm=wavelengths,
        roles=("",) * 6,
        valid=cube["blue"].values != 0,
        allowed=np.full((64, 72), CLEAR, np.uint8),
        resolution_m=10.0,
    )
    image, side = AnyBands(most=8)(window, level_known=known)
    net = load_network(spec, fold=False)
    with torch.inference_mode():
        expected = net(torch.from_numpy(image)[None], torch.from_numpy(side)[None])[0].softmax(0).numpy()
    scale = {"scale": dict.fromkeys(BANDS, 1e-4)} if known else {}
    told = cube if known else cube.assign(lwir11=cube["lwir11"].drop_attrs())
    found = chances(told, spec, **scale)
    np.testing.assert_allclose(found, np.where(window.valid, expected, np.nan), atol=2e-4)


def test_a_gain_matters_no_more_than_the_level_does(cube, spec):
    reflective = cube[list(BANDS)].astype("float32").where(cube["blue"] != 0)
    brighter = reflective * xr.Dataset({name: 1.0 + 0.3 * i for i, name in enumerate(BANDS)}) + 50.0
    np.testing.assert_allclose(chances(brighter, spec), chances(reflective, spec), atol=1e-3)
    known = [chances(one, spec, scale=1e-4) for one in (brighter, reflective)]
    assert np.nanmax(np.abs(known[0] - known[1])) > 1e-2
    assert np.nanmax(np.abs(known[1] - chances(reflective, spec))) > 1e-2


def test_values_that_are_not_understood_are_fed_all_the_same(cube, spec):
    unknown = cube[list(BANDS)].drop_attrs()
    plan = xcloudmask.plan(unknown, model=spec)
    assert len(plan.bands) == 5
    assert "unknown" in plan.scale
    some = xcloudmask.plan(cube, model=spec, bands=["blue", "green", "lwir11"])
    assert some.model.bands == ("blue", "green", "lwir11")
    radiance = simulate_scene("sentinel-3-slstr-l1b", size_px=48, times=1)
    assert set(np.unique(xcloudmask.predict(radiance, model=spec, sensor="sentinel-3-slstr-l1b", **HERE))) <= {
        0,
        1,
        2,
        3,
        255,
    }


def test_the_level_of_heat_is_told_over_what_is_warm(cube, spec):
    scale = dict.fromkeys(BANDS, 1e-4)
    whole = chances(cube, spec, scale=scale)
    colder = cube.assign(lwir11=(cube["lwir11"] * 100.0).assign_attrs(units="K", scale_factor=0.01))
    np.testing.assert_allclose(chances(colder, spec, scale=scale), whole, atol=1e-3)


def test_specs_of_both_kinds(spec, tmp_path):
    bands = [OpenBand(name=name, wavelength_nm=(at, at, at)) for name, at in (("a", 500.0), ("b", 700.0), ("c", 11e3))]
    scored, raw = with_bands(spec, bands), with_bands(any_spec(tmp_path), bands)
    assert (scored.normalization, scored.level, scored.mean) == ("zscore", True, ())
    assert (raw.normalization, raw.level, raw.std) == ("fixed", False, (1.0, 1.0, THERMAL_K))
    plain = raw.to_dict() | {
        "normalization": "none",
        "level": True,
        "any_bands": True,
        "bands": (),
        "mean": (),
        "std": (),
    }
    plain = {key: value for key, value in plain.items() if key not in ("low", "high")}
    with pytest.raises(ModelError, match="level=False"):
        ModelSpec(**plain)
