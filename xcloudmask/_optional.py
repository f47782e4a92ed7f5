"""Optional packages come in through `require`, whose error is the pip line to type."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from xcloudmask.errors import MissingPackageError

__all__ = ["available", "require"]


def require(name: str, *, extra: str | None = None) -> ModuleType:
    """Import an optional package, or say how to install it.

    Parameters
    ----------
    name
        Dotted module name, such as ``"matplotlib.pyplot"``.
    extra
        The extra of xcloudmask that brings it; None for a core dependency.

    Returns
    -------
    ModuleType
        The imported module.

    Raises
    ------
    MissingPackageError
        The package is not installed.

    Examples
    --------
    >>> require("math").floor(2.5)
    2
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        target = f"'xcloudmask[{extra}]'" if extra else "xcloudmask"
        package = name.split(".", maxsplit=1)[0]
        raise MissingPackageError(
            f"The package {package!r} is needed here and cannot be imported ({error}). Type: pip install {target}"
        ) from error


def available(name: str) -> bool:
    """Whether a package is installed, without importing it.

    Parameters
    ----------
    name
        Top level module name.

    Returns
    -------
    bool

    Examples
    --------
    >>> available("math")
    True
    """
    return importlib.util.find_spec(name) is not None
