"""Training samples with any bands: what is in them, that they repeat, and what is left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.errors import ArgumentError, InputError
from xcloudmask.models.openbands import OFFSET, THERMAL_K
from xcloudmask.models.sensei import describe
from xcloudmask.normalize import level_vector, statistics, zscore
from xcloudmask.sensors import SENSORS, get_sensor
from xcloudmask.training.bandfeed import AnyBands, FixedBands, measure_whole
from xcloudmask.training.bandstream import BandStream, BandWindows, window_of
from xcloudmask.training.bandwindow import BandWindow, choose_bands, photographed, relief, snow, water
from xcloudmask.training.data import ALL_BANDS, Patch
from xcloudmask.training.labels import ANY, CLEAR, CLOUD, NOT_CLOUD, THICK
from xcloudmask.training.options import Mixture

S2 = "sentinel-2-l1c"
ROLES = tuple(band.role for band in get_sensor(S2).bands)


def a_patch(name, *, bands=ALL_BANDS, allowed=CLEAR, sensor=S2, source="a", side=96):
    rng = np.random.default_rng(len(name) + side)
    sets = np.full((side, side), allowed, np.uint8)
    if allowed != CLEAR:
        sets[: side // 2] = NOT_CLOUD
    return Patch(
        name=name,
        source=source,
        split="train",
        image=rng.integers(500, 3000, (len(bands), side, side)).astype(np.uint16),
        valid=np.ones((side, side), bool),
        allowed=sets,
        resolution_m=20.0,
        bands=bands,
        sensor=sensor,
    )


def windows(*, seed=0, most=13, size_px=64, **mixture):
    return BandWindows(
        labelled=[a_patch("cloudy", allowed=CLOUD), a_patch("four", bands=ALL_BANDS[:4], allowed=THICK, source="b")],
        thumbnails=[a_patch("rgb", bands=("red", "green", "blue"), allowed=CLOUD)],
        backgrounds=[a_patch("clear"), a_patch("oli", sensor="landsat-oli-c2-l1")],
        mixture=Mixture(size_px=size_px, **mixture),
        most=most,
        seed=seed,
    )


def heat(**changes):
    """A window with two bands of light and one of heat."""
    bands = [get_sensor("landsat-oli-c2-l1").candidates(role)[0] for role in ("red", "swir16", "lwir11")]
    image = np.full((3, 64, 64), 0.2, np.float32)
    image[2] = 290.0
    given = {
        "image": image,
        "wavelengths_nm": tuple(band.wavelength_nm for band in bands),
        "roles": tuple(band.role for band in bands),
        "valid": np.ones((64, 64), bool),
        "allowed": np.full((64, 64), CLEAR, np.uint8),
        "resolution_m": 30.0,
    }
    return BandWindow(**given | changes)


@given(st.lists(st.sampled_from(ROLES), min_size=3, max_size=13, unique=True), st.integers(3, 13), st.integers(0, 999))
def test_three_or_more_bands_are_chosen_each_once(roles, most, seed):
    chosen = choose_bands(roles, np.random.default_rng(seed), most=most, whole=0.3)
    assert min(3, most) <= len(chosen) == len(set(chosen)) <= min(most, len(roles))
    assert set(chosen) <= set(range(len(roles)))


def test_red_green_and_blue_alone_come_often():
    rng = np.random.default_rng(0)
    sets = [frozenset(ALL_BANDS[i] for i in choose_bands(ALL_BANDS, rng, most=13, whole=0.3)) for _ in range(400)]
    assert sets.count(frozenset({"red", "green", "blue"})) > 30
    assert sets.count(frozenset(ALL_BANDS)) > 90


def test_all_bands_come_as_often_as_is_asked():
    alone = dict.fromkeys(("real", "thumbnails", "clouded", "pasted"), 0.0) | {"sensors": ("sentinel-2-l1c",)}
    for share, fewest, most in ((0.0, 0, 8), (1.0, 40, 40)):
        drawn = windows(landscapes=1.0, all_bands=share, **alone)
        assert fewest <= sum(len(drawn(index)[0].roles) == 13 for index in range(40)) <= most


def test_a_sample_depends_on_seed_and_number_alone():
    one, other = (BandStream(windows(seed=4), feed=AnyBands(most=13), length=8) for _ in range(2))
    for index in (3, 0, 7):
        for mine, same in zip(one[index], other[index], strict=True):
            assert torch.equal(mine, same)
    assert not torch.equal(one[1][0], one[2][0])


def test_every_kind_of_sample_is_finite_and_labelled():
    labels = 0
    for kind in ("real", "thumbnails", "clouded", "landscapes", "pasted"):
        shares = dict.fromkeys(("real", "thumbnails", "clouded", "landscapes", "pasted"), 0.0) | {kind: 1.0}
        drawn = windows(seed=1, **shares)
        for index in range(8):
            window, _ = drawn(index)
            assert np.isfinite(window.image).all()
            assert len(window.image) == len(window.wavelengths_nm) == len(window.roles) >= 3
            labels += int((window.allowed != ANY).sum())
    assert labels > 40 * 64 * 64 * 0.3


def test_simulated_scenes_are_of_many_sensors_and_of_none():
    drawn = windows(real=0, thumbnails=0, clouded=0, pasted=0, landscapes=1)
    found = [drawn(index)[0] for index in range(60)]
    assert any(set(one.roles) == {""} for one in found)
    assert any(one.thermal.any() for one in found)
    assert any(one.resolution_m > 200 for one in found)
    assert len({band for one in found for band in one.wavelengths_nm}) > 60


def test_a_sensor_that_is_left_out_is_seen_nowhere():
    hidden = {band.wavelength_nm for name in ("landsat-oli-c2-l1", "landsat-oli-c2-l2") for band in SENSORS[name].bands}
    hidden -= {b.wavelength_nm for n, s in SENSORS.items() if n.split("-c2")[0] != "landsat-oli" for b in s.bands}
    names = ("landsat-oli-c2-l1", "landsat-oli-c2-l2")
    assert hidden
    drawn = windows(left_out=names, landscapes=0.5)
    assert not any(hidden & set(drawn(index)[0].wavelengths_nm) for index in range(60))
    assert any(hidden & set(windows(landscapes=0.5)(index)[0].wavelengths_nm) for index in range(60))
    assert [patch.name for patch in drawn.backgrounds] == ["clear"]


def test_sensors_that_do_not_exist_are_refused():
    for table in ({"sensors": ("sentinel-9",)}, {"left_out": ("sentinel-9",)}):
        with pytest.raises(ArgumentError, match="sentinel-9"):
            windows(**table)


def test_nothing_to_draw_from_is_said():
    with pytest.raises(ArgumentError, match="nothing to draw"):
        windows(real=0, thumbnails=0, clouded=0, pasted=0, landscapes=0)


def test_any_bands_are_fed_with_their_descriptors():
    window = heat(valid=np.arange(64)[:, None] + np.zeros(64) > 3)
    image, side = AnyBands(most=5, scored=False)(window)
    assert image.shape == (5, 64, 64)
    np.testing.assert_allclose(
        image[:, 10, 10], [0.2 + OFFSET, 0.2 + OFFSET, 290 / THERMAL_K + OFFSET, 0, 0], rtol=1e-6
    )
    assert not image[:, :4].any()
    np.testing.assert_allclose(side[:3, :3], describe(window.wavelengths_nm).numpy())
    assert side[:, 3].tolist() == [1, 1, 1, 0, 0]
    assert not side[3:].any()


def test_any_bands_are_fed_as_z_scores_with_their_level():
    rng = np.random.default_rng(2)
    noisy = heat().image * rng.uniform(0.9, 1.1, (3, 64, 64)).astype(np.float32)
    window = heat(image=noisy, valid=np.arange(64)[:, None] + np.zeros(64) > 3)
    image, side = AnyBands(most=4)(window)
    np.testing.assert_allclose(image[:3, window.valid].mean(axis=1), 0.0, atol=1e-4)
    np.testing.assert_allclose(image[:3, window.valid].std(axis=1), 1.0, atol=1e-4)
    assert not image[:, :4].any()
    pixels = noisy / np.array([1.0, 1.0, THERMAL_K], np.float32)[:, None, None]
    level = level_vector(statistics(pixels, window.valid), scale=(1.0,) * 3, offset=(0.0,) * 3)
    assert side[:, 4].tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(side[:3, 5:].ravel(), level[1:], atol=1e-4)
    assert not AnyBands(most=4)(window, level_known=False)[1][:, 4:].any()
    plain = [AnyBands(most=4, mixed=0.0, level_jitter=0.0)(window, rng=np.random.default_rng(i)) for i in range(2)]
    assert np.array_equal(plain[0][0], image)
    other = AnyBands(most=4, mixed=1.0, level_jitter=0.4)(window, rng=np.random.default_rng(1))
    assert abs(float(other[0][0, window.valid].mean())) > 0.01
    assert not np.array_equal(other[1][:, 5:], side[:, 5:])


def test_bands_that_a_window_lacks_are_given_up():
    window = window_of(a_patch("four", bands=("blue", "green", "red", "nir")))
    image, level = FixedBands(roles=ROLES)(window)
    there = [ROLES.index(role) for role in window.roles]
    lacking = [index for index in range(len(ROLES)) if index not in there]
    assert not image[lacking].any()
    np.testing.assert_allclose(image[there], zscore(window.image, None, statistics(window.image, None)), atol=1e-4)
    pixels = np.zeros((len(ROLES), 96, 96), np.float32)
    pixels[there] = window.image
    scale = tuple(float(index in there) for index in range(len(ROLES)))
    known = level_vector(statistics(pixels, None), scale=scale, offset=(0.0,) * len(ROLES))
    np.testing.assert_allclose(level, known, atol=1e-5)
    assert not FixedBands(roles=ROLES)(window, level_known=False)[1].any()


def test_percentiles_of_the_training_data_put_every_band_between_0_and_1():
    found = [window_of(a_patch(name)) for name in ("one", "another")]
    numbers = measure_whole("percentile", found, ("red", "nir"))
    image, level = FixedBands(roles=("red", "nir"), normalizer=numbers)(found[0])
    assert image.min() == 0.0
    assert image.max() == 1.0
    assert 0.4 < image.mean() < 0.6
    assert not level.any()
    with pytest.raises(ArgumentError, match="'coastal'"):
        measure_whole("percentile", found, ("coastal",))


@pytest.mark.parametrize("vary", [snow, water])
def test_snow_and_water_know_the_wavelength(vary):
    changed = [vary(heat(), np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.image[2].min() > 240 for one in changed)
    darker = [one.image[1].mean() < one.image[0].mean() for one in changed]
    assert np.mean(darker) > 0.8


def test_slopes_and_faults_leave_temperatures_alone():
    window = heat()
    assert np.array_equal(relief(window, np.random.default_rng(0)).image[2], window.image[2])
    seen = [photographed(window, np.random.default_rng(seed)) for seed in range(20)]
    assert all(abs(float(one.image[2].mean()) - 290) < 10 for one in seen)
    assert any(not one.valid.all() for one in seen)
    assert all((one.allowed[~one.valid] == ANY).all() for one in seen)


def test_more_snow_where_short_wave_infrared_tells_it_from_cloud():
    shares = dict.fromkeys(("real", "thumbnails", "pasted"), 0.0)
    plain, more = (windows(seed=9, **shares, snow=0.0, swir_snow=extra) for extra in (0.0, 1.0))
    changed: dict[bool, list[bool]] = {True: [], False: []}
    for index in range(80):
        one, other = plain(index)[0], more(index)[0]
        if one.roles == other.roles and one.roles[0]:
            changed[bool({"swir16", "swir22"} & set(one.roles))].append(not np.array_equal(one.image, other.image))
    assert min(len(found) for found in changed.values()) > 5
    assert all(changed[True])
    assert not any(changed[False])


@pytest.mark.parametrize("kind", ["thumbnails", "clouded", "pasted"])
def test_a_guessed_near_infrared_is_given_up_half_of_the_time(kind):
    rgbn = ("red", "green", "blue", "nir")
    clear, cloudy = (replace(a_patch("x", bands=rgbn, allowed=sets), nir_guessed=True) for sets in (CLEAR, CLOUD))
    shares = dict.fromkeys(("real", "thumbnails", "clouded", "landscapes", "pasted"), 0.0) | {kind: 1.0}
    drawn = BandWindows(
        labelled=[],
        thumbnails=[clear, cloudy],
        backgrounds=[],
        mixture=Mixture(size_px=64, many_sensors=True, **shares),
        roles=("red", "green", "nir"),
        seed=3,
    )
    found = [drawn(index)[0].roles for index in range(60)]
    assert set(found) == {("red", "green", "nir"), ("red", "green")}
    assert 15 < found.count(("red", "green")) < 45


def test_a_patch_of_an_unknown_sensor_is_no_window():
    with pytest.raises(InputError, match="not known"):
        window_of(a_patch("lost", sensor=""))
