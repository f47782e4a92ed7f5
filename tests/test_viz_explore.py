"""Web maps: every pixel in its place, honest errors, and a page whose slider works in a browser."""

import base64
import json
import os
import re
from io import BytesIO
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

folium = pytest.importorskip("folium")
image_module = pytest.importorskip("PIL.Image")

from affine import Affine  # noqa: E402
from browser import needs_chromium, page_after  # noqa: E402
from cubes import odc_dataset, stackstac_array  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from odc.geo.geobox import GeoBox  # noqa: E402
from odc.geo.xr import xr_coords  # noqa: E402

import xcloudmask  # noqa: E402
from xcloudmask._pictures import hex_to_rgb, over_colours  # noqa: E402
from xcloudmask.classes import STYLES, mask_attrs  # noqa: E402
from xcloudmask.errors import ArgumentError, BandNotFoundError, InputError, NotACubeError  # noqa: E402
from xcloudmask.viz import _explore, explore  # noqa: E402
from xcloudmask.viz._mercator import web_grid  # noqa: E402

STYLE = STYLES["4-class"]


def make_mask(cube):
    template = next(iter(cube.data_vars.values())) if isinstance(cube, xr.Dataset) else cube.isel(band=0, drop=True)
    codes = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), template.shape)
    return xr.DataArray(codes, dims=template.dims, coords=template.coords, attrs=mask_attrs(STYLE))


def on_grid(box, values=None):
    coords = {str(name): coord for name, coord in xr_coords(box).items()}
    values = np.zeros(box.shape, np.uint8) if values is None else values
    return xr.DataArray(values, dims=list(coords)[:2], coords=coords, attrs=mask_attrs(STYLE))


def parts_of(web_map):
    """The dates that the page holds, with their pictures as (y, x, 4) arrays."""
    page = web_map.get_root().render()
    (text,) = re.findall(r"const dates = (\[.*?\]), legend = ", page)
    dates = json.loads(text)
    for date in dates:
        for name in {"mask", "image"} & set(date):
            content = base64.b64decode(date[name].removeprefix("data:image/png;base64,"))
            date[name] = np.asarray(image_module.open(BytesIO(content)).convert("RGBA"))
    return dates, json.loads(re.findall(r"legend = (\[.*?\]);", page)[0])


def reprojected(mask, grid, size):
    """What rasterio makes of a mask on the same grid: the nearest pixel."""
    from rasterio.transform import from_bounds
    from rasterio.warp import Resampling, reproject, transform_bounds

    (south, west), (north, east) = grid.bounds
    box = transform_bounds("EPSG:4326", "EPSG:3857", west, south, east, north)
    target = np.full(size, 255, np.uint8)
    reproject(
        mask.values,
        target,
        src_transform=mask.odc.affine,
        src_crs=str(mask.odc.crs),
        dst_transform=from_bounds(*box, size[1], size[0]),
        dst_crs="EPSG:3857",
        resampling=Resampling.nearest,
        src_nodata=255,
        dst_nodata=255,
        tolerance=0.0,
    )
    return target


@given(
    code=st.sampled_from(["EPSG:32631", "EPSG:32733", "EPSG:4326", "EPSG:3857", "EPSG:27700", "EPSG:3035"]),
    rows=st.integers(2, 60),
    columns=st.integers(2, 60),
    down=st.booleans(),
)
def test_every_pixel_lies_where_rasterio_puts_it(code, rows, columns, down):
    # 2 degrees east lies in all of these.
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", code, always_xy=True).transform(2.0, 51.0)
    step = 0.001 if code == "EPSG:4326" else 100.0
    box = GeoBox((rows, columns), Affine(step, 0, x, 0, -step if down else step, y), code)
    grid = web_grid(on_grid(box), max_px=80)
    for places in np.indices((rows, columns)).astype(np.uint8):
        expected = reprojected(on_grid(box, places), grid, grid.inside.shape).astype(int)
        found = grid.show(places, outside=255).astype(int)
        both = (found != 255) & (expected != 255)
        assert np.abs(found - expected)[both].max() <= 1
        if code not in ("EPSG:4326", "EPSG:3857"):
            # There the middle of a pixel of the map may lie on the border of two of the cube: both are right.
            assert np.mean(found != expected) < 0.03
    assert grid.inside.any()
    assert max(grid.inside.shape) <= 80


