"""What items say, in the spelling of each catalogue."""

from __future__ import annotations

import pystac
import pytest
import stac_items as cat

from xcloudmask.errors import BandNotFoundError
from xcloudmask.sensors import get_sensor
from xcloudmask.stac.assets import declared_grid, find_source
from xcloudmask.stac.items import band_scale, platform_of, processing_baseline, sensor_of

TRANSFORM = (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_400_000.0)
RING = [[4.36, 48.74], [4.37, 48.74], [4.37, 48.75], [4.36, 48.75], [4.36, 48.74]]


def shot(*bands, **more):
    hrefs = {band: f"https://example.org/{band}.tif" for band in bands}
    footprint = {"type": "Polygon", "coordinates": [RING]}
    return cat.Shot(hrefs=hrefs, epsg=32631, transform=TRANSFORM, shape=(128, 128), footprint=footprint, **more)


S2 = shot("B02", "B03", "B04", "B08", "B8A")
L2 = shot("SR_B3", "SR_B4", "SR_B5")
L1 = shot("B3", "B4", "B5", sun_elevation=30.0)
HLS_L = shot("B03", "B04", "B05")
ANALYTIC = shot("file")


def of(item, **properties):
    item["properties"].update(properties)
    return pystac.Item.from_dict(item)


def scale(item, role="red", sensor=None):
    source = find_source(item, role, sensor_of(item) if sensor is None else sensor)
    return source.scale


# --- sensors and bands ---


@pytest.mark.parametrize(
    ("item", "sensor", "assets"),
    [
        (cat.earth_search_v1(S2, baseline="05.10", applied=True), "sentinel-2-l2a", ("red", "green", "nir")),
        (
            cat.earth_search_v1(S2, baseline="05.10", applied=None, collection="sentinel-2-l1c", level="L1C"),
            "sentinel-2-l1c",
            ("red", "green", "nir"),
        ),
        (
            cat.earth_search_v1(S2, baseline="02.14", applied=None, collection="sentinel-2-pre-c1-l2a"),
            "sentinel-2-l2a",
            ("red", "green", "nir"),
        ),
        (cat.earth_search_v0(S2, baseline=None), "sentinel-2-l2a", ("B04", "B03", "B08")),
        (cat.planetary_computer_s2(S2, baseline="05.10"), "sentinel-2-l2a", ("B04", "B03", "B08")),
        (cat.cdse(S2, baseline="05.10"), "sentinel-2-l2a", ("B04_10m", "B03_10m", "B08_10m")),
        (cat.cdse(S2, baseline="05.10", level="L1C"), "sentinel-2-l1c", ("B04", "B03", "B08")),
        (cat.planetary_computer_landsat(L2), "landsat-oli-c2-l2", ("red", "green", "nir08")),
        (cat.usgs(L2, satellite="LC09"), "landsat-oli-c2-l2", ("red", "green", "nir08")),
        (cat.usgs(L1, level="L1TP"), "landsat-oli-c2-l1", ("red", "green", "nir08")),
        (cat.hls(HLS_L, product="L30"), "hls-l30", ("B04", "B03", "B05")),
        (cat.hls(shot("B03", "B04", "B8A"), product="S30"), "hls-s30", ("B04", "B03", "B8A")),
    ],
)
def test_sensor_and_assets_of_each_catalogue(item, sensor, assets):
    item = of(item)
    known = sensor_of(item)
    assert known.name == sensor
    assert tuple(find_source(item, role, known).asset for role in ("red", "green", "nir")) == assets


@pytest.mark.parametrize(
    ("satellite", "sensor"),
    [("LT04", "tm"), ("LT05", "tm"), ("LE07", "etm"), ("LC08", "oli"), ("LC09", "oli"), ("LO08", "oli")],
)
def test_landsats(satellite, sensor):
    bands = ("SR_B3", "SR_B4", "SR_B5")
    assert sensor_of(of(cat.usgs(shot(*bands), satellite=satellite))).name == f"landsat-{sensor}-c2-l2"
    assert sensor_of(of(cat.usgs(L1, satellite=satellite, level="L1TP"))).name == f"landsat-{sensor}-c2-l1"


@pytest.mark.parametrize("satellite", ["LM05", "LM02"])
def test_the_multispectral_scanner_is_not_known(satellite):
    item = cat.usgs(L1, satellite=satellite, level="L1TP")
    item["properties"]["instruments"] = ["MSS"]
    assert sensor_of(of(item)) is None


def test_planetscope_generations():
    assert sensor_of(of(cat.planet(ANALYTIC))).name == "planetscope-4b"
    assert sensor_of(of(cat.planet(ANALYTIC, instrument="PS2.SD"))).name == "planetscope-4b-dove-r"
    assert sensor_of(of(cat.planet(ANALYTIC, instrument="PSB.SD"))).name == "planetscope-4b", "4 bands of a SuperDove"
    assert sensor_of(of(cat.planet(ANALYTIC, bands=8))).name == "planetscope-8b"


