import dataclasses
import doctest
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli.app import app
from xcloudmask.errors import ArgumentError, ArgumentTypeError, ReadError, XCloudMaskError
from xcloudmask.io._names import band_of
from xcloudmask.sensors import SENSORS, Band, Sensor, get_sensor, load_sensor, register_sensor, registry
from xcloudmask.sensors.registry import BUILT_IN
from xcloudmask.sensors.spec import LARGEST_BYTES, sensor_from_dict

ALL = list(BUILT_IN)
# STAC extension eo, version 2.
COMMON_NAMES = {"pan", "coastal", "blue", "green", "green05", "yellow", "red", "nir", "nir08", "nir09", "cirrus"}
COMMON_NAMES |= {"rededge", "rededge071", "rededge075", "rededge078", "swir16", "swir22", "lwir", "lwir11", "lwir12"}
TOML = """
name = "skysat"
title = "SkySat, 4 bands"
aliases = ["ssc"]
source = "an example"

[[bands]]
name = "R"
aliases = ["red_band"]
roles = ["red"]
wavelength_nm = [605, 650.0, 695]
resolution_m = 0.8
scale = 1e-4
offset = 0
nodata = 7

[[bands]]
name = "G"
roles = ["green"]
wavelength_nm = [515, 555, 595]
resolution_m = 0.8
scale = 1e-4
offset = 0
nodata = 7

[[bands]]
name = "N"
roles = ["nir", "nir08"]
wavelength_nm = [740, 820, 900]
resolution_m = 0.8
scale = 1e-4
offset = 0
nodata = 7
quantity = "surface_reflectance"
"""


@pytest.fixture
def clean_registry():
    """What a test registers is gone afterwards."""
    before = dict(registry._registered)
    yield registry._registered
    registry._registered.clear()
    registry._registered.update(before)


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "skysat.toml"
    path.write_text(TOML)
    return path


def red_band(**changes):
    return {"name": "R", "roles": ["red"], "wavelength_nm": [600, 650, 700], "resolution_m": 1.0} | changes


def sensor_spec(*bands, **changes):
    return {"name": "mine", "title": "Mine", "bands": list(bands) or [red_band()]} | changes


def test_the_products_of_the_issue_are_there():
    expected = {"sentinel-2-l1c", "sentinel-2-l2a", "hls-l30", "hls-s30", "planetscope-4b", "planetscope-8b"}
    expected |= {f"landsat-{kind}-c2-l{level}" for kind in ("tm", "etm", "oli") for level in (1, 2)}
    expected |= {"planetscope-4b-dove-r", "sentinel-3-slstr-l1b", "modis-09", "perusat-1", "maxar-4b"}
    assert expected == {sensor.name for sensor in BUILT_IN}


@pytest.mark.parametrize("sensor", ALL, ids=lambda sensor: sensor.name)
def test_every_sensor_has_the_bands_of_the_models(sensor):
    for role in ("green", "red", "nir"):
        assert sensor.candidates(role), role
    assert bool(sensor.candidates("blue")) == (sensor.name != "sentinel-3-slstr-l1b")


@pytest.mark.parametrize("sensor", ALL, ids=lambda sensor: sensor.name)
def test_rows_are_sound(sensor):
    names = [name.casefold() for band in sensor.bands for name in band.names]
    assert len(names) == len(set(names)), "a name means one band"
    for band in sensor.bands:
        shortest, centre, longest = band.wavelength_nm
        assert shortest < centre < longest
        assert band.resolution_m > 0
        assert band.scale is None or band.scale > 0
        assert sensor.find(band.name.lower()) is band


@pytest.mark.parametrize("sensor", ALL, ids=lambda sensor: sensor.name)
def test_sources_and_common_names(sensor):
    assert len(sensor.source) > 100
    common = [band.common_name for band in sensor.bands if band.common_name]
    assert set(common) <= COMMON_NAMES
    assert len(common) == len(set(common)), "unique in an item, says the extension"
    for band in sensor.bands:
        assert band.common_name is None or sensor.find(band.common_name) is band


@pytest.mark.parametrize("sensor", ALL, ids=lambda sensor: sensor.name)
def test_wavelengths_fit_the_roles(sensor):
    limits = {"blue": (440, 526), "green": (500, 605), "red": (585, 700), "nir": (750, 905)}
    for role, (low, high) in limits.items():
        if not sensor.candidates(role):
            continue
        shortest, _, longest = sensor.candidates(role)[0].wavelength_nm
        assert low <= shortest
        assert longest <= high


