import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset, rioxarray_array, stackstac_array

from xcloudmask.bands import declared_sensor, select_bands
from xcloudmask.errors import ArgumentError, ArgumentTypeError, BandNotFoundError, InputError, NotACubeError
from xcloudmask.sensors import get_sensor, registry
from xcloudmask.sensors.spec import sensor_from_dict

ROLES = ("red", "green", "nir")


@pytest.fixture(autouse=True)
def _nothing_is_computed():
    def fail(*args, **kwargs):
        raise AssertionError("a dask array was computed")

    with dask.config.set(scheduler=fail):
        yield


def choose(cube, **options):
    return select_bands(cube, roles=ROLES, optional=("nir",), **options)


def named(*names, **attrs):
    return xr.Dataset({name: (("y", "x"), np.ones((4, 4), "uint16"), attrs) for name in names})


# --- what loaders give ---


@pytest.mark.parametrize("chunks", [None, 32])
@pytest.mark.parametrize("times", [None, 3])
def test_odc_dataset(chunks, times):
    cube = odc_dataset(bands=("blue", "green", "red", "nir"), chunks=chunks, times=times)
    selection = choose(cube)
    assert selection.names == ROLES
    assert selection.how == ("variable name",) * 3
    assert selection.positions == (2, 1, 3)
    assert selection.stack is None
    assert selection.band_dim is None
    for role, array in zip(ROLES, selection.arrays, strict=True):
        assert array.identical(cube[role]) if chunks is None else array.data.name == cube[role].data.name


def test_geographic_dataset():
    assert choose(odc_dataset(geographic=True)).arrays[0].dims == ("time", "latitude", "longitude")


@pytest.mark.parametrize("chunks", [None, 32])
def test_stackstac_array(chunks):
    cube = stackstac_array(chunks=chunks)
    selection = choose(cube)
    assert selection.names == ("B04", "B03", "B08")
    assert selection.how == ("common name (coordinate common_name)",) * 3
    assert selection.band_dim == "band"
    assert selection.stack.dims == ("time", "band", "y", "x")
    assert selection.stack["band"].values.tolist() == ["B04", "B03", "B08"]
    assert selection.arrays[0].dims == ("time", "y", "x")
    assert "band" not in selection.arrays[0].coords
    assert "platform" in selection.arrays[0].coords
    if chunks is None:
        np.testing.assert_array_equal(selection.stack.values, cube.values[:, [2, 1, 3]])
    else:
        # One isel with a list: one task per chunk (and one for the list), no stacking.
        added = len(selection.stack.__dask_graph__()) - len(cube.__dask_graph__())
        assert added <= selection.stack.data.npartitions + 1


def test_rioxarray_array_has_names_in_long_name():
    selection = choose(rioxarray_array(chunks=32))
    assert selection.names == ("B04", "B03", "B08")
    assert selection.how == ("long_name, Sentinel-2 naming",) * 3
    assert selection.stack["band"].values.tolist() == [3, 2, 4]


@pytest.mark.parametrize("as_type", [tuple, list, np.array])
def test_long_name_of_any_type(as_type):
    cube = rioxarray_array(bands=("Blue", "Green", "Red", "NIR"))
    cube.attrs["long_name"] = as_type(cube.attrs["long_name"])
    assert choose(cube).names == ("Red", "Green", "NIR")


@pytest.mark.parametrize("dim", ["bands", "channel", "wavelength", "variable", "whatever"])
def test_other_names_of_the_band_dimension(dim):
    cube = stackstac_array(common_names=None).rename(band=dim)
    assert choose(cube).band_dim == dim


def test_dataset_around_one_array():
    inner = rioxarray_array()
    selection = choose(inner.to_dataset(name="band_data"))
    assert selection.names == ("B04", "B03", "B08")
    assert selection.stack is not None


