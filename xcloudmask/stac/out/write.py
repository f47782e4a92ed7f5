"""`to_stac`: masks as a static STAC catalogue. `item_of`: an item from a COG alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudmask._optional import require
from xcloudmask.classes import OutputStyle
from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.grid import time_dim
from xcloudmask.io._raster import is_url, open_quietly
from xcloudmask.io.cog import OverviewResampling, to_cog
from xcloudmask.masks import to_style
from xcloudmask.stac.out._assets import cog_asset, preview_style, store_link, thumbnail_asset, zarr_asset
from xcloudmask.stac.out._card import card_name, card_of
from xcloudmask.stac.out._disk import make_folder, write_bytes, write_document
from xcloudmask.stac.out._existing import item_href
from xcloudmask.stac.out._facts import Facts, parse_when
from xcloudmask.stac.out._home import Home, check_new
from xcloudmask.stac.out._item import item_document
from xcloudmask.stac.out._names import check_name, shown_text
from xcloudmask.stac.out._plan import Planned, plan_items, read_facts
from xcloudmask.stac.out._png import png_of
from xcloudmask.stac.out._sources import known_sources, relative_href, source_links, sources_of
from xcloudmask.stac.out._survey import Survey, survey_array, survey_file

if TYPE_CHECKING:
    import pystac

__all__ = ["item_of", "to_stac"]

_NAME = "stac_item"
"""Coordinate that names the files."""
_LICENCE = re.compile(r"[\w\-.+]+")

Document = dict[str, Any]


def to_stac(
    masks: xr.DataArray | str | PathLike[str] | Sequence[str | PathLike[str]],
    folder: str | PathLike[str],
    *,
    collection_id: str = "cloud-masks",
    title: str | None = None,
    description: str | None = None,
    licence: str | None = None,
    ids: Sequence[str] | None = None,
    datetime: Any = None,
    source_items: Iterable[Any] | None = None,
    store: str | PathLike[str] | None = None,
    style: OutputStyle | None = None,
    thumbnail: bool = True,
    overview_resampling: OverviewResampling | None = None,
) -> pystac.Catalog:
    """Write masks as a static STAC catalogue: an item per date, with its COG, in a collection.

    A second call adds its dates to the collection. A date that is there is replaced by itself; all other items stay as
    they are. Hrefs are relative: the folder can be moved, or put on a web server or into a bucket.

    Parameters
    ----------
    masks
        (time, y, x) or (y, x) uint8 mask, or (time, cloud_class, y, x) uint8 percentages: they are computed, and
        written as COGs into the folder. Or what is written already, and stays where it is: a Zarr store of `to_zarr`,
        GeoTIFFs of `to_cog`, a folder of them.
    folder
        Of the catalogue.
    collection_id
        Name of the collection, and of its folder.
    title, description
        Texts of the collection. None leaves those that are there, or takes a default.
    licence
        SPDX identifier of the licence of the masks. None: as it is there, else ``"other"``.
    ids
        Names of the items. None: that of the source item with ``_cloud_mask`` behind it; else the time; of GeoTIFFs
        their file names.
    datetime
        Time of a mask without time: ``"2024-06-01T10:50:31Z"``, a span such as ``"2024-06-01/2024-06-30"``, a datetime,
        or two.
    source_items
        The pystac Items that the cube was loaded from, for links to them. They are told by the coordinate ``item_id``
        of the mask; where it has none, by their order.
    store
        Path or URL of the Zarr store that a lazy mask was opened from: the items lead there, and no COG is written. For
        some of the dates of a store.
    style
        Output style of the masks; None leaves it.
    thumbnail
        Whether a small picture in class colours is written.
    overview_resampling
        As for `to_cog`.

    Returns
    -------
    pystac.Catalog
        As it is on disk.

    Raises
    ------
    NotACubeError
        `masks` is no mask.
    ArgumentError, ArgumentTypeError
        An argument cannot be understood, a time is missing, or two masks would be one item.
    WriteError
        The collection holds masks of another style, model or setting, or an item of that name on another grid; or the
        folder cannot be written.
    ReadError, CatalogueError
        A file, or the catalogue that is there, cannot be read.

    Notes
    -----
    STAC 1.1.0 with the extensions classification 2.0.0, projection 2.0.0, raster 1.1.0, eo 1.1.0, view 1.0.0 and
    processing 1.1.0; for stores xarray-assets 1.0.0 and zarr 1.0.0. ``eo:cloud_cover`` is thick and thin cloud in
    percent of the pixels with data. The geometry is the convex outline of these pixels.

    Data are written first, then items, the collection, and the catalogue last, each complete or not at all. One call at
    a time may write to a folder. No document says when it was written: the same masks give the same bytes.

    Examples
    --------
    >>> to_stac(mask, "catalogue", source_items=items)  # doctest: +SKIP
    <Catalog id=catalogue>
    """
    library: Any = require("pystac", extra="stac")
    root, told = _root(folder), _told(title, description, licence)
    home = Home(root=root, collection=check_name(collection_id, "collection_id"))
    planned = plan_items(masks, style=style, ids=ids, when=None if datetime is None else parse_when(datetime))
    if store is not None:
        planned = _in_store(masks, planned, store, style)
    known = known_sources(source_items)
    sources = sources_of([one.facts for one in planned], known)
    before = home.read(planned)
    check_new(planned, before)
    make_folder(home.folder)
    if isinstance(masks, xr.DataArray) and store is None:
        mask = masks if style is None else to_style(masks, style)
        planned = _write_cogs(mask, planned, home, overview_resampling)
    card = _write_card(planned[0].facts, home)
    items = dict(before.others)
    for one, names in zip(planned, sources, strict=True):
        links = home.links(card) + source_links(names, known, folder=home.folder / one.name)
        items[item_href(one.name)] = _write_item(one, home, links, thumbnail=thumbnail)
    home.write(items, before, told=told, assets=_store_asset(planned, home.folder), card=card)
    found: pystac.Catalog = library.Catalog.from_file(str(root / "catalog.json"))
    return found


def item_of(path: str | PathLike[str], *, name: str | None = None, datetime: Any = None) -> pystac.Item:
    """Return the item of a COG that `to_cog` wrote, from what its tags and pixels tell.

    Parameters
    ----------
    path
        The file.
    name
        Id of the item; None for the name of the file.
    datetime
        Time, where the file does not tell it; as for `to_stac`.

    Returns
    -------
    pystac.Item
        Of no collection; the href of its asset is the absolute path of the file.

    Raises
    ------
    ReadError
        The file is no mask, or cannot be read.
    ArgumentError
        The time is not known.

    Examples
    --------
    >>> item_of("masks/cloud_mask_20240801T112119.tif").properties["eo:cloud_cover"]  # doctest: +SKIP
    31.25
    """
    library: Any = require("pystac", extra="stac")
    when = None if datetime is None else parse_when(datetime)
    (one,) = plan_items([path], style=None, ids=None if name is None else [name], when=when)
    cog = Path(path).absolute()
    survey = _survey(one)
    assets = {_key(one.facts): cog_asset(one.facts, survey, href=str(cog))}
    document = item_document(one.facts, survey, name=one.name, collection="", assets=assets, links=[])
    found: pystac.Item = library.Item.from_dict(document)
    return found


def _root(folder: str | PathLike[str]) -> Path:
    if not isinstance(folder, str | PathLike):
        raise ArgumentTypeError(f"folder={folder!r:.80} is a {type(folder).__name__}. Expected a path.")
    if is_url(fspath(folder)):
        raise ArgumentError(f"{folder} is a URL. Expected a local folder; copy it afterwards, its hrefs are relative.")
    return Path(folder)


def _in_store(
    masks: object, planned: Sequence[Planned], store: str | PathLike[str], style: OutputStyle | None
) -> list[Planned]:
    if style is not None or not isinstance(masks, xr.DataArray):
        raise ArgumentError(
            f"store={fspath(store)!r:.80} is for a mask that was opened from it, as it is. Give masks=open_mask(...), "
            "and no style=."
        )
    return [replace(one, store=fspath(store)) for one in planned]


def _told(title: str | None, description: str | None, licence: str | None) -> dict[str, str]:
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise ArgumentError(f"licence={licence!r:.80} is no SPDX identifier. Type for instance licence='CC-BY-4.0'.")
    lines = None if description is None else "\n".join(map(shown_text, description.splitlines()))
    given = {"title": None if title is None else shown_text(title), "description": lines, "license": licence}
    return {key: value for key, value in given.items() if value}


def _write_card(facts: Facts, home: Home) -> str | None:
    """Write the model's card into the collection; return its name, or None where the model is not known here."""
    card = card_of(facts)
    if card is None:
        return None
    write_document(home.folder / card_name(facts), card)
    return card_name(facts)


