"""`xcloudmask doctor`."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from rich.table import Table

from xcloudmask.cli import _options as opt
from xcloudmask.cli._report import reporting, stdout

__all__ = ["doctor"]

CORE = ("numpy", "xarray", "dask", "zarr", "torch", "odc-geo", "rioxarray", "rasterio", "safetensors", "scipy")
OPTIONAL = (
    ("odc-stac", "stac"),
    ("pystac-client", "stac"),
    ("rio-cogeo", "cog"),
    ("icechunk", "icechunk"),
    ("distributed", "distributed"),
    ("h5netcdf", "netcdf"),
    ("netCDF4", "netcdf"),
    ("matplotlib", "viz"),
    ("huggingface_hub", "omnicloudmask"),
    ("timm", "omnicloudmask"),
    ("segmentation-models-pytorch", "omnicloudmask"),
)
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")


@reporting
def doctor(
    *,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Show versions, devices, processor features and optional packages."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, text in (*_system(), *_packages(), *_devices()):
        table.add_row(name, text)
    stdout().print(table, markup=False)


def _system() -> Iterator[tuple[str, str]]:
    from xcloudmask._version import __version__

    yield "xcloudmask", __version__
    yield "Python", f"{sys.version.split()[0]} ({platform.system()} {platform.machine()})"
    flags = _cpu_flags()
    features = ", ".join(name for name in CPU_FEATURES if name in flags) or "none known"
    yield "processor", f"{os.cpu_count()} cores; {features}"


def _cpu_flags() -> frozenset[str]:
    """Return the processor's features as Linux lists them; elsewhere they are not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":")[1] for line in lines if line.startswith("flags")), "").split())


def _packages() -> Iterator[tuple[str, str]]:
    for name in CORE:
        yield name, _version(name) or "missing: pip install xcloudmask"
    for name, extra in OPTIONAL:
        yield name, _version(name) or f"not installed (optional): pip install 'xcloudmask[{extra}]'"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[tuple[str, str]]:
    from xcloudmask._optional import available

    if not available("torch"):
        return
    import torch

    yield "device cpu", f"{torch.get_num_threads()} torch threads, {torch.backends.cpu.get_cpu_capability()}"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"device cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "device mps", "available"
