"""Clouds over a given image: geometry of shadows, truth, physics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudmask.errors import ArgumentError
from xcloudmask.simulate import CLOUD_KINDS, CloudLayer, Sun, add_clouds, cloud_layer, fractal_noise
from xcloudmask.simulate.clouds import THICK_ALBEDO, THIN_ALBEDO, View, cloud_truth

WAVES = (665.0, 560.0, 842.0)


def clear_image(shape=(3, 96, 96), level=0.15):
    rng = np.random.default_rng(5)
    return (level * (1 + 0.2 * rng.random(shape))).astype(np.float32)


def one_blob(shape=(96, 96)):
    tau = np.zeros(shape, np.float32)
    tau[40:50, 40:50] = 40.0
    return CloudLayer(optical_thickness=tau, height_m=300.0, depth_m=0.0, asymmetry=0.85)


class FixedLayer:
    """Make `add_clouds` use one known layer."""

    def __init__(self, monkeypatch, *layers):
        rest = list(layers)

        def draw(kind, size, **_):
            layer = rest.pop(0)
            tau = layer.optical_thickness
            wide = size(layer.height_m, layer.height_m + layer.depth_m)
            canvas = size.__self__
            pads = []
            for extent, window, along in zip(wide, tau.shape, canvas.shift_px(1000.0), strict=True):
                free = extent - window
                pads.append((free, 0) if along > 0 else (0, free))
            return replace(layer, optical_thickness=np.pad(tau, pads))

        monkeypatch.setattr("xcloudmask.simulate.clouds.draw_layer", draw)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    slope=st.floats(1.0, 5.0),
    stretch=st.floats(1.0, 8.0),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_noise_is_normalised_or_flat(height, width, slope, stretch, seed):
    field = fractal_noise((height, width), rng=np.random.default_rng(seed), slope=slope, stretch=stretch)
    assert field.shape == (height, width)
    assert field.dtype == np.float32
    assert np.isfinite(field).all()
    if field.any():
        assert abs(float(field.std()) - 1) < 1e-2
        assert abs(float(field.mean())) < 1e-2


def test_noise_has_the_slope_it_was_asked_for():
    fields = [fractal_noise((256, 256), rng=np.random.default_rng(seed), slope=3.0, outer_px=1e4) for seed in range(4)]
    power = np.mean([np.abs(np.fft.fft2(field)) ** 2 for field in fields], axis=0)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    low, high = (power[(k > a) & (k < b)].mean() for a, b in ((0.02, 0.03), (0.2, 0.3)))
    assert np.log(low / high) / np.log(10) == pytest.approx(3.0, abs=0.25)


def test_noise_is_periodic():
    field = fractal_noise((128, 128), rng=np.random.default_rng(0), slope=4.0)
    seam = np.abs(field[0] - field[-1]).mean()
    assert seam < 3 * np.abs(np.diff(field, axis=0)).mean()


@pytest.mark.parametrize("kind", CLOUD_KINDS)
def test_every_kind_gives_a_scene(kind):
    for seed in range(4):
        image = clear_image()
        scene = add_clouds(
            image, wavelengths_nm=WAVES, resolution_m=20.0, rng=np.random.default_rng(seed), kinds=[kind]
        )
        assert scene.image.shape == image.shape
        assert scene.image.dtype == np.float32
        assert np.isfinite(scene.image).all()
        assert scene.truth.dtype == np.uint8
        assert set(np.unique(scene.truth)) <= {0, 1, 2, 3}
        assert (scene.optical_thickness >= 0).all()
        assert (scene.sun_transmission <= 1 + 1e-6).all()


def test_same_seed_same_scene():
    first, second = (
        add_clouds(clear_image(), wavelengths_nm=WAVES, resolution_m=10.0, rng=np.random.default_rng(7))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.truth, second.truth)


@pytest.mark.parametrize(
    ("azimuth", "expected"), [(180.0, (-30, 0)), (0.0, (30, 0)), (90.0, (0, -30)), (270.0, (0, 30))]
)
def test_shadow_falls_away_from_the_sun(monkeypatch, azimuth, expected):
    FixedLayer(monkeypatch, one_blob())
    sun = Sun(zenith_deg=45.0, azimuth_deg=azimuth)
    scene = add_clouds(
        clear_image(), wavelengths_nm=WAVES, resolution_m=10.0, rng=np.random.default_rng(0), kinds=["cumulus"], sun=sun
    )
    cloud = np.argwhere(scene.truth == 1).mean(axis=0)
    shadow = np.argwhere(scene.truth == 3).mean(axis=0)
    np.testing.assert_allclose(shadow - cloud, expected, atol=1.5)


def test_shadow_darkens_the_near_infrared_most(monkeypatch):
    FixedLayer(monkeypatch, one_blob())
    image = clear_image()
    image[:, 0, 0] = 0.0
    scene = add_clouds(
        image,
        wavelengths_nm=WAVES,
        resolution_m=10.0,
        rng=np.random.default_rng(0),
        kinds=["cumulus"],
        sun=Sun(zenith_deg=45.0, azimuth_deg=180.0),
    )
    dark = scene.truth == 3
    ratio = (scene.image[:, dark] / image[:, dark]).mean(axis=1)
    assert (ratio < 0.75).all()
    assert ratio[2] < ratio[0] < ratio[1]


def test_clear_pixels_keep_their_values(monkeypatch):
    FixedLayer(monkeypatch, one_blob())
    image = clear_image()
    sun = Sun(zenith_deg=45.0, azimuth_deg=180.0)
    scene = add_clouds(
        image, wavelengths_nm=WAVES, resolution_m=10.0, rng=np.random.default_rng(0), kinds=["cumulus"], sun=sun
    )
    untouched = (scene.truth == 0) & (scene.sun_transmission > 0.9999)
    np.testing.assert_allclose(scene.image[:, untouched], image[:, untouched], rtol=1e-3)


def test_thick_cloud_is_bright_and_nearly_white(monkeypatch):
    FixedLayer(monkeypatch, one_blob())
    scene = add_clouds(
        clear_image(), wavelengths_nm=WAVES, resolution_m=10.0, rng=np.random.default_rng(0), kinds=["cumulus"]
    )
    inside = scene.image[:, 43:47, 43:47].mean(axis=(1, 2))
    assert (inside > 0.6).all()
    assert inside.max() / inside.min() < 1.2


def test_decks_can_fill_the_image():
    covers = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene = add_clouds(clear_image(), wavelengths_nm=WAVES, resolution_m=10.0, rng=rng, kinds=["stratus"])
        covers.append(((scene.truth == 1) | (scene.truth == 2)).mean())
    assert max(covers) > 0.99
    assert min(covers) < 0.99


def test_ice_absorbs_the_shortwave_infrared():
    layer = cloud_layer("cirrus", (64, 64), resolution_m=10.0, rng=np.random.default_rng(0))
    assert layer.ice
    clear = np.full((2, 64, 64), 0.02, np.float32)
    clear[1] = 0.4
    scene = add_clouds(
        clear, wavelengths_nm=(665, 2200), resolution_m=10.0, rng=np.random.default_rng(1), kinds=["cirrus"]
    )
    thick = scene.albedo > 0.1
    assert (scene.image[1, thick] < 0.4).all()
    assert (scene.image[0, thick] > 0.05).all()


def test_truth_thresholds():
    albedo = np.array([[0.0, THIN_ALBEDO, THICK_ALBEDO, 0.0, 0.9]], np.float32)
    sun = np.array([[1.0, 1.0, 1.0, 0.1, 0.1]], np.float32)
    assert cloud_truth(albedo, sun).tolist() == [[0, 2, 1, 3, 1]]


def test_bad_arguments_name_what_to_type():
    with pytest.raises(ArgumentError, match="one per band"):
        add_clouds(clear_image(), wavelengths_nm=(665,), resolution_m=10.0, rng=np.random.default_rng(0))
    with pytest.raises(ArgumentError, match="'cumulus'"):
        cloud_layer("nimbus", (8, 8), resolution_m=10.0, rng=np.random.default_rng(0))


def blob_at(height_m, *, tau=40.0, depth_m=0.0, ice=False):
    return replace(
        one_blob(), optical_thickness=one_blob().optical_thickness * np.float32(tau / 40), height_m=height_m,
        depth_m=depth_m, ice=ice,
    )  # fmt: skip


def scene_of(monkeypatch, *layers, image=None, waves=WAVES, **options):
    FixedLayer(monkeypatch, *layers)
    sun = options.pop("sun", Sun(zenith_deg=45.0, azimuth_deg=180.0))
    return add_clouds(
        clear_image() if image is None else image,
        wavelengths_nm=waves,
        resolution_m=10.0,
        rng=np.random.default_rng(0),
        kinds=["cumulus"] * len(layers),
        sun=sun,
        **options,
    )


def test_a_thicker_layer_is_brighter(monkeypatch):
    levels = [scene_of(monkeypatch, blob_at(300.0, tau=tau)).image[0, 45, 45] for tau in (0.0, 1.0, 5.0, 20.0, 100.0)]
    assert (np.diff(levels) > 0.01).all()


def test_the_view_moves_cloud_against_shadow(monkeypatch):
    # A satellite where the sun stands sees each cloud on its own shadow.
    scene = scene_of(monkeypatch, blob_at(300.0), view=View(zenith_deg=45.0, azimuth_deg=180.0))
    assert not (scene.truth == 3)[30:60, 30:60].sum() > 40
    scene = scene_of(monkeypatch, blob_at(300.0), view=View(zenith_deg=20.0, azimuth_deg=0.0))
    cloud, shadow = (np.argwhere(scene.truth == code).mean(axis=0) for code in (1, 3))
    np.testing.assert_allclose(shadow - cloud, (-30 * (1 + np.tan(np.radians(20))), 0), atol=1.5)


def test_a_shadow_does_not_wrap_around(monkeypatch):
    # 700 m put the shadow 70 px up: out of the window, and not in again at the other side.
    scene = scene_of(monkeypatch, blob_at(700.0))
    assert (scene.truth == 1).any()
    assert not (scene.truth == 3).any()


def test_thin_clouds_give_partial_shade_and_high_ones_soft_edges(monkeypatch):
    thin = scene_of(monkeypatch, blob_at(300.0, tau=1.0)).sun_transmission.min()
    thick = scene_of(monkeypatch, blob_at(300.0)).sun_transmission.min()
    assert thick < 0.05
    assert 0.5 < thin < 0.9
    steep = Sun(zenith_deg=1.0, azimuth_deg=180.0)
    low, high = (scene_of(monkeypatch, blob_at(h), sun=steep).sun_transmission for h in (300.0, 11_000.0))
    partial = [((field > 0.1) & (field < 0.9)).sum() for field in (low, high)]
    assert partial[1] > 1.5 * partial[0]


def test_the_cirrus_band_shows_only_high_cloud(monkeypatch):
    image = np.full((1, 96, 96), 0.002, np.float32)
    low, high = (
        scene_of(monkeypatch, blob_at(h, ice=h > 5000), image=image, waves=(1375.0,)).image[0]
        for h in (1000.0, 10_000.0)
    )
    assert low[45, 45] < 0.005
    assert high[45, 45] > 0.2
    assert (low <= 0.0021).all()


def test_absorption_grows_with_the_wavelength_and_with_ice(monkeypatch):
    waves = (842.0, 1610.0, 2200.0)
    water, ice = (scene_of(monkeypatch, blob_at(900.0, ice=ice), waves=waves).image[:, 45, 45] for ice in (False, True))
    assert water[0] > water[1] > water[2] > ice[2]
    assert ice[1] < 0.7 * water[1]


def test_high_cloud_is_colder(monkeypatch):
    image = np.full((1, 96, 96), 290.0, np.float32)
    tops = {
        (h, tau): scene_of(monkeypatch, blob_at(h, tau=tau), image=image, waves=(10_900.0,)).image[0]
        for h, tau in ((1000.0, 40.0), (9000.0, 40.0), (9000.0, 1.0))
    }
    assert tops[1000.0, 40.0][45, 45] == pytest.approx(290 - 6.5, abs=0.5)
    assert tops[9000.0, 40.0][45, 45] == pytest.approx(290 - 58.5, abs=0.5)
    assert 240 < tops[9000.0, 1.0][45, 45] < 285
    assert (tops[9000.0, 40.0][:30] == 290).all()


def test_high_cloud_shades_the_deck_below(monkeypatch):
    deck = replace(one_blob(), optical_thickness=np.full((96, 96), 20.0, np.float32), height_m=600.0)
    alone = scene_of(monkeypatch, deck).image[0, 15, 45]
    both = scene_of(monkeypatch, deck, blob_at(900.0)).image[0]
    assert both[15, 45] < 0.75 * alone
    assert both[80, 45] > 0.95 * alone


def test_most_decks_are_overcast():
    covers = [(np.isin(make(seed, "stratus").truth, (1, 2))).mean() for seed in range(24)]
    assert np.mean(np.array(covers) > 0.95) > 0.4


def make(seed, kind, shape=(3, 96, 96)):
    rng = np.random.default_rng(seed)
    return add_clouds(clear_image(shape), wavelengths_nm=WAVES, resolution_m=20.0, rng=rng, kinds=[kind])


def test_contrails_are_long_and_thin():
    layer = cloud_layer("contrail", (128, 128), resolution_m=20.0, rng=np.random.default_rng(4))
    assert layer.ice
    assert layer.height_m >= 8000
    assert 0.05 < layer.optical_thickness.max() < 10


def test_a_storm_has_a_thick_core_and_a_high_anvil():
    layer = cloud_layer("cumulonimbus", (128, 128), resolution_m=60.0, rng=np.random.default_rng(0))
    assert layer.anvil is not None
    assert layer.anvil.height_m > 6000
    assert layer.optical_thickness.max() > 40
    assert make(0, "cumulonimbus").top_height_m.max() > 6000


@pytest.mark.parametrize("zenith_deg", [-1.0, 90.0, float("nan")])
def test_nothing_stands_below_the_horizon(zenith_deg):
    with pytest.raises(ArgumentError, match="zenith_deg"):
        Sun(zenith_deg=zenith_deg, azimuth_deg=0.0)
    with pytest.raises(ArgumentError, match="zenith_deg"):
        View(zenith_deg=zenith_deg)


def test_no_layers_have_a_thickness_of_zero():
    clear = np.full((1, 24, 32), 0.2, np.float32)
    scene = add_clouds(clear, wavelengths_nm=[665], resolution_m=10.0, rng=np.random.default_rng(0), kinds=[])
    assert scene.optical_thickness.shape == (24, 32)
    assert not scene.optical_thickness.any()
