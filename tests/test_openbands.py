"""Bands of any sensor: their wavelengths, what their values are, and which of them a model of any bands is fed."""

import json
from collections import namedtuple

import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset, rioxarray_array, stackstac_array
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask._units import centres_nm
from xcloudmask.errors import ArgumentError, ArgumentTypeError, BandNotFoundError, InputError, ModelError
from xcloudmask.models.ensemble import combine
from xcloudmask.models.openbands import THERMAL_K, OpenBand, with_bands
from xcloudmask.models.spec import ModelSpec
from xcloudmask.openbands import select_open_bands
from xcloudmask.sensors import SENSORS
from xcloudmask.sensors.common import COMMON_NM

RGB = ("blue", "green", "red")
FIXED = {"name": "any", "architecture": "sensei-unet", "stride_px": 8, "radius_px": 39, "weights": "a", "sha256": "b"}
ANY = ModelSpec(**FIXED, bands=(), any_bands=True, normalization="none")
THREE = tuple(OpenBand(name=name, wavelength_nm=COMMON_NM[name]) for name in RGB)


def dataset(*names, dtype="uint16", attrs=None, each=None):
    """A Dataset of one date; `each` has attributes of single variables."""
    pixels = np.full((4, 6), 3, dtype)
    variables = {name: (("y", "x"), pixels, dict(attrs or {}) | (each or {}).get(name, {})) for name in names}
    return xr.Dataset(variables)


def centres(cube, **options):
    """Name -> central wavelength of what was selected."""
    return {band.name: band.wavelength_nm[1] for band in select_open_bands(cube, **options).bands}


def left_out(cube, **options):
    return dict(select_open_bands(cube, **options).selection.left_out)


# --- models ---


def test_a_model_of_any_bands_becomes_one_of_given_bands():
    heat = OpenBand(name="ST", wavelength_nm=(10600, 10895, 11190))
    spec = with_bands(ANY, [*THREE, heat])
    assert (spec.bands, spec.any_bands, spec.normalization) == ((*RGB, "ST"), False, "fixed")
    assert spec.mean == (-0.5, -0.5, -0.5, -0.5 * THERMAL_K)
    assert spec.std == (1.0, 1.0, 1.0, THERMAL_K)
    assert dict(spec.config)["wavelengths_nm"][3] == (10600.0, 10895.0, 11190.0)
    assert (spec.sha256, spec.weights, spec.name) == (ANY.sha256, ANY.weights, ANY.name)
    assert hash(spec) != hash(with_bands(ANY, [heat, *THREE]))


@pytest.mark.parametrize("bands", [THREE[:2], (*THREE, THREE[0]), ()])
def test_three_different_bands_are_the_least(bands):
    with pytest.raises(ArgumentError, match="takes 3 or more bands"):
        with_bands(ANY, bands)


def test_models_of_certain_bands_take_no_others():
    with pytest.raises(ModelError, match="red, green, nir and no others"):
        with_bands(ModelSpec(**FIXED), THREE)


@pytest.mark.parametrize(
    "wavelength_nm", [(300.0, 400.0, 500.0), (500.0, 400.0, 600.0), (9000.0, 15000.0, 21000.0), (float("nan"),) * 3]
)
def test_a_band_has_wavelengths_of_light_or_heat(wavelength_nm):
    with pytest.raises(ArgumentError, match="Expected the shortest, the central and the longest"):
        OpenBand(name="x", wavelength_nm=wavelength_nm)


@pytest.mark.parametrize(
    "wrong", [{"bands": ("red",)}, {"level": True}, {"mean": (0.1,)}, {"optional_bands": ("nir",)}]
)
def test_what_a_model_of_any_bands_cannot_say(wrong):
    with pytest.raises(ModelError, match="any_bands"):
        ModelSpec(**{**FIXED, "bands": (), "any_bands": True, "normalization": "none", **wrong})


def test_ensembles_have_no_members_of_any_bands():
    with pytest.raises(ModelError, match="takes any bands"):
        combine([ANY, ANY], name="two")


