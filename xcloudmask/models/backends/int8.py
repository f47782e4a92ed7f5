"""Post-training quantisation to int8: weights and activations of the wide convolutions, on simulated scenes.

Nothing is stored: the model is quantised when it is loaded, always on the same scenes, which takes some seconds. The
method is that of the package nncf: ranges of the activations from the scenes, weights per channel, biases corrected
(Nagel et al. (2019), arXiv:1906.04721, section 4.2).

Convolutions of few channels are left as they are: they hold the detail at full resolution, and carry little of the
work. With all layers in int8, the default model changes a label in 70 instead of one in 130.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require
from xcloudmask._sensor import Band, Sensor
from xcloudmask.errors import ModelError
from xcloudmask.models.backends.openvino_runner import no_telemetry
from xcloudmask.models.spec import ModelSpec
from xcloudmask.normalize import level_vector, rescale, standardised, statistics, zscore

__all__ = ["calibration_tiles", "quantised"]

Floats = npt.NDArray[np.float32]

_THIN = 40
"""Convolutions with fewer channels than this, in or out, stay as they are."""

_SENSORS = ("sentinel-2-l2a", "landsat-oli-c2-l1", "sentinel-2-l1c", "landsat-oli-c2-l2", "planetscope-8b", "modis-09")
_SCENES_PER_SENSOR = 6
_TILE_PX = 256
_COVERS = (0.0, 0.3, 0.7)


def quantised(model: Any, spec: ModelSpec) -> Any:
    """Quantise a model of OpenVINO.

    Parameters
    ----------
    model
        The network, in float32.
    spec
        What it takes.

    Returns
    -------
    openvino.Model

    Raises
    ------
    MissingPackageError
        nncf is not installed.
    ModelError
        No sensor that can be simulated has the bands of the model.
    """
    with no_telemetry():
        nncf: Any = require("nncf", extra="int8")
    tiles = calibration_tiles(spec)
    # Its progress bars are for people; what a command writes is for the next one.
    with redirect_stdout(sys.stderr), _quiet(logging.getLogger("nncf")):
        return nncf.quantize(
            model,
            nncf.Dataset(tiles),
            subset_size=len(tiles),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=_thin(model), validate=False),
        )


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """It lists each layer that is left as it is."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _thin(model: Any) -> list[str]:
    """Names of the layers that stay as they are: thin convolutions, and what works on vectors."""
    names = []
    for layer in model.get_ordered_ops():
        if layer.get_type_name() == "MatMul":
            names.append(layer.get_friendly_name())
        elif layer.get_type_name() == "Convolution":
            outputs, inputs = layer.input(1).get_source_output().get_partial_shape().get_min_shape()[:2]
            if min(outputs, inputs) < _THIN:
                names.append(layer.get_friendly_name())
    return names


def calibration_tiles(spec: ModelSpec) -> list[tuple[Floats, ...]]:
    """Draw the scenes that ranges are taken from, and normalise them as the engine does.

    Parameters
    ----------
    spec
        The model.

    Returns
    -------
    list of tuple
        (1, band, y, x) and, where the model takes it, the level (1, 1 + 2 * bands). Always the same.

    Raises
    ------
    ModelError
        No sensor that can be simulated has the bands of the model.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> tiles, level = calibration_tiles(get_spec("default"))[0]
    >>> tiles.shape, level.shape
    ((1, 3, 256, 256), (1, 7))
    """
    from xcloudmask.sensors import get_sensor

    sensors = [sensor for sensor in map(get_sensor, _SENSORS) if all(sensor.find(band) for band in spec.bands)]
    if not sensors:
        raise ModelError(
            f"Model {spec.name!r} takes {', '.join(spec.bands)}. precision='int8' is calibrated on simulated scenes of "
            f"{', '.join(_SENSORS)}, and none of them has all these bands. Type: precision='auto'."
        )
    return [_tile(spec, sensor, seed) for seed in range(_SCENES_PER_SENSOR) for sensor in sensors]


def _tile(spec: ModelSpec, sensor: Sensor, seed: int) -> tuple[Floats, ...]:
    from xcloudmask.simulate.dates import SceneSettings, draw_date, draw_ground

    bands = tuple(_found(sensor, name) for name in spec.bands)
    finest, coarsest = spec.resolution_m
    settings = SceneSettings(
        sensor=sensor,
        bands=bands,
        resolution_m=float(np.clip(min(band.resolution_m for band in bands), finest, coarsest)),
        clouds=None,
        cloud_cover=_COVERS,
        views=None,
        biome=None,
        size_px=-(-_TILE_PX // spec.stride_px) * spec.stride_px,
        seed=seed,
        nodata=False,
        striping=0.0,
        quantisation=None,
    )
    image = draw_date(draw_ground(settings), settings, seed % len(_COVERS))[: len(bands)]
    codings = settings.codings
    valid = ~np.any([dn == coding.nodata for dn, coding in zip(image, codings, strict=True)], axis=0)
    scale, offset = np.array([coding.scale for coding in codings]), np.array([coding.offset for coding in codings])
    # Every other scene without its level, and one in three without the bands that may be given up.
    absent = [seed % 3 == 2 and name in spec.optional_bands for name in spec.bands]
    stats = statistics(image, valid)
    if spec.normalization == "zscore":
        tile = zscore(image, valid, stats)
    else:
        gain, shift = standardised(np.stack([scale, offset]), spec.zero_and_unit)
        tile = rescale(image, valid, scale=gain, offset=shift, clip=spec.normalization == "percentile")
    tile[absent] = 0.0
    if not spec.level:
        return (tile[None],)
    known = np.where(absent, 0.0, scale) if seed % 2 == 0 else None
    return tile[None], level_vector(stats, scale=known, offset=None if known is None else offset)[None]


def _found(sensor: Sensor, name: str) -> Band:
    band = sensor.find(name)
    if band is None:
        raise ModelError(f"Sensor {sensor.name!r} has no band {name!r}.")
    return band
