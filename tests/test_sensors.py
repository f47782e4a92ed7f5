import dataclasses
import subprocess
import sys

import pytest

from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.sensors import SENSORS, Band, Sensor, get_sensor
from xcloudmask.sensors.registry import BUILT_IN

ALL = list(BUILT_IN)


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
        "package = types.ModuleType('xcloudmask')\n"
        f"package.__path__ = [{str(_package_dir())!r}]\n"
        "sys.modules['xcloudmask'] = package\n"
        f"import xcloudmask.{module}\n"
        "heavy = {'torch', 'rasterio', 'rioxarray', 'distributed', 'matplotlib', 'scipy', 'odc.geo.xr'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _package_dir():
    import importlib.util
    from pathlib import Path

    return Path(importlib.util.find_spec("xcloudmask").origin).parent