def test_sentinel2_offset_is_unknown_and_its_scale_known():
    for name in ("sentinel-2-l1c", "sentinel-2-l2a"):
        band = get_sensor(name).candidates("red")[0]
        assert (band.scale, band.offset, band.nodata) == (1e-4, None, 0)


def test_published_scales():
    red = get_sensor("landsat-oli-c2-l2").candidates("red")[0]
    assert (red.scale, red.offset, red.nodata) == (2.75e-5, -0.2, 0)
    thermal = get_sensor("landsat-oli-c2-l2").find("ST_B10")
    assert (thermal.scale, thermal.offset) == (0.00341802, 149.0)
    for name in ("hls-l30", "hls-s30"):
        red = get_sensor(name).candidates("red")[0]
        assert (red.name, red.scale, red.offset, red.nodata) == ("B04", 1e-4, 0.0, -9999)
    for name in ("landsat-oli-c2-l1", "planetscope-4b", "planetscope-8b"):
        assert get_sensor(name).candidates("red")[0].scale is None


@pytest.mark.parametrize(
    ("sensor", "role", "name"),
    [
        ("sentinel-2-l2a", "red", "B04"),
        ("sentinel-2-l2a", "red", "red"),
        ("sentinel-2-l2a", "red", "B04_10m"),
        ("sentinel-2-l2a", "red", "b04_60m"),
        ("sentinel-2-l1c", "red", "B4"),
        ("sentinel-2-l2a", "nir08", "B8A_20m"),
        ("sentinel-2-l1c", "cirrus", "B10"),
        ("landsat-oli-c2-l2", "nir", "SR_B5"),
        ("landsat-oli-c2-l2", "nir", "nir08"),
        ("landsat-oli-c2-l2", "nir", "OLI_B5"),
        ("landsat-oli-c2-l1", "nir", "B5"),
        ("landsat-etm-c2-l2", "red", "SR_B3"),
        ("landsat-tm-c2-l1", "green", "B2"),
        ("hls-l30", "nir", "B05"),
        ("hls-s30", "nir08", "B8A"),
        ("planetscope-8b", "green", "green"),
        ("planetscope-8b", "green_i", "green_i"),
    ],
)
def test_spellings(sensor, role, name):
    assert get_sensor(sensor).find(name).role == role


def test_products_lack_what_they_lack():
    assert get_sensor("sentinel-2-l2a").find("B10") is None
    assert get_sensor("landsat-oli-c2-l2").find("pan") is None
    assert get_sensor("hls-l30").find("B08") is None
    assert get_sensor("hls-l30").find("SR_B4") is None


def test_stand_ins_come_second():
    assert [band.name for band in get_sensor("sentinel-2-l1c").candidates("nir")] == ["B08", "B8A"]
    assert [band.name for band in get_sensor("sentinel-2-l1c").candidates("nir08")] == ["B8A", "B08"]


@pytest.mark.parametrize("name", ["SENTINEL-2-L2A", "sentinel-2 l2a", "sentinel-s2-l2a-cogs", " s2-l2a "])
def test_get_sensor_is_lenient_about_case_and_aliases(name):
    assert get_sensor(name).name == "sentinel-2-l2a"


def test_get_sensor_takes_a_sensor():
    band = Band(name="R", roles=("red",), wavelength_nm=(600.0, 650.0, 700.0), resolution_m=1.0)
    mine = Sensor(name="mine", title="Mine", bands=(band,))
    assert get_sensor(mine) is mine


def test_unknown_sensor_suggests_and_lists():
    with pytest.raises(ArgumentError, match="Did you mean sensor='sentinel-2-l2a'") as caught:
        get_sensor("sentinel-2-l2")
    assert all(name in str(caught.value) for name in SENSORS)
    with pytest.raises(ArgumentTypeError, match="is a int"):
        get_sensor(2)  # type: ignore[arg-type]


def test_tables_are_frozen():
    with pytest.raises(TypeError):
        SENSORS["x"] = ALL[0]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ALL[0].name = "x"  # type: ignore[misc]


