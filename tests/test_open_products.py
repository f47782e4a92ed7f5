"""Products on disk: what is opened, what is known of it, and errors that name the file."""

import json
import math
import shutil
import threading
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import products
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from products import SUN, reflectance_of, simulated, write_landsat, write_planetscope, write_safe
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.errors import (
    ArgumentError,
    ArgumentTypeError,
    BandNotFoundError,
    InputError,
    ReadError,
    XCloudMaskError,
)
from xcloudmask.io import _raster, open_mask
from xcloudmask.io._turns import Turns
from xcloudmask.io.products import _metadata
from xcloudmask.io.products.landsat import read_landsat
from xcloudmask.io.products.planetscope import read_planetscope
from xcloudmask.io.products.safe import read_safe

L2A = "sentinel-2-l2a"
TEN = ["B02", "B03", "B04", "B08"]


def direct(sensor, names, time, **options):
    """The simulator's cube of one date, as it is put in without files."""
    return simulated(sensor, **options)[list(names)].isel(time=time)


def affine_and_crs(cube):
    """As rioxarray reads them."""
    import rioxarray  # noqa: F401

    return cube.rio.transform(), cube.rio.crs.to_epsg()


def damage(path, data):
    """Replace some bytes of a file by others."""
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 400)))
    path.write_bytes(content[:start] + data.draw(st.binary(max_size=5)) + content[end:])


def assert_facts(cube, *, sensor, time):
    assert cube.attrs["sensor"] == sensor
    assert cube["time"].values == simulated(L2A)["time"].values[time]
    assert cube["sun_elevation"] == pytest.approx(SUN["elevation"])
    assert cube["sun_azimuth"] == pytest.approx(SUN["azimuth"])


def assert_values(cube, expected, *, atol=0.0):
    """Reflectance after the declared scale is the simulator's, nodata included."""
    found, wanted = reflectance_of(cube.compute()), reflectance_of(expected)
    assert list(found) == list(wanted)
    for name, values in found.items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-9, atol=atol + 1e-12, err_msg=name)


# Sentinel-2


@pytest.mark.parametrize(
    ("level", "baseline", "offset"), [("L2A", "05.10", -0.1), ("L2A", "02.08", 0.0), ("L1C", "04.00", -0.1)]
)
def test_a_safe_product(tmp_path, no_compute, level, baseline, offset):
    sensor = f"sentinel-2-{level.lower()}"
    product = write_safe(tmp_path, simulated(sensor), level=level, baseline=baseline, platform="Sentinel-2A")
    cube = xcloudmask.open(product, chunks=32)
    assert list(cube) == TEN
    assert cube.chunks == {"y": (32, 32, 32), "x": (32, 32, 32)}
    expected = {"nodata": 0.0, "units": "1", "scale_factor": 1e-4, "add_offset": offset}
    for name, band in cube.data_vars.items():
        assert band.attrs == expected | {"band": name}
        assert band.dtype == np.uint16
    assert_facts(cube, sensor=sensor, time=0)
    assert cube["item_id"] == product.name.removesuffix(".SAFE")
    assert (cube["platform"], cube["processing_baseline"]) == ("sentinel-2a", baseline)
    simulation = direct(sensor, TEN, 0)
    np.testing.assert_allclose(cube["x"], simulation["x"])
    np.testing.assert_allclose(cube["y"], simulation["y"])
    assert affine_and_crs(cube) == (products.transform_of(simulation), 32631)
    with dask.config.set(scheduler="threads"):
        for name, pixels in products.safe_pixels(simulation, baseline).items():
            np.testing.assert_array_equal(cube[name], pixels)
        # Without the offset the darkest pixels cannot be stored: 1 DN.
        assert_values(cube, simulation, atol=1.1e-4 if offset == 0 else 0.0)


def test_the_mask_of_a_product_is_that_of_its_pixels(tmp_path, tiny_model):
    cube = xcloudmask.open(write_safe(tmp_path, simulated(L2A), time=1))
    expected = xcloudmask.predict(direct(L2A, TEN, 1), model=tiny_model)
    mask = xcloudmask.predict(cube, model=tiny_model)
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(mask, expected)
    mask.cloudmask.to_zarr(tmp_path / "mask.zarr")
    reopened = open_mask(tmp_path / "mask.zarr")
    np.testing.assert_array_equal(reopened, expected)
    assert reopened["item_id"] == cube["item_id"]


def test_pixel_sizes(tmp_path):
    product = write_safe(tmp_path, simulated(L2A))
    coarse = xcloudmask.open(product, resolution_m=20)
    assert list(coarse) == ["B02", "B03", "B04", "B05", "B11", "B8A"]
    assert coarse.sizes == {"y": 48, "x": 48}
    np.testing.assert_array_equal(coarse["B04"], direct(L2A, ["B04"], 0)["B04"][::2, ::2])
    assert list(xcloudmask.open(product, bands=["B8A", "red"])) == ["B8A", "red"]
    assert xcloudmask.open(product, bands=["B8A", "red"]).sizes == {"y": 48, "x": 48}
    assert xcloudmask.open(product, bands=["red"]).sizes == {"y": 96, "x": 96}
    assert xcloudmask.open(product, bands=["red"], resolution_m=20).sizes == {"y": 48, "x": 48}
    classes = xcloudmask.open(product, bands=["SCL", "B04"])
    assert set(classes["SCL"].attrs) == {"nodata", "band"}
    assert (classes["SCL"] == 4).all()
    with pytest.raises(InputError, match=r"no image of 60 m\. Type resolution_m= with one of: 10, 20"):
        xcloudmask.open(product, resolution_m=60)
    with pytest.raises(InputError, match=r"B08 at 10 m; B11 at 20 m\. Open those of one size"):
        xcloudmask.open(product, bands=["B08", "B11"])
    with pytest.raises(InputError, match="resolution_m=10: B11 at 20 m"):
        xcloudmask.open(product, bands=["B11"], resolution_m=10)
    with pytest.raises(BandNotFoundError, match=r"no band 'B77'\. Found: B02"):
        xcloudmask.open(product, bands=["B77"])