def test_bands_inside_one_file():
    item = of(cat.planet(ANALYTIC, bands=8))
    sensor = sensor_of(item)
    found = {name: find_source(item, name, sensor).index for name in ("green", "green_i", "nir", "red", "coastal")}
    assert found == {"green": 3, "green_i": 2, "nir": 7, "red": 5, "coastal": 0}


def test_reflectance_comes_before_radiance_of_the_same_bands():
    item = cat.planet(ANALYTIC, surface=False)
    item["assets"] |= cat.planet(ANALYTIC)["assets"]
    assert find_source(of(item), "red", sensor_of(of(item))).asset == "ortho_analytic_4b_sr"


def test_mislabelled_common_names_do_not_count():
    """HLS L30 with B05 labelled nir, and a broad band labelled so too."""
    item = cat.hls(shot("B04", "B05", "B06"), product="L30")
    item["assets"]["B06"]["eo:bands"] = [{"name": "B06", "common_name": "nir"}]
    assert find_source(of(item), "nir", sensor_of(of(item))).asset == "B05"


def test_sentinel2_without_the_10_m_band_takes_the_narrow_one():
    item = of(cat.planetary_computer_s2(shot("B04", "B8A"), baseline="05.10"))
    assert find_source(item, "nir", sensor_of(item)).band.name == "B8A"


def test_cog_before_jpeg_2000():
    item = cat.earth_search_v1(S2, baseline="05.10", applied=True)
    item["assets"] = {"red-jp2": {**item["assets"]["red"], "href": "s3://bucket/B04.jp2"}} | item["assets"]
    assert find_source(of(item), "red", sensor_of(of(item))).asset == "red"


def test_missing_band_is_named_with_what_there_is():
    item = of(cat.cdse(shot("B03", "B04"), baseline="05.10"))
    with pytest.raises(BandNotFoundError, match=r"has no band 'nir'.*'B03_10m', 'B04_10m'"):
        find_source(item, "nir", sensor_of(item))


def test_unknown_sensor_has_its_own_names():
    item = cat.earth_search_v0(S2, baseline=None)
    item |= {"collection": "somebody", "id": "x"}
    item["properties"] = {"datetime": "2024-06-01T00:00:00Z"}
    found = of(item)
    assert sensor_of(found) is None
    source = find_source(found, "red", None)
    assert (source.asset, source.scale, source.dtype) == ("B04", None, None)


@pytest.mark.parametrize(
    ("text", "platform"), [("LANDSAT_8", "landsat-8"), ("Sentinel-2A", "sentinel-2a"), (None, None)]
)
def test_platforms(text, platform):
    assert platform_of(of(cat.usgs(L2), platform=text)) == platform


@pytest.mark.parametrize(
    "item",
    [
        cat.earth_search_v1(S2, baseline="05.09", applied=True),
        cat.earth_search_v0(S2, baseline="05.09"),
        cat.planetary_computer_s2(S2, baseline="05.09"),
        cat.cdse(S2, baseline="05.09"),
    ],
)
def test_baseline_by_property_and_by_name(item):
    assert processing_baseline(of(item)) == (5, 9)
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        item["properties"].pop(key, None)
    assert processing_baseline(of(item)) == (5, 9), "the name of the product has it too"


# --- scale and offset ---

APPLIED, TO_APPLY, NONE_YET = (1e-4, 0.0), (1e-4, -0.1), (1e-4, 0.0)


@pytest.mark.parametrize(
    ("collection", "baseline", "applied", "expected"),
    [
        ("sentinel-2-l2a", "05.10", True, APPLIED),  # the declared offset of -0.1 is not to be applied again
        ("sentinel-2-l2a", "05.10", False, None),  # DN may be 1000 lower all the same
        ("sentinel-2-l2a", "04.00", False, None),
        ("sentinel-2-l2a", "03.01", False, NONE_YET),  # the declared offset of -0.1 is wrong
        ("sentinel-2-l2a", "02.14", None, NONE_YET),
        ("sentinel-2-l2a", "05.10", None, TO_APPLY),
        ("sentinel-2-c1-l2a", "05.10", False, TO_APPLY),
        ("sentinel-2-c1-l2a", "05.00", None, TO_APPLY),
        ("sentinel-2-l1c", "05.10", None, TO_APPLY),
        ("sentinel-2-l1c", "02.06", None, NONE_YET),
    ],
)
def test_earth_search_v1(collection, baseline, applied, expected):
    level = "L1C" if collection.endswith("l1c") else "L2A"
    item = cat.earth_search_v1(S2, baseline=baseline, applied=applied, collection=collection, level=level)
    assert scale(of(item)) == expected


@pytest.mark.parametrize(
    ("baseline", "applied", "expected"),
    [
        ("03.01", None, NONE_YET),
        ("04.00", True, APPLIED),
        ("04.00", False, None),
        ("04.00", None, TO_APPLY),
    ],
)
def test_earth_search_v0(baseline, applied, expected):
    assert scale(of(cat.earth_search_v0(S2, baseline=baseline, applied=applied))) == expected


