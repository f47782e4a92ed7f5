import numpy as np
import pytest

from xcloudmask.errors import ArgumentError
from xcloudmask.simulate import BIOMES, Sun, draw_surface
from xcloudmask.simulate.patterns import cast_shadow, hillshade, parcels

RED, GREEN, NIR = (650.0, 665.0, 680.0), (542.0, 560.0, 578.0), (842.0, 865.0, 885.0)
SWIR, THERMAL = (1565.0, 1610.0, 1655.0), (10_600.0, 10_895.0, 11_190.0)


def draw(biome, seed=0, *, bands=(RED, GREEN, NIR, THERMAL), resolution_m=10.0, shape=(64, 80)):
    return draw_surface(shape, bands=bands, resolution_m=resolution_m, rng=np.random.default_rng(seed), biome=biome)


@pytest.mark.parametrize("resolution_m", [3.0, 10.0, 60.0])
@pytest.mark.parametrize("biome", BIOMES)
def test_surfaces_are_sound(biome, resolution_m):
    for seed in range(4):
        ground = draw(biome, seed, resolution_m=resolution_m)
        image, heat = ground.reflectance[:3], ground.reflectance[3]
        assert ground.reflectance.shape == (4, 64, 80)
        assert ground.reflectance.dtype == np.float32
        assert np.isfinite(ground.reflectance).all()
        assert image.min() >= 0
        assert image.max() <= 1.2
        assert image.std() > 0
        assert 235 < heat.min() <= heat.max() < 355
        assert (heat <= ground.temperature_k.max() + 0.1).all()
        assert ground.biome == biome


def test_the_same_seed_gives_the_same_ground_and_others_differ():
    first, again, other = (draw("coast", seed).reflectance for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.01


def test_all_biomes_are_drawn():
    rng = np.random.default_rng(0)
    drawn = {draw_surface((16, 16), bands=[RED], resolution_m=30.0, rng=rng).biome for _ in range(120)}
    assert drawn == set(BIOMES)


def mean(biome, band):
    return np.mean([draw(biome, seed, bands=(band,)).reflectance.mean() for seed in range(8)])


def test_biomes_look_their_part():
    assert mean("forest", NIR) > 3 * mean("forest", RED)
    assert mean("snow", RED) > 0.4
    assert mean("snow", SWIR) < 0.5 * mean("snow", RED)
    assert mean("salt_flat", RED) > 0.25
    assert mean("desert", RED) > mean("desert", GREEN)
    assert mean("ocean", NIR) < 0.15
    assert mean("desert", THERMAL) > mean("ocean", THERMAL) > mean("snow", THERMAL)


def test_slopes_towards_the_sun_are_brighter():
    ridge = 300.0 * np.sin(np.arange(64) * 2 * np.pi / 64).astype(np.float32) * np.ones((8, 1), np.float32)
    light = hillshade(ridge, resolution_m=30.0, zenith_deg=50.0, azimuth_deg=90.0)
    rises, falls = light[0, 5], light[0, 32]  # the sun is in the east: ground that falls to the east faces it
    assert falls > 1.2
    assert rises < 0.8
    shade = cast_shadow(20 * ridge, resolution_m=30.0, zenith_deg=70.0, azimuth_deg=90.0)
    assert shade[0, 17:30].min() > 0.9
    assert shade.min() == 0


def test_the_sun_is_handed_on():
    sun = Sun(zenith_deg=33.0, azimuth_deg=140.0)
    ground = draw_surface((16, 16), bands=[RED], resolution_m=10.0, rng=np.random.default_rng(0), sun=sun)
    assert ground.sun == sun


def test_parcels_are_areas():
    number = parcels((128, 128), length_px=30.0, width_px=12.0, rng=np.random.default_rng(0))
    same = (number[1:] == number[:-1]).mean()
    assert 0.8 < same < 0.99
    assert 20 < len(np.unique(number)) < 200


@pytest.mark.parametrize(
    "wrong",
    [{"shape": (2, 2)}, {"bands": []}, {"resolution_m": 0.0}, {"biome": "moon"}, {"bands": [(300.0, 310.0, 320.0)]}],
)
def test_wrong_arguments(wrong):
    arguments = {"shape": (16, 16), "bands": [RED], "resolution_m": 10.0} | wrong
    with pytest.raises(ArgumentError):
        draw_surface(arguments.pop("shape"), rng=np.random.default_rng(0), **arguments)
