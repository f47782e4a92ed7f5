"""Animations: every date, exact class colours, whole files, bounded sizes, and pages that work in a browser."""

import html
import re

import dask
import numpy as np
import pytest
import xarray as xr

image_module = pytest.importorskip("PIL.Image")

from browser import needs_chromium, page_after  # noqa: E402
from cubes import odc_dataset  # noqa: E402

import xcloudmask  # noqa: E402
from xcloudmask._pictures import colour_codes, hex_to_rgb, over_colours  # noqa: E402
from xcloudmask.classes import NODATA_COLOUR, STYLES, mask_attrs  # noqa: E402
from xcloudmask.errors import ArgumentError, InputError, NotACubeError, WriteError  # noqa: E402
from xcloudmask.viz import _animate, animate  # noqa: E402

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"


def make_mask(cube, *, style="4-class"):
    template = next(iter(cube.data_vars.values()))
    codes = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), template.shape)
    lookup = np.array(STYLES[style].code_of_class, np.uint8)
    codes[codes < 4] = lookup[codes[codes < 4]]
    return xr.DataArray(codes, dims=template.dims, coords=template.coords, attrs=mask_attrs(STYLES[style]))


def gif_frames(path):
    with image_module.open(path) as image:
        assert image.format == "GIF"
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
    return frames


def find(picture, part):
    """Position of a part in a picture, by its first row."""
    rows, columns = part.shape[:2]
    for top in range(picture.shape[0] - rows + 1):
        for left in range(picture.shape[1] - columns + 1):
            if (picture[top, left : left + columns] == part[0]).all():
                return top, left
    return None


@pytest.mark.parametrize("style", list(STYLES))
def test_a_gif_has_every_date_in_exact_colours(style, tmp_path):
    cube = odc_dataset(times=3, shape=(240, 250))
    mask = make_mask(cube, style=style)
    path = animate(mask, tmp_path / "masks.gif", rgb=cube, fps=4)
    assert [file.name for file in tmp_path.iterdir()] == ["masks.gif"]
    frames = gif_frames(path)
    assert len(frames) == 3
    with image_module.open(path) as image:
        assert image.info["duration"] == 250
        assert image.info["loop"] == 0
    for frame, codes in zip(frames, mask.values, strict=True):
        colours = colour_codes(codes, STYLES[style])
        top, left = find(frame, colours)
        np.testing.assert_array_equal(frame[top : top + 240, left : left + 250], colours)
        image = frame[top : top + 240, left - 256 : left - 6]  # 6 px between panels
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100
        assert (frame[:20].min(axis=-1) < 64).any()  # the date
        legend = {tuple(colour) for colour in frame[top + 240 :].reshape(-1, 3).tolist()}
        assert {hex_to_rgb(colour) for colour in STYLES[style].colours} | {hex_to_rgb(NODATA_COLOUR)} <= legend


def test_small_and_oblong_pixels_are_enlarged_to_their_shape(tmp_path):
    cube = odc_dataset(times=2, shape=(20, 30), geographic=True)
    (frame, _) = gif_frames(animate(make_mask(cube), tmp_path / "masks.gif"))
    assert frame.shape[1] == 240 + 12
    # At 48.8 degrees north a degree of longitude has two thirds of the metres of one of latitude.
    assert 20 * 8 * 1.4 < frame.shape[0] - 100 < 20 * 8 * 1.7


def test_shares_and_images_move_too(tmp_path):
    cube = odc_dataset(times=2)
    shares = xr.DataArray(
        np.random.default_rng(0).integers(0, 101, (2, 4, 64, 96)).astype(np.uint8),
        dims=("time", "cloud_class", "y", "x"),
        coords=cube.red.coords | {"cloud_class": ["clear", "thick_cloud", "thin_cloud", "cloud_shadow"]},
    )
    assert len(gif_frames(animate(shares, tmp_path / "shares.gif", rgb=cube))) == 2
    assert len(gif_frames(animate(cube, tmp_path / "images.gif"))) == 2
    assert "100 percent" in animate(shares, rgb=cube).html


def test_a_page_needs_nothing_else(tmp_path):
    cube = odc_dataset(times=3)
    path = animate(make_mask(cube), tmp_path / "masks.html", rgb=cube)
    page = path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["masks.html"]
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?(?!data:)\w+:", page)
    assert "http" not in page
    assert page.count("data:image/png;base64,") == page.count("data:image/jpeg;base64,") == 3


def test_jupyter_gets_a_frame_of_its_own():
    shown = animate(make_mask(odc_dataset(times=2)))
    assert repr(shown).startswith("<Animation of 2 dates")
    frame = shown._repr_html_()
    assert frame.count("<") == 2  # an iframe, and its end
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == shown.html


