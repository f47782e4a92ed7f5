"""Runs of networks that take other bands than red, green and near infrared: samples, measures, fields of the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from torch import nn

from xcloudmask.errors import ArgumentError
from xcloudmask.models.anybands import SenseiNet
from xcloudmask.models.loading import load_network
from xcloudmask.models.openbands import FEWEST_BANDS
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import FOREIGN, ModelSpec
from xcloudmask.sensors import get_sensor
from xcloudmask.training.bandfeed import AnyBands, BandFeed, FixedBands, measure_whole
from xcloudmask.training.bandstream import BandStream, BandWindows, window_of
from xcloudmask.training.data import Patch
from xcloudmask.training.normalizers import WholeData, whole_kind
from xcloudmask.training.options import TrainConfig
from xcloudmask.training.pools import Pools
from xcloudmask.training.validate import mask_of, measure_masks

__all__ = ["adopt_body", "begin_as_any_bands", "feed_of_model", "make_band_stream", "measure_bands", "spec_fields"]

_WINDOWS = 300
"""Windows that the numbers of the whole training data are measured on."""
_COARSEST_M = 1000.0
_ANY_BANDS = ("zscore", "none")
_ADOPTED = ("sentinel-2-l1c", "landsat-oli-c2-l1", "landsat-tm-c2-l1", "planetscope-4b", "planetscope-8b")
"""Sensors whose bands the first layers of a network are taken to be of."""


def make_band_stream(pools: Pools, config: TrainConfig, *, length: int, numbers: WholeData | None = None) -> BandStream:
    """Build the stream of samples of a configuration.

    Parameters
    ----------
    pools
        Patches, with all their bands.
    config
        With ``other_bands``.
    length
        Number of samples.
    numbers
        Those of the model which the training starts from; None for what the mixture names.

    Returns
    -------
    BandStream

    Raises
    ------
    ArgumentError
        The mixture wants data that are not there, or cannot be had for these bands.
    """
    mixture = config.mixture
    if config.any_bands:
        if mixture.normalize not in _ANY_BANDS or mixture.most_bands < FEWEST_BANDS:
            raise ArgumentError(
                f"A network of any bands is fed z-scores or reflectance ('none'), {FEWEST_BANDS} bands or more. Found "
                f"normalize = {mixture.normalize!r} and most_bands = {mixture.most_bands} under [mixture]: leave them "
                "out."
            )
        scored = mixture.normalize == "zscore"
        feed = AnyBands(
            most=mixture.most_bands,
            scored=scored,
            level_jitter=mixture.level_jitter,
            mixed=mixture.statistics_mixed,
            level_complete=mixture.level_complete,
        )
        return BandStream(_windows(pools, config, most=mixture.most_bands), feed=feed, length=length)
    roles = config.model.bands
    windows = _windows(pools, config, roles=roles if mixture.many_sensors else ())
    if mixture.normalize != "zscore":
        kind = whole_kind(mixture.normalize)
        if numbers is None:
            numbers = measure_whole(kind, [windows(index)[0] for index in range(_WINDOWS)], roles)
    fixed = FixedBands(
        roles=roles,
        normalizer=numbers,
        level_jitter=mixture.level_jitter,
        mixed=mixture.statistics_mixed,
        level_complete=mixture.level_complete,
    )
    return BandStream(windows, feed=fixed, length=length)


def _windows(pools: Pools, config: TrainConfig, *, most: int = 0, roles: Sequence[str] = ()) -> BandWindows:
    return BandWindows(
        labelled=pools.labelled,
        thumbnails=pools.thumbnails,
        backgrounds=pools.backgrounds,
        mixture=config.mixture,
        most=most,
        roles=roles,
        seed=config.fit.seed,
    )


def adopt_body(net: SenseiNet, name: str) -> ModelSpec:
    """Let the network behind SEnSeI begin as a model of certain bands.

    Parameters
    ----------
    net
        SEnSeI must have been trained: it tells which bands are alike.
    name
        Of the model, or its card.

    Returns
    -------
    ModelSpec
        The model.

    Raises
    ------
    ArgumentError
        The model is an ensemble, takes any bands, or is of another kind or size.
    UnknownModelError
        There is no such model.
    """
    spec = get_spec(name)
    if spec.members or spec.any_bands or spec.architecture in FOREIGN or spec.normalization != "zscore":
        raise ArgumentError(
            f"body = {name!r} under [model]. Expected a single network of certain bands that takes z-scores, such as "
            "'default'."
        )
    sensors = [sensor for sensor in map(get_sensor, _ADOPTED) if all(map(sensor.candidates, spec.bands))]
    bands = [tuple(sensor.candidates(role)[0].wavelength_nm for role in spec.bands) for sensor in sensors]
    if not bands:
        raise ArgumentError(f"body = {name!r} takes {', '.join(spec.bands)}, and no sensor in the tables has them all.")
    net.adopt(load_network(spec, fold=False), bands)
    return spec


def begin_as_any_bands(net: nn.Module, name: str, config: TrainConfig) -> ModelSpec:
    """Let a network of certain bands begin as a model of any bands does with them.

    Parameters
    ----------
    net
        Of the kind and size of the network behind SEnSeI.
    name
        Of the model, or its card.
    config
        Names the bands, and the sensor that has them: the first of the mixture.

    Returns
    -------
    ModelSpec
        The model of any bands.

    Raises
    ------
    ArgumentError
        The model takes certain bands, reflectance, or is of another kind or size; or there is no sensor, or it lacks
        a band.
    UnknownModelError
        There is no such model.
    """
    spec, roles = get_spec(name), config.model.bands
    if not spec.any_bands or spec.normalization != "zscore":
        raise ArgumentError(
            f"body = {name!r} under [model], for a network of {', '.join(roles)}. Expected a model of any bands that "
            "takes z-scores, such as 'any-bands'. Type start = ... to begin with a model of the same bands."
        )
    sensor = get_sensor((config.mixture.sensors or ("sentinel-2-l1c",))[0])
    missing = [role for role in roles if not sensor.candidates(role)]
    if missing:
        raise ArgumentError(
            f"{sensor.name} has no band {missing[0]!r}, and body = {name!r} needs the wavelengths of all bands. Name a "
            "sensor that has them first under sensors in [mixture]."
        )
    any_bands = cast("SenseiNet", load_network(spec, fold=False))
    own = any_bands.specialised([sensor.candidates(role)[0].wavelength_nm for role in roles])
    try:
        net.load_state_dict(own.state_dict())
    except RuntimeError as error:
        raise ArgumentError(f"body = {name!r} is of another kind or size than the network: {error}") from error
    return spec


def feed_of_model(feed: BandFeed, config: TrainConfig) -> BandFeed:
    """Return what the exported model is fed, as the engine will: the level may be kept from it more often.

    Parameters
    ----------
    feed
        That of the fit.
    config
        Tells.

    Returns
    -------
    BandFeed
    """
    return replace(feed, level_complete=config.level_complete) if isinstance(feed, AnyBands | FixedBands) else feed


def measure_bands(net: nn.Module, patches: Sequence[Patch], *, feed: BandFeed) -> dict[str, float]:
    """Measure a network in training on patches that the fit does not see, half of them with the level.

    Parameters
    ----------
    net
        In eval mode.
    patches
        Labelled patches of known sensors, with all their bands.
    feed
        That of the model.

    Returns
    -------
    dict
        Columns of `xcloudmask.training.history`; none without patches.
    """
    known = [patch for patch in patches if patch.sensor]
    fed = (feed(window_of(patch), level_known=index % 2 == 0) for index, patch in enumerate(known))
    masks = (mask_of(net, *pair, valid=patch.valid) for patch, pair in zip(known, fed, strict=True))
    return measure_masks(known, masks)


def spec_fields(config: TrainConfig, feed: BandFeed) -> Mapping[str, Any]:
    """Return the fields of a `xcloudmask.ModelSpec` that tell what a network takes.

    Parameters
    ----------
    config
        With ``other_bands``.
    feed
        That of the model.

    Returns
    -------
    Mapping
    """
    complete = {"level_complete": True} if config.level_complete else {}
    if not isinstance(feed, FixedBands):
        scored = config.mixture.normalize == "zscore"
        return {
            "any_bands": True,
            "bands": [],
            "optional_bands": [],
            "normalization": "zscore" if scored else "none",
            "level": scored and bool(config.model.config.get("level", 0)),
            **complete,
            "resolution_m": [10, _COARSEST_M],
        }
    numbers = feed.normalizer
    return {
        "bands": list(feed.roles),
        "optional_bands": [role for role in feed.roles if role not in config.model.needed],
        "level": numbers is None and bool(config.model.config.get("level", 1)),
        **complete,
        **({} if numbers is None else numbers.spec_fields),
    }
