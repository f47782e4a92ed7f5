"""Simulate a product, write it, serve it, search it, load it, mask it: for each sensor, in a catalogue's spelling.

The masks must be those of the simulator's arrays, byte by byte, and agree with the simulator's truth as well as the
model's card says of that sensor and scene (`xcloudmask evaluate --simulated`). The scenes are those of the card, taken
in turn, easy and hard.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import dask
import numpy as np
import pytest
import stac_items as cat
import xarray as xr
from http_server import serve
from odc.geo.xr import assign_crs
from stac_server import serve_api

import xcloudmask
from xcloudmask.models.registry import WEIGHTS_DIR
from xcloudmask.simulate import simulate_scene, simulate_scene_truth
from xcloudmask.simulated import COARSE_SIZE_PX, SEEDS, SIZE_PX, TIMES, scene_name
from xcloudmask.stac import HrefPolicy, load, search

LOCAL = HrefPolicy(allow_private=True)
CARD = json.loads((WEIGHTS_DIR / "default.json").read_text())["simulated"]["scenes"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A product in a catalogue."""

    sensor: str
    bands: dict[str, str]
    """Role of the model -> the provider's name."""
    build: Callable[..., dict[str, Any]]
    known: bool = True
    """Whether the item tells the scale."""
    one_file: bool = False
    told_by: Literal["item", "argument", "attrs"] = "item"
    """Where the sensor's name comes from."""
    size_px: int = SIZE_PX
    upsample: bool = False
    crs: str | None = None
    """In place of UTM."""


S2 = {"red": "B04", "green": "B03", "nir": "B08"}
L2 = {"red": "SR_B4", "green": "SR_B3", "nir": "SR_B5"}
TM = {"red": "SR_B3", "green": "SR_B2", "nir": "SR_B4"}
L1 = {"red": "B4", "green": "B3", "nir": "B5"}
PS = {"red": "red", "green": "green", "nir": "nir"}
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"