@pytest.mark.parametrize("module", ["sensors", "grid", "bands", "radiometry", "simulate.scene"])
def test_importing_loads_nothing_heavy(module):
    code = (
        # The package itself may load more: only what the module adds is looked at.
        "import sys, types, pathlib\n"
        "import dask.array\n"  # takes scipy where there is one
        "before = set(sys.modules)\n"
        "package = types.ModuleType('xcloudmask')\n"
        f"package.__path__ = [{str(_package_dir())!r}]\n"
        "sys.modules['xcloudmask'] = package\n"
        f"import xcloudmask.{module}\n"
        "heavy = {'torch', 'rasterio', 'rioxarray', 'distributed', 'matplotlib', 'scipy', 'odc.geo.xr'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _package_dir():
    import importlib.util
    from pathlib import Path

    return Path(importlib.util.find_spec("xcloudmask").origin).parent


# --- constants of Level 1 ---


def test_thermal_constants_are_planck_s():
    """K1 and K2 are Planck's law at one wavelength, which lies in the band: K2 = c2 / wavelength."""
    thermal = [band for sensor in ALL for band in sensor.bands if band.k1 is not None]
    assert {band.role for band in thermal} == {"lwir", "lwir11", "lwir12"}
    for band in thermal:
        for k1, k2 in [(band.k1, band.k2), *((own.k1, own.k2) for own in band.by_platform)]:
            wavelength_um = 14387.77 / k2
            assert band.wavelength_nm[0] < 1000 * wavelength_um < band.wavelength_nm[2]
            assert k1 == pytest.approx(1.191043e8 / wavelength_um**5, rel=0.05)  # 2 h c^2 in W um^4 m-2 sr-1


def test_irradiance_follows_the_sun():
    """ESUN of a band is Planck's law at 5772 K as seen from Earth, but for lines and a clearer 1.6 micrometres."""
    bands = [band for sensor in ALL for band in sensor.bands if band.esun is not None]
    assert len(bands) == 6 + 7
    for band in bands:
        wavelength_um = band.wavelength_nm[1] / 1000
        radiance = 1.1910427e8 / wavelength_um**5 / math.expm1(14387.77 / (wavelength_um * 5772))
        assert band.esun == pytest.approx(math.pi * radiance * (6.957e8 / 1.495979e11) ** 2, rel=0.25)


def test_constants_of_each_satellite():
    sensor = get_sensor("landsat-tm-c2-l1")
    assert sensor.find("B6").k1 == 607.76  # Landsat 5 flew for 28 years, Landsat 4 for 11
    four = sensor.for_platform("LANDSAT_4")
    assert four.platforms == ("landsat-4",)
    assert (four.find("B6").k1, four.find("B6").k2, four.find("B3").esun) == (671.62, 1284.30, 1554.0)
    assert sensor.for_platform("landsat-5").find("B3").esun == sensor.find("B3").esun == 1551.0
    nine = get_sensor("landsat-oli-c2-l1").for_platform("landsat-9")
    assert nine.find("B10").level1_gain == (3.8e-4, 0.1)
    assert nine.find("B4").level1_gain == (2e-5, -0.1)
    with pytest.raises(ArgumentError, match=r"no platform 'sentinel-2a'.*landsat-8, landsat-9"):
        get_sensor("landsat-oli-c2-l1").for_platform("sentinel-2a")


@pytest.mark.parametrize("name", ["landsat-oli-c2-l2", "landsat-tm-c2-l2", "hls-l30"])
def test_higher_levels_have_no_constants(name):
    for band in get_sensor(name).bands:
        assert (band.k1, band.k2, band.esun, band.level1_gain, band.by_platform) == (None, None, None, None, ())


def test_new_sensors():
    red = get_sensor("modis-09").candidates("red")[0]
    assert (red.name, red.scale, red.offset, red.nodata) == ("sur_refl_b01", 1e-4, 0.0, -28672)
    assert get_sensor("MYD09GA").find("sur_refl_b02_1").role == "nir"
    slstr = get_sensor("slstr")
    assert [slstr.candidates(role)[0].name for role in ("green", "red", "nir")] == ["S1", "S2", "S3"]
    assert slstr.find("S8_BT_in").quantity == "brightness_temperature"
    dove_r, classic = get_sensor("PS2.SD"), get_sensor("PS2")
    assert [band.name for band in dove_r.bands] == [band.name for band in classic.bands]
    assert dove_r.find("red").wavelength_nm == (650.0, 666.0, 682.0)
    assert get_sensor("perusat-1").find("B4").role == "nir"
    assert get_sensor("maxar-4b").find("BAND_N").role == "nir"
    assert all(band.scale is None for name in ("perusat-1", "maxar-4b") for band in get_sensor(name).bands)


@pytest.mark.parametrize(
    ("stem", "band"),
    [
        ("MOD09A1.A2022033.h19v10.061.2022042043514.sur_refl_b01", "sur_refl_b01"),
        ("MOD09GA.A2022033_sur_refl_b02_1", "sur_refl_b02_1"),
        ("S3A_SL_1_RBT_S2_radiance_an", "S2_radiance_an"),
        ("S2_20240101", None),
        ("mosaic_S2", None),
        ("LC08_L2SP_017051_20151205_20200908_02_T1_SR_B4", "SR_B4"),
        ("LE07_L1TP_230080_20231208_20240103_02_T1_B6_VCID_1", "B6_VCID_1"),
        ("20230101_123456_1_planet_coastal_blue", "coastal_blue"),
    ],
)
def test_bands_in_names_of_files(stem, band):
    assert band_of(stem) == band


@pytest.mark.usefixtures("clean_registry")
def test_names_of_files_follow_what_is_registered():
    stem = "mosaic_2024_rubrum_1m"
    assert band_of(stem) is None
    mine = sensor_from_dict(sensor_spec(red_band(name="Rubrum")))
    register_sensor(mine)
    assert band_of(stem) == "rubrum", "registered after names of files were looked at"
    register_sensor(dataclasses.replace(mine, bands=get_sensor("maxar-4b").bands), replace=True)
    assert band_of(stem) is None


def test_examples_leave_no_sensor_behind():
    before = dict(SENSORS)
    (example,) = doctest.DocTestFinder(recurse=False).find(register_sensor, "register_sensor")
    assert doctest.DocTestRunner().run(example).attempted >= 3
    assert dict(SENSORS) == before


def test_every_name_means_one_product():
    names = [text for sensor in ALL for text in registry._names(sensor)]
    assert len(names) == len(set(names))


def test_what_another_satellite_s_constants_cost():
    def kelvin(sensor, radiance):
        return sensor.k2 / np.log(sensor.k1 / radiance + 1)

    for name, role, platforms, error in [
        ("landsat-oli-c2-l1", "lwir11", ("landsat-8", "landsat-9"), 0.1),
        ("landsat-tm-c2-l1", "lwir", ("landsat-5", "landsat-4"), 1.1),
    ]:
        one, other = (get_sensor(name).for_platform(platform).candidates(role)[0] for platform in platforms)
        radiance = one.k1 / (np.exp(one.k2 / 290) - 1)
        assert kelvin(one, radiance) == pytest.approx(290)
        assert abs(kelvin(other, radiance) - 290) == pytest.approx(error, abs=0.05), "as the docs tell"


# --- sensors of one's own ---


@pytest.mark.usefixtures("clean_registry")
def test_a_dictionary_a_file_and_a_sensor_are_one(toml):
    from_file = register_sensor(toml)
    assert SENSORS["skysat"] is from_file is get_sensor("SSC")
    assert from_file.find("red_band").wavelength_nm == (605, 650.0, 695)
    assert load_sensor(str(toml)) == from_file
    fields = dataclasses.asdict(from_file)
    for band in fields["bands"]:
        del band["by_platform"]
    assert sensor_from_dict(fields) == from_file
    assert register_sensor(from_file) is from_file, "the same again changes nothing"
    assert register_sensor(str(toml)) is from_file


@pytest.mark.usefixtures("clean_registry")
def test_taken_names_are_refused(toml):
    mine = register_sensor(toml)
    other = dataclasses.replace(mine, title="Another")
    with pytest.raises(ArgumentError, match=r"'skysat' is there already \(SkySat, 4 bands\).*replace=True"):
        register_sensor(other)
    assert register_sensor(other, replace=True) is SENSORS["skysat"]
    with pytest.raises(ArgumentError, match="hls_l30 belong to 'hls-l30'"):
        register_sensor(sensor_spec(aliases=["HLS L30"]), replace=True)
    with pytest.raises(ArgumentError, match="'skysat' is there already"):
        register_sensor(dataclasses.replace(mine, name="Skysat", aliases=()), replace=True)
    assert "mine" not in SENSORS


@pytest.mark.usefixtures("clean_registry")
def test_a_built_in_sensor_can_be_replaced_on_purpose():
    mine = sensor_from_dict(sensor_spec(name="maxar-4b"))
    with pytest.raises(ArgumentError, match="is there already"):
        register_sensor(mine)
    assert register_sensor(mine, replace=True) is get_sensor("maxar-4b")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"title": "T", "bands": []}, "sensor: name missing"),
        (sensor_spec(colour="blue"), "field 'colour' is unknown"),
        (sensor_spec(titel="x"), "Did you mean 'title'"),
        (sensor_spec(bands=[]), "bands has 0 entries"),
        (sensor_spec(bands="red"), "bands='red' is a str"),
        (sensor_spec(bands=["red"]), r"bands\[0\]='red' is a str"),
        (sensor_spec(name=""), "name has ''"),
        (sensor_spec(name="a/b"), "name has 'a/b'"),
        (sensor_spec(name=7), "name has 7, a int"),
        (sensor_spec(title="two\nlines"), "title="),
        (sensor_spec(aliases="ab"), "aliases='ab' is a str"),
        (sensor_spec(platforms=[1]), "platforms has 1"),
        (sensor_spec(aliases=["x" * 65]), "aliases has 'xxx"),
        (sensor_spec(red_band(aliases=[" R2"])), "aliases has ' R2'"),
        (sensor_spec(red_band(aliases=["R\n2"])), "aliases has 'R"),
        (sensor_spec(red_band(roles=["röd"])), "roles has 'röd'"),
        (sensor_spec(red_band(), red_band(name="S", aliases=["r"])), "'R' and 'S' are both called 'r'"),
        (sensor_spec(red_band(), {"name": "S"}), r"bands\[1\]: roles, wavelength_nm, resolution_m missing"),
        (sensor_spec(red_band(role="red")), r"bands\[0\]: the field 'role' is unknown. Did you mean 'roles'"),
        (sensor_spec(red_band(roles=[])), "roles is empty"),
        (sensor_spec(red_band(wavelength_nm=[650, 600, 700])), "wavelength_nm=.*ascending"),
        (sensor_spec(red_band(wavelength_nm=[600, 700])), "wavelength_nm"),
        (sensor_spec(red_band(wavelength_nm=[600, 650, math.inf])), "wavelength_nm"),
        (sensor_spec(red_band(wavelength_nm=["600", 650, 700])), "wavelength_nm"),
        (sensor_spec(red_band(resolution_m=0)), "resolution_m=0. Expected a positive number"),
        (sensor_spec(red_band(resolution_m=True)), "resolution_m=True is a bool"),
        (sensor_spec(red_band(scale=-1e-4)), "scale=-0.0001"),
        (sensor_spec(red_band(scale=math.nan)), "scale=nan"),
        (sensor_spec(red_band(offset="0")), "offset='0' is a str"),
        (sensor_spec(red_band(nodata=10**400)), "nodata=1000"),
        (sensor_spec(red_band(quantity="reflectance")), "quantity='reflectance'. Expected one of: toa_reflectance"),
        (sensor_spec(red_band(level1_gain=[1.0])), "level1_gain"),
        (sensor_spec(red_band(by_platform=[])), "field 'by_platform' is unknown"),
    ],
)
@pytest.mark.usefixtures("clean_registry")
def test_errors_name_the_field(spec, words):
    before = dict(SENSORS)
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        register_sensor(spec)
    assert dict(SENSORS) == before