def test_variables_with_long_names():
    cube = named("band_1", "band_2", "band_3")
    for variable, name in zip(cube.data_vars.values(), ("B03", "B04", "B08"), strict=True):
        variable.attrs["long_name"] = name
    selection = choose(cube)
    assert selection.names == ("band_2", "band_1", "band_3")
    assert selection.how[0] == "long_name, Sentinel-2 naming"


def test_the_whole_array_in_order_is_not_indexed():
    cube = stackstac_array(bands=ROLES, common_names=None, chunks=32)
    assert choose(cube).stack is cube


def test_single_band_array():
    cube = odc_dataset()["red"]
    selection = select_bands(cube, roles=("red",))
    assert selection.arrays[0] is cube
    assert selection.how == ("name",)


# --- spellings ---


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("B02", "B03", "B04", "B08"), ("B04", "B03", "B08")),
        (("B03", "B04", "B08", "B8A"), ("B04", "B03", "B08")),
        (("B03", "B04", "B8A", "SCL"), ("B04", "B03", "B8A")),
        (("B03_10m", "B04_20m", "B04_10m", "B08_10m"), ("B04_10m", "B03_10m", "B08_10m")),
        (("b03", "b04", "b08"), ("b04", "b03", "b08")),
        (("SR_B3", "SR_B4", "SR_B5", "SR_B6"), ("SR_B4", "SR_B3", "SR_B5")),
        (("red", "green", "nir", "nir08"), ("red", "green", "nir")),
        (("red", "green", "nir08", "qa_pixel"), ("red", "green", "nir08")),
        (("Red", "GREEN", "Near Infrared"), ("Red", "GREEN", "Near Infrared")),
        (("red", "green", "B08"), ("red", "green", "B08")),
    ],
)
def test_names_that_tell(names, expected):
    assert choose(named(*names)).names == expected


def test_stand_ins_are_said():
    assert choose(named("B03", "B04", "B8A")).how[2] == "variable name, Sentinel-2 naming: B8A stands in for nir"
    assert choose(named("red", "green", "nir08")).how[2] == "variable name: nir08 stands in for nir"
    how = choose(named("B03", "B04", "B8A"), sensor="sentinel-2-l2a").how
    assert how[2] == "sensor sentinel-2-l2a: B8A stands in for nir"
    assert how[0] == "sensor sentinel-2-l2a: B04"


@pytest.mark.parametrize(
    "names",
    [
        ("B03", "B04", "B05"),  # HLS L30's nir is Sentinel-2's red edge
        ("B3", "B4", "B5"),  # OLI's nir, TM's swir
        ("B2", "B3", "B4", "B8"),  # Sentinel-2 as Earth Engine spells it, or ETM+ with its panchromatic band
        ("SR_B2", "SR_B3", "SR_B4", "SR_B5"),
    ],
)
def test_names_that_could_be_several_sensors(names):
    with pytest.raises(BandNotFoundError, match="sensor=") as caught:
        choose(named(*names))
    assert "nir = missing" in str(caught.value) or "could mean" in str(caught.value)


@pytest.mark.parametrize(
    ("sensor", "expected"),
    [
        ("landsat-oli-c2-l2", ("B4", "B3", "B5")),
        ("landsat-tm-c2-l1", ("B3", "B2", "B4")),
        ("sentinel-2-l2a", ("B4", "B3", "B8")),
    ],
)
def test_sensor_decides(sensor, expected):
    assert choose(named("B2", "B3", "B4", "B5", "B8"), sensor=sensor).names == expected


def test_platform_decides():
    cube = named("B3", "B4", "B5", "B8")
    assert choose(cube.assign_coords(platform="landsat-8")).names == ("B4", "B3", "B5")
    assert choose(cube.assign_attrs(constellation="Sentinel-2")).names == ("B4", "B3", "B8")


def test_companion_layers_decide():
    assert choose(named("SR_B3", "SR_B4", "SR_B5", "SR_B6", "QA_PIXEL")).names == ("SR_B4", "SR_B3", "SR_B5")
    assert choose(named("B3", "B4", "B8", "SCL")).names == ("B4", "B3", "B8")


