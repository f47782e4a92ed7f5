"""Fixtures and settings for all tests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import dask
import hypothesis
import pytest
from s3_server import forget_file_systems, serve_s3
from threads import let_dask_finish

from xcloudmask.models.spec import ModelSpec

hypothesis.settings.register_profile(
    "default",
    deadline=None,
    max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("default")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Let no test leave threads of dask at work.

    dask raises the first error while its other threads go on. Should one of them be inside GDAL, which looks at the
    environment all the time, when pytest or monkeypatch next writes to the environment, the process dies: C's `setenv`
    moves what `getenv` is reading.
    """
    try:
        return (yield)
    finally:
        let_dask_finish()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """A real convolutional network, small and random: its labels vary from pixel to pixel."""
    import torch
    from safetensors.torch import save_file

    from xcloudmask.models.unet import CloudUNet

    torch.manual_seed(3)
    net = CloudUNet(width=8, blocks=1)
    with torch.no_grad():
        for parameter in net.level_mlp[2].parameters():
            parameter.normal_(0, 0.5)  # zero at the start: the level would do nothing
        net.head.weight.mul_(4)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    return ModelSpec(
        name="tiny",
        architecture="unet",
        config=(("bands", 3), ("classes", 4), ("width", 8), ("blocks", 1), ("level", 1)),
        optional_bands=("nir",),
        stride_px=8,
        radius_px=39,
        level=True,
        tile_px=64,
        window_px=64,
        weights=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


class ComputedError(AssertionError):
    """A dask array was computed although nothing should be."""


@pytest.fixture
def no_compute() -> Iterator[None]:
    """Run under a scheduler that raises on compute."""

    def scheduler(*args: object, **kwargs: object) -> None:
        raise ComputedError("a dask input was computed")

    with dask.config.set(scheduler=scheduler):
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real imagery; tests that need it are skipped where it is missing."""
    root = Path(os.environ.get("XCLOUDMASK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / "patches.csv").exists():
        pytest.skip(f"no real imagery at {root}: set XCLOUDMASK_DATA")
    return root


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """Host and port of an S3 server on this machine."""
    pytest.importorskip("moto.server")
    with serve_s3() as endpoint:
        forget_file_systems()
        yield endpoint
        forget_file_systems()


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Give each test the environment: nannies of distributed leave in it what they set for their processes."""
    before = dict(os.environ)
    yield
    # What is as it was is not written: each write may move what a thread of a native library is reading.
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
