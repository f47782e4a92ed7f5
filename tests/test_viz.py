"""Pictures: the right colours in the right place, laziness, and errors before anything is drawn."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from cubes import odc_dataset  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

from xcloudmask._pictures import colour_codes, hex_to_rgb, stretch  # noqa: E402
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