@pytest.mark.parametrize(
    ("roles", "bands", "size"),
    [
        (("red", "green", "nir"), ("B04", "B03", "B08"), 96),
        (("red", "nir08"), ("B04", "B8A"), 48),
        (("red", "nir", "swir16"), ("B04", "B8A", "B11"), 48),  # B08 has no copy of 20 m: B8A stands in
        (("nir", "nir08"), ("B08", "B08"), 96),
    ],
)
def test_roles(tmp_path, roles, bands, size):
    cube = xcloudmask.open(write_safe(tmp_path, simulated(L2A)), bands=roles)
    assert tuple(cube) == roles
    assert tuple(band.attrs["band"] for band in cube.data_vars.values()) == bands
    assert cube.sizes["x"] == size


def test_a_level_1c_band_has_one_size(tmp_path):
    product = write_safe(tmp_path, simulated("sentinel-2-l1c"), level="L1C")
    assert list(xcloudmask.open(product, resolution_m=20)) == ["B05", "B11", "B8A"]
    with pytest.raises(InputError, match="B04 at 10 m; B8A at 20 m"):
        xcloudmask.open(product, bands=["B04", "B8A"])


def test_images_that_are_not_on_one_grid(tmp_path):
    product = write_safe(tmp_path, simulated(L2A))
    path = next(product.glob("GRANULE/*/IMG_DATA/R10m/*_B03_10m.jp2"))
    path.unlink()
    products.write_raster(
        path, np.ones((80, 96), "uint16"), products.transform_of(simulated(L2A)), driver="JP2OpenJPEG"
    )
    with pytest.raises(InputError, match=r"2 grids:\n.*96 x 96 px.*B02, B04, B08\n.*80 x 96 px.*B03\nType bands="):
        xcloudmask.open(product)
    assert list(xcloudmask.open(product, bands=["B02", "B04", "B08"])) == ["B02", "B04", "B08"]


def test_dates_of_two_baselines(tmp_path, tiny_model, no_compute):
    new = write_safe(tmp_path, simulated(L2A), time=1, baseline="05.10", platform="Sentinel-2C")
    old = write_safe(tmp_path, simulated(L2A), time=0, baseline="03.01", platform="Sentinel-2A")
    cube = xcloudmask.open([new, old])
    assert cube["B04"].dims == ("time", "y", "x")
    assert cube["B04"].attrs == {"nodata": 0.0, "units": "1", "band": "B04"}
    np.testing.assert_array_equal(cube["B04_add_offset"], [0.0, -0.1])
    np.testing.assert_array_equal(cube["B04_scale_factor"], [1e-4, 1e-4])
    assert cube["B04_add_offset"].dtype == np.float64
    assert cube["B04_add_offset"].dims == ("time",)
    assert cube["platform"].values.tolist() == ["sentinel-2a", "sentinel-2c"]
    assert cube["processing_baseline"].values.tolist() == ["03.01", "05.10"]
    assert cube["item_id"].dims == ("time",)
    with dask.config.set(scheduler="threads"):
        assert_values(cube, simulated(L2A)[TEN], atol=1.1e-4)
        masks = xcloudmask.predict(cube, model=tiny_model).compute()
        for time in range(2):
            # A dark pixel can be 1 DN off without the offset, which turns few labels of this random network.
            expected = xcloudmask.predict(direct(L2A, TEN, time), model=tiny_model)
            assert (masks[time] == expected).mean() > 0.99


def test_a_folder_of_two_products_is_a_time_series(tmp_path):
    for time in range(2):
        write_safe(tmp_path / "scenes", simulated(L2A), time=time)
    cube = xcloudmask.open(tmp_path / "scenes")
    assert cube["B04"].attrs["add_offset"] == -0.1
    assert "B04_add_offset" not in cube.coords
    np.testing.assert_array_equal(cube["time"], simulated(L2A)["time"])
    assert_values(cube, simulated(L2A)[TEN])


def test_products_that_do_not_fit_together(tmp_path):
    first = write_safe(tmp_path / "a", simulated(L2A))
    again = write_safe(tmp_path / "b", simulated(L2A), baseline="05.11")
    level1 = write_safe(tmp_path / "c", simulated("sentinel-2-l1c"), level="L1C", time=1)
    moved = write_safe(tmp_path / "d", simulated(L2A), time=1, transform=Affine(10, 0, 700_000, 0, -10, 5_400_000))
    with pytest.raises(InputError, match=r"are both of 2024-05-14T10:50:31.*Give one of them"):
        xcloudmask.open([first, again])
    with pytest.raises(InputError, match=r"sentinel-2-l2a, and .* of sentinel-2-l1c"):
        xcloudmask.open([first, level1])
    with pytest.raises(
        InputError, match=r"2 grids:\n.*at \(600000, .*\n.*at \(700000, .*\nOpen the products of one grid"
    ):
        xcloudmask.open([first, moved])
    raster = products.write_raster(tmp_path / "B04.tif", np.ones((8, 8), "uint16"), Affine(10, 0, 0, 0, -10, 0))
    with pytest.raises(ArgumentError, match=r"SAFE is a product with metadata, and .*B04\.tif is none"):
        xcloudmask.open([first, raster])
    with pytest.raises(ArgumentError, match="given twice"):
        xcloudmask.open([first, first])


