"""Red, green and near infrared from the stream of many sensors; the level only where no band is given up."""

from dataclasses import replace

import numpy as np
import pytest
from cubes import odc_dataset
from patches import patch, small_stream, tiny_config, write_data

import xcloudmask
from xcloudmask.errors import ModelError
from xcloudmask.models.ensemble import combine
from xcloudmask.models.loading import load_network
from xcloudmask.simulate import simulate_scene
from xcloudmask.training.bandfeed import AnyBands, FixedBands
from xcloudmask.training.bandruns import make_band_stream
from xcloudmask.training.bandstream import window_of
from xcloudmask.training.options import Mixture
from xcloudmask.training.pools import load_pools, make_stream
from xcloudmask.training.predictor import predict_patch
from xcloudmask.training.start import find_start
from xcloudmask.training.train import train_model
from xcloudmask.training.validate import measure

S2 = "sentinel-2-l2a"
RGN = ("red", "green", "nir")
KINDS = ("real", "thumbnails", "clouded", "landscapes", "pasted")


def masks(model, *, nir):
    """Codes of one cube, with its scale and without."""
    cube = odc_dataset(shape=(64, 64), times=1)
    bands = None if nir else {"nir": None}
    return [xcloudmask.predict(cube, model=model, bands=bands, scale=scale) for scale in (1e-4, None)]


