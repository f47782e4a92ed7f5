"""The block engine on a device: the numbers of the cube go there as they came, and labels come back.

Validity, statistics, normalisation, the network, the crop and the choice of the class all happen on the device. The
time steps of a block are sent one after the other through page-locked buffers, while the network is at work on the
tiles of those before; a batch takes tiles of several steps. The results are those of `blocks.predict_block`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xcloudmask.classes import NODATA
from xcloudmask.errors import ModelError
from xcloudmask.models.cache import get_runner
from xcloudmask.models.device_batches import Batches
from xcloudmask.models.device_math import Numbers
from xcloudmask.models.device_output import wanted_output, write_nodata
from xcloudmask.models.device_rule import compile_mode
from xcloudmask.models.device_steps import Step, Stepper
from xcloudmask.models.devices import resolve_device, turn_on
from xcloudmask.models.process import limit_torch_threads
from xcloudmask.models.runner import Runner
from xcloudmask.models.transfer import fetch_array, start_download, uploader_of
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import Places, fitted

__all__ = ["predict_on_device"]

_GROUP_BYTES = 2**30
"""Bytes of a block that are on the device at once."""


def predict_on_device(
    block: npt.NDArray[Any],
    *,
    places: Places,
    settings: EngineSettings,
    scene: npt.NDArray[np.float64] | None = None,
    scales: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[Any]:
    """Predict a block; arguments and result are those of `blocks.predict_block`.

    Parameters
    ----------
    block
        (time, band, y, x), overlap included.
    places
        Where the block lies along y and x.
    settings
        What to do; its cells are pixels of the cube.
    scene
        (time, band * 3) count, mean and spread of the whole scene.
    scales
        (time, band of the model * 2) scales, then offsets, where they differ between time steps.

    Returns
    -------
    numpy.ndarray
        Without the overlap.

    Raises
    ------
    ModelError
        A single tile does not fit into the memory of the device, or the block itself does not.

    Examples
    --------
    >>> from xcloudmask.halo import BlockPlace
    >>> from xcloudmask.models.registry import get_spec
    >>> settings = EngineSettings(spec=get_spec("default"), device="cpu", halo_px=(0, 0), tile_px=(64, 64))
    >>> place = BlockPlace(start=0, stop=64, depth=72, length=64)
    >>> int(predict_on_device(np.full((1, 3, 64, 64), np.nan), places=(place, place), settings=settings).min())
    255
    """
    limit_torch_threads()
    if not compile_mode(settings.spec.architecture):  # which is for one shape of tile
        settings = fitted(settings, places)
    steps = max(1, _GROUP_BYTES // max(1, block[:1].nbytes))
    groups = [slice(first, first + steps) for first in range(0, len(block), steps)]
    tables = [[None if table is None else table[group] for table in (scene, scales)] for group in groups]
    try:
        with torch.inference_mode():
            parts = [
                _predict(block[group], places, settings, *table) for group, table in zip(groups, tables, strict=True)
            ]
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"A block of {' x '.join(map(str, block.shape))} (time, band, y, x) does not fit into the memory of device "
            f"{settings.device!r} beside what is there. Expected room for its pixels and its result. Type "
            "cube.chunk(time=1, y=2048, x=2048), or use fewer threads on a device."
        ) from error
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _predict(
    block: npt.NDArray[Any],
    places: Places,
    settings: EngineSettings,
    scene: npt.NDArray[np.float64] | None,
    scales: npt.NDArray[np.float64] | None,
) -> npt.NDArray[Any]:
    device = resolve_device(settings.device)
    numbers, uploader = Numbers(block.dtype), uploader_of(device)
    stepper = Stepper(settings=settings, places=places, numbers=numbers, uploader=uploader)
    batches: Batches | None = None
    steps: list[Step] = []
    for index, pixels in enumerate(block):
        step = stepper.send(
            index,
            pixels,
            scene=None if scene is None else scene[index],
            scale=None if scales is None else scales[index].reshape(2, -1),
        )
        steps.append(step)
        if step.jobs and batches is None:
            # The model is loaded when there is something to predict.
            batches = Batches(
                settings=settings,
                places=places,
                numbers=numbers,
                uploader=uploader,
                runner=_runner(settings),
                steps=steps,
                count=len(block),
            )
        if batches is not None:
            batches.add(step.jobs)
    if batches is None:
        return _nothing(len(block), places, settings)
    canvas, seen = batches.finished()
    with turn_on(device):
        result = wanted_output(canvas, seen, settings)
        write_nodata(result, steps, places)
        download = start_download(result)
    # Steps stay until the result is here: the copy stream would give their memory to the next ones.
    return fetch_array(*download)


def _runner(settings: EngineSettings) -> Runner:
    runner = get_runner(settings.spec, device=settings.device, precision=settings.precision, backend=settings.backend)
    if not isinstance(runner, Runner):
        raise ModelError(f"{type(runner).__name__} does not run on a device. Expected torch. Type backend='torch'.")
    return runner


def _shape(count: int, places: Places, settings: EngineSettings) -> tuple[int, ...]:
    codes = () if settings.output == "labels" else (settings.codes,)
    return count, *codes, *(place.stop - place.start for place in places)


def _nothing(count: int, places: Places, settings: EngineSettings) -> npt.NDArray[Any]:
    """What a block without a valid pixel gives."""
    if settings.output == "probability":
        return np.full(_shape(count, places, settings), np.nan, np.float32)
    return np.full(_shape(count, places, settings), NODATA, np.uint8)
