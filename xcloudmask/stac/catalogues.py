"""Public STAC APIs by name, and how their files are signed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError, ArgumentTypeError

__all__ = ["CATALOGUES", "Catalogue", "Sign", "resolve_sign", "resolve_url"]

Sign = Callable[[str], str]
"""Turns the href of an asset into one that can be read now. It is called before each read, in the worker that reads, so
that it can renew what expires; it goes to the workers with the graph."""

SignChoice = Sign | Literal["planetary-computer"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A public STAC API."""

    name: str
    """What users type."""
    title: str
    """For people."""
    url: str
    """Root of the API, as its operator publishes it."""
    sign: Literal["planetary-computer"] | None = None
    """How its files are signed; None where they are not."""
    note: str = ""
    """What reading its files takes."""


CATALOGUES: Mapping[str, Catalogue] = MappingProxyType(
    {
        catalogue.name: catalogue
        for catalogue in (
            Catalogue(
                name="earth-search",
                title="Earth Search v1 (Element 84): Sentinel-2 and Landsat on AWS",
                url="https://earth-search.aws.element84.com/v1",
                note="Sentinel-2 Level-2A COGs are public. Level-1C and Landsat are requester pays: AWS credentials.",
            ),
            Catalogue(
                name="planetary-computer",
                title="Planetary Computer (Microsoft): Sentinel-2 Level-2A, Landsat Collection 2, HLS",
                url="https://planetarycomputer.microsoft.com/api/stac/v1",
                sign="planetary-computer",
                note="Files are signed: pip install 'xcloudmask[planetary-computer]', and sign='planetary-computer'.",
            ),
            Catalogue(
                name="cdse",
                title="Copernicus Data Space Ecosystem: Sentinel-2 Level-1C and Level-2A",
                url="https://stac.dataspace.copernicus.eu/v1",
                note="JPEG 2000 files in s3://eodata: keys of CDSE, AWS_S3_ENDPOINT=eodata.dataspace.copernicus.eu",
            ),
        )
    }
)
"""Known APIs by name."""


def resolve_url(url: str) -> str:
    """Return the URL of a catalogue that is known by name; any other text is returned as it is.

    Parameters
    ----------
    url
        A key of `CATALOGUES`, or a URL.

    Returns
    -------
    str

    Raises
    ------
    ArgumentError
        It is neither.

    Examples
    --------
    >>> resolve_url("earth-search")
    'https://earth-search.aws.element84.com/v1'
    """
    if not isinstance(url, str):
        raise ArgumentTypeError(f"url={url!r} is a {type(url).__name__}. Expected a URL or a name.")
    known = CATALOGUES.get(url.casefold())
    if known is not None:
        return known.url
    if not url.startswith(("https://", "http://")):
        raise ArgumentError(
            f"url={url!r} is no known catalogue and no URL. Expected https://... or one of {', '.join(CATALOGUES)}. "
            "For files, type: read_items(paths)"
        )
    return url


def resolve_sign(sign: SignChoice) -> Sign | None:
    """Return the function that signs hrefs.

    Parameters
    ----------
    sign
        ``"planetary-computer"``, a function from href to href, or None.

    Returns
    -------
    callable or None

    Raises
    ------
    MissingPackageError
        The package that signs is not installed.
    ArgumentError, ArgumentTypeError
        `sign` is not understood.

    Examples
    --------
    >>> resolve_sign(None) is None
    True
    """
    if sign is None:
        return None
    if sign == "planetary-computer":
        require("planetary_computer", extra="planetary-computer")
        return sign_planetary_computer
    if isinstance(sign, str):
        raise ArgumentError(f"sign={sign!r} is unknown. Expected 'planetary-computer', or a function href -> href.")
    if not callable(sign):
        raise ArgumentTypeError(f"sign={sign!r} is a {type(sign).__name__}. Expected a function href -> href.")
    return sign


def sign_planetary_computer(href: str) -> str:
    """Sign an href of the Planetary Computer; others are returned as they are.

    The package keeps one token per container in each process and renews it a minute before it expires.
    """
    signed: str = require("planetary_computer", extra="planetary-computer").sign(href)
    return signed