@pytest.mark.parametrize("names", [("MTD_MSIL2A.xml",), ("MTD_MSIL2A.xml", "GRANULE"), ("GRANULE",)])
def test_an_incomplete_safe_is_named(tmp_path, names):
    product = write_safe(tmp_path, simulated(L2A))
    for name in names:
        path = product / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(ReadError, match=r"\.SAFE.* holds (neither of|0 tiles)"):
        xcloudmask.open(product)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("<BOA_QUANTIFICATION_VALUE", "<X", r"QUANTIFICATION_VALUE"),
        ('unit="none">10000<', 'unit="none">0<', r"QUANTIFICATION_VALUE is 0\. Expected a number above 0"),
        ('unit="none">10000<', 'unit="none">many<', r"QUANTIFICATION_VALUE is 'many'\. Expected a number"),
        (">-1000<", ">nan<", r"BOA_ADD_OFFSET of band_id 0 is 'nan'"),
        ('band_id="7"', 'band_id="77"', r"no BOA_ADD_OFFSET for B08, which processing baseline 05\.10"),
        ("BOA_ADD_OFFSET", "OTHER", r"no BOA_ADD_OFFSET for B01, B02"),
        ("<PROCESSING_BASELINE>05.10", "<PROCESSING_BASELINE>new", r"PROCESSING_BASELINE is 'new'"),
        ("n1:Level-2A_User_Product", "n1:Other", r"has the root <Other>\. Expected <Level-2A_User_Product>"),
    ],
)
def test_damaged_metadata_are_named(tmp_path, old, new, what):
    product = write_safe(tmp_path, simulated(L2A))
    path = product / "MTD_MSIL2A.xml"
    text = path.read_text()
    if old == "<BOA_QUANTIFICATION_VALUE":
        text = text.replace("</BOA_QUANTIFICATION_VALUE>", "</X>")
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ReadError, match=rf"MTD_MSIL2A\.xml.*{what}"):
        xcloudmask.open(product)


LAUGHS = """<?xml version="1.0"?><!DOCTYPE n1:Level-2A_User_Product [<!ENTITY a "lol">%s]>
<n1:Level-2A_User_Product>&j;</n1:Level-2A_User_Product>""" % "".join(  # noqa: UP031
    f'<!ENTITY {name} "{f"&{previous};" * 10}">' for previous, name in zip("abcdefghi", "bcdefghij", strict=True)
)
HOSTILE = {
    "entities": (LAUGHS, "declares a document type"),
    "external": (
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><Level-2A_User_Product>&e;</Level-2A_User_Product>',
        "declares a document type",
    ),
    "remote": ('<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><Level-2A_User_Product/>', "declares a document type"),
    "deep": ("<Level-2A_User_Product>" + "<a>" * 100_000, "nested deeper than 64"),
    "many": ("<Level-2A_User_Product>" + "<a/>" * 500_001, "more than 500000"),
    "cut": ("<Level-2A_User_Product><General_Info>", "cannot be read as XML"),
    "empty": ("", "cannot be read as XML"),
    "other encoding": ('<?xml version="1.0" encoding="no-such"?><a/>', "cannot be read as XML"),
    "binary": ("\0\1\2", "cannot be read as XML"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("file", ["MTD_MSIL2A.xml", "MTD_TL.xml"])
def test_hostile_xml_is_refused(tmp_path, case, file):
    product = write_safe(tmp_path, simulated(L2A))
    text, what = HOSTILE[case]
    next(product.rglob(file)).write_text(text)
    with pytest.raises(ReadError, match=rf"{file} .*{what}"):
        xcloudmask.open(product)


@pytest.mark.parametrize("file", ["MTD_MSIL2A.xml", "MTD_TL.xml"])
def test_a_huge_file_is_not_read(tmp_path, file, monkeypatch):
    monkeypatch.setattr(_metadata, "MAX_BYTES", 2**20)
    product = write_safe(tmp_path, simulated(L2A))
    with next(product.rglob(file)).open("ab") as target:
        target.truncate(2**20 + 1)
    with pytest.raises(ReadError, match=rf"{file} is larger than 1 MB"):
        xcloudmask.open(product)


def test_a_damaged_image_is_named(tmp_path):
    product = write_safe(tmp_path, simulated(L2A))
    path = next(product.rglob("*_B04_10m.jp2"))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ReadError, match=r"_B04_10m\.jp2 cannot be read"):
        xcloudmask.open(product)


@pytest.fixture(scope="module")
def one_safe(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("safe"), simulated(L2A))


@given(data=st.data())
def test_any_damage_to_xml_is_an_error_of_ours(one_safe, tmp_path_factory, data):
    product = tmp_path_factory.mktemp("damaged") / one_safe.name
    shutil.copytree(one_safe, product, ignore=shutil.ignore_patterns("R20m"))
    path = next(product.rglob(data.draw(st.sampled_from(["MTD_MSIL2A.xml", "MTD_TL.xml"]))))
    damage(path, data)
    try:
        found = read_safe(product)
    except XCloudMaskError as error:
        assert product.name in str(error)  # noqa: PT017
    else:
        assert all(math.isfinite(sum(layer.scale or (0, 0))) for layer in found.layers)


# Several threads


def test_threads_read_jpeg_2000_and_geotiff_at_once(tmp_path):
    cube = simulated(L2A)
    series = xcloudmask.open([write_safe(tmp_path, cube, time=time) for time in range(2)], chunks=24)
    folder = tmp_path / "tiffs"
    for name in ("B03", "B04"):
        grid = products.transform_of(cube)
        products.write_raster(
            folder / f"{name}.tif", cube[name].values[0], grid, tiled=True, blockxsize=16, blockysize=16
        )
    tiffs = xcloudmask.open(folder, chunks=16)
    with dask.config.set(scheduler="threads", num_workers=8):
        for _ in range(3):
            first, second = dask.compute(series, tiffs)
            for name in TEN:
                np.testing.assert_array_equal(first[name], cube[name])
            np.testing.assert_array_equal(second["B04"], cube["B04"][0])


def test_jpeg_2000_waits_until_no_geotiff_is_read(tmp_path):
    band = xcloudmask.open(write_safe(tmp_path, simulated(L2A)))["B04"]
    read = threading.Thread(target=band.compute)
    with _raster.file_turns.shared():
        read.start()
        read.join(0.3)
        assert read.is_alive()
    read.join(20)
    assert not read.is_alive()


def test_turns_are_alone_or_shared():
    turns, inside, seen, together = Turns(), [], [], threading.Barrier(2, timeout=10)

    def work(kind):
        for _ in range(50):
            with getattr(turns, kind)():
                inside.append(kind)
                seen.append(tuple(inside))
                inside.remove(kind)

    def meet():
        with turns.shared():
            together.wait()  # both are in

    meeting = [threading.Thread(target=meet) for _ in range(2)]
    threads = [threading.Thread(target=work, args=(kind,)) for kind in ("shared", "alone", "shared", "alone")]
    for thread in meeting + threads:
        thread.start()
    for thread in meeting + threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in meeting + threads)
    assert len(seen) == 200
    assert all("alone" not in others or len(others) == 1 for others in seen)