def test_specs_tell_that_they_take_any_bands(tmp_path):
    assert "any bands" in repr(ANY)
    assert "any 3 or more bands" in ANY._repr_html_()
    (tmp_path / "any.json").write_text(json.dumps(ANY.to_dict()))
    assert ModelSpec.from_card(tmp_path / "any.json").any_bands
    (tmp_path / "any.toml").write_text(
        'architecture = "sensei-unet"\nany_bands = true\nbands = []\nstride_px = 8\nradius_px = 39\n'
        'weights = "a.safetensors"\nsha256 = "b"\n'
    )
    assert ModelSpec.from_card(tmp_path / "any.toml").any_bands
    assert "any_bands" not in ModelSpec(**FIXED).to_dict()


# --- wavelengths ---


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_every_band_of_every_sensor_is_found_by_its_table(name):
    sensor = SENSORS[name]
    cube = dataset(*(band.name for band in sensor.bands))
    found = centres(cube, sensor=name, scale={band.name: 1e-4 for band in sensor.bands})
    assert found == {band.name: band.wavelength_nm[1] for band in sensor.bands}


def test_the_sensor_that_the_cube_names_counts():
    cube = dataset("B03", "B04", "B05").assign_attrs(sensor="hls-l30")
    assert centres(cube, scale=1e-4) == {"B03": 560.0, "B04": 655.0, "B05": 865.0}
    assert centres(cube, sensor="sentinel-2-l2a", scale=1e-4)["B05"] == 704.1


@pytest.mark.parametrize(
    ("key", "value", "units", "expected"),
    [
        ("center_wavelength", 0.665, None, (665.0, 665.0, 665.0)),
        ("wavelength", 665, "nm", (665.0, 665.0, 665.0)),
        ("wavelength", 665.0, None, (665.0, 665.0, 665.0)),
        ("wavelength", 0.665, None, (665.0, 665.0, 665.0)),
        ("wavelength", 6.65e-7, "m", (665.0, 665.0, 665.0)),
        ("wavelength", "0.665", "micrometers", (665.0, 665.0, 665.0)),
        ("wavelength_nm", [650, 680], None, (650.0, 665.0, 680.0)),
        ("wavelength_nm", (650, 664, 680), None, (650.0, 664.0, 680.0)),
        ("wavelength", (0.65, 0.665, 0.68, "\u00b5m"), None, (650.0, 665.0, 680.0)),
    ],
)
def test_numbers_and_their_units(key, value, units, expected):
    assert centres_nm([value], key=key, units=units).nm == [expected]


@pytest.mark.parametrize(
    ("key", "value", "units"),
    [
        ("center_wavelength", 665.0, None),  # STAC has micrometres
        ("wavelength", 15000.0, "cm-1"),
        ("wavelength", 42.0, None),
        ("wavelength_nm", 0.665, None),
        ("wavelength", 250.0, "nm"),
    ],
)
def test_what_cannot_be_a_wavelength_is_refused_with_a_reason(key, value, units):
    found = centres_nm([value], key=key, units=units)
    assert found.nm == [None]
    assert key in found.wrong[0]
    assert "nm or um" in found.wrong[0]


@given(
    centre=st.floats(400, 12000),
    width=st.floats(0, 90),
    unit=st.sampled_from([("nm", 1.0), ("um", 1e-3), ("micrometre", 1e-3), ("m", 1e-9)]),
)
def test_units_change_nothing(centre, width, unit):
    name, factor = unit
    found = centres_nm([centre * factor], key="wavelength", units=name, widths=("fwhm", [width * factor], None))
    np.testing.assert_allclose(found.nm[0], (centre - width / 2, centre, centre + width / 2), atol=2e-3)