def test_two_greens_of_planetscope():
    cube = named("blue", "green_i", "green", "red", "nir")
    with pytest.raises(BandNotFoundError, match=r"'green_i'.*planetscope-8b"):
        choose(cube)
    assert choose(cube, sensor="planetscope-8b").names == ROLES
    assert choose(cube, bands={"green": "green_i"}).names == ("red", "green_i", "nir")


def test_common_names_that_contradict_the_band_names():
    cube = stackstac_array(common_names=("blue", "red", "green", "nir"))
    with pytest.raises(BandNotFoundError, match=r"Several bands could be 'red': 'B03'.*'B04'"):
        choose(cube)
    assert choose(cube, sensor="sentinel-2-l2a").names == ("B04", "B03", "B08")


def test_one_name_twice():
    cube = stackstac_array(bands=("red", "red", "green", "nir"), common_names=None)
    with pytest.raises(BandNotFoundError, match=r"Several bands could be 'red'.*bands=\{'red': 0\}"):
        choose(cube)
    assert choose(cube, bands={"red": 1}).positions[0] == 1
    with pytest.raises(BandNotFoundError, match="Several bands"):
        choose(cube, bands={"red": "red"})
    with pytest.raises(BandNotFoundError, match="Several bands"):
        choose(cube, sensor="sentinel-2-l2a")


def test_names_of_no_sensor_are_no_evidence():
    with pytest.raises(BandNotFoundError, match="not found: red, green, nir"):
        choose(named("B03", "B04", "B77"))


# --- catalogues ---

S2 = ("B04", "B03", "B08")


