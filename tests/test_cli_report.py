"""`xcloudmask report` and `xcloudmask stats`: what they write and print, and what they say when things go wrong."""

import csv
import io
import json

import numpy as np
import pytest
from cubes import odc_dataset
from test_webreport import SHAPE, Page, make_mask
from typer.testing import CliRunner

import xcloudmask
from xcloudmask.cli.app import app
from xcloudmask.io import to_cog

NAMES = ["clear", "thick_cloud", "thin_cloud", "cloud_shadow"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def mask():
    return make_mask(3, chunks={"time": 1, "y": 20, "x": 20}).assign_coords(item_id=("time", ["a", "b", "=c\x1b[2J"]))


@pytest.fixture
def store(tmp_path, mask):
    mask.cloudmask.to_zarr(tmp_path / "masks.zarr")
    return tmp_path / "masks.zarr"


def expected(mask, **options):
    shares = xcloudmask.class_fractions(mask, **options).compute()
    return np.concatenate([shares.values, 1 - shares.valid_fraction.values[..., None]], axis=-1)


def shares_of(rows):
    return np.array(
        [[np.nan if row[name] in (None, "") else float(row[name]) for name in [*NAMES, "nodata"]] for row in rows]
    )


# report


def test_report(tmp_path, store):
    result = run("report", store, "--out", tmp_path / "page.html", "--title", "My <masks>")
    assert result.exit_code == 0, result.output
    page = Page(tmp_path / "page.html")
    assert "My <masks>" in page.text
    assert str(store) in page.text
    assert len(page.figures()) == 3
    assert f"{tmp_path / 'page.html'}: one page of 0.0 MB" in result.stdout
    assert "3/3" in result.stderr


def test_report_is_put_where_the_user_stands(tmp_path, store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("report", store, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "report.html").exists()


def test_report_with_images_of_cogs(tmp_path, mask):
    to_cog(mask, tmp_path / "masks")
    odc_dataset(shape=SHAPE, times=3).to_zarr(tmp_path / "cube.zarr", consolidated=False)
    result = run("report", tmp_path / "masks", "--image", tmp_path / "cube.zarr", "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert len(Page(tmp_path / "page.html").pictures()) == 1 + 2 * 3


@pytest.mark.filterwarnings("default:.*cannot be read:UserWarning")
def test_report_notes_what_cannot_be_read(tmp_path, store):
    (store / "cloud_mask" / "c" / "1" / "0" / "0").write_bytes(b"x")
    result = run("report", store, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "Note: 1 of 3 dates cannot be read, the first of them 8 Jun 2024 10:50" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("{tmp}/none.zarr",), 1, "does not exist"),
        (("{store}", "--out", "{tmp}/masks.zarr"), 2, "ends in .html"),
        (("{store}", "--out", "{tmp}/none/a.html"), 1, "folder that exists"),
        (("{store}", "--clear-view", "80"), 2, "from 0 to 1"),
        (("{store}", "--image", "{tmp}/none.tif"), 1, "none.tif does not exist"),
        (("{store}", "--image", "{store}"), 1, "band"),
    ],
)
def test_report_refuses(tmp_path, store, monkeypatch, arguments, code, text):
    monkeypatch.chdir(tmp_path)
    result = run("report", *(one.format(tmp=tmp_path, store=store) for one in arguments))
    assert result.exit_code == code, result.output
    assert text in result.stderr.replace("\n", " ")
    assert not list(tmp_path.glob("*.html"))


# stats


def test_stats_as_json(store, mask):
    result = run("stats", store, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    np.testing.assert_allclose(shares_of(rows), expected(mask), atol=1e-6)
    assert [row["time"] for row in rows] == ["2024-06-03T10:50:31", "2024-06-08T10:50:31", "2024-06-13T10:50:31"]
    assert [row["item_id"] for row in rows] == ["a", "b", "=c\x1b[2J"]
    assert "\x1b" not in result.stdout


def test_stats_as_csv(store, mask):
    result = run("stats", store, "--csv")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    np.testing.assert_allclose(shares_of(rows), expected(mask), atol=1e-6)
    assert [row["item_id"] for row in rows] == ["a", "b", "'=c\ufffd[2J"]
    assert "Counting" in result.stderr


def test_stats_as_a_table(store, mask):
    result = run("stats", store)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["time", "item", "id", "clear", "cloud", "cloud", "shadow", "nodata"]
    shares = [f"{value:.1%}" for value in expected(mask)[1]]
    assert lines[3].split() == ["2024-06-08", "10:50", "b", *shares]
    assert "\x1b" not in result.stdout


def test_stats_of_a_date_without_data(tmp_path, mask):
    empty = mask.compute()
    empty[1] = 255
    empty.cloudmask.to_zarr(tmp_path / "empty.zarr")
    rows = json.loads(run("stats", tmp_path / "empty.zarr", "--json").stdout)
    assert [rows[1][name] for name in (*NAMES, "nodata")] == [None, None, None, None, 1.0]
    assert run("stats", tmp_path / "empty.zarr").stdout.splitlines()[3].split()[-5:] == ["-", "-", "-", "-", "100.0%"]


def test_stats_of_tiles(store, mask):
    result = run("stats", store, "--tile", 20, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert len(rows) == 3 * 2 * 3
    shares = xcloudmask.class_fractions(mask, tile_px=20).compute()
    for row in rows:
        cell = shares.sel(time=np.datetime64(row["time"]), y=row["y"], x=row["x"], method="nearest")
        np.testing.assert_allclose([row[name] for name in NAMES], cell.values, atol=1e-6)


def west_half(mask):
    """In degrees, as GeoJSON; the grid is in UTM 31 N."""
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(32631, 4326, always_xy=True)
    corners = [(600_000, 5_400_000), (600_300, 5_400_000), (600_300, 5_399_600), (600_000, 5_399_600)]
    ring = [list(to_degrees.transform(x, y)) for x, y in corners]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


@pytest.mark.parametrize("kind", ["geometry", "feature", "collection"])
def test_stats_inside_a_geometry(tmp_path, store, mask, kind):
    shape = west_half(mask)
    feature = {"type": "Feature", "properties": {}, "geometry": shape, "id": "west"}
    collection = {"type": "FeatureCollection", "features": [feature, feature | {"id": "again"}]}
    content = {"geometry": shape, "feature": feature, "collection": collection}[kind]
    (tmp_path / "area.geojson").write_text(json.dumps(content))
    result = run("stats", store, "--geometry", tmp_path / "area.geojson", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    half = expected(mask[..., :30])
    if kind == "collection":
        assert [row["geometry"] for row in rows[:4]] == ["west", "again", "west", "again"]
        assert [row["time"][:10] for row in rows[::2]] == ["2024-06-03", "2024-06-08", "2024-06-13"]
        np.testing.assert_allclose(shares_of(rows[1::2]), half, atol=1e-6)
        rows = rows[::2]
    np.testing.assert_allclose(shares_of(rows), half, atol=1e-6)


def test_stats_inside_a_box(store, mask):
    rows = json.loads(run("stats", store, "--bbox", "4.3,48.7,4.5,48.8", "--json").stdout)
    np.testing.assert_allclose(shares_of(rows), expected(mask), atol=1e-6)


def test_stats_go_through_long_series_part_by_part(store, mask, monkeypatch):
    monkeypatch.setattr("xcloudmask.cli.stats._BATCH_CHUNKS", 7)
    rows = json.loads(run("stats", store, "--json").stdout)
    np.testing.assert_allclose(shares_of(rows), expected(mask), atol=1e-6)


def test_stats_of_one_date_without_time(tmp_path, mask):
    to_cog(mask[0].drop_vars(["time", "item_id"]), tmp_path / "mask.tif")
    (row,) = json.loads(run("stats", tmp_path / "mask.tif", "--json").stdout)
    assert list(row) == [*NAMES, "nodata"]
    assert run("stats", tmp_path / "mask.tif").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("{tmp}/none.zarr",), 1, "does not exist"),
        (("{store}", "--json", "--csv"), 2, "exclude each other"),
        (("{store}", "--tile", "8", "--bbox", "4,48,5,49"), 2, "exclude each other"),
        (("{store}", "--bbox", "4,48,5"), 2, "west,south,east,north"),
        (("{store}", "--bbox", "5,48,4,49"), 2, "west,south,east,north"),
        (("{store}", "--bbox", "14,48,15,49"), 1, "outside the mask"),
        (("{store}", "--geometry", "{tmp}/none.geojson"), 2, "no such file"),
        (("{store}", "--geometry", "{store}/zarr.json"), 2, "expected GeoJSON"),
    ],
)
def test_stats_refuses(tmp_path, store, arguments, code, text):
    result = run("stats", *(one.format(tmp=tmp_path, store=store) for one in arguments))
    assert result.exit_code == code, result.output
    assert text in result.stderr.replace("\n", " ")
    assert result.stdout == ""