def test_who_wants_to_be_alone_is_not_kept_waiting():
    turns, order = Turns(), []
    entered, wanted = threading.Event(), threading.Event()

    def alone():
        wanted.set()
        with turns.alone():
            order.append("alone")

    def late():
        with turns.shared():
            order.append("late")

    with turns.shared():
        first = threading.Thread(target=alone)
        first.start()
        wanted.wait(10)
        while not turns._waiting:  # the thread has said so, and is about to
            entered.wait(0.001)
        second = threading.Thread(target=late)
        second.start()
        entered.wait(0.05)
        assert order == []
    first.join(10)
    second.join(10)
    assert order == ["alone", "late"]


# Landsat


def landsat(sensor, **options):
    return simulated(sensor, size_px=64, resolution_m=30.0, **options)


REFLECTIVE = {"oli": ["1", "2", "3", "4", "5", "6", "7"], "etm": ["1", "2", "3", "4", "5", "7"]}
REFLECTIVE["tm"] = REFLECTIVE["etm"]


@pytest.mark.parametrize("kind", ["txt", "xml", "json"])
@pytest.mark.parametrize("sensor", ["landsat-oli-c2-l1", "landsat-oli-c2-l2"])
def test_a_landsat_folder(tmp_path, no_compute, sensor, kind):
    folder = write_landsat(tmp_path, landsat(sensor), sensor=sensor, kinds=(kind,))
    cube = xcloudmask.open(folder)
    level1 = sensor.endswith("l1")
    names = [f"{'' if level1 else 'SR_'}B{number}" for number in REFLECTIVE["oli"]]
    assert list(cube) == ([*names, "B9", "B10", "B11"] if level1 else [*names, "ST_B10"])
    assert_facts(cube, sensor=sensor, time=0)
    assert (cube["platform"], cube["item_id"]) == ("landsat-8", folder.name)
    assert "processing_baseline" not in cube.coords
    assert all(band.attrs["nodata"] == 0 for band in cube.data_vars.values())
    with dask.config.set(scheduler="threads"):
        assert_values(cube[names], landsat(sensor)[names].isel(time=0))


@pytest.mark.parametrize("sensor", ["landsat-tm-c2-l1", "landsat-etm-c2-l1", "landsat-tm-c2-l2", "landsat-etm-c2-l2"])
def test_older_landsats(tmp_path, sensor):
    cube = xcloudmask.open(write_landsat(tmp_path, landsat(sensor), sensor=sensor))
    prefix = "" if sensor.endswith("l1") else "SR_"
    names = [f"{prefix}B{number}" for number in REFLECTIVE[sensor.split("-")[1]]]
    assert cube.attrs["sensor"] == sensor
    assert "B8" not in cube
    assert_values(cube[names], landsat(sensor)[names].isel(time=0))


def test_thermal_bands_of_level_1_hold_radiance(tmp_path):
    sensor = "landsat-oli-c2-l1"
    band = xcloudmask.open(write_landsat(tmp_path, landsat(sensor), sensor=sensor))["B10"]
    assert {key: band.attrs[key] for key in ("k1", "k2")} == {"k1": 774.8853, "k2": 1321.0789}
    assert band.attrs["units"] == "W m-2 sr-1 um-1"
    radiance = band.values * band.attrs["scale_factor"] + band.attrs["add_offset"]
    kelvin = band.attrs["k2"] / np.log(band.attrs["k1"] / radiance + 1)
    truth = landsat(sensor)["B10"].isel(time=0)
    valid = truth.values > 0
    expected = truth.values * truth.attrs["scale_factor"] + truth.attrs["add_offset"]
    np.testing.assert_allclose(kelvin[valid], expected[valid], atol=0.01)


def test_surface_temperature_is_kelvin(tmp_path):
    sensor = "landsat-oli-c2-l2"
    cube = xcloudmask.open(write_landsat(tmp_path, landsat(sensor), sensor=sensor), bands=["lwir11"])
    assert cube["lwir11"].attrs["units"] == "K"
    assert_values(cube, landsat(sensor)[["ST_B10"]].isel(time=0).rename(ST_B10="lwir11"))


def test_the_panchromatic_band_is_left_out_unless_asked_for(tmp_path):
    sensor = "landsat-oli-c2-l1"
    folder = write_landsat(tmp_path, landsat(sensor), sensor=sensor)
    assert xcloudmask.open(folder, bands=["B8"]).sizes == {"y": 128, "x": 128}
    assert list(xcloudmask.open(folder, resolution_m=15)) == ["B8"]
    assert (xcloudmask.open(folder, bands=["QA_PIXEL"])["QA_PIXEL"] == 21824).all()
    with pytest.raises(InputError, match="B4 at 30 m; B8 at 15 m"):
        xcloudmask.open(folder, bands=["B4", "B8"])