@pytest.mark.parametrize(
    ("sensor", "names", "expected"),
    [
        pytest.param("sentinel-2-l2a", "B01 B02 B03 B04 B05 B08 B8A SCL", S2, id="Earth Search v0"),
        pytest.param("sentinel-2-l2a", "blue green nir nir08 red rededge1 scl", ROLES, id="Earth Search v1"),
        pytest.param("sentinel-2-l2a", "green-jp2 nir-jp2 red-jp2", ("red-jp2", "green-jp2", "nir-jp2"), id="... JPEG"),
        pytest.param("sentinel-2-l1c", "cirrus green nir nir08 red", ROLES, id="Earth Search v1, Level-1C"),
        pytest.param("sentinel-2-l2a", "AOT B02 B03 B04 B08 B8A SCL", S2, id="Planetary Computer"),
        pytest.param("sentinel-2-l1c", "B02 B03 B04 B08 B8A B10", S2, id="CDSE, Level-1C"),
        pytest.param(
            "sentinel-2-l2a",
            "B03_10m B03_20m B04_60m B04_10m B08_10m B8A_20m SCL_20m",
            ("B04_10m", "B03_10m", "B08_10m"),
            id="CDSE",
        ),
        pytest.param("sentinel-2-l2a", "B03_20m B04_20m B8A_20m", ("B04_20m", "B03_20m", "B8A_20m"), id="CDSE, 20 m"),
        pytest.param("sentinel-2-l2a", "B2 B3 B4 B8", ("B4", "B3", "B8"), id="Earth Engine"),
        pytest.param(
            "landsat-oli-c2-l2", "green nir08 red swir16 lwir11 qa_pixel", ("red", "green", "nir08"), id="USGS"
        ),
        pytest.param("landsat-oli-c2-l1", "green nir08 pan red cirrus", ("red", "green", "nir08"), id="USGS, Level-1"),
        pytest.param("landsat-tm-c2-l2", "green nir08 red lwir", ("red", "green", "nir08"), id="USGS, TM"),
        pytest.param(
            "landsat-etm-c2-l2", "SR_B2 SR_B3 SR_B4 ST_B6", ("SR_B3", "SR_B2", "SR_B4"), id="USGS files, ETM+"
        ),
        pytest.param("landsat-tm-c2-l1", "B2 B3 B4 B5 B6", ("B3", "B2", "B4"), id="USGS files, TM Level-1"),
        pytest.param(
            "landsat-oli-c2-l2", "SR_B3 SR_B4 SR_B5 ST_B10", ("SR_B4", "SR_B3", "SR_B5"), id="USGS files, OLI"
        ),
        pytest.param("hls-l30", "B03 B04 B05 B06 Fmask", ("B04", "B03", "B05"), id="HLS L30"),
        pytest.param("hls-s30", "B03 B04 B05 B08 B8A Fmask", S2, id="HLS S30"),
        pytest.param("hls-s30", "B03 B04 B05 B8A Fmask", ("B04", "B03", "B8A"), id="HLS S30, narrow"),
        pytest.param("planetscope-4b", "blue green red nir", ROLES, id="Planet, 4 bands"),
        pytest.param("planetscope-4b-dove-r", "blue green red nir", ROLES, id="Planet, Dove-R"),
        pytest.param("planetscope-8b", "coastal_blue blue green_i green yellow red rededge nir", ROLES, id="Planet, 8"),
        pytest.param(
            "planetscope-8b", "green_i green_ii red nir", ("red", "green_ii", "nir"), id="Planet, both numbered"
        ),
        pytest.param(
            "modis-09",
            "sur_refl_b01 sur_refl_b02 sur_refl_b03 sur_refl_b04",
            ("sur_refl_b01", "sur_refl_b04", "sur_refl_b02"),
            id="MODIS",
        ),
        pytest.param(
            "sentinel-3-slstr-l1b",
            "S1_radiance_an S2_radiance_an S3_radiance_an S8_BT_in",
            ("S2_radiance_an", "S1_radiance_an", "S3_radiance_an"),
            id="SLSTR",
        ),
        pytest.param("perusat-1", "B1 B2 B3 B4", ("B3", "B2", "B4"), id="PeruSat-1"),
        pytest.param("maxar-4b", "BAND_B BAND_G BAND_R BAND_N", ("BAND_R", "BAND_G", "BAND_N"), id="Maxar"),
    ],
)
def test_the_spelling_of_each_catalogue(sensor, names, expected):
    selection = choose(named(*names.split()), sensor=sensor)
    assert selection.names == expected
    assert all(how.startswith(f"sensor {sensor}: ") for how in selection.how)
    assert selection.sensor is get_sensor(sensor)
    upper = choose(named(*names.upper().split()), sensor=sensor)
    assert upper.names == tuple(name.upper() for name in expected)


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (("sur_refl_b01_1", "sur_refl_b04_1", "sur_refl_b02_1"), "MODIS surface reflectance"),
        (("S2_radiance_an", "S1_radiance_an", "S3_radiance_an"), "Sentinel-3 SLSTR Level-1B (SL_1_RBT"),
    ],
)
def test_names_that_one_sensor_alone_has_need_no_sensor(names, family):
    selection = choose(named(*sorted(names)))
    assert selection.names == names
    assert selection.how[0] == f"variable name, {family} naming"
    assert selection.sensor is None, "names do not tell scale and nodata"


@pytest.mark.parametrize("platform", ["LANDSAT_8", "landsat-9", "Landsat-8"])
def test_platforms_in_the_spelling_of_usgs_and_stac(platform):
    cube = named("B3", "B4", "B5", "B6").assign_coords(platform=("time", [platform, platform]))
    assert choose(cube).names == ("B4", "B3", "B5")


def test_hls_items_with_misplaced_common_names():
    """Some catalogues label B05 of L30 nir, and leave B8A of S30 without a name."""
    l30 = stackstac_array(bands=("B03", "B04", "B05", "B06"), common_names=("green", "red", "nir", "swir16"))
    assert choose(l30).names == ("B04", "B03", "B05")
    s30 = stackstac_array(bands=("B03", "B04", "B08", "B8A"), common_names=("green", "red", "nir", ""))
    assert choose(s30).names == ("B04", "B03", "B08")
    both = s30.assign_coords(common_name=("band", ["green", "red", "nir", "nir"]))
    with pytest.raises(BandNotFoundError, match=r"Several bands could be 'nir': 'B08'.*'B8A'"):
        choose(both)
    assert choose(both, sensor="hls-s30").names == ("B04", "B03", "B08")
    swapped = s30.assign_coords(common_name=("band", ["green", "red", "nir08", "nir"]))
    with pytest.raises(BandNotFoundError, match="Several bands could be 'nir'"):
        choose(swapped)
    assert choose(swapped, sensor="hls-s30").names == ("B04", "B03", "B08")