def test_variables_tell_their_wavelengths():
    stac = [{"name": "b", "center_wavelength": 0.56, "full_width_half_max": 0.04}]
    newer = [{"name": "c", "eo:center_wavelength": 0.865}]
    wavelength_range = namedtuple("WavelengthRange", "min central max unit")
    cube = dataset(
        "a",
        "b",
        "c",
        "d",
        each={
            "a": {"wavelength_nm": 665, "fwhm": 30},
            "b": {"eo:bands": stac},
            "c": {"bands": newer},
            "d": {"wavelength": wavelength_range(1.58, 1.61, 1.64, "\u00b5m")},
        },
    )
    found = {band.name: band.wavelength_nm for band in select_open_bands(cube, scale=1e-4).bands}
    assert found == {
        "a": (650.0, 665.0, 680.0),
        "b": (540.0, 560.0, 580.0),
        "c": (865.0, 865.0, 865.0),
        "d": (1580.0, 1610.0, 1640.0),
    }


def hyperspectral(wavelengths=(450.0, 550.0, 650.0, 865.0), units="nm", dim="wavelength", **coords):
    pixels = np.full((len(wavelengths), 4, 6), 0.3, "float32")
    cube = xr.DataArray(pixels, dims=(dim, "y", "x"), coords={"wavelength": (dim, np.array(wavelengths)), **coords})
    if units:
        cube["wavelength"].attrs["units"] = units
    return cube


def test_a_coordinate_along_the_bands():
    cube = hyperspectral(fwhm=("wavelength", [10.0] * 4))
    chosen = select_open_bands(cube, scale=1)
    assert [band.name for band in chosen.bands] == ["450 nm", "550 nm", "650 nm", "865 nm"]
    assert chosen.bands[2].wavelength_nm == (645.0, 650.0, 655.0)
    assert chosen.selection.stack is not None
    assert chosen.selection.stack.shape == cube.shape
    some = select_open_bands(cube, scale=1, bands=["865 nm", 0, "550 nm"])
    assert some.selection.positions == (3, 0, 1)


def test_a_coordinate_in_micrometres_that_is_not_the_dimension_and_has_gaps():
    cube = hyperspectral((0.45, 0.55, np.nan, 0.865), units="um", dim="band")
    chosen = select_open_bands(cube, scale=1)
    assert [band.wavelength_nm[1] for band in chosen.bands] == [450.0, 550.0, 865.0]
    assert list(dict(chosen.selection.left_out)) == ["position 2"]


def test_the_standard_name_of_cf():
    cube = hyperspectral().rename(wavelength="channel")
    cube["channel"].attrs["standard_name"] = "radiation_wavelength"
    assert [band.wavelength_nm[1] for band in select_open_bands(cube, scale=1).bands] == [450.0, 550.0, 650.0, 865.0]


def test_coordinates_of_stackstac():
    cube = stackstac_array(common_names=None, bands=("a", "b", "c", "scl"))
    cube = cube.assign_coords(
        center_wavelength=("band", np.array([0.49, 0.56, 0.665, None], object)),
        full_width_half_max=("band", np.array([0.066, 0.036, 0.03, None], object)),
    )
    chosen = select_open_bands(cube, scale=1)
    assert [band.wavelength_nm for band in chosen.bands][2] == (650.0, 665.0, 680.0)
    assert chosen.selection.left_out == (("scl", "no wavelength is known"),)


def test_lists_in_the_attributes_of_an_array():
    cube = rioxarray_array(bands=("b1", "b2", "b3"))
    cube.attrs |= {"wavelength": [0.48, 0.56, 0.66], "wavelength_units": "Micrometers", "fwhm": [0.02, 0.02, 0.02]}
    assert select_open_bands(cube, scale=1e-4).bands[0].wavelength_nm == (470.0, 480.0, 490.0)


def test_a_dask_coordinate_is_not_computed(no_compute):
    cube = hyperspectral(dim="band").chunk()
    assert cube["wavelength"].chunks is not None
    with pytest.raises(BandNotFoundError, match="of known wavelength"):
        select_open_bands(cube, scale=1)


def test_names_that_mean_a_band_where_sensors_agree():
    found = select_open_bands(dataset("B02", "B03", "B08", "B8A", "B12"), scale=1e-4)
    assert [band.wavelength_nm[1] for band in found.bands] == [492.4, 559.8, 832.8, 864.7, 2202.4]
    assert "Sentinel-2 naming: B8A" in found.selection.how[3]
    assert found.selection.sensor is None  # names alone bring no scale


