"""The report page: its figures are those of the pixels, it says what is missing, and nothing in it can run."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from cubes import grid_coords, odc_dataset, time_axis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from processes import run_limited

import xcloudmask
from xcloudmask.classes import NODATA, STYLES, get_style, mask_attrs
from xcloudmask.errors import (
    ArgumentError,
    ArgumentTypeError,
    BandNotFoundError,
    InputError,
    NotACubeError,
    ReadError,
    WriteError,
)
from xcloudmask.webreport import write_report
from xcloudmask.webreport._chart import class_chart
from xcloudmask.webreport._count import count_dates
from xcloudmask.webreport._dates import Date, Name, in_order, names_of
from xcloudmask.webreport._days import calendars
from xcloudmask.webreport._html import Html, clean, tag
from xcloudmask.webreport._png import indexed_png
from xcloudmask.webreport._table import csv_text

SHAPE = (40, 60)
STYLE = get_style("4-class")


def make_mask(times=4, *, shape=SHAPE, chunks=None, seed=0, style=STYLE, nodata=0.1):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(style.meanings), (times, *shape)).astype("u1")
    codes[rng.random(codes.shape) < nodata] = NODATA
    coords = grid_coords(shape) | {"time": time_axis(times)}
    mask = xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, attrs=mask_attrs(style), name="cloud_mask")
    return mask if chunks is None else mask.chunk(chunks)


def counted(mask, style=STYLE, **options):
    defaults = {"pictured": set(range(mask.shape[0])), "picture_px": 16, "progress": lambda done: None}
    return count_dates(mask, in_order(names_of(mask)), style, **defaults | options)


def make_dates(count, *, days=5.0, counts=(1, 1, 1, 1), nodata=0, start="2024-01-01"):
    first = np.datetime64(start, "s")
    stamps = [first + np.timedelta64(int(index * days * 86400), "s") for index in range(count)]
    names = [Name(position=i, label=str(stamp), stamp=stamp, item="", platform="") for i, stamp in enumerate(stamps)]
    return [Date(name=name, counts=counts, nodata=nodata, unknown=0) for name in names]


class Page(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.html = Path(path).read_text(encoding="utf-8")
        self.elements, self.texts, self._open = [], [], []
        self.feed(self.html)
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def attributes(self, tag, name):
        return [attrs[name] for found, attrs in self.elements if found == tag and name in attrs]

    def pictures(self):
        return [
            Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) for src in self.attributes("img", "src")
        ]

    def figures(self):
        """Rows of the table."""
        body = self.html.partition("<tbody>")[2].partition("</tbody>")[0]
        return [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in body.split("</tr>") if row]


def report(mask, tmp_path, **options):
    return Page(write_report(mask, tmp_path / "report.html", **options))


# what is counted


@given(
    codes=hnp.arrays(np.uint8, st.tuples(*(st.integers(1, 9),) * 3), elements=st.sampled_from([0, 1, 2, 3, 7, 255])),
    chunks=st.tuples(*(st.integers(1, 9),) * 3),
    lazy=st.booleans(),
)
def test_counts_are_those_of_numpy(codes, chunks, lazy):
    mask = xr.DataArray(codes, dims=("time", "y", "x"), attrs=mask_attrs(STYLE))
    found = counted(mask.chunk(dict(zip(mask.dims, chunks, strict=True))) if lazy else mask)
    for date, plane in zip(found.dates, codes, strict=True):
        assert date.counts == tuple(int((plane == code).sum()) for code in range(4))
        assert (date.nodata, date.unknown) == ((plane == NODATA).sum(), (plane == 7).sum())
        assert date.total == plane.size
    np.testing.assert_array_equal(found.clear, (codes == 0).sum(0))
    np.testing.assert_array_equal(found.seen, (codes < 4).sum(0))
    for position, picture in found.pictures.items():
        np.testing.assert_array_equal(picture, codes[position])


def test_pictures_and_map_are_thinned():
    mask = make_mask(2, shape=(1000, 600), chunks={"time": 1, "y": 256, "x": 256})
    found = counted(mask, pictured={1}, picture_px=100)
    assert list(found.pictures) == [1]
    np.testing.assert_array_equal(found.pictures[1], mask[1, ::10, ::10])
    np.testing.assert_array_equal(found.seen, (mask[:, ::3, ::3] < 4).sum("time"))


@pytest.mark.parametrize("times_in_chunk", [1, 3])
def test_each_chunk_is_read_once(times_in_chunk):
    reads = []

    def load(block_info=None):
        place = block_info[None]["chunk-location"]
        reads.append(tuple(place))
        return np.zeros(block_info[None]["chunk-shape"], "u1")

    chunks = ((times_in_chunk,) * 4, (8, 8), (8, 8, 8))
    data = da.map_blocks(load, chunks=chunks, dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    counted(xr.DataArray(data, dims=("time", "y", "x"), attrs=mask_attrs(STYLE)))
    assert sorted(reads) == sorted(np.ndindex(4, 2, 3))


def test_a_cube_larger_than_memory(tmp_path):
    run_limited("test_webreport:report_a_large_cube", memory_mb=80, path=str(tmp_path / "report.html"))
    page = Page(tmp_path / "report.html")
    assert [row[1:] for row in page.figures()] == [["100.0", "0.0", "0.0", "0.0", "0.0"]] * 5


def report_a_large_cube(path):
    import dask

    data = da.zeros((5, 8192, 8192), dtype="u1", chunks=(1, 2048, 2048))  # 336 MB
    mask = xr.DataArray(data, dims=("time", "y", "x"), coords={"time": time_axis(5)}, attrs=mask_attrs(STYLE))
    with dask.config.set(scheduler="threads", num_workers=2):
        write_report(mask, path)


# what the page says


@pytest.mark.parametrize("name", STYLES)
def test_the_table_has_the_shares_of_the_pixels(tmp_path, name):
    style = get_style(name)
    mask = make_mask(style=style, chunks={"time": 1, "y": 20, "x": 20})
    page = report(mask, tmp_path)
    shares = xcloudmask.class_fractions(mask).compute()
    for date, (label, *cells) in enumerate(page.figures()):
        assert label == f"{3 + 5 * date} Jun 2024 10:50"
        expected = [*(shares[date].values * 100), (1 - float(shares.valid_fraction[date])) * 100]
        assert cells == [f"{value:.1f}" for value in expected]
    for meaning in style.meanings:
        assert f"{meaning.replace('_', ' ')} %" in page.text


def test_the_head_says_where_and_how(tmp_path):
    settings = '{"bands":"red green","halo_px":72}'
    made = {"model": "some-model", "model_sha256": "0f" * 32, "normalize": "lattice", "settings": settings}
    mask = make_mask().assign_attrs(made, xcloudmask_version="0.9")
    page = report(mask.assign_coords(platform="sentinel-2b"), tmp_path, title="My masks")
    for text in ("My masks", "some-model", "0f" * 32, "lattice", "halo_px = 72", "bands = red green", "xcloudmask 0.9"):
        assert text in page.text
    assert "60 x 40 pixels of 10 m (0.6 x 0.4 km)" in page.text
    assert "EPSG:32631, WGS 84 / UTM zone 31N" in page.text
    assert "x 600,000 to 600,600, y 5,399,600 to 5,400,000" in page.text
    assert re.search(r"4\.3602° E to 4\.3684° E, 48\.741\d° N to 48\.745\d° N", page.text)
    assert "4 dates, 3 Jun 2024 to 18 Jun 2024 (15 days)" in page.text
    assert "sentinel-2b" in page.text


def test_what_a_mask_does_not_say_is_not_made_up(tmp_path):
    mask = make_mask().drop_vars(["spatial_ref", "x", "y"])
    page = report(mask, tmp_path)
    assert "none: the masks have no CRS" in page.text
    assert page.text.count("the masks do not say") == 5
    assert "Degrees" not in page.text


def test_a_date_without_data_is_told_apart_from_clear_and_from_failed(tmp_path):
    mask = make_mask()
    mask[2] = NODATA
    page = report(mask.assign_coords(item_id=("time", [f"item-{n}" for n in range(4)])), tmp_path)
    assert "1 date without any data" in page.text
    assert "13 Jun 2024 10:50 (item-2)" in page.text
    assert page.figures()[2] == ["13 Jun 2024 10:50", "item-2", "", "", "", "", "100.0"]
    assert "cannot be read" not in page.text
    # Half of a date does not make a share of clear smaller: the share is that of the pixels with data.
    mask[:, :, :30], mask[:, :, 30:] = NODATA, 0
    assert report(mask, tmp_path).figures()[0][1:] == ["100.0", "0.0", "0.0", "0.0", "50.0"]


def test_codes_that_are_no_class(tmp_path):
    mask = make_mask(nodata=0)
    mask[1, :2, :5] = 9
    page = report(mask, tmp_path)
    assert "10 pixels with a code that is no class" in page.text
    valid = (mask[1] < 4).sum()
    assert page.figures()[1][1] == f"{float((mask[1] == 0).sum() / valid) * 100:.1f}"


def test_items_that_loading_left_out(tmp_path):
    cube = odc_dataset(shape=SHAPE, times=4).assign_attrs(skipped_items=["S2A_9: no file <b>"])
    assert "S2A_9: no file <b>" in report(make_mask(), tmp_path, image=cube).text
    page = report(make_mask().assign_attrs(skipped_items=["S2A_8: gone"]), tmp_path)
    assert "1 item left out" in page.text
    assert "S2A_8: gone" in page.text


def test_masks_and_stores_tell_what_loading_left_out(tmp_path):
    cube = odc_dataset(shape=SHAPE, times=2).assign_attrs(skipped_items=["S2A_9: no file"])
    cube.cloudmask.predict().cloudmask.to_zarr(tmp_path / "masks.zarr")
    assert "S2A_9: no file" in report(tmp_path / "masks.zarr", tmp_path).text


def test_clear_views(tmp_path):
    mask = make_mask(5, nodata=0)
    mask[:] = 1
    mask[0] = mask[3] = 0
    mask[4, :5] = 0
    mask[4, 5:] = NODATA  # clear, but of a small part
    page = report(mask, tmp_path)
    assert "Clear views 2 of 5 at most 15 days apart" in page.text
    assert "2024 2 clear of 5" in page.text
    mask[3, :20] = 1
    assert "Clear views 1 of 5" in report(mask, tmp_path).text
    assert "Clear views 2 of 5" in report(mask, tmp_path, clear_view=0.5).text


def test_dates_are_in_the_order_of_time_whatever_the_store_has(tmp_path):
    mask = make_mask(6)
    shuffled = mask.isel(time=[3, 0, 5, 1, 4, 2])
    first, second = report(mask, tmp_path), report(shuffled, tmp_path)
    assert first.figures() == second.figures()
    assert first.html == second.html


# shapes and orders of the cube


def test_one_date_without_time(tmp_path):
    page = report(make_mask()[0].drop_vars("time"), tmp_path)
    assert "1 date, without a time" in page.text
    assert len(page.figures()) == 1
    assert "Calendar" not in page.text
    assert "over time" not in page.text
    assert len(page.pictures()) == 1


def test_one_date_with_a_time(tmp_path):
    assert "1 date: 3 Jun 2024 10:50 UTC" in report(make_mask()[0], tmp_path).text


def test_times_that_are_no_dates(tmp_path):
    page = report(make_mask().assign_coords(time=[4, 3, 2, 1]), tmp_path)
    assert [row[0] for row in page.figures()] == ["4", "3", "2", "1"]
    assert "Calendar" not in page.text


def test_the_order_of_dims_and_a_missing_time_do_not_matter(tmp_path):
    mask = make_mask()
    assert report(mask, tmp_path).html == report(mask.transpose("x", "time", "y"), tmp_path).html
    times = mask.time.values.copy()
    times[1] = "NaT"
    assert "4 dates, without a time" in report(mask.assign_coords(time=times), tmp_path).text


@pytest.mark.parametrize("dim", ["y", "x"])
def test_pictures_have_north_up_and_east_right(tmp_path, dim):
    mask = make_mask()
    turned = mask.isel({dim: slice(None, None, -1)})
    first, second = (report(one, tmp_path).pictures() for one in (mask, turned))
    assert len(first) == 5
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_pictures_are_the_codes_in_the_colours_of_their_classes(tmp_path):
    mask = make_mask(2)
    pictures = report(mask, tmp_path).pictures()
    table = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (*STYLE.colours, "#9e9e9e")])
    for picture, codes in zip(pictures[1:], mask.values, strict=True):
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), table[np.minimum(codes, 4)])


def test_pixels_in_degrees_are_as_high_as_they_are(tmp_path):
    coords = grid_coords(SHAPE, geographic=True)
    y, x = list(coords)[:2]
    mask = xr.DataArray(make_mask()[0].values, dims=(y, x), coords=coords, attrs=mask_attrs(STYLE))
    page = report(mask, tmp_path)
    width, height = int(page.attributes("img", "width")[0]), int(page.attributes("img", "height")[0])
    assert height / width == pytest.approx(40 / 60 / np.cos(np.radians(48.8)), rel=0.01)
    assert re.search(r"3\.0000° E to 3\.0\d+° E", page.text)


# images


def test_images_stand_beside_the_masks_of_their_dates(tmp_path):
    mask = make_mask()
    cube = odc_dataset(shape=SHAPE, times=4)
    page = report(mask, tmp_path, image=cube.isel(time=[3, 1]))
    alts = page.attributes("img", "alt")
    assert [alt for alt in alts if alt.startswith("Image")] == [f"Image of {d} Jun 2024 10:50" for d in (8, 18)]
    assert len([alt for alt in alts if alt.startswith("Mask")]) == 4
    assert page.text.count("no image") == 2


def test_images_show_the_bands_north_up(tmp_path):
    mask = make_mask(1, shape=(64, 64))
    cube = odc_dataset(shape=(64, 64), times=1)
    for name in cube.data_vars:
        cube[name][:] = 100
        cube[name][:, :32] = 3000 if name == "red" else 100
    for image, codes in ((cube, mask), (cube.isel(y=slice(None, None, -1)), mask.isel(y=slice(None, None, -1)))):
        picture = np.asarray(report(codes, tmp_path, image=image).pictures()[0].convert("RGB")).astype(int)
        reddish = picture[..., 1] - picture[..., 0]  # without blue, red is shown as green
        assert reddish[4:28].min() > 100
        assert abs(reddish[36:]).max() < 30


def test_an_image_without_the_dates_or_elsewhere_is_refused(tmp_path):
    mask, cube = make_mask(), odc_dataset(shape=SHAPE, times=4)
    later = cube.assign_coords(time=cube.time + np.timedelta64(400, "D"))
    with pytest.raises(InputError, match="none of the dates"):
        write_report(mask, tmp_path / "a.html", image=later)
    with pytest.raises(InputError, match="entries in the mask"):
        write_report(mask, tmp_path / "a.html", image=cube.isel(x=slice(5)))
    with pytest.raises(InputError, match="different coordinates"):
        write_report(mask, tmp_path / "a.html", image=cube.assign_coords(x=cube.x + 500))
    with pytest.raises(BandNotFoundError):
        write_report(mask, tmp_path / "a.html", image=cube[["nir"]])
    assert not list(tmp_path.iterdir())


def test_an_image_that_cannot_be_read_costs_no_mask(tmp_path):
    def fail(block):
        raise OSError("gone")

    cube = odc_dataset(shape=SHAPE, times=4, chunks=20)
    broken = cube.copy()
    for name, band in cube.data_vars.items():
        lost = band.data[1:2].map_blocks(fail, dtype=band.dtype, meta=np.empty((0, 0, 0), band.dtype))
        broken[name] = band.copy(data=da.concatenate([band.data[:1], lost, band.data[2:]]))
    page = report(make_mask(), tmp_path, image=broken)
    assert page.text.count("no image") == 1
    assert len(page.pictures()) == 1 + 4 + 3


# what cannot be read


def test_a_date_that_cannot_be_read_is_told_and_counted_nowhere(tmp_path):
    mask = make_mask(chunks={"time": 1, "y": 20, "x": 20}, nodata=0)
    mask.cloudmask.to_zarr(tmp_path / "masks.zarr")
    chunk = tmp_path / "masks.zarr" / "cloud_mask" / "c" / "2" / "0" / "1"
    chunk.write_bytes(chunk.read_bytes()[:7])
    with pytest.warns(UserWarning, match=r"1 of 4 dates cannot be read.*13 Jun 2024"):
        page = report(tmp_path / "masks.zarr", tmp_path)
    whole = report(mask, tmp_path)
    assert [page.figures()[n] for n in (0, 1, 3)] == [whole.figures()[n] for n in (0, 1, 3)]
    assert page.figures()[2] == ["13 Jun 2024 10:50", "cannot be read"]
    assert "1 date cannot be read" in page.text
    assert "without any data" not in page.text
    assert "No data 0.0 %" in page.text


def test_nothing_can_be_read(tmp_path):
    mask = make_mask(chunks={"time": 2, "y": 20, "x": 20})
    mask.cloudmask.to_zarr(tmp_path / "masks.zarr")
    for chunk in (tmp_path / "masks.zarr" / "cloud_mask" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no chunk")
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ReadError, match="None of the 4 dates"):
        write_report(tmp_path / "masks.zarr", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"


# hostile text

SCRIPT = "</title></style><script>document.title='run'</script><img src=x onerror=alert(1)>\"'><svg onload=alert(2)>"


def hostile_mask():
    mask = make_mask(3).assign_attrs(
        model=SCRIPT,
        model_sha256=f"a{SCRIPT}",
        normalize=SCRIPT,
        settings='{"' + "<script>1</script>" + '":"' + "<b>" + '"}',
        processing=SCRIPT,
        xcloudmask_version=SCRIPT,
        skipped_items=[SCRIPT, "\u202eabc\x00\x1b[2J"],
    )
    mask[1] = NODATA
    texts = {"item_id": ("time", [SCRIPT] * 3), "platform": ("time", [f"sentinel{SCRIPT}"] * 3)}
    return mask.rename(SCRIPT).assign_coords(texts)


def test_hostile_text_stays_text(tmp_path):
    page = report(hostile_mask(), tmp_path, title=SCRIPT)
    assert not {"script", "iframe", "object", "form", "base"} & {tag for tag, _ in page.elements}
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
    assert all(src.startswith("data:image/") for src in page.attributes("img", "src"))
    assert {href for _, attrs in page.elements if (href := attrs.get("href"))} <= {"#gaps", "data:,"}
    assert page.text.count("document.title='run'") > 8
    for hidden in "\u202e\x00\x1b":
        assert hidden not in page.html
    head = page.html[: page.html.index("<style>")]
    policy = page.attributes("meta", "content")[0]
    assert "http-equiv" in head
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


@given(text=st.text(st.characters(codec=None, categories=None), max_size=40))
def test_any_text_is_text_again(text):
    class Reader(HTMLParser):
        found = ""
        title = None

        def handle_starttag(self, tag, attrs):
            assert tag == "p"
            self.title = dict(attrs)["title"]

        def handle_data(self, data):
            self.found += data

    reader = Reader()
    reader.feed(tag("p", text, title=text))
    reader.close()
    expected = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)
    # Spaces other than the common one are not printable for Python, but are seen.
    assert [a for a, b in zip(reader.found, expected, strict=True) if a != b and not a.isspace()] == []
    assert reader.title == reader.found
    reader.found.encode()


def test_html_is_made_by_tag_alone():
    assert clean(clean("<")) == "&amp;lt;"
    assert tag("p", tag("b", "<"), "<") == "<p><b>&lt;</b>&lt;</p>"
    assert isinstance(tag("p"), Html)
    assert len(clean("x" * 10_000)) < 2100


def test_the_csv_runs_in_no_spreadsheet():
    name = Name(position=0, label="a", stamp=None, item="=cmd()", platform="@x,\n\x1b[1m")
    rows = csv_text([Date(name=name, counts=(1, 0, 0, 1), nodata=2, unknown=0)], STYLE)
    assert rows.startswith("time,platform,item_id,clear,thick_cloud,thin_cloud,cloud_shadow,nodata,error\n")
    assert "'=cmd()" in rows
    assert "\"'@x,\n" in rows
    assert "\x1b" not in rows
    assert rows.endswith(",0.500000,0.000000,0.000000,0.500000,0.500000,\n")


def test_an_url_loses_its_secrets(tmp_path, monkeypatch):
    monkeypatch.setattr("xcloudmask.webreport._write.open_store", lambda store: make_mask())
    page = report("s3://user:word@bucket/masks.zarr?sig=secret", tmp_path)
    assert "secret" not in page.html
    assert "word@" not in page.html
    assert "masks.zarr" in page.text


# size and form


def test_the_page_is_bounded_however_long_the_series(tmp_path):
    mask = make_mask(3000, shape=(6, 6)).assign_coords(item_id=("time", ["S2A_31UDQ_20240603_0_L2A"] * 3000))
    mask = mask.assign_coords(time=mask.time[0].values + np.arange(3000) * np.timedelta64(1, "D"))
    path = write_report(mask, tmp_path / "report.html")
    page = Page(path)
    assert path.stat().st_size < 5e6
    assert len(page.figures()) == 2500
    assert "2,500 of 3,000 dates" in page.text
    assert "60 of 3,000 dates" in page.text
    assert len(page.pictures()) == 61
    assert "Each bar is the mean of 8 dates" in page.text


def test_pictures_of_noise_get_smaller_until_they_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("xcloudmask.webreport._pictures.BYTES_MAX", 150_000)
    mask = make_mask(12, shape=(256, 256))
    cube = odc_dataset(shape=(256, 256), times=12)
    path = write_report(mask, tmp_path / "report.html", image=cube)
    assert path.stat().st_size < 300_000
    assert {picture.size for picture in Page(path).pictures()[1:]} == {(128, 128)}
    assert f"One file of {path.stat().st_size / 1e6:.1f} MB" in Page(path).text


def test_the_same_masks_give_the_same_page(tmp_path):
    mask = make_mask(chunks={"time": 1, "y": 20, "x": 20})
    attrs = dict(mask.attrs)
    assert report(mask, tmp_path).html == report(mask.compute(), tmp_path).html
    assert mask.attrs.keys() == attrs.keys()


def test_progress_ends_at_its_total(tmp_path):
    seen = []
    report(make_mask(), tmp_path, image=odc_dataset(shape=SHAPE, times=2), on_progress=lambda *one: seen.append(one))
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@given(
    indices=hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 255)),
    colours=st.integers(1, 256),
)
def test_png(indices, colours):
    palette = [f"#{index:02x}{255 - index:02x}80" for index in range(colours)]
    indices = (indices.astype(int) % colours).astype(np.uint8)
    picture = Image.open(io.BytesIO(indexed_png(indices, palette)))
    picture.load()
    expected = np.stack([indices, 255 - indices, np.full_like(indices, 128)], axis=-1)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), expected)


# the chart and the calendar


def bars(html):
    """(x, width, [(y, height)]) of each bar."""
    found = []
    for group in re.findall(r'<g class="bar">(.*?)</g>', html):
        boxes = re.findall(r'x="([\d.]+)%" y="([\d.]+)" width="([\d.]+)%" height="([\d.]+)"', group)
        found.append((float(boxes[0][0]), float(boxes[0][2]), [(float(y), float(h)) for _, y, _, h in boxes]))
    return found


@given(
    counts=st.tuples(*(st.integers(0, 1000),) * 4),
    nodata=st.integers(1, 1000),
    days=st.lists(st.integers(1, 400), min_size=1, max_size=50),
)
def test_bars_fill_the_height_and_stand_where_time_puts_them(counts, nodata, days):
    first = np.datetime64("2015-01-01", "s")
    stamps = [first + np.timedelta64(int(day), "D") for day in np.cumsum([0, *days])]
    names = [Name(position=i, label=str(stamp), stamp=stamp, item="", platform="") for i, stamp in enumerate(stamps)]
    html = class_chart([Date(name=name, counts=counts, nodata=nodata, unknown=0) for name in names], STYLE)
    found = bars(html)
    assert len(found) == len(stamps)
    for _, _, boxes in found:
        assert sum(height for _, height in boxes) == pytest.approx(240, abs=0.1)
    assert all(x >= 0 and x + width <= 100.01 for x, width, _ in found)
    assert all(one[0] + one[1] <= other[0] + 0.01 for one, other in pairwise(found))
    if "side by side" not in html:
        at = np.array([x + width / 2 for x, width, _ in found])
        seconds = np.array(stamps).astype(float)
        expected = (seconds - seconds[0]) / (seconds[-1] - seconds[0])
        np.testing.assert_allclose((at - at[0]) / (at[-1] - at[0]), expected, atol=1e-3)


def test_dates_of_one_moment_stand_side_by_side():
    dates = make_dates(3, days=0)
    html = class_chart(dates, STYLE)
    assert "side by side" in html
    assert len({x for x, _, _ in bars(html)}) == 3


def test_each_bar_says_its_figures():
    html = class_chart(make_dates(2, counts=(3, 1, 0, 0), nodata=4), STYLE)
    assert html.count("clear 75.0 %, thick cloud 25.0 %, thin cloud 0.0 %, cloud shadow 0.0 % of the pixels") == 2
    assert html.count("no data 50.0 % of all") == 2


@pytest.mark.parametrize(("year", "days"), [(2023, 365), (2024, 366)])
def test_a_calendar_has_a_cell_for_each_day(year, days):
    dates = make_dates(1, start=f"{year}-02-28")
    html = calendars(dates, STYLE, view=0.8, fullest=4)
    empty = re.search(r'<path d="([^"]*)" class="empty">', html)[1]
    assert empty.count("z") == days - 1
    # 28 February: second row, 28th column.
    assert 'x="439.5" y="35.5"' in html
    assert "1 days with a date, 0 of them a clear view" in html


def test_a_day_is_as_its_clearest_date():
    (cloudy,), (clear,) = make_dates(1, counts=(0, 4, 0, 0)), make_dates(1, counts=(4, 0, 0, 0))
    html = calendars([cloudy, clear], STYLE, view=0.8, fullest=4)
    assert html.count('class="view"') == 1
    assert html.count("clear 100.0 %") == 1
    assert html.count("clear 0.0 %") == 1


# wrong use


def test_what_is_no_series_of_masks(tmp_path):
    target = tmp_path / "report.html"
    mask = make_mask()
    for wrong in (mask.astype("f4"), mask.drop_attrs(), mask.to_dataset(name="m")["m"].expand_dims("cloud_class")):
        with pytest.raises(NotACubeError):
            write_report(wrong, target)
    with pytest.raises(NotACubeError, match=r"isel\(band=0\)"):
        write_report(mask.expand_dims("band"), target)
    with pytest.raises(InputError, match="'time' has no entries"):
        write_report(mask[:0], target)
    with pytest.raises(ReadError, match="does not exist"):
        write_report(tmp_path / "none.zarr", target)
    assert not target.exists()


def test_wrong_arguments(tmp_path):
    mask = make_mask()
    for wrong in ({"clear_view": 2}, {"max_pictures": 0}, {"picture_px": -1}):
        with pytest.raises(ArgumentError):
            write_report(mask, tmp_path / "a.html", **wrong)
    for wrong in ({"clear_view": "0.8"}, {"max_pictures": 2.5}, {"picture_px": True}):
        with pytest.raises(ArgumentTypeError):
            write_report(mask, tmp_path / "a.html", **wrong)
    with pytest.raises(ArgumentError, match=r"\.html"):
        write_report(mask, tmp_path / "masks.zarr")
    with pytest.raises(WriteError):
        write_report(mask, tmp_path / "none" / "a.html")
    assert not list(tmp_path.iterdir())
