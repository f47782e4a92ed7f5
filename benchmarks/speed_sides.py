"""The sides that `speed` compares, in processes of their own: commands come in as lines of JSON, figures go out.

A process of its own gives each side its own allocator, peak memory and imports. Each has one torch thread: the CPU time
of several counts their waiting for each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.core import cpu_seconds, peak_bytes
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec

__all__ = ["Process"]

BANDS = ("red", "green", "nir")
WARM_PX = 64
Work = Callable[[], object]


class Process:
    """A process that works on commands, one after the other; what they have in common is imported once."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # Packages warn at import, and omnicloudmask draws bars; both belong to the standard error.
            [sys.executable, "-W", "ignore", "-m", "benchmarks.speed_sides"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
        )

    def __enter__(self) -> Process:
        """Return the process."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.communicate()

    def __call__(self, side: str, **arguments: Any) -> dict[str, Any]:
        """Run a side once.

        Parameters
        ----------
        side
            A key of `SIDES`.
        arguments
            Of its function.

        Returns
        -------
        dict
            ``cpu`` and ``wall`` seconds of the work, ``process_cpu`` seconds and ``peak`` bytes of the process so far;
            or ``skipped``, the reason.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(json.dumps({"side": side} | arguments) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"side {side!r} with {arguments} ended with code {self._process.wait()}; see above")
        figures: dict[str, Any] = json.loads(answer)
        return figures


def pixels(side_px: int) -> npt.NDArray[np.uint16]:
    """(band, y, x) DN without nodata; the work does not depend on what they show."""
    return np.random.default_rng(0).integers(1, 4000, (len(BANDS), side_px, side_px), dtype=np.uint16)


def weights(*, folder: str) -> Work:
    """Write random weights for the two networks of OmniCloudMask 4."""
    import torch
    from safetensors.torch import save_file

    def write() -> None:
        torch.manual_seed(0)
        for name, net in _networks().items():
            save_file(net.state_dict(), Path(folder, f"{name}.safetensors"))

    return write


def ocm(*, folder: str, side_px: int, overlap_px: int, patch_px: int) -> Work:
    """`omnicloudmask.predict_from_array` with the weights of a folder; all else at its defaults."""
    from safetensors.torch import load_file

    nets = _networks()
    for name, net in nets.items():
        net.load_state_dict(load_file(Path(folder, f"{name}.safetensors")))
    predict, array = _predict_from_array(), pixels(side_px)

    def work() -> object:
        return predict(
            array, patch_size=patch_px, patch_overlap=overlap_px, custom_models=[net.eval() for net in nets.values()]
        )

    return work


def ours(
    *,
    model: str,
    side_px: int,
    chunk_px: int,
    scheduler: str = "synchronous",
    device_engine: str = "auto",
    **arguments: Any,
) -> Work:
    """`predict` on a cube in chunks, from a Zarr store in memory."""
    import dask
    import torch
    import xarray as xr
    import zarr

    from xcloudmask import predict

    def mask_of(size_px: int) -> xr.DataArray:
        store = zarr.storage.MemoryStore()
        bands = {name: (("y", "x"), band, {"nodata": 0}) for name, band in zip(BANDS, pixels(size_px), strict=True)}
        chunks = {name: {"chunks": (min(chunk_px, size_px),) * 2} for name in BANDS}
        xr.Dataset(bands).to_zarr(store, zarr_format=3, consolidated=False, encoding=chunks)
        cube = xr.open_zarr(store, consolidated=False)
        return predict(cube, model=_spec(model), resolution_m=10, **arguments)

    # The scheduler's threads share the processor as the processes of a cluster would: one torch thread each.
    torch.set_num_threads(1)
    mask_of(WARM_PX).compute(scheduler="synchronous")
    mask = mask_of(side_px)

    def work() -> object:
        with dask.config.set({"xcloudmask.device_engine": device_engine}):
            return mask.compute(scheduler=scheduler)

    return work