def test_missing_landsat_bands(tmp_path):
    sensor = "landsat-oli-c2-l2"
    folder = write_landsat(tmp_path, landsat(sensor), sensor=sensor)
    next(folder.glob("*_SR_B1.TIF")).unlink()
    with pytest.warns(UserWarning, match="because their files are missing: SR_B1"):
        assert "SR_B1" not in xcloudmask.open(folder)
    with pytest.raises(ReadError, match=r"_SR_B1\.TIF does not exist\. It should hold SR_B1"):
        xcloudmask.open(folder, bands=["SR_B1"])
    for path in folder.glob("*_S[RT]_B*.TIF"):
        path.unlink()
    with pytest.raises(ReadError, match="none of its image files is there"):
        xcloudmask.open(folder)


def test_both_levels_in_one_folder(tmp_path):
    for level in (1, 2):
        sensor = f"landsat-oli-c2-l{level}"
        shutil.copytree(write_landsat(tmp_path, landsat(sensor), sensor=sensor), tmp_path / "all", dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"_L1TP_.*_MTL\.txt is of landsat-oli-c2-l1, and .*_L2SP_.*_MTL\.txt of"):
        xcloudmask.open(tmp_path / "all")
    metadata = next((tmp_path / "all").glob("*_L2SP_*_MTL.txt"))
    assert xcloudmask.open(metadata).attrs["sensor"] == "landsat-oli-c2-l2"


def test_landsat_dates_in_one_folder(tmp_path):
    sensor = "landsat-oli-c2-l1"
    both = tmp_path / "both"
    for time in range(2):
        folder = write_landsat(tmp_path, landsat(sensor), sensor=sensor, time=time, kinds=("txt", "xml", "json"))
        shutil.copytree(folder, both, dirs_exist_ok=True)
    cube = xcloudmask.open(both, bands=["red", "B10"])
    assert_values(cube[["red"]], landsat(sensor)[["B4"]].rename(B4="red"))
    path = sorted(both.glob("*_MTL.txt"))[1]
    path.write_text(
        path.read_text().replace("774.8853", "799.0284").replace("SUN_ELEVATION = 41.5", "SUN_ELEVATION = 30")
    )
    with pytest.raises(
        InputError, match=r"thermal constants of B10 differ between the products\. Open the products of"
    ):
        xcloudmask.open(both, bands=["red", "B10"])
    with pytest.warns(UserWarning, match="Left out, because the thermal constants of B10, B11 differ"):
        assert {"B10", "B11"} & set(xcloudmask.open(both)) == set()
    changed = xcloudmask.open(both, bands=["red"])
    ratio = changed["red_scale_factor"][1] / changed["red_scale_factor"][0]
    assert ratio == pytest.approx(math.sin(math.radians(41.5)) / math.sin(math.radians(30)))
    assert not {"scale_factor", "add_offset"} & set(changed["red"].attrs)


