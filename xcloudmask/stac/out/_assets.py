"""Assets of items: COGs, Zarr stores, thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xcloudmask.classes import Style, get_style
from xcloudmask.io._raster import is_url
from xcloudmask.stac.out._facts import Facts
from xcloudmask.stac.out._fields import asset_fields
from xcloudmask.stac.out._plan import Planned
from xcloudmask.stac.out._sources import relative_href
from xcloudmask.stac.out._survey import Survey

__all__ = ["cog_asset", "preview_style", "store_link", "thumbnail_asset", "zarr_asset"]

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
ZARR = "application/vnd.zarr; version=3"
"""As in the STAC best practices for Zarr; pystac calls application/vnd+zarr deprecated."""
ROLES = ["data", "cloud", "cloud-shadow"]


def cog_asset(facts: Facts, survey: Survey, *, href: str) -> dict[str, Any]:
    """Return the asset of a COG.

    Parameters
    ----------
    facts, survey
        Of the mask.
    href
        Of the file.

    Returns
    -------
    dict
    """
    return {"href": href, "type": COG, "title": _title(facts), "roles": ROLES} | asset_fields(facts, survey)


def zarr_asset(one: Planned, survey: Survey | None, *, folder: Path) -> dict[str, Any]:
    """Return the asset of a Zarr store, with what xarray needs to open it.

    Parameters
    ----------
    one
        A mask of the store.
    survey
        Of that mask; None for the asset of the collection.
    folder
        Of the document.

    Returns
    -------
    dict
    """
    store = one.store or ""
    options = {"engine": "zarr", "consolidated": one.consolidated, "decode_coords": "all", "chunks": {}}
    return {
        "href": store if is_url(store) else relative_href(Path(store), folder),
        "type": ZARR,
        "title": f"{_title(one.facts)}, all dates",
        "roles": ROLES,
        **asset_fields(one.facts, survey, variable=None if one.array is None else str(one.array.name)),
        "xarray:open_kwargs": options,
        "zarr:consolidated": one.consolidated,
        "zarr:node_type": "group",
        "zarr:zarr_format": 3,
    }


def store_link(asset: dict[str, Any]) -> dict[str, Any]:
    """Return the link to the store of a Zarr asset, by which clients find its root."""
    return {"rel": "store", "href": asset["href"], "type": ZARR}


def thumbnail_asset(facts: Facts, *, href: str) -> dict[str, Any]:
    """Return the asset of a picture.

    Parameters
    ----------
    facts
        Of the mask.
    href
        Of the picture.

    Returns
    -------
    dict
    """
    title = f"{_title(facts)}, in class colours"
    return {"href": href, "type": "image/png", "title": title, "roles": ["thumbnail"]}


def preview_style(facts: Facts) -> Style:
    """Return the style of the codes of a picture: of percentages each pixel shows the class with most of them."""
    for name in ("4-class", "cloud-noncloud", "valid-invalid"):
        if facts.classes == get_style(name).meanings:
            return get_style(name)
    return facts.style


def _title(facts: Facts) -> str:
    return "Percent per class" if facts.classes else f"Cloud mask, {facts.style.name}"