def test_a_model_that_wants_all_bands_for_the_level_does_without_it_where_one_is_given_up(tiny_model):
    known, unknown = masks(tiny_model, nir=False)
    assert (known != unknown).any(), "the level must matter to this network"
    strict = replace(tiny_model, level_complete=True)
    for mask in masks(strict, nir=False):
        np.testing.assert_array_equal(mask, unknown)
        assert '"level":"unknown"' in mask.attrs["settings"]
    for mask, expected in zip(masks(strict, nir=True), masks(tiny_model, nir=True), strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_patches_are_measured_as_cubes_are_masked(tiny_model):
    strict = replace(tiny_model, level_complete=True)
    without = replace(patch(1, nir=False), level_known=True)
    known, unknown = (predict_patch(strict, without, level_known=level) for level in (True, False))
    np.testing.assert_array_equal(known, unknown)
    assert (predict_patch(tiny_model, without, level_known=True) != unknown).any()


def test_an_ensemble_does_as_its_strictest_member(tiny_model):
    strict = replace(tiny_model, level_complete=True)
    both = combine([tiny_model, strict], name="both")
    assert both.level_complete
    known, unknown = masks(both, nir=False)
    np.testing.assert_array_equal(known, unknown)
    with pytest.raises(ModelError, match="level_complete"):
        replace(both, level_complete=False)


@pytest.mark.parametrize(("bands", "told"), [(["B04", "B03", "B02"], "unknown"), (["B04", "B03", "B08"], "known")])
def test_a_model_of_any_bands_wants_one_of_infrared_for_the_level(bands, told):
    cube = simulate_scene(S2, size_px=64, times=1)
    plain = cube.drop_attrs()  # no scale
    known, unknown = (xcloudmask.predict(one, model="any-bands", bands=bands, sensor=S2) for one in (cube, plain))
    assert f'"level":"{told}"' in known.attrs["settings"]
    assert '"level":"unknown"' in unknown.attrs["settings"]
    assert bool((known == unknown).all()) == (told == "unknown")


def test_the_feed_of_any_bands_does_so_too():
    window = window_of(replace(patch(1), sensor=S2))
    red, green, _ = window.wavelengths_nm
    visible = replace(window, wavelengths_nm=(red, green, (460.0, 490.0, 520.0)))
    strict, plain = (AnyBands(most=3, level_complete=complete) for complete in (True, False))
    assert strict(window)[1][0, 4] == plain(window)[1][0, 4] == plain(visible)[1][0, 4] == 1.0
    assert not strict(visible)[1][:, 4:].any()


def stream_of(folder, *, length=60, **mixture):
    config = tiny_config()
    options = Mixture(size_px=64, many_sensors=True, **mixture)
    config = replace(config, mixture=options, data=replace(config.data, holdout_every=0))
    return make_band_stream(load_pools(folder, config), config, length=length)


def test_samples_of_many_sensors_have_three_bands_and_lose_the_level_with_one(tmp_path):
    stream = stream_of(write_data(tmp_path), level_complete=True, level_dropped=0.0, nir_dropped=0.4)
    seen = {(bool(image[2].any()), bool(level[0])) for image, level, _, _ in map(stream.__getitem__, range(60))}
    assert seen == {(True, True), (False, False)}
    assert {image.shape[0] for image, *_ in map(stream.__getitem__, range(4))} == {3}


def test_sensors_without_one_of_the_bands_are_not_simulated(tmp_path):
    every = stream_of(write_data(tmp_path))
    assert "sentinel-2-l1c" in every.windows._sensors
    named = stream_of(None, sensors=("planetscope-8b",))
    window, _ = named.windows(0)
    assert window.roles == RGN
    assert [round(centre) for _, centre, _ in window.wavelengths_nm] == [665, 565, 865]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_sample_shows_only_bands_of_the_network(kind, tmp_path):
    shares = dict.fromkeys(KINDS, 0.0) | {kind: 1.0}
    stream = stream_of(write_data(tmp_path), **shares)
    for index in range(10):
        window, _ = stream.windows(index)
        assert set(window.roles) <= set(RGN)


def test_more_snow_is_drawn_where_it_is_wanted(tmp_path):
    folder = write_data(tmp_path)
    only = {"landscapes": 1.0} | dict.fromkeys(KINDS[:3] + KINDS[4:], 0.0)

    def brightness(**mixture):
        stream = stream_of(folder, clear=1.0, **only, **mixture)
        return np.mean([float(stream.windows(index)[0].image[0].mean()) for index in range(30)])

    assert brightness(snowscapes=1.0) > 1.5 * brightness()


def test_the_feed_keeps_the_level_of_a_part_of_the_bands_to_itself():
    whole = window_of(replace(patch(1), sensor="sentinel-2-l1c"))
    part = whole.picked([0, 1])
    strict, plain = (FixedBands(roles=RGN, level_complete=complete) for complete in (True, False))
    assert strict(whole)[1][0] == plain(whole)[1][0] == plain(part)[1][0] == 1.0
    assert not strict(part)[1].any()


def test_the_stream_of_three_bands_does_so_too():
    levels = {}
    for complete in (True, False):
        mixture = Mixture(size_px=64, level_complete=complete, level_dropped=0.0, nir_dropped=0.5)
        stream = small_stream(mixture=mixture)
        levels[complete] = [
            (bool(image[2].any()), bool(level[0])) for image, level, *_ in (stream[i] for i in range(40))
        ]
    assert (False, True) in levels[False]
    assert (False, True) not in levels[True]
    assert (True, True) in levels[True]


def test_what_is_held_out_is_measured_as_the_engine_will(tiny_model):
    net = load_network(tiny_model, fold=False)
    without = [replace(patch(seed, nir=False), level_known=True) for seed in (1, 2)]
    unknown = measure(net, [replace(one, level_known=False) for one in without])
    assert measure(net, without, level_complete=True) == pytest.approx(unknown, nan_ok=True)
    assert measure(net, without) != pytest.approx(unknown, nan_ok=True)


@pytest.mark.parametrize("many", [False, True])
def test_a_model_may_want_it_though_it_was_trained_without(many, tmp_path):
    config = tiny_config(name="after", steps=1)
    options = replace(config.mixture, many_sensors=many)
    config = replace(config, model=replace(config.model, level_complete=True), mixture=options)
    data = write_data(tmp_path / "data")
    spec = xcloudmask.ModelSpec.from_card(train_model(config, data=data, out=tmp_path / "out"))
    assert spec.level_complete
    pools = load_pools(data, config)
    stream = (
        make_band_stream(pools, config, length=1) if many else make_stream(pools, mixture=options, seed=0, length=1)
    )
    assert not stream.windows.mixture.level_complete if many else not stream.mixture.level_complete


def test_it_is_on_the_card_and_a_fine_tuning_keeps_it(tmp_path):
    config = tiny_config(name="many", steps=2)
    options = replace(config.mixture, many_sensors=True, level_complete=True)
    card = train_model(replace(config, mixture=options), data=write_data(tmp_path / "data"), out=tmp_path / "many")
    spec = xcloudmask.ModelSpec.from_card(card)
    assert (spec.bands, spec.optional_bands, spec.level, spec.level_complete) == (RGN, ("nir",), True, True)
    assert find_start(str(card)).mixture(Mixture()).level_complete
    more = train_model(tiny_config(name="more", steps=1), out=tmp_path / "more", start=card)
    assert xcloudmask.ModelSpec.from_card(more).level_complete
