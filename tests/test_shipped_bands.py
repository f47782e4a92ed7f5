"""The models that are shipped for other bands than red, green and near infrared, on scenes that no training drew."""

import json

import numpy as np
import pytest

import xcloudmask
from xcloudmask.errors import BandNotFoundError
from xcloudmask.evaluate import confusion, pool, scores, sets_from_labels
from xcloudmask.models.registry import WEIGHTS_DIR, get_spec
from xcloudmask.sensors import get_sensor
from xcloudmask.simulated import simulated_scene

SEEDS = (1001, 1002)


def cloud_oa(model, sensor, **options):
    counts = []
    for seed in SEEDS:
        cube, truth = simulated_scene(get_sensor(sensor), bands=None, seed=seed, size_px=192)
        mask = xcloudmask.predict(cube, model=model, sensor=sensor, **options).values
        counts += [confusion(codes, sets_from_labels(true)) for codes, true in zip(mask, truth, strict=True)]
    return scores(pool(counts)).cloud_oa


@pytest.mark.parametrize(
    ("sensor", "least"),
    [("landsat-etm-c2-l1", 0.8), ("sentinel-2-l2a", 0.8), ("planetscope-8b", 0.75), ("sentinel-3-slstr-l1b", 0.6)],
)
def test_any_bands_masks_scenes_of_sensors(sensor, least):
    assert cloud_oa("any-bands", sensor) > least


def test_any_bands_knows_clouds_in_three_bands():
    assert cloud_oa("any-bands", "sentinel-2-l2a", bands=["B04", "B03", "B02"]) > 0.75
    assert cloud_oa("any-bands", "landsat-etm-c2-l1", bands=["B1", "B2", "B3"]) > 0.8


@pytest.mark.parametrize("model", ["kappa-s2", "percentile-s2"])
def test_all_bands_of_sentinel_2(model):
    assert get_spec(model).normalization == {"kappa-s2": "zscore", "percentile-s2": "percentile"}[model]
    for sensor in ("sentinel-2-l1c", "sentinel-2-l2a"):  # Level-2A has no cirrus band
        assert cloud_oa(model, sensor) > 0.75


@pytest.mark.parametrize("model", ["kappa-s2", "percentile-s2"])
def test_bands_that_are_not_there_are_given_up_on_purpose(model):
    cube, _ = simulated_scene(get_sensor("sentinel-2-l2a"), bands=("red", "green", "blue", "nir"), seed=1, size_px=64)
    with pytest.raises(BandNotFoundError, match="swir16"):
        xcloudmask.predict(cube, model=model, sensor="sentinel-2-l2a")
    mask = xcloudmask.predict(cube, model=model, sensor="sentinel-2-l2a", bands=_given_up(cube))
    assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}


def _given_up(cube):
    """All that a cube of four bands does not have."""
    roles = get_spec("kappa-s2").bands
    names = {get_sensor("sentinel-2-l2a").find(name).role: name for name in cube.data_vars}
    return {role: names.get(role) for role in roles}


@pytest.mark.parametrize("model", ["any-bands", "kappa-s2", "percentile-s2"])
def test_cards_tell_sources_and_failures(model):
    card = json.loads((WEIGHTS_DIR / f"{model}.json").read_text())
    assert card["sources"]
    assert card["licence"] == "Apache-2.0"
    assert card["known_failures"]
    assert card["intended"]
    assert card["training"]["command"] == f"xcloudmask train {model} --data DIR"
    assert (WEIGHTS_DIR / card["weights"]).stat().st_size < 6e6