def test_names_that_sensors_do_not_agree_on():
    cube = dataset("B02", "B03", "B04", "B05", "B06")
    with pytest.raises(BandNotFoundError, match=r"Type sensor= with one of sentinel-2-l1c, .*hls-l30"):
        select_open_bands(cube, scale=1e-4)


def test_names_count_where_what_the_cube_says_is_wrong():
    wrong = {"center_wavelength": 665}  # nanometres, where STAC has micrometres
    cube = dataset("B02", "B03", "B08", "extra", each={"B08": wrong, "extra": wrong})
    found = select_open_bands(cube, scale=1e-4)
    assert [band.wavelength_nm[1] for band in found.bands] == [492.4, 559.8, 832.8]
    assert "665 um. Expected more than 0.3 and up to 20 um" in dict(found.selection.left_out)["extra"]


def test_common_names_tell_sensors_apart():
    cube = dataset("B02", "B03", "B04", "B05", each={"B05": {"common_name": "nir08"}})
    assert centres(cube, scale=1e-4)["B05"] == 865.0
    cube = dataset("B02", "B03", "B04", "B05", each={"B05": {"common_name": "rededge071"}})
    assert centres(cube, scale=1e-4)["B05"] == 704.1


def test_common_names_are_ranges():
    assert centres(odc_dataset(bands=("red", "green", "swir16")), scale=1e-4) == {
        "red": 655.0,
        "green": 555.0,
        "swir16": 1650.0,
    }


# --- which bands ---


def test_masks_angles_and_strange_variables_are_left_out_and_told():
    cube = dataset(*RGB, "SCL", "B04_angle", "clouds", each={"clouds": {"flag_values": [0, 1]}})
    cube["parts"] = (("detector", "y", "x"), np.zeros((2, 4, 6)), {"wavelength_nm": 700})
    cube["water"] = (("y", "x"), np.zeros((4, 6), bool))
    assert tuple(centres(cube, scale=1e-4)) == RGB
    told = left_out(cube, scale=1e-4)
    assert set(told) == {"SCL", "B04_angle", "clouds", "parts", "water"}
    assert "'detector'" in told["parts"]


def test_another_look_at_the_same_ground_is_left_out():
    names = [f"S{n}_radiance_{look}" for n in range(1, 7) for look in ("an", "ao", "bn")]
    found = select_open_bands(dataset(*names), sensor="slstr", scale=1e-4)
    assert [band.name for band in found.bands] == [f"S{n}_radiance_an" for n in range(1, 7)]
    assert "not a band of sensor" in dict(found.selection.left_out)["S1_radiance_ao"]


def test_of_copies_the_one_whose_values_are_known_is_taken():
    each = {f"S{n}_radiance_an": {"units": "mW.m-2.sr-1.nm-1"} for n in range(1, 4)}
    each |= {f"S{n}_reflectance_an": {"scale_factor": 1e-4} for n in range(1, 4)}
    found = select_open_bands(dataset(*each, each=each), sensor="slstr")
    assert [band.name for band in found.bands] == [f"S{n}_reflectance_an" for n in range(1, 4)]
    assert "units" in dict(found.selection.left_out)["S1_radiance_an"]
    copies = dataset("B02_10m", "B02_20m", "B03_10m", "B04_10m")
    assert left_out(copies, sensor="sentinel-2-l2a", scale=1e-4) == {"B02_20m": "another copy of B02_10m"}
    assert len(select_open_bands(copies, bands=list(copies), sensor="sentinel-2-l2a", scale=1e-4).bands) == 4


def test_bands_of_the_same_wavelengths_are_kept_and_told():
    cube = dataset("a", "b", "c", each={name: {"wavelength_nm": 665} for name in "ab"} | {"c": {"wavelength_nm": 560}})
    how = select_open_bands(cube, scale=1e-4).selection.how
    assert "the same wavelengths as b" in how[0]
    assert "the same" not in how[2]