def test_it_lies_where_it_lies_on_the_ground():
    mask = on_grid(GeoBox((100, 200), Affine(10, 0, 600_000, 0, -10, 5_400_000), "EPSG:32631"))
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds("EPSG:32631", "EPSG:4326", 600_000, 5_399_000, 602_000, 5_400_000)
    np.testing.assert_allclose(web_grid(mask, max_px=500).bounds, ((south, west), (north, east)), atol=1e-6)


def test_across_the_180th_meridian():
    box = GeoBox((40, 80), Affine(1000, 0, 780_000, 0, -1000, 1_000_000), "EPSG:32660")
    grid = web_grid(on_grid(box), max_px=100)
    (_, west), (_, east) = grid.bounds
    assert 179 < west < 180 < east < 181
    assert grid.inside.mean() > 0.9
    middle = grid.inside.shape[0] // 2
    assert grid.inside[middle, 3:-3].all()
    assert (np.diff(grid.columns[middle, 3:-3]) >= 0).all()
    assert np.ptp(grid.columns[middle]) > 70


@pytest.mark.parametrize("first", [-180.0, 0.0, 170.0])
def test_longitudes_of_any_beginning(first):
    columns = 20 if first == 170.0 else 360
    box = GeoBox((100, columns), Affine(1.0, 0, first, 0, -1.0, 50.0), "EPSG:4326")
    mask = on_grid(box)
    grid = web_grid(mask, max_px=720)
    (south, west), (north, east) = grid.bounds
    np.testing.assert_allclose((south, west, north, east), (-50.0, first, 50.0, first + columns))
    assert grid.inside.all()
    np.testing.assert_array_equal(np.unique(grid.columns[0]), np.arange(columns))
    assert (np.diff(grid.columns[0]) >= 0).all()


def test_the_poles_are_cut_and_the_sinusoidal_grid_has_holes():
    from odc.geo import CRS

    box = GeoBox((90, 90), Affine(2.0, 0, 0.0, 0, -2.0, 90.0), "EPSG:4326")
    (south, _), (north, _) = web_grid(on_grid(box), max_px=100).bounds
    assert (south, north) == pytest.approx((-85.0511, 85.0511), abs=1e-3)
    modis = CRS("+proj=sinu +lon_0=0 +R=6371007.181 +units=m")
    # The easternmost tile at the equator: its corner lies beside the globe.
    grid = web_grid(on_grid(GeoBox((55, 55), Affine(20_217, 0, 18_903_158, 0, -20_217, 1_111_950), modis)), max_px=100)
    (south, west), (north, east) = grid.bounds
    assert (south, north) == pytest.approx((0.0, 10.0), abs=0.01)
    assert (west, east) == pytest.approx((170.0, 180.0), abs=0.3)
    assert 0.8 < grid.inside.mean() < 1.0
    beside = GeoBox((55, 55), Affine(20_217, 0, 18_903_158, 0, -20_217, 7_783_653), modis)
    with pytest.raises(InputError, match="fit its CRS"):
        web_grid(on_grid(beside), max_px=100)


def test_what_has_no_place_says_so():
    mask = make_mask(odc_dataset(times=2))
    assert explore(mask, tiles=None) is not None
    with pytest.raises(InputError, match=r"no CRS.*write_crs"):
        explore(mask.drop_vars("spatial_ref"))
    with pytest.raises(InputError, match="no coordinates along 'x'"):
        explore(mask.drop_vars("x"))
    with pytest.raises(InputError, match="sortby"):
        explore(mask.isel(y=[0, 5, 2]))
    arctic = GeoBox((20, 20), Affine(1000, 0, -10_000, 0, -1000, 10_000), "EPSG:3413")
    with pytest.raises(InputError, match="85 degrees"):
        explore(on_grid(arctic))
    with pytest.raises(InputError, match="fit its CRS"):
        explore(mask.assign_coords(x=mask.x * 1e9, y=mask.y * 1e9))


