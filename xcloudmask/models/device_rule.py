"""When a block is worked on by the device engine, and how the network is compiled there. Imports no torch by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcloudmask.models._foreignspec import OWN_NUMBERS
from xcloudmask.models.devices import resolve_device
from xcloudmask.models.process import configured

if TYPE_CHECKING:
    from xcloudmask.settings import EngineSettings

__all__ = ["compile_mode", "uses_device_engine"]

_MODES: tuple[bool | str, ...] = (False, True, "default", "reduce-overhead", "max-autotune")


def uses_device_engine(settings: EngineSettings) -> bool:
    """Whether a block goes to the device as it is, and comes back as labels.

    Parameters
    ----------
    settings
        What to do.

    Returns
    -------
    bool

    Raises
    ------
    ArgumentError
        The device does not exist here, or dask's configuration holds an unknown word.

    Notes
    -----
    dask's configuration decides under ``xcloudmask.device_engine``: ``"auto"`` for CUDA devices, ``"always"`` for the
    processor too, ``"never"``. Whatever it says, other backends than torch and MPS (which has no float64) do not use
    it, nor do cells that are not pixels of the cube: finer cubes are averaged, and coarser ones interpolated, by numpy.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> from xcloudmask.settings import EngineSettings
    >>> uses_device_engine(EngineSettings(spec=get_spec("default"), device="cpu", halo_px=(0, 0), tile_px=(64, 64)))
    False
    """
    how = configured("xcloudmask.device_engine", "auto", ("auto", "always", "never"))
    torchs = settings.backend in {"auto", "torch"} and settings.precision != "int8"
    if how == "never" or not torchs or settings.factor > 1 or settings.upsample > 1:
        return False
    if settings.device == "cpu":
        return how == "always"
    device = resolve_device(settings.device)
    return device.startswith("cuda") or (how == "always" and device == "cpu")


def compile_mode(architecture: str) -> str:
    """Return the mode of `torch.compile` that dask's configuration asks for under ``xcloudmask.compile``.

    Parameters
    ----------
    architecture
        That of the model. Files that hold a graph of their own are not compiled.

    Returns
    -------
    str
        Empty for none, which is the default.

    Raises
    ------
    ArgumentError
        The configuration holds something else.

    Examples
    --------
    >>> import dask
    >>> with dask.config.set({"xcloudmask.compile": True}):
    ...     compile_mode("unet"), compile_mode("onnx")
    ('default', '')
    """
    mode = configured("xcloudmask.compile", False, _MODES)  # noqa: FBT003 - the value of a setting
    if mode is False or architecture in OWN_NUMBERS:
        return ""
    return "default" if mode is True else str(mode)
