"""The error tree: one root, leaves that are also the builtin error a caller would expect.

Every message says what was found, what was expected and what to type.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BandNotFoundError",
    "CatalogueError",
    "ChunkError",
    "ClusterError",
    "HrefError",
    "InputError",
    "MissingPackageError",
    "ModelError",
    "NotACubeError",
    "ReadError",
    "UnknownModelError",
    "WeightsError",
    "WriteError",
    "XCloudMaskError",
]


class XCloudMaskError(Exception):
    """Root of every error that xcloudmask raises on purpose."""


class InputError(XCloudMaskError, ValueError):
    """The cube cannot be masked as it is; fix the input."""


class BandNotFoundError(InputError, KeyError):
    """A band that the model needs was not found in the cube."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which hides the line breaks of the message.
        return str(self.args[0]) if self.args else ""


class ChunkError(InputError):
    """The chunks of the cube cannot be planned, for instance because their sizes are unknown."""


class HrefError(InputError):
    """An address in a STAC item is refused, or what it leads to is."""


class NotACubeError(InputError, TypeError):
    """The object is no cube of images: a mask, a wrong array type, or wrong dimensions."""


class ArgumentError(XCloudMaskError, ValueError):
    """An argument has a value that is not allowed."""


class ArgumentTypeError(XCloudMaskError, TypeError):
    """An argument has the wrong type."""


class ModelError(XCloudMaskError):
    """A model cannot be used."""


class UnknownModelError(ModelError, KeyError):
    """No model is registered under that name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class WeightsError(ModelError, ValueError):
    """A weights file is missing, tampered with, too large or does not fit its architecture."""


class MissingPackageError(XCloudMaskError, ImportError):
    """An optional package is not installed."""


class CatalogueError(XCloudMaskError, OSError):
    """A STAC catalogue cannot be read or searched."""


class ClusterError(XCloudMaskError, ConnectionError):
    """A Dask cluster cannot be reached, is gone, or has no workers."""


class ReadError(XCloudMaskError, OSError):
    """An input file cannot be read."""


class WriteError(XCloudMaskError, OSError):
    """An output cannot be written."""