def test_a_list_restricts_and_orders():
    cube = odc_dataset(bands=(*RGB, "nir", "swir16"))
    assert tuple(centres(cube, bands=["nir", "red", "green"], scale=1e-4)) == ("nir", "red", "green")
    array = stackstac_array()
    assert tuple(centres(array, bands=[3, "B04", "blue"], scale=1e-4)) == ("B08", "B04", "B02")


def test_a_dictionary_says_what_bands_are():
    cube = dataset("b1", "b2", "b3")
    chosen = {"red": "b3", "green": "b2", "blue": "b1"}
    assert centres(cube, bands=chosen, scale=1e-4) == {name: COMMON_NM[name][1] for name in ("red", "green", "blue")}
    assert centres(cube, bands=chosen, sensor="hls-l30", scale=1e-4)["red"] == 655.0
    array = rioxarray_array(bands=("x", "y1", "z"))
    assert centres(array, bands={"red": 0, "nir08": 1, "swir16": 2}, scale=1e-4)["nir08"] == 850.0


def test_what_a_band_tells_stays_where_it_fits_its_role():
    cube = dataset("b1", "green", "nir", each={"b1": {"wavelength_nm": 671, "fwhm": 10}})
    roles = {"red": "b1", "green": "green", "nir": "nir"}
    assert centres(cube, bands=roles, scale=1e-4)["red"] == 671.0
    assert centres(cube, bands={"swir16": "b1", "green": "green", "nir": "nir"}, scale=1e-4)["swir16"] == 1650.0
    assert centres(cube, bands={"mine": "b1", "green": "green", "nir": "nir"}, scale=1e-4)["mine"] == 671.0


@pytest.mark.parametrize(
    ("bands", "error", "words"),
    [
        (["red", "green"], BandNotFoundError, "Found: red .* green"),
        (["red", "green", "nowhere"], BandNotFoundError, "no band has that name"),
        (["red", "green", "extra"], BandNotFoundError, r"bands=\{'red': 'extra'"),
        (["red", "green", "red"], ArgumentError, "twice: 'red', 'red'"),
        (["red", "green", 2], ArgumentError, "have no position"),
        ({"red": "red", "green": "green", "nir": None}, ArgumentError, "Leave it out"),
        ("red", ArgumentTypeError, "Expected a list of names"),
        (7, ArgumentTypeError, "Expected a list of names"),
        (["red", "green", 1.5], ArgumentTypeError, "Expected a name, a position"),
    ],
)
def test_what_bands_cannot_say(bands, error, words):
    with pytest.raises(error, match=words):
        select_open_bands(dataset(*RGB, "extra"), bands=bands, scale=1e-4)


def test_too_few_bands_say_what_to_type():
    with pytest.raises(BandNotFoundError, match=r"(?s)red \(655 nm\).*b7: no wavelength.*sensor=.*wavelength_nm"):
        select_open_bands(dataset("red", "b7", "b8"), scale=1)


def test_bands_of_several_grids_say_which_go_together():
    cube = odc_dataset(bands=(*RGB, "nir"), times=None)
    cube["swir16"] = (("time", "y", "x"), np.ones((2, 64, 96), "uint16"))
    with pytest.raises(InputError, match=r"different grids.*bands=\['blue', 'green', 'red', 'nir'\]"):
        select_open_bands(cube, scale=1e-4)


# --- values ---


def thermal(**attrs):
    return dataset(*RGB, "heat", attrs={"scale_factor": 1e-4}, each={"heat": {"wavelength_nm": 10900, **attrs}})


def test_kelvin_that_is_declared_is_taken():
    found = select_open_bands(thermal(units="K", scale_factor=0.01, add_offset=100.0))
    assert found.scales[3].constant == (0.01, 100.0)
    floats = thermal(units="K").astype("float32")
    for name in floats:
        floats[name].attrs = thermal(units="K")[name].attrs
    del floats["heat"].attrs["scale_factor"]
    assert select_open_bands(floats).scales[3].constant == (1.0, 0.0)


