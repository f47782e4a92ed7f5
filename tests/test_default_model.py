"""The masks of the shipped models: overcast stays cloud, snow and sand stay clear, water is no shadow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import rioxarray  # noqa: F401 - registers .rio
import xarray as xr

import xcloudmask  # noqa: F401 - registers the accessor
from xcloudmask.simulate.clouds import add_clouds
from xcloudmask.simulate.surface import draw_surface
from xcloudmask.training.data import load_thumbnails
from xcloudmask.training.labels import CLOUD
from xcloudmask.training.predictor import predictor

BANDS = {"red": (650.0, 665.0, 680.0), "green": (543.0, 560.0, 578.0), "nir": (780.0, 842.0, 900.0)}
MODELS = ("default", "default-ensemble")


def cube(image: np.ndarray, resolution_m: float, *, level_known: bool) -> xr.Dataset:
    """A cube of DN; the scale is told or not."""
    side = image.shape[1]
    along = (np.arange(side) + 0.5) * resolution_m
    attrs = {"scale_factor": 1e-4, "add_offset": 0.0} if level_known else {}
    scaled = np.clip(np.round(image * 10_000), 1, 16_000).astype(np.uint16)
    bands = {name: (("y", "x"), band, {"nodata": 0, **attrs}) for name, band in zip(BANDS, scaled, strict=True)}
    return xr.Dataset(bands, coords={"y": 6e6 - along, "x": 5e5 + along}).rio.write_crs("EPSG:32633")


DECKS = 3


def decks(resolution_m: float, *, side: int = 512) -> Iterator[np.ndarray]:
    """Stratus decks that cover everything: reflectance."""
    found = 0
    for seed in range(100):
        rng = np.random.default_rng((seed, int(resolution_m)))
        ground = draw_surface((side, side), bands=tuple(BANDS.values()), resolution_m=resolution_m, rng=rng)
        scene = add_clouds(
            ground.reflectance,
            wavelengths_nm=(665.0, 560.0, 842.0),
            resolution_m=resolution_m,
            rng=rng,
            kinds=("stratus",),
        )
        if np.isin(scene.truth, (1, 2)).all():
            yield scene.image
            found += 1
        if found == DECKS:
            return
    raise AssertionError("too few decks of a hundred cover everything")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("level_known", [True, False])
@pytest.mark.parametrize("resolution_m", [10.0, 20.0, 40.0])
def test_centre_of_a_deck_stays_cloud(resolution_m, level_known, model):
    shares = []
    for image in decks(resolution_m):
        mask = cube(image, resolution_m, level_known=level_known).cloudmask.predict(model=model).values
        shares.append(np.isin(mask[96:-96, 96:-96], (1, 2)).mean())
    assert np.mean(shares) >= 0.95, shares


@pytest.fixture(scope="module")
def thumbnails(data_dir):
    return load_thumbnails(data_dir, split="val")


def cloud_share(patches, *, model, level_known):
    """Mean share of cloud in the masks of some patches."""
    predict = predictor(model)
    masks = [predict(replace(patch, level_known=level_known)) for patch in patches]
    return float(np.mean([np.isin(mask, (1, 2)).mean() for mask in masks]))


@pytest.mark.parametrize(
    ("model", "level_known"),
    [
        ("default", True),
        ("default", False),
        ("default-ensemble", True),
        ("default-ensemble", False),
    ],
)
def test_fully_cloudy_thumbnails_are_cloud(thumbnails, level_known, model):
    cloudy = [patch for patch in thumbnails if (patch.allowed == CLOUD).all()]
    assert len(cloudy) > 10
    assert cloud_share(cloudy, model=model, level_known=level_known) >= 0.90


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("level_known", [True, False])
def test_clear_snow_and_sand_are_not_cloud(thumbnails, level_known, model):
    bright = [patch for patch in thumbnails if patch.is_clear and patch.image[:2].mean() > 3000]
    assert len(bright) == 5, "four of snow, one of sand"
    assert cloud_share(bright, model=model, level_known=level_known) < 0.15