def _write_cogs(
    mask: xr.DataArray, planned: Sequence[Planned], home: Home, resampling: OverviewResampling | None
) -> list[Planned]:
    """Write the COGs of all dates in one go, each into the folder of its item."""
    time = time_dim(mask)
    names = [one.name for one in planned]
    named = mask.assign_coords({_NAME: names[0] if time is None else (time, np.array(names, object))})
    template = f"{{{_NAME}}}/{{{_NAME}}}.tif"
    to_cog(named, home.folder, name_template=template, overview_resampling=resampling, overwrite=True)
    written = []
    for one in planned:
        cog = home.folder / one.name / f"{one.name}.tif"
        header = read_facts(cog)
        # In the file rows run from north to south.
        facts = replace(one.facts, transform=header.transform, shape=header.shape)
        written.append(replace(one, facts=facts, array=None, cog=cog))
    return written


def _write_item(one: Planned, home: Home, links: list[Document], *, thumbnail: bool) -> Document:
    """Write the files of one item: its pixels are there, its document comes last."""
    folder = home.folder / one.name
    make_folder(folder)
    survey = _survey(one)
    if one.cog is not None:
        assets = {_key(one.facts): cog_asset(one.facts, survey, href=relative_href(one.cog, folder))}
    else:
        assets = {"zarr": zarr_asset(one, survey, folder=folder)}
        links = [*links, store_link(assets["zarr"])]
    if thumbnail:
        picture = folder / f"{one.name}.png"
        write_bytes(picture, png_of(survey.preview, preview_style(one.facts)))
        assets["thumbnail"] = thumbnail_asset(one.facts, href=f"./{picture.name}")
    document = item_document(one.facts, survey, name=one.name, collection=home.collection, assets=assets, links=links)
    write_document(folder / f"{one.name}.json", document)
    return document


def _survey(one: Planned) -> Survey:
    if one.array is not None:
        return survey_array(one.array)
    with open_quietly(str(one.cog), driver="GTiff") as source:
        return survey_file(source, one.cog, shares=bool(one.facts.classes))


def _key(facts: Facts) -> str:
    return "percent" if facts.classes else "mask"


def _store_asset(planned: Sequence[Planned], folder: Path) -> dict[str, Any]:
    """Return the store that holds all dates as an asset of the collection."""
    return {"zarr": zarr_asset(planned[0], None, folder=folder)} if planned[0].store is not None else {}
