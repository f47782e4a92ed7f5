"""Pictures: the right colours in the right place, laziness, and errors before anything is drawn."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from cubes import odc_dataset  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

from xcloudmask._pictures import (  # noqa: E402
    colour_codes,
    hex_to_rgb,
    outline,
    over_colours,
    share_table,
    stretch,
)
from xcloudmask.classes import NODATA_COLOUR, STYLES, mask_attrs  # noqa: E402
from xcloudmask.errors import (  # noqa: E402
    ArgumentError,
    ArgumentTypeError,
    BandNotFoundError,
    InputError,
    NotACubeError,
    WriteError,
)
from xcloudmask.viz import plot, save_picture  # noqa: E402
from xcloudmask.viz._series import open_series  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def make_mask(cube, *, style="4-class"):
    template = next(iter(cube.data_vars.values()))
    codes = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), template.shape)
    return xr.DataArray(codes, dims=template.dims, coords=template.coords, attrs=mask_attrs(STYLES[style]))


def shown(axis):
    return np.asarray(axis.images[0].get_array())


def test_class_colours():
    for style in STYLES.values():
        codes = np.array([[*range(len(style.meanings)), 255, 77]], np.uint8)
        colours = colour_codes(codes, style)[0].tolist()
        assert colours == [list(hex_to_rgb(colour)) for colour in (*style.colours, NODATA_COLOUR, NODATA_COLOUR)]


def test_stretch_leaves_invalid_pixels_out():
    band = np.arange(100.0).reshape(10, 10)
    band[0, 0] = 1e9
    valid = np.ones((10, 10), bool)
    valid[0, 0] = False
    image = stretch([band] * 3, valid)
    assert image[0, 0].tolist() == list(hex_to_rgb(NODATA_COLOUR))
    assert image[9, 9, 0] == 255
    assert 165 < image[5, 0, 0] < 180
    assert (stretch([band] * 3, np.zeros((10, 10), bool)) == hex_to_rgb(NODATA_COLOUR)).all()


def test_one_date_is_drawn_beside_its_image():
    cube = odc_dataset(bands=("red", "green", "blue"), times=1)
    mask = make_mask(cube)
    axes = plot(mask, rgb=cube)
    assert axes.shape == (1, 2)
    np.testing.assert_array_equal(shown(axes[0, 1]), colour_codes(mask.values[0], STYLES["4-class"]))
    assert shown(axes[0, 0]).shape == (64, 96, 3)
    labels = [text.get_text() for text in axes[0, 0].figure.legends[0].get_texts()]
    assert labels == ["clear", "thick cloud", "thin cloud", "cloud shadow", "nodata"]
    assert "2024-06-03 10:50" in axes[0, 0].get_title()
    assert "clear" in axes[0, 1].get_title()


def test_a_reference_is_drawn_last():
    cube = odc_dataset(times=1)
    mask, truth = make_mask(cube), make_mask(cube) * 0
    axes = plot(mask, rgb=cube, reference=truth)
    assert axes.shape == (1, 3)
    np.testing.assert_array_equal(shown(axes[0, 2]), colour_codes(truth.values[0], STYLES["4-class"]))
    assert axes[0, 2].get_title() == "reference: 100% clear"
    with pytest.raises(ArgumentError, match="to_style"):
        plot(mask, reference=make_mask(cube, style="valid-invalid"))


def test_several_dates_are_columns():
    cube = odc_dataset(times=8)
    assert plot(make_mask(cube), rgb=cube).shape == (6, 2)
    assert plot(make_mask(cube), time=[0, -1]).shape == (2, 1)
    assert plot(make_mask(cube), rgb=cube, time=7).shape == (1, 2)


def test_north_is_up():
    cube = odc_dataset(times=1, y_ascending=True)
    mask = make_mask(cube)
    np.testing.assert_array_equal(shown(plot(mask)[0, 0]), colour_codes(mask.values[0, ::-1], STYLES["4-class"]))


def test_large_masks_are_thinned_out_before_they_are_computed():
    seen = []

    def record(block):
        seen.append(block.shape)
        return block

    cube = odc_dataset(times=1, shape=(64, 96))
    mask = make_mask(cube)
    blocks = da.from_array(mask.values, chunks=(1, 8, 8))
    thin_first = blocks.map_blocks(record, dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    axes = plot(mask.copy(data=thin_first), max_px=16)
    np.testing.assert_array_equal(shown(axes[0, 0]), colour_codes(mask.values[0, ::6, ::6], STYLES["4-class"]))
    assert len(seen) <= 8 * 12


def test_nothing_is_drawn_twice_and_existing_axes_are_used():
    cube = odc_dataset(times=2, chunks={"time": 1})
    _, axes = plt.subplots(2, 2)
    drawn = plot(make_mask(cube).chunk(), rgb=cube, axes=axes)
    assert drawn is axes
    assert all(len(axis.images) == 1 for axis in axes.flat)
    with pytest.raises(ArgumentError, match="4 panels"):
        plot(make_mask(cube), rgb=cube, axes=plt.subplots()[1])


@pytest.mark.parametrize("bands", [("nir", "red", "green"), ("B02", "B03", "B04", "B08"), ("red",)])
def test_composites(bands):
    cube = odc_dataset(bands=bands, times=1)
    assert shown(plot(make_mask(cube), rgb=cube)[0, 0]).shape == (64, 96, 3)


def test_all_nodata_and_no_time():
    cube = odc_dataset(times=None)
    mask = make_mask(cube)
    axes = plot(xr.full_like(mask, 255), rgb=cube * 0)
    assert axes[0, 1].get_title() == "no data"


def test_save_picture(tmp_path):
    cube = odc_dataset(times=2)
    before = plt.get_fignums()
    path = save_picture(make_mask(cube), tmp_path / "mask.png", rgb=cube)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["mask.png"]
    assert plt.get_fignums() == before
    with pytest.raises(WriteError, match=r"nowhere/mask\.png"):
        save_picture(make_mask(cube), tmp_path / "nowhere" / "mask.png")
    with pytest.raises(WriteError, match=r"mask\.xyz"):
        save_picture(make_mask(cube), tmp_path / "mask.xyz")
    assert [file.name for file in tmp_path.iterdir()] == ["mask.png"]


def test_errors_come_before_anything_is_computed():
    cube = odc_dataset(times=2, chunks={"time": 1})
    mask = make_mask(cube).chunk()
    with dask.config.set(scheduler=lambda *args, **kwargs: pytest.fail("computed")):
        with pytest.raises(NotACubeError):
            plot(cube["red"])
        with pytest.raises(InputError):
            plot(mask, rgb=cube.isel(x=slice(5)))
        with pytest.raises(NotACubeError, match="same time steps"):
            plot(mask.isel(time=0, drop=True), rgb=cube)
        with pytest.raises(BandNotFoundError, match="rename"):
            plot(mask, rgb=cube.rename(red="a", green="b", nir="c"))
        with pytest.raises(ArgumentError, match="2 dates"):
            plot(mask, time=2)
        with pytest.raises(ArgumentTypeError, match="time="):
            plot(mask, time=["2024"])
        with pytest.raises(ArgumentError, match="max_px"):
            plot(mask, max_px=0)


def test_a_mask_of_one_date_finds_its_image_in_a_series():
    cube = odc_dataset(times=4)
    mask = make_mask(cube)
    picture = shown(plot(mask.isel(time=2), rgb=cube)[0, 0])
    np.testing.assert_array_equal(picture, shown(plot(mask, rgb=cube, time=2)[0, 0]))
    assert (picture != shown(plot(mask, rgb=cube, time=1)[0, 0])).any()


def test_a_mask_of_some_dates_finds_its_images():
    cube = odc_dataset(times=5)
    mask = make_mask(cube)
    some = plot(mask.isel(time=[3, 1]), rgb=cube)
    for row, position in enumerate((3, 1)):
        whole = plot(mask, rgb=cube, time=position)
        np.testing.assert_array_equal(shown(some[row, 0]), shown(whole[0, 0]))
        assert some[row, 0].get_title() == whole[0, 0].get_title()
    late = cube.assign_coords(time=cube.time + np.timedelta64(1, "ms"))
    np.testing.assert_array_equal(shown(plot(mask.isel(time=3), rgb=late)[0, 0]), shown(some[0, 0]))


def test_an_image_of_another_date_is_refused():
    cube = odc_dataset(times=4)
    mask = make_mask(cube)
    with pytest.raises(InputError, match="no image of 2024-06-18"):
        plot(mask, rgb=cube.isel(time=slice(3)))
    with pytest.raises(InputError, match=r"of 2024-06-08.*drop_vars"):
        plot(mask.isel(time=0), rgb=cube.isel(time=1))
    twice = cube.isel(time=[0, 1, 1, 2])
    with pytest.raises(InputError, match="2 images of 2024-06-08"):
        plot(mask.isel(time=1), rgb=twice)
    with pytest.raises(InputError, match="no dates"):
        plot(mask.drop_vars("time"), rgb=cube.isel(time=slice(3)).drop_vars("time"))


def test_an_image_without_time_goes_with_every_date():
    cube = odc_dataset(times=3)
    composite = cube.median("time")
    axes = plot(make_mask(cube), rgb=composite)
    assert axes.shape == (3, 2)
    np.testing.assert_array_equal(shown(axes[0, 0]), shown(axes[2, 0]))


def test_a_composite_is_drawn_alone():
    cube = odc_dataset(times=3)
    axes = plot(cube.median("time"))
    assert axes.shape == (1, 1)
    np.testing.assert_array_equal(shown(axes[0, 0]), shown(plot(make_mask(cube), rgb=cube.median("time"))[0, 0]))
    assert cube.cloudmask.plot().shape == (3, 1)
    with pytest.raises(NotACubeError, match="rgb=cube"):
        plot(cube, rgb=cube)


def test_facets_wrap_and_a_choice_is_told():
    cube = odc_dataset(times=8)
    mask = make_mask(cube)
    axes = plot(mask, rgb=cube)
    figure = axes.flat[0].figure
    assert figure.get_suptitle() == "6 of 8 dates"
    assert [axis.get_title()[:10] for axis in axes[:, 0]][::5] == ["2024-06-03", "2024-07-08"]
    assert axes[0, 0].get_subplotspec().get_gridspec().get_geometry() == (4, 3)
    everything = plot(mask, time="all", col_wrap=5)
    assert everything.shape == (8, 1)
    assert everything[0, 0].get_subplotspec().get_gridspec().get_geometry() == (2, 5)
    assert everything.flat[0].figure.get_suptitle() == ""
    assert len(everything.flat[0].figure.axes) == 8
    with pytest.raises(ArgumentError, match="col_wrap"):
        plot(mask, col_wrap=0)


def test_image_and_mask_stand_beside_or_above_each_other():
    cube = odc_dataset(times=2)
    mask = make_mask(cube)
    for layout, one_row in (("beside", True), ("stacked", False)):
        axes = plot(mask, rgb=cube, layout=layout)
        left, right = (axis.get_subplotspec() for axis in axes[1])
        assert (left.rowspan == right.rowspan) == one_row
        assert (left.colspan == right.colspan) != one_row
    with pytest.raises(ArgumentError, match="layout='above'"):
        plot(mask, rgb=cube, layout="above")


def test_a_tint_lets_the_image_through():
    cube = odc_dataset(bands=("red", "green", "blue"), times=1)
    mask = make_mask(cube)
    image = shown(plot(mask, rgb=cube)[0, 0]).astype(float)
    tinted = shown(plot(mask, rgb=cube, layout="overlay", opacity=0.25)[0, 0])
    codes = mask.values[0]
    clear = np.isin(codes, (0, 255))
    np.testing.assert_array_equal(tinted[clear], image[clear])
    red = np.array(hex_to_rgb(over_colours(STYLES["4-class"])[1]))
    np.testing.assert_allclose(tinted[codes == 1], 0.75 * image[codes == 1] + 0.25 * red, atol=0.51)
    legend = plot(mask, rgb=cube, layout="overlay")[0, 0].figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["thick cloud", "thin cloud", "cloud shadow"]
    for wrong in ({"rgb": None}, {"opacity": 1.5}, {"opacity": "half"}):
        with pytest.raises(ArgumentError):
            plot(mask, **{"rgb": cube, "layout": "overlay"} | wrong)


def test_borders_lie_inside_the_clouds_and_not_at_the_edge():
    codes = np.zeros((40, 40), np.uint8)
    codes[10:20, 10:20] = 1
    codes[30:, 30:] = 3
    drawn = outline(np.zeros((40, 40, 3), np.uint8), codes, STYLES["4-class"], width_px=2).any(axis=-1)
    assert not drawn[codes == 0].any()
    assert drawn[10:20, 10:20].sum() == 100 - 36
    assert not drawn[32:, 32:].any()
    assert drawn[30:32, 30:].all()


@pytest.mark.parametrize("style", list(STYLES))
@pytest.mark.parametrize("layout", ["auto", "overlay", "contours"])
def test_every_style_in_every_layout(style, layout, tmp_path):
    cube = odc_dataset(times=2)
    path = save_picture(make_mask(cube, style=style), tmp_path / "mask.png", rgb=cube, layout=layout)
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_shares_get_a_panel_for_each_class(dtype):
    cube = odc_dataset(times=2)
    whole, nodata = (100, 255) if dtype == "uint8" else (1.0, np.nan)
    values = np.random.default_rng(0).uniform(0, whole, (2, 4, 64, 96)).astype(dtype)
    values[:, :, 0] = nodata
    names = ["clear", "thick_cloud", "$ \\alpha $", "<b>\n\n" + "x" * 100]
    shares = xr.DataArray(
        values, dims=("time", "cloud_class", "y", "x"), coords=cube.red.coords | {"cloud_class": names}
    )
    axes = plot(shares, rgb=cube)
    assert axes.shape == (2, 5)
    assert (shown(axes[0, 1])[0] == hex_to_rgb(NODATA_COLOUR)).all()
    table = share_table()
    expected = table[np.rint(values[0, 1, 1:].astype("f4") / np.float32(whole) * 255).astype(int)]
    np.testing.assert_allclose(shown(axes[0, 2])[1:], expected, atol=2)
    mean = np.nanmean(np.where(values[0, 0] > whole, np.nan, values[0, 0].astype(float))) / whole
    assert axes[0, 1].get_title() == f"clear: {mean:.0%}"
    axes.flat[0].figure.canvas.draw()  # a title that looks like a formula is no formula
    assert len(axes.flat[0].figure.axes) == 11  # with the colour bar
    with pytest.raises(ArgumentError, match="beside"):
        plot(shares, rgb=cube, layout="overlay")
    with pytest.raises(ArgumentError, match="reference"):
        plot(shares, reference=make_mask(cube))


def test_one_band_far_too_dark_does_not_tint_the_image():
    rng = np.random.default_rng(0)
    good = rng.normal(8000, 400, (100, 100))
    bad = good.copy()
    bad[:3] = rng.uniform(1, 4000, (3, 100))  # 3 %: what a failed atmospheric correction leaves
    image = stretch([good, good, bad], np.ones((100, 100), bool))[3:].astype(int)
    assert np.abs(image[..., 2] - image[..., 0]).mean() < 30  # 63 between percentiles 1 and 98


@given(
    count=st.integers(1, 30),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    max_px=st.integers(1, 50),
    pixels=st.integers(50, 2000),
)
def test_series_keep_to_their_limits(count, rows, columns, max_px, pixels):
    codes = np.zeros((count, rows, columns), np.uint8)
    mask = xr.DataArray(codes, dims=("time", "y", "x"), attrs=mask_attrs(STYLES["4-class"]))
    series = open_series(mask, rgb=None, time=None, max_px=max_px, pixels=pixels)
    height, width = series.shape
    assert 1 <= max(height, width) <= max_px
    assert len(series.positions) * height * width <= max(pixels, count)
    assert sum(1 for _ in series.frames()) == count


def test_dates_of_one_chunk_are_computed_together_and_no_more():
    cube = odc_dataset(times=7)
    codes = make_mask(cube)
    calls = []

    def record(block):
        calls.append(block.shape[0])
        return block

    lazy = da.from_array(codes.values, chunks=(3, 64, 96)).map_blocks(
        record, dtype="u1", meta=np.empty((0, 0, 0), "u1")
    )
    frames = open_series(codes.copy(data=lazy), rgb=None, time=None, max_px=100).frames()
    first = next(frames)
    assert sum(calls) == 3
    np.testing.assert_array_equal(first.codes, codes.values[0])
    rest = list(frames)
    assert sum(calls) == 7
    np.testing.assert_array_equal(rest[-1].codes, codes.values[-1])