@pytest.mark.parametrize(
    ("attrs", "why"),
    [
        ({"k1": 774.9, "k2": 1321.1}, "to_reflectance"),
        ({"units": "W m-2 sr-1 um-1"}, "units 'W m-2 sr-1 um-1'"),
        ({"units": "Celsius"}, "kelvin"),
        ({}, "no units"),
    ],
)
def test_heat_that_is_no_kelvin_is_left_out_or_an_error_where_asked_for(attrs, why):
    cube = thermal(**attrs)
    assert why in left_out(cube)["heat"]
    with pytest.raises(InputError, match=f"(?s){why}.*Type scale="):
        select_open_bands(cube, bands=[*RGB, "heat"])
    asked = select_open_bands(cube, bands=[*RGB, "heat"], scale={"heat": (0.1, 0.0)})
    assert asked.scales[3].constant == (0.1, 0.0)


def test_tables_know_kelvin_of_level_2_and_radiance_of_level_1():
    names = ("B2", "B3", "B4", "B10")
    second = select_open_bands(dataset(*names), sensor="landsat-oli-c2-l2")
    assert second.scales[3].constant == (0.00341802, 149.0)
    assert second.scales[0].constant == (2.75e-05, -0.2)
    first = dataset(*names).assign_coords(sun_elevation=40.0)
    assert "radiance" in left_out(first, sensor="landsat-oli-c2-l1")["B10"]


def test_one_scale_is_for_reflected_light():
    cube = dataset(*RGB, "lwir11")
    assert list(left_out(cube, scale=1e-4)) == ["lwir11"]
    assert len(select_open_bands(cube, scale=1).bands) == 4
    mapped = select_open_bands(cube, scale=dict.fromkeys(RGB, 1e-4) | {"lwir11": (0.1, 100.0)})
    assert mapped.scales[3].constant == (0.1, 100.0)
    with pytest.raises(ArgumentError, match="scale= has the band 'pan'"):
        select_open_bands(cube, scale=dict.fromkeys((*RGB, "pan"), 1e-4))


def test_reflected_light_of_unknown_scale():
    with pytest.raises(InputError, match=r"(?s)blue: no scale_factor.*Type scale=\(1e-4, 0.0\).*scale=1"):
        select_open_bands(dataset(*RGB))
    with pytest.raises(InputError, match="floats without scale_factor"):
        select_open_bands(dataset(*RGB, dtype="float32"))
    some = dataset(*RGB, "nir", attrs={"scale_factor": 1e-4}, each={"nir": {"units": "W m-2 sr-1 um-1"}})
    assert "units" in left_out(some)["nir"]


def test_scales_of_each_date():
    cube = odc_dataset(bands=(*RGB, "nir"), times=2)
    for name in (*RGB, "nir"):
        cube = cube.assign_coords({f"{name}_scale_factor": ("time", [1e-4, 2e-4])})
    cube = cube.assign_coords(nir_scale_factor=("time", [np.nan, np.nan]))
    found = select_open_bands(cube)
    assert [band.name for band in found.bands] == list(RGB)
    assert found.scales[0].gain.values.tolist() == [1e-4, 2e-4]
    assert "missing on all dates" in dict(found.selection.left_out)["nir"]


def test_what_to_reflectance_made_is_known():
    cube = dataset("SR_B2", "SR_B3", "SR_B4", "ST_B10", "QA_PIXEL").assign_attrs(sensor="landsat-oli-c2-l2")
    made = cube.cloudmask.to_reflectance()
    found = select_open_bands(made)
    assert [band.name for band in found.bands] == ["SR_B2", "SR_B3", "SR_B4", "ST_B10"]
    assert {scale.constant for scale in found.scales} == {(1.0, 0.0)}


def test_nothing_is_computed(no_compute):
    cube = odc_dataset(bands=(*RGB, "nir"), chunks=32)
    assert len(select_open_bands(cube, scale=1e-4).bands) == 4
    assert len(select_open_bands(stackstac_array(chunks=32), scale=1e-4).bands) == 4