CASES = {
    "s2-l2a-earth-search-c1": Case(
        sensor="sentinel-2-l2a",
        bands=S2,
        build=partial(cat.earth_search_v1, baseline="05.10", applied=False, collection="sentinel-2-c1-l2a"),
    ),
    "s2-l2a-planetary-computer": Case(
        sensor="sentinel-2-l2a",
        bands=S2,
        build=partial(cat.planetary_computer_s2, baseline="05.10"),
    ),
    "s2-l1c-cdse": Case(
        sensor="sentinel-2-l1c",
        bands=S2,
        build=partial(cat.cdse, baseline="05.10", level="L1C"),
    ),
    "landsat-l2-planetary-computer": Case(sensor="landsat-oli-c2-l2", bands=L2, build=cat.planetary_computer_landsat),
    "landsat-tm-l2-usgs": Case(
        sensor="landsat-tm-c2-l2",
        bands=TM,
        build=partial(cat.usgs, satellite="LT05"),
    ),
    "landsat-l1-usgs": Case(sensor="landsat-oli-c2-l1", bands=L1, build=partial(cat.usgs, level="L1TP")),
    "landsat-tm-l1-usgs": Case(
        sensor="landsat-tm-c2-l1",
        bands={"red": "B3", "green": "B2", "nir": "B4"},
        build=partial(cat.usgs, level="L1TP", satellite="LT05"),
        known=False,
    ),
    "hls-l30": Case(
        sensor="hls-l30",
        bands={"red": "B04", "green": "B03", "nir": "B05"},
        build=partial(cat.hls, product="L30"),
    ),
    "hls-s30": Case(
        sensor="hls-s30",
        bands={"red": "B04", "green": "B03", "nir": "B08"},
        build=partial(cat.hls, product="S30", grid=True),
    ),
    "planetscope-4b-sr": Case(sensor="planetscope-4b", bands=PS, build=cat.planet, one_file=True),
    "planetscope-8b-radiance": Case(
        sensor="planetscope-8b",
        bands=PS,
        build=partial(cat.planet, bands=8, surface=False),
        known=False,
        one_file=True,
    ),
    "landsat-etm-l2-usgs": Case(
        sensor="landsat-etm-c2-l2",
        bands=TM,
        build=partial(cat.usgs, satellite="LE07"),
    ),
    "landsat-etm-l1-usgs": Case(
        sensor="landsat-etm-c2-l1",
        bands={"red": "B3", "green": "B2", "nir": "B4"},
        build=partial(cat.usgs, level="L1TP", satellite="LE07"),
        known=False,
    ),
    "planetscope-dove-r-sr": Case(
        sensor="planetscope-4b-dove-r",
        bands=PS,
        build=partial(cat.planet, instrument="PS2.SD"),
        one_file=True,
    ),
    "slstr-on-a-map": Case(
        sensor="sentinel-3-slstr-l1b",
        bands={"red": "S2", "green": "S1", "nir": "S3"},
        build=cat.slstr,
        known=False,
        told_by="argument",
        size_px=COARSE_SIZE_PX,
        upsample=True,
    ),
    "modis-planetary-computer": Case(
        sensor="modis-09",
        bands={"red": "sur_refl_b01", "green": "sur_refl_b04", "nir": "sur_refl_b02"},
        build=cat.planetary_computer_modis,
        size_px=COARSE_SIZE_PX,
        upsample=True,
        crs=SINUSOIDAL,
    ),
    "perusat-ortho": Case(
        sensor="perusat-1",
        bands={"red": "B3", "green": "B2", "nir": "B4"},
        build=cat.perusat,
        known=False,
        one_file=True,
        told_by="argument",
    ),
    "maxar-open-data": Case(
        sensor="maxar-4b",
        bands=PS,
        build=cat.maxar,
        known=False,
        one_file=True,
        told_by="attrs",
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("catalogue")
    for name in ("items", "files"):
        (root / name).mkdir()
    return root


@pytest.fixture(scope="module")
def api(folders):
    with serve_api(folders / "items") as root:
        yield root


@pytest.fixture(scope="module")
def files(folders):
    with serve(folders / "files") as server:
        yield server


def seed_of(case: Case) -> int:
    return SEEDS[list(CASES.values()).index(case) % len(SEEDS)]


def simulated(case: Case) -> tuple[xr.Dataset, np.ndarray]:
    """A cube as the simulator has it, under the roles of the model, and the truth."""
    names = list(case.bands.values())
    if case.one_file:
        names = [band.name for band in xcloudmask.SENSORS[case.sensor].bands if band.role != "pan"]
    # Pixels of the product, all bands on one grid; nodata comes with the second date.
    arguments: dict[str, Any] = {"size_px": case.size_px, "times": TIMES, "bands": names, "seed": seed_of(case)}
    cube, truth = dask.compute(
        simulate_scene(case.sensor, **arguments), simulate_scene_truth(case.sensor, **arguments)["truth"]
    )
    if case.crs is not None:
        cube = assign_crs(cube.drop_vars("spatial_ref"), case.crs)
    return cube, truth.values


def write(case: Case, cube: xr.Dataset, folders: Path, url: Callable[[str], str], key: str) -> float:
    """Write files and items; returns the sun's elevation in the items."""
    scale = float(next(iter(cube.data_vars.values())).attrs["scale_factor"])
    elevation = cat.l1_sun_elevation(scale) if case.sensor == "landsat-oli-c2-l1" else 50.0
    for step in range(TIMES):
        arrays = {str(name): variable.values[step] for name, variable in cube.data_vars.items()}
        nodata = next(iter(cube.data_vars.values())).attrs["nodata"]
        groups = {"all": arrays} if case.one_file else {name: {name: array} for name, array in arrays.items()}
        for name, bands in groups.items():
            cat.write_tif(folders / "files" / f"{key}-{step}-{name}.tif", bands, cube, nodata=nodata)
        shot = cat.Shot.of(
            cube,
            hrefs={name: url(f"{key}-{step}-{name}.tif") for name in groups},
            time=str(cube["time"].values[step].astype("M8[s]")) + "Z",
            sun_elevation=elevation,
        )
        item = case.build(shot)
        (folders / "items" / f"{key}-{step}.json").write_text(json.dumps(item))
    return elevation


def direct(case: Case, cube: xr.Dataset) -> xr.Dataset:
    """The simulator's arrays under the roles, with what the item lets a reader know."""
    chosen = cube[list(case.bands.values())].rename({name: role for role, name in case.bands.items()})
    for variable in chosen.data_vars.values():
        if not case.known:
            variable.attrs = {"nodata": variable.attrs["nodata"]}
    return chosen.chunk({"time": 1, "y": -1, "x": -1})


def test_each_sensor_has_a_case():
    assert {case.sensor for case in CASES.values()} == set(xcloudmask.SENSORS)


@pytest.mark.parametrize("key", CASES)
def test_from_search_to_mask(key, folders, api, files):
    case, seed = CASES[key], seed_of(CASES[key])
    cube, truth = simulated(case)
    write(case, cube, folders, files.url, key)
    item = json.loads((folders / "items" / f"{key}-0.json").read_text())
    items = search(
        api,
        collections=item["collection"],
        ids=[json.loads(path.read_text())["id"] for path in sorted((folders / "items").glob(f"{key}-*.json"))],
    )
    assert len(items) == TIMES
    loaded = load(items, policy=LOCAL, sensor=case.sensor if case.told_by == "argument" else None)
    if case.told_by == "attrs":
        assert loaded.attrs == {}
        loaded.attrs["sensor"] = case.sensor
    assert loaded.attrs == {"sensor": case.sensor}
    expected = direct(case, cube)
    for role in ("red", "green", "nir"):
        np.testing.assert_array_equal(loaded[role].values, expected[role].values)
        assert loaded[role].attrs["nodata"] == expected[role].attrs["nodata"]
        if case.known:
            np.testing.assert_allclose(loaded[role].attrs["scale_factor"], expected[role].attrs["scale_factor"])
            np.testing.assert_allclose(loaded[role].attrs["add_offset"], expected[role].attrs["add_offset"])
        else:
            assert "scale_factor" not in loaded[role].attrs
    np.testing.assert_allclose(loaded["x"], cube["x"])
    np.testing.assert_allclose(loaded["y"], cube["y"])
    mask = xcloudmask.predict(loaded, upsample=case.upsample).compute()
    np.testing.assert_array_equal(mask.values, xcloudmask.predict(expected, upsample=case.upsample).values)
    there = truth != 255
    np.testing.assert_array_equal(mask.values == 255, ~there)
    agreed = (mask.values == truth)[there].mean()
    said = CARD["known" if case.known else "unknown"][scene_name(case.sensor, seed)]
    # The scene of the card has the bands of the model alone, and so other noise where all bands are in one file.
    assert agreed == pytest.approx(said, abs=0.03 if case.one_file else 0.002)