def test_bands_may_be_called_anything_that_files_call_them():
    sensor = sensor_from_dict(sensor_spec(red_band(name="Röd (650 nm)", aliases=["measurements/r10m/b04", "红"])))
    assert [sensor.find(name).role for name in ("röd (650 NM)", "measurements/r10m/B04", "红")] == ["red"] * 3


@pytest.mark.parametrize("wrong", [None, 3, ["mine"], b"mine.toml"])
def test_what_is_no_sensor(wrong):
    with pytest.raises(ArgumentTypeError, match="Expected a Sensor, a dictionary or the path"):
        register_sensor(wrong)


def test_bad_files(tmp_path):
    with pytest.raises(ReadError, match=r"none\.toml cannot be read"):
        register_sensor(tmp_path / "none.toml")
    with pytest.raises(ReadError, match="cannot be read"):
        register_sensor(tmp_path)
    large = tmp_path / "large.toml"
    large.write_text(TOML + "#" * LARGEST_BYTES)
    with pytest.raises(ReadError, match="larger than 64 KiB"):
        register_sensor(large)
    for content in (b"name = ", b"\xff\xfe", b"a = " + b"[" * 60_000, b"a = 1" + b"0" * 60_000):
        bad = tmp_path / "bad.toml"
        bad.write_bytes(content)
        with pytest.raises(ArgumentError, match=r"bad\.toml"):
            register_sensor(bad)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(TOML.replace("[605, 650.0, 695]", '"red"'))
    with pytest.raises(ArgumentError, match=r"wrong\.toml: bands\[0\]: band 'R': wavelength_nm='red'"):
        register_sensor(wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def made_of(spec):
    try:
        return sensor_from_dict(spec), ""
    except XCloudMaskError as error:
        return None, str(error)


@given(field=st.sampled_from([field.name for field in dataclasses.fields(Sensor)]), value=JSON)
def test_any_value_of_a_sensor_is_taken_or_refused(field, value):
    sensor, error = made_of(sensor_spec() | {field: value})
    assert field in error or "bands[" in error or sensor is not None
    if sensor is not None:
        assert all(sensor.find(name) is band for band in sensor.bands for name in band.names)


@given(field=st.sampled_from([field.name for field in dataclasses.fields(Band)]), value=JSON)
def test_any_value_of_a_band_is_taken_or_refused(field, value):
    sensor, error = made_of(sensor_spec(red_band(**{field: value})))
    assert field in error or sensor is not None
    if sensor is not None:
        assert hash(sensor) == hash(sensor_from_dict(sensor_spec(red_band(**{field: value}))))


def _small_cube():
    rng = np.random.default_rng(0)
    bands = {name: (("y", "x"), rng.integers(500, 3000, (64, 64)).astype("uint16")) for name in ("R", "G", "N")}
    cube = xr.Dataset(bands)
    cube["R"][:5] = 7  # nodata
    return cube


def test_the_graph_carries_no_sensor(clean_registry, toml):
    """Processes that do not know the sensor compute the mask: the registry is emptied between plan and work."""
    cube = _small_cube()
    declared = cube.assign(
        {name: cube[name].assign_attrs(nodata=7, scale_factor=1e-4, add_offset=0.0) for name in cube}
    )
    bands = {"red": "R", "green": "G", "nir": "N"}
    expected = xcloudmask.predict(declared, bands=bands, resolution_m=10)
    direct = xcloudmask.predict(cube, sensor=load_sensor(toml), resolution_m=10)
    sensor = register_sensor(toml)
    lazy = xcloudmask.predict(cube.chunk(y=32, x=32), sensor="skysat", resolution_m=10)
    same = xcloudmask.predict(cube.chunk(y=32, x=32), sensor=sensor, resolution_m=10)
    assert lazy.data.name == same.data.name
    declared = xcloudmask.predict(cube.assign_attrs(sensor="skysat").chunk(y=32, x=32), resolution_m=10)
    assert declared.data.name == same.data.name, "nodata and scale of a sensor that the cube declares count too"
    clean_registry.pop("skysat")
    masked = lazy.compute(scheduler="synchronous")
    xr.testing.assert_identical(direct, expected)
    assert (masked[:5] == 255).all()
    assert (masked[5:] != 255).all()


# --- the command ---


def run(*arguments):
    return CliRunner().invoke(app, ["sensors", *map(str, arguments)])


def test_the_list():
    listed = run()
    assert listed.exit_code == 0
    assert all(sensor.name in listed.stdout for sensor in ALL)
    entries = json.loads(run("--json").stdout)
    assert [entry["name"] for entry in entries] == list(SENSORS)
    assert entries[0]["resolution_m"] == [10.0, 20.0, 60.0]


@pytest.mark.parametrize("sensor", ALL, ids=lambda sensor: sensor.name)
def test_one_sensor(sensor):
    shown = run(sensor.name)
    assert shown.exit_code == 0, shown.output
    words = shown.stdout.split()
    for band in sensor.bands:
        assert band.name in words
        assert f"({band.wavelength_nm[1]:g})" in words
    assert sensor.source.split()[0] in words
    shown = json.loads(run(sensor.name, "--json").stdout)
    assert shown["source"] == sensor.source
    assert [band["aliases"] for band in shown["bands"]] == [list(band.aliases) for band in sensor.bands]


def test_constants_are_shown():
    words = run("landsat-oli-c2-l1").stdout.split()
    assert {"774.8853", "1329.2405", "0.000349"} <= set(words)


def test_a_file_and_wrong_names(toml):
    assert "SkySat, 4 bands" in run(toml).stdout
    assert "skysat" not in SENSORS, "showing is not registering"
    wrong = run("sentinel-2-l2")
    assert wrong.exit_code == 2
    assert "Did you mean" in wrong.output
    assert run("none.toml").exit_code == 1


@pytest.mark.usefixtures("clean_registry")
def test_a_file_as_the_sensor_of_a_command(tmp_path, toml):
    _small_cube().to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    arguments = ["plan", tmp_path / "cube.zarr", "--sensor", toml, "--resolution-m", 10]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    assert "sensor skysat: R" in done.output