def test_long_series_get_smaller_pictures(monkeypatch):
    monkeypatch.setattr(_animate, "PIXELS_MAX", 20_000)
    cube = odc_dataset(times=12)
    mask = make_mask(cube)
    sizes, real = [], _animate.facet_of

    def record(frame, series, **options):
        sizes.append(series.shape)
        return real(frame, series, **options)

    monkeypatch.setattr(_animate, "facet_of", record)
    animate(mask, rgb=cube)
    assert len(sizes) == 12
    assert sum(2 * height * width for height, width in sizes) <= 20_000


def test_errors_come_before_anything_is_computed(tmp_path):
    cube = odc_dataset(times=2, chunks={"time": 1})
    mask = make_mask(cube).chunk()
    with dask.config.set(scheduler=lambda *args, **kwargs: pytest.fail("computed")):
        for wrong in ({"fps": 0}, {"fps": float("nan")}, {"fps": True}, {"layout": "stacked"}, {"layout": "overlay"}):
            with pytest.raises(ArgumentError):
                animate(mask, tmp_path / "masks.gif", **wrong)
        with pytest.raises(ArgumentError, match=r"'\.gif' or '\.html'"):
            animate(mask, tmp_path / "masks.mp4")
        with pytest.raises(NotACubeError, match="plot"):
            animate(mask.isel(time=0))
        with pytest.raises(InputError):
            animate(mask, rgb=cube.isel(time=[0]))
        with pytest.raises(NotACubeError):
            animate(cube["red"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["masks.gif", "masks.html"])
def test_a_failure_leaves_the_old_file(name, tmp_path):
    cube = odc_dataset(times=3)
    mask = make_mask(cube)
    path = tmp_path / name
    path.write_text("old")

    def fail(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 2:
            raise RuntimeError("the disk is gone")
        return block

    broken = mask.chunk(time=1)
    broken = broken.copy(data=broken.data.map_blocks(fail, dtype="u1", meta=np.empty((0, 0, 0), "u1")))
    with pytest.raises(RuntimeError, match="disk is gone"):
        animate(broken, path)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert path.read_text() == "old"
    with pytest.raises(WriteError, match="nowhere"):
        animate(mask, tmp_path / "nowhere" / name)


@needs_chromium
def test_the_slider_and_the_button_move_the_page(tmp_path):
    cube = odc_dataset(times=3)
    page = animate(make_mask(cube), rgb=cube, fps=50).html
    found = page_after(
        page,
        tmp_path,
        """
        const images = [...document.querySelectorAll("img")];
        out.count = images.length;
        out.drawn = images.every(image => image.complete && image.naturalWidth === 96);
        out.shown = images[0].getBoundingClientRect().width > 300;
        out.first = document.getElementById("date").textContent;
        const before = images.map(image => image.src);
        const slider = document.getElementById("slider");
        slider.value = 2; slider.dispatchEvent(new Event("input"));
        out.last = document.getElementById("date").textContent;
        out.changed = images.every((image, place) => image.src !== before[place]);
        out.legend = document.querySelector(".legend").textContent;
        document.getElementById("play").click(); out.playing = timer !== null;
        document.getElementById("play").click(); out.paused = timer === null;
        """,
    )
    assert found == {
        "count": "2",
        "drawn": "true",
        "shown": "true",
        "first": "2024-06-03 10:50, 1 of 3",
        "last": "2024-06-13 10:50, 3 of 3",
        "changed": "true",
        "legend": "clearthick cloudthin cloudcloud shadownodata",
        "playing": "true",
        "paused": "true",
    }


@needs_chromium
def test_hostile_names_stay_text_in_the_page(tmp_path):
    cube = odc_dataset(times=2)
    shares = xr.DataArray(
        np.zeros((2, 1, 64, 96), np.uint8),
        dims=("time", "cloud_class", "y", "x"),
        coords=cube.red.coords | {"cloud_class": [HOSTILE]},
    )
    page = animate(shares).html
    assert HOSTILE not in page
    found = page_after(
        page, tmp_path, "out.title = document.title; out.text = document.querySelector('figcaption').textContent;"
    )
    assert found == {"title": "Cloud masks", "text": f"{HOSTILE[:40]}: 0%"}


def test_the_accessor_animates():
    mask = make_mask(odc_dataset(times=2))
    assert mask.cloudmask.animate().html == xcloudmask.animate(mask).html
    assert over_colours(STYLES["4-class"])[1] not in mask.cloudmask.animate().html