def test_errors_come_before_anything_is_computed():
    cube = odc_dataset(times=2, chunks={"time": 1})
    mask = make_mask(cube).chunk()
    with dask.config.set(scheduler=lambda *args, **kwargs: pytest.fail("computed")):
        for wrong in ({"opacity": 2}, {"opacity": None}, {"max_px": 0}, {"time": 5}):
            with pytest.raises(ArgumentError):
                explore(mask, **wrong)
        with pytest.raises(NotACubeError, match="rgb=cube"):
            explore(cube)
        with pytest.raises(NotACubeError, match="categorise"):
            explore(mask.expand_dims(cloud_class=2))
        with pytest.raises(BandNotFoundError):
            explore(mask, rgb=cube.rename(red="a", green="b", nir="c"))
        with pytest.raises(InputError):
            explore(mask, rgb=cube.isel(time=[0]))


def test_pictures_have_class_colours_and_holes():
    mask = make_mask(odc_dataset(times=3))
    dates, legend = parts_of(explore(mask, tiles=None))
    assert [date["title"] for date in dates] == ["2024-06-03 10:50", "2024-06-08 10:50", "2024-06-13 10:50"]
    assert legend == [["thick cloud", "#ffffff"], ["thin cloud", "#9fd3ee"], ["cloud shadow", "#3d2b56"]]
    grid = web_grid(mask, max_px=1000)
    for date, codes in zip(dates, mask.values, strict=True):
        shown = grid.show(codes, outside=255)
        assert (date["mask"][np.isin(shown, (0, 255))][..., 3] == 0).all()
        for code in (1, 2, 3):
            assert (date["mask"][shown == code] == (*hex_to_rgb(STYLE.colours[code]), 255)).all()


def test_over_a_base_map_no_cloud_is_white():
    _, legend = parts_of(explore(make_mask(odc_dataset(times=1))))
    assert [colour for _, colour in legend] == list(over_colours(STYLE).values())


def test_clear_is_shown_on_demand_and_images_lie_below():
    cube = odc_dataset(times=1, nodata_fraction=0.2)
    mask = make_mask(cube)
    (date,), legend = parts_of(explore(mask, rgb=cube, show_clear=True, time=0))
    grid = web_grid(mask, max_px=1000)
    shown = grid.show(mask.values[0], outside=255)
    assert (date["mask"][shown == 0] == (*hex_to_rgb(STYLE.colours[0]), 255)).all()
    assert (date["mask"][shown == 1] == (*hex_to_rgb(over_colours(STYLE)[1]), 255)).all()
    assert [name for name, _ in legend] == ["clear", "thick cloud", "thin cloud", "cloud shadow"]
    seen = grid.show((cube.red.values[0] != 0), outside=False)
    np.testing.assert_array_equal(date["image"][..., 3] == 255, seen)


def test_stackstac_cubes_have_a_place():
    mask = make_mask(stackstac_array(times=2))
    dates, _ = parts_of(explore(mask))
    assert len(dates) == 2


def test_long_series_get_smaller_pictures(monkeypatch):
    monkeypatch.setattr(_explore, "PIXELS_MAX", 10_000)
    cube = odc_dataset(times=10)
    dates, _ = parts_of(explore(make_mask(cube), rgb=cube))
    assert len(dates) == 10
    assert sum(date[name].shape[0] * date[name].shape[1] for date in dates for name in ("mask", "image")) <= 10_000


def test_a_map_of_folium_comes_back():
    mask = make_mask(odc_dataset(times=2))
    web_map = mask.cloudmask.explore(tiles=None)
    assert isinstance(web_map, folium.Map)
    folium.Marker([48.7, 4.4]).add_to(web_map)
    page = web_map.get_root().render()
    assert "tileLayer" not in page
    assert "L.marker" in page
    assert "tile.openstreetmap.org" in xcloudmask.explore(mask).get_root().render()
    assert "opentopomap.org" in xcloudmask.explore(mask, tiles="OpenTopoMap").get_root().render()


