"""From pixels to GeoJSON: antimeridian, poles, and outlines that hold the data."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from odc.geo import CRS
from shapely.geometry import Point, box, shape

from xcloudmask.stac.out._collection import _around
from xcloudmask.stac.out._outline import outline_of_pixels, to_geojson

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"


def place(bounds, crs):
    found = to_geojson(box(*bounds), CRS(crs))
    assert found is not None
    return found


def degrees(points, crs):
    transformer = pyproj.Transformer.from_crs(CRS(crs).proj, "EPSG:4326", always_xy=True)
    return np.column_stack(transformer.transform(*np.asarray(points).T))


def is_right(geometry, bbox):
    """What RFC 7946 asks for."""
    found = shape(geometry)
    assert found.is_valid
    for part in getattr(found, "geoms", [found]):
        assert part.exterior.is_ccw
        west, south, east, north = part.bounds
        assert -180 <= west < east <= 180
        assert -90 <= south < north <= 90
        assert bbox[1] <= south
        assert bbox[3] >= north
    return found


@pytest.mark.parametrize(
    ("bounds", "crs"),
    [
        ((600_000, 5_400_000, 709_800, 5_509_800), "EPSG:32631"),
        ((100_000, 8_000_000, 209_800, 8_109_800), "EPSG:32701"),
        ((-1e6, -1e6, 1e6, 1e6), "EPSG:3413"),
        ((-1e6, -1e6, 1e6, 1e6), "EPSG:3031"),
        ((-1e5, -2e5, 1e6, 1e6), "EPSG:3031"),
        ((0, 0, 1e6, 1e6), "EPSG:3031"),
        ((-1e6, 0, 1e6, 1e6), "EPSG:3995"),
        ((-5e5, -1e6, 5e5, -1e5), "EPSG:3031"),
        ((170, -10, 190, 10), "EPSG:4326"),
        ((0, -90, 360, 90), "EPSG:4326"),
        ((-2e6, 5e6, -1e6, 6e6), SINUSOIDAL),
        ((166_021, 9_000_000, 200_000, 9_100_000), "EPSG:32601"),
        ((-2.003e7, -1e6, 2.003e7, 1e6), "EPSG:3857"),
    ],
)
def test_points_of_the_raster_lie_in_the_outline(bounds, crs):
    geometry, bbox = place(bounds, crs)
    found = is_right(geometry, bbox).buffer(1e-4)
    rng = np.random.default_rng(0)
    west, south, east, north = bounds
    inner = rng.random((200, 2)) * [east - west, north - south] * 0.98 + [west, south]
    inner += np.array([east - west, north - south]) * 0.01
    for wide, lat in degrees(inner, crs):
        lon = (wide + 180) % 360 - 180
        # The sides are drawn with points: between two of them a curve may leave the line.
        assert found.distance(Point(lon, lat)) < 0.02 * max(1.0, min(90.0, bbox[3] - bbox[1])), (lon, lat)
        if bbox[0] < bbox[2]:
            assert bbox[0] - 1e-3 <= lon <= bbox[2] + 1e-3
        else:
            assert lon >= bbox[0] - 1e-3 or lon <= bbox[2] + 1e-3


def test_across_the_antimeridian():
    geometry, bbox = place((100_000, 8_000_000, 209_800, 8_109_800), "EPSG:32701")
    assert geometry["type"] == "MultiPolygon"
    assert bbox[0] == pytest.approx(179.22, abs=0.01)
    assert bbox[2] == pytest.approx(-179.73, abs=0.01)
    east, west = sorted(shape(geometry).geoms, key=lambda part: -part.bounds[0])
    assert east.bounds[2] == 180
    assert west.bounds[0] == -180


def test_up_to_the_antimeridian():
    geometry, bbox = place((170, -10, 180, 10), "EPSG:4326")
    assert geometry["type"] == "Polygon"
    assert bbox == [170, -10, 180, 10]


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90), ("EPSG:3031", -90)])
def test_a_pole_inside(crs, pole):
    geometry, bbox = place((-1e6, -1e6, 1e6, 1e6), crs)
    assert geometry["type"] == "Polygon"
    assert (bbox[0], bbox[2]) == (-180, 180)
    assert pole in (bbox[1], bbox[3])
    assert all(shape(geometry).buffer(1e-9).covers(Point(lon, pole)) for lon in (-180, -60, 0, 123, 180))


def test_a_pole_at_the_corner_is_no_world():
    _, bbox = place((0, 0, 1e6, 1e6), "EPSG:3031")
    assert bbox[0] == pytest.approx(0, abs=0.01)
    assert bbox[2] == pytest.approx(90, abs=0.01)


def test_the_whole_world():
    for bounds in ((-180, -90, 180, 90), (0, -90, 360, 90)):
        geometry, bbox = place(bounds, "EPSG:4326")
        assert bbox == [-180, -90, 180, 90]
        assert shape(geometry).area == 360 * 180


def test_off_the_map():
    assert to_geojson(box(-2e7, 8e6, -1.9e7, 9e6), CRS(SINUSOIDAL)) is None


@example(lon=179.875, lat=2.2250738585e-313, width=1.0, height=1.0)
@given(lon=st.floats(-179.99, 179.99), lat=st.floats(-80, 80), width=st.floats(0.01, 20), height=st.floats(0.01, 9))
def test_boxes_in_degrees(lon, lat, width, height):
    geometry, bbox = place((lon, lat, lon + width, lat + height), "EPSG:4326")
    found = is_right(geometry, bbox)
    assert found.area == pytest.approx(width * height, rel=1e-3)
    crosses = lon + width > 180 + 1e-6
    if crosses:
        assert bbox[0] > bbox[2] or geometry["type"] == "Polygon"
    elif lon + width < 180:
        assert geometry["type"] == "Polygon"
        assert bbox == pytest.approx([lon, lat, lon + width, lat + height], abs=2e-6)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0.02, 0.6))
def test_the_outline_holds_every_pixel_with_data(rows, columns, seed, share):
    from xcloudmask.stac.out._survey import survey_slabs

    rng = np.random.default_rng(seed)
    codes = np.where(rng.random((rows, columns)) < share, 1, 255).astype(np.uint8)
    cut = int(rng.integers(0, rows + 1))
    survey = survey_slabs([codes[None, :cut], codes[None, cut:]], (rows, columns), shares=False)
    outline = outline_of_pixels(survey.left, survey.right, (10.0, 0.0, 100.0, 0.0, -10.0, 200.0))
    there = np.argwhere(codes == 1)
    assert survey.valid == len(there)
    if not len(there):
        assert outline is None
        return
    squares = [box(100 + 10 * x, 190 - 10 * y, 110 + 10 * x, 200 - 10 * y) for y, x in there]
    assert all(outline.buffer(1e-6).covers(square) for square in squares)
    tight = squares[0]
    for square in squares[1:]:
        tight = tight.union(square)
    assert outline.area == pytest.approx(tight.convex_hull.area), "no larger than it must be"


def test_the_outline_follows_the_data():
    """A swath of nodata at the left makes the geometry smaller than the raster."""
    whole = np.zeros(60, np.int64), np.full(60, 80)
    part = np.full(60, 40), np.full(60, 80)
    transform = (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_400_000.0)
    areas = [shape(to_geojson(outline_of_pixels(*rows, transform), CRS(32631))[0]).area for rows in (whole, part)]
    assert areas[1] == pytest.approx(areas[0] / 2, rel=1e-3)


# --- the extent of a collection ---


@pytest.mark.parametrize(
    ("boxes", "extent"),
    [
        ([], [-180, -90, 180, 90]),
        ([[1, 2, 3, 4], [2, 0, 5, 3]], [1, 0, 5, 4]),
        ([[-10, 0, -5, 1], [100, 0, 110, 1]], [-10, 0, 110, 1]),
        ([[170, 0, 175, 1], [-178, 0, -170, 1]], [170, 0, -170, 1]),
        ([[170, 0, -175, 1], [-178, 0, -170, 1]], [170, 0, -170, 1]),
        ([[-180, 60, 180, 90], [3, 0, 4, 1]], [-180, 0, 180, 90]),
        ([[170, 0, 180, 1]], [170, 0, 180, 1]),
        ([[101, 0, -159, 1], [-161, 0, -160, 1]], [101, 0, -159, 1]),
        ([[-180, 0, -170, 1]], [-180, 0, -170, 1]),
    ],
)
def test_extent(boxes, extent):
    assert _around(boxes) == extent


@given(
    st.lists(
        st.tuples(st.floats(-180, 180), st.floats(0.1, 100), st.floats(-90, 80), st.floats(0.1, 10)),
        min_size=1,
        max_size=6,
    )
)
def test_the_extent_holds_all_boxes(sides):
    boxes = [
        [lon, lat, lon + width if lon + width <= 180 else lon + width - 360, lat + height]
        for lon, width, lat, height in sides
    ]
    west, south, east, north = _around(boxes)
    assert -180 <= west <= 180
    assert -180 <= east <= 180
    reach = (east - west) % 360 or 360.0
    for lon, width, lat, height in sides:
        assert (lon - west) % 360 + width <= reach + 1e-6 or (lon - west) % 360 > 360 - 1e-6
        assert south <= lat
        assert lat + height <= north
