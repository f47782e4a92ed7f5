"""From a labelled patch to its mask, through the engine that cubes go through.

Each patch is predicted as a cube of its own: one window, with its own statistics. The mask is the one that
`xcloudmask.predict` gives.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from xcloudmask._feed import feed
from xcloudmask.blocks import predict_block
from xcloudmask.classes import NODATA
from xcloudmask.errors import ArgumentError, InputError, WeightsError
from xcloudmask.geometry import plan_geometry, resolution_factor
from xcloudmask.halo import BlockPlace
from xcloudmask.models.devices import resolve_device
from xcloudmask.models.openbands import OpenBand, with_bands
from xcloudmask.models.registry import get_spec
from xcloudmask.models.runner import Runner
from xcloudmask.models.spec import ENSEMBLE, ModelSpec
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import jobs, prepare
from xcloudmask.training.data import Patch, patch_wavelengths

__all__ = ["Predictor", "checkpoint_model", "predict_patch", "predictor", "spec_for_patch"]

Predictor = Callable[[Patch], npt.NDArray[np.uint8]]
"""From a patch to its (y, x) uint8 mask; it must not look at the labels."""

_SCALE = 1e-4
"""Patches hold reflectance * 10,000."""


def predict_patch(
    model: str | ModelSpec | nn.Module | Predictor, patch: Patch, *, level_known: bool
) -> npt.NDArray[np.uint8]:
    """Predict a whole patch, as `xcloudmask.predict` does with a cube of this size.

    Parameters
    ----------
    model
        Name or spec of a model; a network in memory, in eval mode; or a function from a patch to its mask.
    patch
        The image.
    level_known
        Whether the model is told the level; never where the patch has none.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8 classes, 255 where the patch has no data.
    """
    return predictor(model)(replace(patch, level_known=level_known and patch.level_known))


def predictor(
    model: str | ModelSpec | nn.Module | Predictor, *, device: str = "auto", precision: str = "auto"
) -> Predictor:
    """Turn a model into a function from a patch to its mask.

    Parameters
    ----------
    model
        As in `predict_patch`.
    device, precision
        As in `xcloudmask.predict`. A network in memory stays where it is, and computes in float32.

    Returns
    -------
    callable
    """
    if isinstance(model, nn.Module):
        own = str(next(model.parameters()).device)
        runner = Runner(model, device=own, precision="fp32", takes_level=True)
        return partial(_predict_network, runner=runner, spec=_spec_of(model))
    if callable(model):
        return model
    return partial(_predict_model, spec=get_spec(model), device=resolve_device(device), precision=precision)


def spec_for_patch(spec: ModelSpec, patch: Patch) -> ModelSpec:
    """Return what a model is for the bands of a patch: a model of any bands becomes one of these.

    Parameters
    ----------
    spec
        The model.
    patch
        The image; its sensor must be known where the model takes any bands.

    Returns
    -------
    ModelSpec
        The same where the model takes certain bands.

    Raises
    ------
    InputError
        The wavelengths of the bands are not known.
    ArgumentError
        The patch has fewer than three bands.
    """
    if not spec.any_bands:
        return spec
    bands = [
        OpenBand(name=role, wavelength_nm=wavelength_nm)
        for role, wavelength_nm in zip(patch.bands, patch_wavelengths(patch), strict=True)
        if patch.nir or role != "nir"
    ]
    return with_bands(spec, bands)


def _predict_model(patch: Patch, *, spec: ModelSpec, device: str, precision: str) -> npt.NDArray[np.uint8]:
    spec = spec_for_patch(spec, patch)
    settings = replace(_settings(patch, spec), device=device, precision=precision)
    mask: npt.NDArray[np.uint8] = predict_block(_block(patch, spec), places=_places(patch), settings=settings)[0]
    return mask


def _predict_network(patch: Patch, *, runner: Runner, spec: ModelSpec) -> npt.NDArray[np.uint8]:
    """Predict with a network that no file holds yet: the steps of `predict_block` for a single tile."""
    settings, places = _settings(patch, spec), _places(patch)
    image = prepare(_block(patch, spec)[0], settings)
    todo = jobs([image], places, settings)
    mask = np.full(patch.valid.shape, NODATA, np.uint8)
    for job in todo:
        fed = feed([job], 1, [image], places, settings)
        rows, columns = slice(job.y.keep_start, job.y.keep_stop), slice(job.x.keep_start, job.x.keep_stop)
        mask[rows, columns] = runner.labels(*fed, (job.y.crop, job.x.crop))[0]
    return np.where(patch.valid, mask, NODATA).astype(np.uint8)


def _spec_of(net: nn.Module) -> ModelSpec:
    """What the geometry needs to know of a network in memory. Larger than any patch, a tile needs no halo."""
    stride = int(getattr(net, "stride_px", 8))
    return ModelSpec(
        name="network",
        architecture="in memory",
        optional_bands=("nir",),
        stride_px=stride,
        radius_px=0,
        level=True,
        resolution_m=(0.0, 50.0),
        weights="in memory",
        sha256="in memory",
    )


def _settings(patch: Patch, spec: ModelSpec) -> EngineSettings:
    """Settings of the engine as `xcloudmask.predict` makes them for a cube of one chunk."""
    height, width = patch.valid.shape
    side_m = (patch.resolution_m, patch.resolution_m)
    geometry = plan_geometry(
        ((height,), (width,)),
        spec,
        factor=resolution_factor(side_m, spec),
        normalize="chunk",
        halo_px=None,
        step_px=None,
    )
    present = _present(patch, spec)
    known = spec.takes_reflectance or (spec.takes_level_of(present) and patch.level_known)
    return EngineSettings(
        spec=spec,
        factor=geometry.factor,
        halo_px=geometry.tile_halo_cells,
        tile_px=geometry.tile_cells,
        present=present,
        nodata=(None,) * sum(present),
        scale=tuple(_SCALE if there else 0.0 for there in present) if known else None,
        offset=(0.0,) * len(present) if known else None,
    )


def _present(patch: Patch, spec: ModelSpec) -> tuple[bool, ...]:
    there = [band in patch.bands and (patch.nir or band != "nir") for band in spec.bands]
    missing = [band for band, found in zip(spec.bands, there, strict=True) if not found]
    needed = [band for band in missing if band not in spec.optional_bands]
    if needed:
        raise InputError(
            f"Model {spec.name!r} cannot do without the band {needed[0]!r}. The patch {patch.name!r} has "
            f"{', '.join(patch.bands)}{'' if patch.nir else ' (near infrared is empty)'}. Predict cubes with it, and "
            "compare their masks with labels (xcloudmask evaluate --mask --labels)."
        )
    return tuple(there)


def _block(patch: Patch, spec: ModelSpec) -> npt.NDArray[np.generic]:
    """(1, band, y, x) of the bands that are present, NaN where the patch has no data."""
    present = _present(patch, spec)
    image = patch.image[[patch.bands.index(band) for band, there in zip(spec.bands, present, strict=True) if there]]
    if patch.valid.all():
        return image[None]
    return np.where(patch.valid, image.astype(np.float32), np.float32(np.nan))[None]


def _places(patch: Patch) -> tuple[BlockPlace, BlockPlace]:
    height, width = (BlockPlace(start=0, stop=side, depth=0, length=side) for side in patch.valid.shape)
    return height, width


@contextmanager
def checkpoint_model(path: Path, *, like: ModelSpec) -> Iterator[ModelSpec]:
    """Lend the averaged weights of a checkpoint to the engine, in the network of another model.

    Parameters
    ----------
    path
        A checkpoint of the fit, or exported weights.
    like
        The model whose network they are for.

    Yields
    ------
    ModelSpec
        Good inside the context: its weights are a temporary file.

    Raises
    ------
    WeightsError
        The file cannot be read. Whether it fits the network is seen when the model is used.
    ArgumentError
        The other model is an ensemble.
    """
    if like.architecture == ENSEMBLE:
        raise ArgumentError(
            f"{path} holds one network, and model {like.name!r} is an ensemble. Give the model or the card of a member."
        )
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Give the checkpoint.safetensors of a fit.") from error
    averaged = {key.removeprefix("ema."): value for key, value in tensors.items() if key.startswith("ema.")}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "averaged.safetensors"
        save_file(averaged or tensors, weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        yield replace(like, name=path.stem, weights=str(weights), sha256=digest)