@pytest.mark.parametrize("first", ["green_i", "green05", "Green_1", "greenI"])
def test_two_greens_are_never_guessed(first):
    cube = named("blue", first, "green", "red", "nir")
    with pytest.raises(BandNotFoundError, match=f"Several bands could be 'green'.*'{first}'"):
        choose(cube)
    assert choose(cube, sensor="planetscope-8b").names[1] == "green"
    stacked = stackstac_array(bands=("band_3", "band_4", "red", "nir"), common_names=("green05", "green", "red", "nir"))
    with pytest.raises(BandNotFoundError, match="Several bands could be 'green'"):
        choose(stacked)


# --- the sensor that the cube declares ---


def test_a_declared_sensor_counts_where_none_is_given():
    cube = named("B2", "B3", "B4", "B5")
    with pytest.raises(BandNotFoundError, match="sensor="):
        choose(cube)
    declared = cube.assign_attrs(sensor="landsat-tm-c2-l1")
    selection = choose(declared)
    assert selection.names == ("B3", "B2", "B4")
    assert selection.how == tuple(f"attrs: sensor landsat-tm-c2-l1: {name}" for name in ("B3", "B2", "B4"))
    assert selection.sensor is get_sensor("landsat-tm-c2-l1")
    assert choose(declared, sensor="landsat-oli-c2-l1").names == ("B4", "B3", "B5"), "the argument wins"
    assert choose(declared, bands={"nir": "B5"}).names == ("B3", "B2", "B5")


def test_a_sensor_can_be_declared_by_an_array():
    cube = stackstac_array(bands=("B2", "B3", "B4", "B5"), common_names=None).assign_attrs(sensor="landsat-tm-c2-l1")
    assert choose(cube).names == ("B3", "B2", "B4")
    assert choose(cube.to_dataset(name="band_data")).names == ("B3", "B2", "B4")


@pytest.mark.parametrize("value", ["MSI", "slstr", "Landsat-TM-C2-L1", "", None, 5, {"oli"}, ["landsat-tm-c2-l1"]])
def test_what_other_programs_call_a_sensor_is_ignored(value):
    cube = odc_dataset().assign_attrs(sensor=value)
    assert declared_sensor(cube) is None
    selection = choose(cube)
    assert (selection.sensor, selection.how) == (None, ("variable name",) * 3)


def test_an_unknown_declared_sensor_is_named_when_bands_are_missing():
    cube = named("R", "G", "N").assign_attrs(sensor="my-sat")
    with pytest.raises(BandNotFoundError, match=r"attrs\['sensor'\] is 'my-sat'.*register_sensor"):
        choose(cube)


def test_registered_sensors_count_only_when_named(monkeypatch):
    """What names such as B04 mean does not depend on what else was registered."""
    wavelengths = {"wavelength_nm": [600, 650, 700], "resolution_m": 1.0}
    bands = [
        {"name": name, "roles": [role]} | wavelengths for role, name in zip(ROLES, ("B08", "B04", "B03"), strict=True)
    ]
    mine = sensor_from_dict({"name": "my-sat", "title": "Mine", "bands": bands, "companions": ["SCL"]})
    monkeypatch.setitem(registry._registered, "my-sat", mine)
    cube = named("B03", "B04", "B08", "SCL")
    assert choose(cube).names == ("B04", "B03", "B08")
    assert choose(cube, sensor="my-sat").names == ("B08", "B04", "B03")
    assert choose(cube, sensor=mine).names == ("B08", "B04", "B03")
    assert choose(cube.assign_attrs(sensor="my-sat")).names == ("B08", "B04", "B03")