STUB = """
<script>
// As much of Leaflet as the page of a map needs: layers that remember what they were told.
const overlays = [];
const anything = new Proxy(function () {}, {
  get: (target, name) => (name === Symbol.toPrimitive ? () => "" : anything),
  apply: () => anything, construct: () => anything,
});
const control = Object.assign(
  () => ({ addTo() { document.body.append(this.onAdd()); return this; } }),
  { scale: () => anything, layers: () => anything },
);
const L = new Proxy({
  control,
  DomUtil: { create(tag, name, parent) {
    const made = document.createElement(tag);
    made.className = name;
    if (parent) { parent.append(made); }
    return made;
  } },
  imageOverlay(url, bounds, options) {
    const layer = { url, bounds, opacity: options.opacity, addTo: () => layer,
      setUrl(other) { layer.url = other; }, setOpacity(other) { layer.opacity = other; } };
    overlays.push(layer);
    return layer;
  },
}, { get: (target, name) => (name in target ? target[name] : anything) });
</script>
"""

REAL = """
<script>
const overlays = [];
L.Map.addInitHook(function () { this.on("layeradd", (event) => {
  if (event.layer instanceof L.ImageOverlay) { overlays.push(new Proxy(event.layer, { get: (layer, name) =>
    (name === "url" ? layer._url : name === "opacity" ? layer.options.opacity : layer[name]) })); }
}); });
</script>
"""


def leaflet(kind):
    """What stands in for the servers that folium names: a stub, or Leaflet itself from a folder."""
    if kind == "stub":
        return STUB
    folder = os.environ.get("XCLOUDMASK_LEAFLET")
    if not folder:
        pytest.skip("XCLOUDMASK_LEAFLET names no folder with leaflet.js (the dist folder of the npm package)")
    return f"<script>{(Path(folder) / 'leaflet.js').read_text()}</script>{REAL}"


@needs_chromium
@pytest.mark.parametrize("kind", ["stub", "leaflet"])
def test_the_slider_moves_the_map(kind, tmp_path):
    cube = odc_dataset(times=3)
    page = explore(make_mask(cube), rgb=cube, tiles=None, opacity=0.4).get_root().render()
    page = re.sub(r'<script src="http[^>]*></script>|<link[^>]*href="http[^>]*>', "", page)
    assert "<link" not in page
    page = page.replace("</head>", leaflet(kind) + "</head>", 1)
    found = page_after(
        page,
        tmp_path,
        """
        const layers = [overlays[0], overlays[1]];
        const before = layers.map(layer => layer.url);
        const date = document.querySelector(".cloudmask-date"), slider = document.querySelector(".cloudmask-slider");
        out.overlays = overlays.length;
        out.first = date.textContent;
        slider.value = 2; slider.dispatchEvent(new Event("input"));
        out.last = date.textContent;
        out.changed = layers.every((layer, place) => layer.url !== before[place]);
        out.pictures = layers.every(layer => layer.url.startsWith("data:image/png"));
        out.opacities = layers.map(layer => layer.opacity).join(" ");
        const opacity = document.querySelector(".cloudmask-opacity");
        opacity.value = 0.9; opacity.dispatchEvent(new Event("input"));
        out.after = layers.map(layer => layer.opacity).join(" ");
        out.legend = [...document.querySelectorAll(".cloudmask-panel .entry")].map(entry => entry.textContent).join();
        """,
    )
    assert found == {
        "overlays": "2",
        "first": "2024-06-03 10:50, 1 of 3",
        "last": "2024-06-13 10:50, 3 of 3",
        "changed": "true",
        "pictures": "true",
        "opacities": "1 0.4",
        "after": "1 0.9",
        "legend": "thick cloud,thin cloud,cloud shadow",
    }