def test_the_mask_of_a_landsat_folder_is_that_of_its_pixels(tmp_path, tiny_model):
    sensor = "landsat-oli-c2-l2"
    cube = xcloudmask.open(write_landsat(tmp_path, landsat(sensor), sensor=sensor))
    expected = xcloudmask.predict(landsat(sensor).isel(time=0), model=tiny_model)
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(xcloudmask.predict(cube, model=tiny_model), expected)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("REFLECTANCE_ADD_BAND_4 =", "X =", "has no REFLECTANCE_ADD_BAND_4 in LEVEL1_RADIOMETRIC_RESCALING"),
        ("K1_CONSTANT_BAND_10 =", "X =", "has no K1_CONSTANT_BAND_10"),
        ("SUN_ELEVATION = 41.5", "SUN_ELEVATION = high", "SUN_ELEVATION is 'high'"),
        ("SUN_ELEVATION = 41.5", "SUN_ELEVATION = inf", "SUN_ELEVATION is 'inf'"),
        ("SUN_ELEVATION = 41.5", "SUN_ELEVATION = 138.5", "SUN_ELEVATION is 138.5"),
        ('"02"', '"01"', "only Collection 2 is read"),
        ('"L1TP"', '"L3"', "PROCESSING_LEVEL is 'L3'"),
        ("OLI_TIRS", "MSS", "with SENSOR_ID 'MSS' is no instrument that is read"),
        ("LANDSAT_8", "LANDSAT_5", "SPACECRAFT_ID 'LANDSAT_5' with SENSOR_ID 'OLI_TIRS'"),
        ("DATE_ACQUIRED = ", "DATE_ACQUIRED = 30 ", "Expected a time such as"),
        ("GROUP = IMAGE_ATTRIBUTES", "GROUP = OTHER", "has no group IMAGE_ATTRIBUTES"),
        ("END_GROUP = PRODUCT_CONTENTS", "and then", "'and then' is not understood"),
        ("END_GROUP = LANDSAT_METADATA_FILE", "", "no complete metadata file"),
        ("_B4.TIF", "_B4.TIF/../../../other.tif", "Expected a file of the same folder"),
        ("_B4.TIF", "9" * 5000 + ".TIF", "Expected a file of the same folder"),
    ],
)
def test_damaged_landsat_metadata_are_named(tmp_path, old, new, what):
    sensor = "landsat-oli-c2-l1"
    folder = write_landsat(tmp_path, landsat(sensor), sensor=sensor)
    path = next(folder.glob("*_MTL.txt"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ReadError, match=rf"_MTL\.txt.*{what}"):
        xcloudmask.open(folder)


@pytest.mark.parametrize(
    ("kind", "text", "what"),
    [
        ("json", "[1]", "holds a JSON list"),
        ("json", "{", "cannot be read as JSON"),
        ("json", "[" * 200_000, "cannot be read as JSON"),
        ("json", '{"LANDSAT_METADATA_FILE": 3}', "has no 'LANDSAT_METADATA_FILE'"),
        ("xml", "<L1_METADATA_FILE/>", "has the root <L1_METADATA_FILE>"),
        ("xml", LAUGHS, "declares a document type"),
        ("txt", "hello", "'hello' is not understood"),
        ("txt", "", "no complete metadata file"),
    ],
)
def test_hostile_landsat_metadata(tmp_path, kind, text, what):
    path = tmp_path / f"LC08_L1TP_199026_20240514_20240930_02_T1_MTL.{kind}"
    path.write_text(text)
    with pytest.raises(ReadError, match=rf"_MTL\.{kind}.*{what}"):
        xcloudmask.open(tmp_path)


def test_text_that_is_no_text(tmp_path):
    (tmp_path / "LC08_MTL.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ReadError, match=r"LC08_MTL\.txt cannot be read: it is no UTF-8"):
        xcloudmask.open(tmp_path / "LC08_MTL.txt")


def test_scenes_of_the_night_have_no_reflectance(tmp_path):
    sensor = "landsat-oli-c2-l1"
    path = next(write_landsat(tmp_path, landsat(sensor), sensor=sensor).glob("*_MTL.txt"))
    path.write_text(path.read_text().replace("SUN_ELEVATION = 41.5", "SUN_ELEVATION = -20.0"))
    with pytest.raises(InputError, match=r"_MTL\.txt: the sun was at -20 degrees"):
        xcloudmask.open(path)


@pytest.fixture(scope="module")
def one_mtl(tmp_path_factory):
    sensor = "landsat-oli-c2-l1"
    folder = write_landsat(tmp_path_factory.mktemp("mtl"), landsat(sensor), sensor=sensor, kinds=("txt", "xml", "json"))
    return {kind: next(folder.glob(f"*_MTL.{kind}")) for kind in ("txt", "xml", "json")}


@given(data=st.data())
def test_any_damage_to_an_mtl_is_an_error_of_ours(one_mtl, tmp_path_factory, data):
    source = one_mtl[data.draw(st.sampled_from(sorted(one_mtl)))]
    path = tmp_path_factory.mktemp("damaged") / source.name
    shutil.copy(source, path)
    damage(path, data)
    try:
        found = read_landsat(path)
    except XCloudMaskError as error:
        assert path.name in str(error)  # noqa: PT017
    else:
        assert all(math.isfinite(sum(layer.scale or (0, 0))) for layer in found.layers)


def test_real_landsat_scenes(data_dir):
    for folder in sorted((data_dir / "scenes" / "landsat").iterdir()):
        with pytest.warns(UserWarning, match="their files are missing"):
            cube = xcloudmask.open(folder)
        level = 1 if "_L1TP_" in folder.name else 2
        assert cube.attrs["sensor"] == f"landsat-oli-c2-l{level}"
        assert cube["platform"] == f"landsat-{folder.name[3]}"
        assert str(cube["time"].values).startswith(
            "-".join((folder.name[17:21], folder.name[21:23], folder.name[23:25]))
        )
        red, nir = (cube[f"{'' if level == 1 else 'SR_'}B{number}"] for number in (4, 5))
        if level == 2:
            assert (red.attrs["scale_factor"], red.attrs["add_offset"]) == (2.75e-5, -0.2)
        else:
            assert red.attrs["scale_factor"] == pytest.approx(
                2e-5 / math.sin(math.radians(cube["sun_elevation"].item()))
            )
        for band in (red, nir):
            values = band.values[band.values > 0] * band.attrs["scale_factor"] + band.attrs["add_offset"]
            assert -0.01 < np.median(values) < 0.8


def test_the_two_levels_of_one_real_scene_agree(data_dir):
    """In the near infrared the surface is about as bright as the top of the atmosphere."""
    medians = []
    for level in ("L1TP", "L2SP"):
        folder = data_dir / "scenes" / "landsat" / f"LC08_{level}_017051_20151205_20200908_02_T1-cropped"
        cube = xcloudmask.open(folder, bands=["nir08"])
        band = cube["nir08"].values
        medians.append(
            np.median(band[band > 0] * cube["nir08"].attrs["scale_factor"] + cube["nir08"].attrs["add_offset"])
        )
    assert medians[0] == pytest.approx(medians[1], rel=0.15)


# PlanetScope


@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize("kind", ["SR", "radiance"])
@pytest.mark.parametrize("metadata", [("xml",), ("xml", "json")])
def test_a_planetscope_folder(tmp_path, no_compute, count, kind, metadata):
    cube = simulated(f"planetscope-{count}b")
    path = write_planetscope(tmp_path, cube, kind=kind, metadata=metadata)
    opened = xcloudmask.open(tmp_path, chunks=50)
    assert list(opened) == list(cube)
    assert_facts(opened, sensor=f"planetscope-{count}b", time=0)
    assert opened["item_id"] == path.name.split("_3B_")[0]
    assert all(band.attrs["nodata"] == 0 for band in opened.data_vars.values())
    with dask.config.set(scheduler="threads"):
        # Radiance steps are coarser than those of reflectance.
        assert_values(opened, cube.isel(time=0), atol=2e-5 if kind == "radiance" else 0.0)
        assert_values(xcloudmask.open(path), cube.isel(time=0), atol=2e-5 if kind == "radiance" else 0.0)


def test_the_mask_of_a_planetscope_scene_is_that_of_its_pixels(tmp_path, tiny_model):
    cube = simulated("planetscope-4b")
    write_planetscope(tmp_path, cube, suffix="_clip")
    expected = xcloudmask.predict(cube.isel(time=0), model=tiny_model)
    np.testing.assert_array_equal(xcloudmask.predict(xcloudmask.open(tmp_path), model=tiny_model), expected)


@pytest.mark.parametrize(
    ("instrument", "count", "sensor"),
    [
        ("PS2", 4, "planetscope-4b"),
        ("PS2.SD", 4, "planetscope-4b-dove-r"),
        ("PSB.SD", 8, "planetscope-8b"),
        ("PSB.SD", 4, "planetscope-4b"),
        ("PS9", 8, "planetscope-8b"),
    ],
)
def test_the_instrument_tells_the_sensor(tmp_path, instrument, count, sensor):
    path = write_planetscope(tmp_path, simulated(f"planetscope-{count}b"))
    item = next(tmp_path.glob("*.json"))
    content = json.loads(item.read_text())
    content["properties"]["instrument"] = instrument
    item.write_text(json.dumps(content))
    assert xcloudmask.open(path).attrs["sensor"] == sensor


def test_planetscope_scenes_of_one_folder_are_a_time_series(tmp_path):
    cube = simulated("planetscope-8b")
    for time in range(2):
        write_planetscope(tmp_path, cube, time=time, suffix="_harmonized_clip")
    opened = xcloudmask.open(tmp_path)
    assert opened["green_i"].attrs["scale_factor"] == 1e-4
    assert_values(opened, cube)
    assert xcloudmask.open(tmp_path, bands=["red", "nir"]).sizes == {"time": 2, "y": 96, "x": 96}


def test_planetscope_surface_reflectance_needs_no_metadata(tmp_path):
    cube = simulated("planetscope-4b")
    opened = xcloudmask.open(write_planetscope(tmp_path, cube, metadata=()))
    assert opened.attrs["sensor"] == "planetscope-4b"
    assert opened["time"].values == cube["time"].values[0]
    assert "sun_elevation" not in opened.coords
    assert opened["red"].attrs["scale_factor"] == 1e-4


def test_planetscope_radiance_needs_its_coefficients(tmp_path):
    cube = simulated("planetscope-4b")
    path = write_planetscope(tmp_path, cube, kind="radiance", metadata=("json",))
    with pytest.raises(ReadError, match=r"AnalyticMS\.tif holds radiance, and .*_3B_AnalyticMS_metadata\.xml"):
        xcloudmask.open(path)
    write_planetscope(tmp_path, cube, kind="radiance")
    metadata = next(tmp_path.glob("*_metadata.xml"))
    text = metadata.read_text()
    metadata.write_text(text.replace("<ps:bandNumber>4<", "<ps:bandNumber>5<"))
    with pytest.raises(ReadError, match=r"_metadata\.xml has no reflectanceCoefficient for band 4"):
        xcloudmask.open(path)
    metadata.write_text(text.replace("reflectanceCoefficient>2.43e-05", "reflectanceCoefficient>1e999"))
    with pytest.raises(ReadError, match=r"_metadata\.xml: reflectanceCoefficient is '1e999'"):
        xcloudmask.open(path)
    metadata.write_text(LAUGHS)
    with pytest.raises(ReadError, match=r"_metadata\.xml declares a document type"):
        xcloudmask.open(path)


def test_numbers_that_a_tool_has_changed_have_no_scale(tmp_path):
    path = write_planetscope(tmp_path, simulated("planetscope-4b"), kind="radiance", suffix="_toar_clip")
    with pytest.warns(UserWarning, match=r"was changed by toar"):
        cube = xcloudmask.open(path)
    assert set(cube["red"].attrs) == {"nodata", "band"}


def test_both_kinds_of_one_planetscope_scene(tmp_path):
    for kind in ("SR", "radiance"):
        write_planetscope(tmp_path, simulated("planetscope-4b"), kind=kind)
    with pytest.raises(InputError, match=r"AnalyticMS\.tif and .*AnalyticMS_SR\.tif are both of"):
        xcloudmask.open(tmp_path)


def test_damaged_planetscope_files_are_named(tmp_path):
    path = write_planetscope(tmp_path, simulated("planetscope-4b"))
    item = next(tmp_path.glob("*.json"))
    text = item.read_text()
    item.write_text(text.replace("41.5", '"high"'))
    with pytest.raises(ReadError, match=r"_metadata\.json: sun_elevation is 'high'"):
        xcloudmask.open(path)
    item.write_text(json.dumps({"properties": {"acquired": "today"}}))
    with pytest.raises(ReadError, match=r"_metadata\.json: acquired is 'today'"):
        xcloudmask.open(path)
    item.write_text(text)
    grid = products.transform_of(simulated("planetscope-4b"))
    products.write_raster(path, np.ones((3, 96, 96), "uint16"), grid)
    with pytest.raises(ReadError, match=r"AnalyticMS_SR\.tif has 3 bands\. Expected 4 or 8"):
        xcloudmask.open(path)
    path.write_bytes(b"II*\0 this is no tiff")
    with pytest.raises(ReadError, match=r"AnalyticMS_SR\.tif cannot be read"):
        xcloudmask.open(path)


@pytest.fixture(scope="module")
def one_planetscope(tmp_path_factory):
    return write_planetscope(tmp_path_factory.mktemp("planet"), simulated("planetscope-4b"), kind="radiance")


@given(data=st.data())
def test_any_damage_to_planetscope_metadata_is_an_error_of_ours(one_planetscope, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    for file in one_planetscope.parent.iterdir():
        shutil.copy(file, folder)
    path = next(folder.glob(data.draw(st.sampled_from(["*_metadata.xml", "*_metadata.json"]))))
    damage(path, data)
    try:
        found = read_planetscope(folder / one_planetscope.name)
    except XCloudMaskError as error:
        assert folder.name in str(error)  # noqa: PT017
    else:
        assert all(math.isfinite(sum(layer.scale)) for layer in found.layers)


def test_other_json_of_a_planetscope_scene_is_not_read(tmp_path):
    path = write_planetscope(tmp_path, simulated("planetscope-4b"))
    scene = path.name.split("_3B_")[0]
    (tmp_path / f"{scene}_quality.json").write_text("[")
    item = tmp_path / f"{scene}_metadata.json"
    properties = json.loads(item.read_text())["properties"]
    properties |= {"view:sun_elevation": properties.pop("sun_elevation"), "datetime": properties.pop("acquired")}
    properties |= {"instruments": [properties.pop("instrument")], "view:sun_azimuth": properties.pop("sun_azimuth")}
    item.unlink()
    (tmp_path / f"{scene}.json").write_text(json.dumps({"type": "Feature", "properties": properties}))
    for metadata in tmp_path.glob("*.xml"):
        metadata.unlink()
    assert_facts(xcloudmask.open(path), sensor="planetscope-4b", time=0)


# Everything else


def test_other_inputs_are_opened_as_open_cube_does(tmp_path):
    cube = simulated(L2A)
    grid = products.transform_of(cube)
    for time, day in enumerate(("20240514", "20240524")):
        for name in ("B03", "B04"):
            products.write_raster(tmp_path / "stack" / f"T31_{day}_{name}.tif", cube[name].values[time], grid, nodata=0)
    stack = xcloudmask.open(tmp_path / "stack", bands=["B04"], chunks=40)
    xr.testing.assert_identical(stack, xcloudmask.open_cube(tmp_path / "stack", bands=["B04"], chunks=40))
    assert isinstance(stack["B04"].data, da.Array)
    np.testing.assert_array_equal(stack["B04"], cube["B04"])
    stack.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    np.testing.assert_array_equal(xcloudmask.open(tmp_path / "cube.zarr")["B04"], cube["B04"])
    with pytest.raises(ArgumentError, match=r"resolution_m=20: .*stack is no product"):
        xcloudmask.open(tmp_path / "stack", resolution_m=20)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ReadError, match=r"nowhere\.SAFE does not exist"):
        xcloudmask.open(tmp_path / "nowhere.SAFE")
    with pytest.raises(ReadError, match=r"holds no raster"):
        xcloudmask.open(tmp_path)
    (tmp_path / "S2A.SAFE.zip").touch()
    with pytest.raises(ReadError, match=r"S2A\.SAFE\.zip is an archive\. Unpack it"):
        xcloudmask.open(tmp_path / "S2A.SAFE.zip")
    with pytest.raises(ArgumentTypeError, match=r"Expected a path, STAC items"):
        xcloudmask.open(3)
    with pytest.raises(ArgumentTypeError, match=r"holds no paths"):
        xcloudmask.open([3])
    with pytest.raises(ArgumentError, match="No input"):
        xcloudmask.open([])
    with pytest.raises(ArgumentTypeError, match=r"bands='B04' is a str"):
        xcloudmask.open(tmp_path, bands="B04")
    with pytest.raises(ArgumentError, match="one name or more"):
        xcloudmask.open(tmp_path, bands=[])
    with pytest.raises(ArgumentTypeError, match=r"resolution_m='20' is a str"):
        xcloudmask.open(tmp_path, resolution_m="20")
    with pytest.raises(ArgumentTypeError, match="items and other things"):
        xcloudmask.open([{"assets": {}}, "path"])


def write_item(folder, cube):
    """A STAC item of one date beside its GeoTIFFs, as Earth Search describes Sentinel-2."""
    assets, grid = {}, products.transform_of(cube)
    for name, key in {"B03": "green", "B04": "red", "B08": "nir"}.items():
        products.write_raster(folder / f"{name}.tif", cube[name].values[0], grid, nodata=0)
        assets[key] = {
            "href": f"./{name}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "eo:bands": [{"name": key, "common_name": key}],
            "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 1e-4, "offset": -0.1}],
            "proj:shape": [96, 96],
            "proj:transform": list(grid)[:6],
        }
    ring = [[4.35, 48.7], [4.4, 48.7], [4.4, 48.75], [4.35, 48.75], [4.35, 48.7]]
    when = np.datetime_as_string(cube["time"].values[0], unit="ms") + "Z"
    properties = {"datetime": when, "platform": "sentinel-2b", "proj:code": "EPSG:32631"}
    properties |= {"s2:processing_baseline": "05.10", "earthsearch:boa_offset_applied": False}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "S2B_31UDQ_20240514_0_L2A", "assets": assets}
    item |= {"collection": "sentinel-2-l2a", "links": [], "bbox": [4.35, 48.7, 4.4, 48.75], "properties": properties}
    item |= {"geometry": {"type": "Polygon", "coordinates": [ring]}}
    (folder / "item.json").write_text(json.dumps(item))
    return folder / "item.json"


def test_items_go_to_stac(tmp_path):
    pytest.importorskip("odc.stac")
    from xcloudmask.stac import load, read_items

    items = read_items(write_item(tmp_path, simulated(L2A)))
    cube = xcloudmask.open(items, bands=["red", "nir"], chunks=50)
    xr.testing.assert_identical(cube, load(items, bands=["red", "nir"], chunks=50))
    assert cube.attrs["sensor"] == L2A
    np.testing.assert_array_equal(cube["red"], simulated(L2A)["B04"][:1])
    assert xcloudmask.open(items[0], chunks=(40, 50)).chunksizes["x"] == (50, 46)
    with pytest.raises(ArgumentError, match=r"Type xcloudmask\.stac\.load\(items, resolution="):
        xcloudmask.open(items, resolution_m=20)


def test_items_as_dictionaries(tmp_path):
    pytest.importorskip("odc.stac")
    item = json.loads(write_item(tmp_path, simulated(L2A)).read_text())
    for form in ([item], item, {"type": "FeatureCollection", "features": [item]}):
        # Hrefs of an item that is not from a file of this machine may not lead to one.
        with pytest.raises(XCloudMaskError, match=r"S2B_31UDQ_20240514_0_L2A"):
            xcloudmask.open(form, bands=["red"])


def test_the_command_line_masks_a_product(tmp_path):
    from xcloudmask.cli.app import app

    product = write_safe(tmp_path, simulated(L2A))
    result = CliRunner().invoke(app, ["predict", str(product), str(tmp_path / "masks.zarr"), "--quiet"])
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(open_mask(tmp_path / "masks.zarr"), xcloudmask.predict(xcloudmask.open(product)))
    (product / "MTD_MSIL2A.xml").write_text("<x")
    result = CliRunner().invoke(app, ["predict", str(product), str(tmp_path / "more.zarr")])
    assert result.exit_code != 0
    assert "MTD_MSIL2A.xml" in result.output.replace("\n", "")
    assert not Path(tmp_path / "more.zarr").exists()