# --- bands= ---


def test_explicit_names_and_positions():
    cube = rioxarray_array(bands=("a", "b", "c", "d"))
    selection = choose(cube, bands={"red": "c", "green": "B", "nir": np.int64(3)})
    assert selection.names == ("c", "b", "d")
    assert selection.how == ("argument",) * 3
    assert choose(cube, bands=["c", "b", 3]).names == ("c", "b", "d")


def test_exact_case_goes_first():
    cube = named("a", "A", "green", "nir")
    assert choose(cube, bands={"red": "A"}).names[0] == "A"


def test_arguments_go_before_names():
    assert choose(odc_dataset(bands=("red", "green", "nir", "swir")), bands={"nir": "swir"}).names[2] == "swir"


def test_bands_that_the_sensor_does_not_have_are_given_up():
    roles = ("red", "nir", "cirrus")
    cube = odc_dataset(bands=("B04", "B08"))
    selection = select_bands(cube, roles=roles, optional=("cirrus", "nir"), sensor="sentinel-2-l2a")
    assert selection.names == ("B04", "B08", None)
    with pytest.raises(BandNotFoundError, match="cirrus"):
        select_bands(cube, roles=roles, optional=("cirrus", "nir"), sensor="sentinel-2-l1c")
    with pytest.raises(BandNotFoundError, match="cirrus"):
        select_bands(cube, roles=roles, sensor="sentinel-2-l2a")
    with pytest.raises(BandNotFoundError, match="'cirrus': None"):
        select_bands(cube, roles=roles, optional=("cirrus",))


def test_a_band_given_up():
    selection = choose(odc_dataset(bands=("red", "green")), bands={"nir": None})
    assert selection.names == ("red", "green", None)
    assert selection.arrays[2] is None
    assert selection.how[2] == "given up: zeros"
    assert repr(selection) == "<BandSelection red=red, green=green, nir=zeros>"
    stacked = choose(stackstac_array(), bands={"nir": None})
    assert stacked.stack["band"].values.tolist() == ["B04", "B03"]


@pytest.mark.parametrize(
    ("bands", "error", "match"),
    [
        ({"red": None}, ArgumentError, "cannot do without 'red'"),
        ({"swir": "B11"}, ArgumentError, "has the role 'swir'"),
        ({"red": "B4"}, BandNotFoundError, r"Did you mean 'B04'\?"),
        ({"red": "zzz"}, BandNotFoundError, "Found: 'B02'"),
        ({"red": 4}, ArgumentError, "count from 0 to 3"),
        ({"red": -1}, ArgumentError, "count from 0 to 3"),
        ({"red": 1.0}, ArgumentTypeError, "is a float"),
        ({"red": True}, ArgumentTypeError, "is a bool"),
        ("red", ArgumentTypeError, "Expected a dictionary"),
        ({"red", "green"}, ArgumentTypeError, "Expected a dictionary"),
        (["B04"], ArgumentError, "1 entries. Expected 3"),
    ],
)
def test_wrong_bands(bands, error, match):
    with pytest.raises(error, match=match):
        choose(rioxarray_array(), bands=bands)


def test_positions_need_a_band_dimension():
    with pytest.raises(ArgumentError, match="no position"):
        choose(odc_dataset(), bands={"red": 0})


# --- what is missing ---


def test_missing_bands_say_what_to_type():
    with pytest.raises(BandNotFoundError) as caught:
        choose(named("red", "green", "swir16", long_name="x"))
    text = str(caught.value)
    assert "not found: nir" in text
    assert "'swir16'" in text
    assert "bands={'nir': '<name in the cube>'}" in text
    assert "bands={'nir': None} does without" in text


def test_missing_bands_that_cannot_be_given_up():
    with pytest.raises(BandNotFoundError) as caught:
        choose(named("green", "nir"))
    assert "None" not in str(caught.value)


