import dask
import numpy as np
import pytest
import xarray as xr

from xcloudmask.errors import ArgumentError, BandNotFoundError
from xcloudmask.sensors import SENSORS, get_sensor
from xcloudmask.simulate import View, simulate_scene, simulate_scene_truth

SMALL = {"size_px": 48, "times": 2, "chunks": 32}


def roles(name):
    sensor = get_sensor(name)
    return [sensor.candidates(role)[0].name for role in ("red", "green", "nir")]


@pytest.mark.parametrize("name", list(SENSORS))
def test_every_sensor_makes_a_cube_that_can_be_planned(name, no_compute):
    bands = roles(name)
    cube = simulate_scene(name, bands=bands, **SMALL)
    plan = cube.cloudmask.plan(sensor=name)
    assert {"red", "green", "nir"} <= set(plan.bands)
    band = get_sensor(name).find(bands[0])
    assert cube[bands[0]].attrs["nodata"] == (band.nodata or 0)
    assert cube[bands[0]].chunks == ((1, 1), (32, 16), (32, 16))
    assert cube["spatial_ref"].item() == 32631
    truth = simulate_scene_truth(name, bands=bands, **SMALL)
    xr.testing.assert_equal(truth.coords.to_dataset(), cube.coords.to_dataset())


@pytest.mark.parametrize("name", ["sentinel-2-l1c", "landsat-oli-c2-l1", "landsat-tm-c2-l1", "hls-l30"])
def test_all_bands_are_plausible(name):
    arguments = {"size_px": 48, "times": 1, "biome": "forest", "cloud_cover": 0.0, "seed": 1}
    cube = simulate_scene(name, **arguments).compute(scheduler="synchronous")
    for band in get_sensor(name).bands:
        numbers = cube[band.name]
        values = numbers * numbers.attrs["scale_factor"] + numbers.attrs["add_offset"]
        assert (numbers != numbers.attrs["nodata"]).all()
        if numbers.attrs["units"] == "K":
            assert 250 < float(values.mean()) < 330
        elif band.role == "cirrus":
            assert float(values.mean()) < 0.02
        else:
            assert 0 < float(values.mean()) < 0.7


def test_air_is_in_level_1_and_not_in_level_2():
    arguments = {"size_px": 48, "times": 1, "bands": ["B02", "B12"], "biome": "forest", "cloud_cover": 0.0}
    l1c, l2a = (
        simulate_scene(name, **arguments).compute(scheduler="synchronous")
        for name in ("sentinel-2-l1c", "sentinel-2-l2a")
    )
    assert float((l1c["B02"].astype(float) - l2a["B02"]).mean()) > 200  # 0.02 of path radiance
    assert abs(float((l1c["B12"].astype(float) - l2a["B12"]).mean())) < 150


def test_clouds_are_bright_cold_and_in_the_truth():
    arguments = {"bands": ["SR_B4", "ST_B10"], "clouds": ["cumulus"], "cloud_cover": 0.4, "biome": "forest", "times": 1}
    cube = simulate_scene("landsat-oli-c2-l2", size_px=128, **arguments)
    truth = simulate_scene_truth("landsat-oli-c2-l2", size_px=128, **arguments)
    cube, truth = dask.compute(cube, truth, scheduler="synchronous")
    thick, clear = truth["truth"] == 1, truth["truth"] == 0
    for name, sign in (("SR_B4", 1), ("ST_B10", -1)):
        values = cube[name].astype(float)
        assert sign * float(values.where(thick).mean()) > sign * float(values.where(clear).mean())
    thickness = truth["optical_thickness"]
    assert float(thickness.where(thick).mean()) > 10 * float(thickness.where(clear).mean())


def test_nodata_is_missing_in_all_bands_and_in_the_truth():
    arguments = {"size_px": 64, "times": 2, "bands": ["red", "nir"]}
    cube, truth = dask.compute(
        simulate_scene("hls-s30", **arguments), simulate_scene_truth("hls-s30", **arguments), scheduler="synchronous"
    )
    empty = (truth["truth"] == 255).values
    assert not empty[0].any()
    assert 0.02 < empty[1].mean() < 0.6
    for name in ("red", "nir"):
        np.testing.assert_array_equal((cube[name] == -9999).values, empty)
    np.testing.assert_array_equal(np.isnan(truth["optical_thickness"].values), empty)


def test_seeds_and_chunks():
    first = simulate_scene("planetscope-4b", **SMALL).compute(scheduler="synchronous")
    again = simulate_scene("planetscope-4b", **(SMALL | {"chunks": 20})).compute(scheduler="synchronous")
    other = simulate_scene("planetscope-4b", **SMALL, seed=1)["red"].compute(scheduler="synchronous")
    xr.testing.assert_identical(first, again)
    assert (other != first["red"]).mean() > 0.5


def test_eight_bits_and_stripes():
    arguments = {"size_px": 64, "times": 1, "bands": ["red"], "biome": "salt_flat", "cloud_cover": 0.0}
    eight = simulate_scene("planetscope-4b", quantisation=8, **arguments)["red"].compute(scheduler="synchronous")
    assert eight.dtype == np.uint8
    even, striped = (
        simulate_scene("planetscope-4b", striping=share, **arguments)["red"].compute(scheduler="synchronous")
        for share in (0.0, 0.1)
    )
    ratio = (striped / even).astype(float)
    assert float(ratio.mean("y").std()) > 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_px": 8},
        {"times": 0},
        {"seed": -1},
        {"resolution_m": 0.0},
        {"biome": "moon"},
        {"clouds": ["fluff"]},
        {"cloud_cover": 2.0},
        {"striping": -1.0},
        {"quantisation": 12},
        {"bands": []},
        {"bands": "red"},
        {"bands": ["red", "red"]},
        {"clouds": "cirrus"},
        {"view": []},
        {"view": 3},
    ],
)
def test_wrong_arguments(wrong):
    with pytest.raises(ArgumentError):
        simulate_scene(**wrong)


def test_unknown_names():
    with pytest.raises(BandNotFoundError, match="no band 'mauve'"):
        simulate_scene("planetscope-4b", bands=["mauve"])
    with pytest.raises(ArgumentError, match="unknown"):
        simulate_scene("planetscop-9b")


def test_a_slanted_view_moves_clouds_on_its_date_alone():
    arguments = {"size_px": 96, "times": 2, "bands": ["red"], "clouds": ["cumulus"], "nodata": False, "seed": 2}
    plain, same, slanted = (
        simulate_scene_truth("sentinel-2-l2a", view=view, **arguments)["truth"].compute(scheduler="synchronous")
        for view in (None, View(), [View(), View(zenith_deg=30.0, azimuth_deg=90.0)])
    )
    xr.testing.assert_identical(plain, same)
    np.testing.assert_array_equal(plain[0], slanted[0])
    assert (plain[1] != slanted[1]).any()


def test_no_layers_are_no_clouds():
    truth = simulate_scene_truth("planetscope-4b", clouds=[], nodata=False, **SMALL).compute(scheduler="synchronous")
    assert (truth["truth"] == 0).all()
    assert (truth["optical_thickness"] == 0).all()