@pytest.mark.parametrize(
    ("baseline", "expected"), [("02.12", NONE_YET), ("03.01", NONE_YET), ("04.00", TO_APPLY), ("05.11", TO_APPLY)]
)
@pytest.mark.parametrize("builder", [cat.planetary_computer_s2, cat.cdse])
def test_baseline_rules_where_nothing_was_applied(builder, baseline, expected):
    assert scale(of(builder(S2, baseline=baseline))) == expected


def test_sentinel2_without_baseline_is_unknown():
    item = cat.planetary_computer_s2(S2, baseline="05.10")
    del item["properties"]["s2:processing_baseline"], item["properties"]["s2:product_uri"]
    assert scale(of(item)) is None
    item["assets"]["B04"]["raster:bands"] = [{"scale": 1e-4, "offset": -0.1}]
    assert scale(of(item)) == TO_APPLY, "declared"
    assert scale(of(item, **{"earthsearch:boa_offset_applied": False})) is None


def test_a_declared_offset_of_zero_contradicts_the_baseline():
    item = cat.cdse(S2, baseline="05.10")
    item["assets"]["B04_10m"]["raster:offset"] = 0
    assert scale(of(item)) is None
    del item["assets"]["B04_10m"]["raster:offset"]
    assert scale(of(item)) == TO_APPLY


def test_landsat_level_2():
    assert scale(of(cat.planetary_computer_landsat(L2))) == (2.75e-05, -0.2)
    assert scale(of(cat.usgs(L2))) == (2.75e-05, -0.2), "nothing declared: the table of the product"


def test_landsat_level_1_needs_the_sun():
    item = cat.usgs(L1, level="L1TP")
    assert scale(of(item)) == pytest.approx((4e-5, -0.2))
    for wrong in (None, -3.0, 0, "50"):
        assert scale(of(item, **{"view:sun_elevation": wrong})) is None
    assert scale(of(cat.usgs(L1, level="L1TP", satellite="LT05"))) is None, "gains of TM are in the MTL file alone"


def test_thermal_bands_of_level_1_are_not_linear():
    item = of(cat.usgs(shot("B10"), level="L1TP"))
    sensor = get_sensor("landsat-oli-c2-l1")
    assert band_scale(item, "lwir11", sensor.find("B10"), sensor) is None


def test_hls_and_planetscope():
    assert scale(of(cat.hls(HLS_L, product="L30"))) == (1e-4, 0.0)
    assert scale(of(cat.planet(ANALYTIC))) == (1e-4, 0.0)
    assert scale(of(cat.planet(ANALYTIC, surface=False))) is None
    radiance = cat.planet(ANALYTIC, surface=False)
    radiance["assets"]["ortho_analytic_4b"]["raster:bands"] = [{"scale": 0.01, "unit": "W m-2 sr-1 um-1"}] * 4
    assert scale(of(radiance)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:scale": 2e-4, "raster:offset": 0.1},
        {"bands": [{"name": "x", "raster:scale": 2e-4, "raster:offset": 0.1}]},
        {"raster:bands": [{"scale": 2e-4, "offset": 0.1}]},
        {"raster:scale": 2e-4, "bands": [{"name": "x", "raster:offset": 0.1}]},
    ],
)
def test_declared_in_each_version(fields):
    item = cat.hls(HLS_L, product="L30")
    item["assets"]["B04"] |= fields
    assert scale(of(item)) == (2e-4, 0.1)


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:scale": 1, "raster:offset": 0},
        {"raster:scale": -1e-4},
        {"raster:scale": "1e-4"},
        {"raster:scale": True},
        {"raster:scale": float("nan")},
        {"raster:bands": [{"scale": 0.01, "unit": "W/m2"}]},
        {"raster:bands": "all"},
        {"bands": [7]},
        {"bands": []},
    ],
)
def test_nonsense_declares_nothing(fields):
    item = cat.hls(HLS_L, product="L30")
    item["assets"]["B04"] |= fields
    assert band_scale(of(item), "B04", None, None) is None


# --- grids ---


def test_declared_grids():
    grid = declared_grid(of(cat.cdse(S2, baseline="05.10")), "B04_10m")
    assert (tuple(grid.shape), grid.crs.epsg, tuple(grid.transform)[:6]) == ((128, 128), 32631, TRANSFORM)
    assert declared_grid(of(cat.usgs(L2)), "red") == declared_grid(of(cat.planetary_computer_landsat(L2)), "red")
    assert declared_grid(of(cat.planet(ANALYTIC)), "ortho_analytic_4b_sr") is None, "in the file alone"
    assert declared_grid(of(cat.hls(HLS_L, product="L30")), "B04") is None


@pytest.mark.parametrize("transform", [None, "10", [10, 0], [10, 0, "x", 0, -10, 0], [True] * 6])
def test_nonsense_is_no_grid(transform):
    item = cat.cdse(S2, baseline="05.10")
    item["assets"]["B04_10m"]["proj:transform"] = transform
    assert declared_grid(of(item), "B04_10m") is None