def test_bands_without_names():
    cube = rioxarray_array()
    del cube.attrs["long_name"]
    with pytest.raises(BandNotFoundError, match=r"position 0, position 1.*<position, counted from 0>"):
        choose(cube)
    selection = choose(cube.drop_vars("band"), bands=[2, 1, 3])
    assert selection.names == ("position 2", "position 1", "position 3")


def test_a_dask_coordinate_is_named_and_not_computed():
    cube = stackstac_array(bands=("a", "b", "c", "d"))
    cube = cube.assign_coords(common_name=("band", da.from_array(cube["common_name"].values)))
    with pytest.raises(BandNotFoundError, match=r"cube\['common_name'\]\.load\(\)"):
        choose(cube)


# --- no cubes ---


@pytest.mark.parametrize(
    "mask",
    [
        xr.DataArray(np.zeros((4, 4), "uint8"), dims=("y", "x"), attrs={"flag_values": [0, 1]}),
        xr.DataArray(np.zeros((4, 4), "uint8"), dims=("y", "x"), attrs={"standard_name": "status_flag"}),
        xr.DataArray(np.zeros((4, 4), bool), dims=("y", "x")),
        named("mask", flag_meanings="clear cloud"),
    ],
)
def test_masks_are_refused(mask):
    with pytest.raises(NotACubeError, match="is a mask"):
        choose(mask)


def test_a_mask_among_the_bands_is_refused_when_chosen():
    cube = odc_dataset().assign(cloud=lambda c: c.red > 0)
    assert choose(cube).names == ROLES
    with pytest.raises(NotACubeError, match="'cloud' is a mask"):
        choose(cube, bands={"nir": "cloud"})


@pytest.mark.parametrize("dtype", ["complex64", "object", "M8[ns]", "U3"])
def test_dtypes_that_are_no_image(dtype):
    values = np.zeros((3, 4, 4)).astype(dtype)
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": list(ROLES)})
    with pytest.raises(NotACubeError, match="dtype"):
        choose(cube)
    with pytest.raises(NotACubeError, match="dtype"):
        choose(cube.to_dataset("band"))


@pytest.mark.parametrize("cube", [np.zeros((3, 4, 4)), None, "cube.tif", da.zeros((3, 4, 4))])
def test_other_types(cube):
    with pytest.raises(NotACubeError, match=r"Expected an xarray\.DataArray"):
        choose(cube)


def test_dimensions_left_over():
    cube = stackstac_array()
    with pytest.raises(NotACubeError, match=r"'member' are left over.*cube\.isel\(member=0\)"):
        choose(cube.expand_dims(member=2))
    with pytest.raises(NotACubeError, match=r"squeeze\(\['member'\]\)"):
        choose(cube.expand_dims(member=1))
    with pytest.raises(NotACubeError, match="'member' are left over"):
        choose(odc_dataset().expand_dims(member=2))


def test_no_spatial_variables():
    with pytest.raises(NotACubeError, match="No variable of the Dataset"):
        choose(xr.Dataset({"a": ("y", [1, 2]), "b": ("x", [1, 2])}))
    with pytest.raises(NotACubeError, match="No spatial dimensions"):
        choose(xr.Dataset())
    with pytest.raises(NotACubeError, match=r"rename"):
        choose(xr.DataArray(np.zeros((3, 4, 4)), dims=("band", "a", "b")))


def test_bands_on_different_grids():
    cube = odc_dataset()
    half = odc_dataset(shape=(32, 48), resolution=20.0)["nir"].rename(y="lat", x="lon").drop_vars(["lat", "lon"])
    with pytest.raises(InputError, match=r"different grids: 'red'.*'nir'"):
        choose(cube.drop_vars("nir").assign(nir=half))
    with pytest.raises(InputError, match="different grids"):
        choose(cube.assign(nir=cube["nir"].isel(time=0)))


def test_input_is_left_alone():
    cube = stackstac_array(chunks=32)
    before = cube.copy()
    choose(cube)
    assert cube.identical(before) if cube.chunks is None else cube.attrs == before.attrs
    assert cube.encoding == before.encoding