def bare(*, model: str, side_px: int, tile_px: int) -> Work:
    """The forward pass alone, on tiles that are there already, over as many pixels as the scene has."""
    import torch

    from xcloudmask.models.devices import resolve_device, resolve_precision
    from xcloudmask.models.loading import load_network
    from xcloudmask.models.process import keep_freed_memory

    device = resolve_device("auto")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[resolve_precision("auto", device)]
    spec = _spec(model)
    net = load_network(spec).to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device == "cpu":
        keep_freed_memory()
    tile_px = min(tile_px, side_px)
    tile = torch.randn(1, len(BANDS), tile_px, tile_px).to(device, dtype).to(memory_format=torch.channels_last)
    level = torch.zeros(1, 1 + 2 * len(BANDS), device=device, dtype=dtype) if spec.level else None

    def forward(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                net(tile, level)
        if device != "cpu":
            torch.cuda.synchronize()

    forward(1)
    return lambda: forward(max(1, round((side_px / tile_px) ** 2)))


def command_line(*, source: str, target: str, options: Sequence[str] = ()) -> Work:
    """``xcloudmask predict SOURCE TARGET``, in this process."""
    from xcloudmask.cli import main

    def work() -> None:
        sys.argv = ["xcloudmask", "predict", source, target, "--quiet", *options]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"xcloudmask predict ended with {end.code}") from end

    return work


def device() -> Work:
    """Nothing; says whether a CUDA device is at hand: `skipped` where not."""
    import torch

    if not torch.cuda.is_available():
        raise ImportError("no CUDA device is at hand")
    return lambda: None


SIDES: dict[str, Callable[..., Work]] = {
    side.__name__: side for side in (weights, ocm, ours, bare, command_line, device)
}


def _networks() -> dict[str, Any]:
    """The two networks of OmniCloudMask 4 by the names of our specs, from segmentation_models_pytorch itself."""
    smp = _import_smp()
    from xcloudmask.models.omnicloudmask import ENCODERS

    return {
        member.name: smp.Unet(ENCODERS[member.architecture], encoder_weights=None, in_channels=3, classes=4)
        for member in _v4().members
    }


def _import_smp() -> Any:
    import torch

    # torchvision expects operators of its compiled half, which a torch without CUDA may not have; they are not called.
    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import segmentation_models_pytorch

    return segmentation_models_pytorch


def _predict_from_array() -> Callable[..., Any]:
    """`predict_from_array` of omnicloudmask; what it downloads weights with need not be installed."""
    for name, members in {"gdown": (), "platformdirs": (), "classcounter": ("count_classes",)}.items():
        if name not in sys.modules and find_spec(name) is None:
            module = sys.modules[name] = ModuleType(name)
            for member in members:
                setattr(module, member, None)
    import omnicloudmask

    return omnicloudmask.predict_from_array  # type: ignore[no-any-return]


def _v4() -> ModelSpec:
    return get_spec("omnicloudmask-v4")


def _spec(model: str) -> ModelSpec:
    """A model by name; a folder holds random weights of OmniCloudMask 4."""
    if not Path(model).is_dir():
        return get_spec(model)
    _import_smp()
    members = []
    for member in _v4().members:
        path = Path(model, f"{member.name}.safetensors")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        members.append(replace(member, weights=str(path), sha256=sha256))
    return replace(_v4(), name="random", members=tuple(members))


def main() -> None:
    """Answer commands until there are no more."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    works: dict[str, Work] = {}
    for line in sys.stdin:
        command = json.loads(line)
        try:
            work = works.get(line) or SIDES[command.pop("side")](**command)
        except ImportError as error:  # MissingPackageError among them
            answer: dict[str, Any] = {"skipped": str(error)}
        else:
            works[line] = work
            start, cpu = time.perf_counter(), cpu_seconds()
            work()
            answer = {"wall": time.perf_counter() - start, "cpu": cpu_seconds() - cpu}
            answer |= {"process_cpu": cpu_seconds(), "peak": peak_bytes()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
