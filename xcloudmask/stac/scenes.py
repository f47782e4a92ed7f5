"""Items, and what `load` needs to know of each before it reads a pixel."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xcloudmask._optional import require
from xcloudmask._sensor import Sensor
from xcloudmask.errors import ArgumentTypeError, BandNotFoundError, InputError, ReadError
from xcloudmask.sensors import get_sensor
from xcloudmask.stac._grids import grid_name
from xcloudmask.stac._signing import takes_turns
from xcloudmask.stac.assets import Source, declared_grid, find_source
from xcloudmask.stac.catalogues import Sign
from xcloudmask.stac.guard import guard_items, open_guarded
from xcloudmask.stac.hrefs import HrefPolicy, check_href, wrong_id
from xcloudmask.stac.items import sensor_of
from xcloudmask.stac.read import FROM_FILE

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

__all__ = ["Scene", "checked_items", "inspect_scenes", "instant_of", "item_policy", "split_by_grid"]

_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One item."""

    item: pystac.Item
    """As it was given."""
    sensor: Sensor | None
    """Its sensor, or None where that is unknown."""
    sources: dict[str, Source]
    """Variable of the cube -> file and band."""
    grids: dict[str, GeoBox]
    """Grid of each variable."""

    @property
    def grid(self) -> GeoBox:
        """The finest grid."""
        return min(self.grids.values(), key=lambda grid: float(grid.transform.a))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    grid: GeoBox
    dtype: str
    count: int
    nodata: float | None


def inspect_scenes(
    items: Iterable[pystac.Item],
    names: Sequence[str],
    *,
    sensor: str | Sensor | None,
    policy: HrefPolicy,
    sign: Sign | None,
    skip: bool,
) -> tuple[list[Scene], dict[str, str]]:
    """Find bands, check hrefs and complete what items do not declare from the headers of their files.

    Parameters
    ----------
    items
        Of any catalogues.
    names
        Names of bands, which become the variables.
    sensor
        The sensor of all items; None to tell it from each.
    policy
        What hrefs may lead to.
    sign
        Signs hrefs.
    skip
        Whether the header of every file is read, and items whose files cannot be read are left out.

    Returns
    -------
    list of Scene
        By date.
    dict
        Id of each item left out -> why.

    Raises
    ------
    BandNotFoundError
        An item lacks a band.
    HrefError
        An href is refused.
    ReadError
        A header is needed and cannot be read, and `skip` is off.
    """
    table = None if sensor is None else get_sensor(sensor)
    scenes: list[Scene] = []
    for item in sorted(checked_items(items), key=lambda item: (instant_of(item), item.id)):
        known = sensor_of(item) if table is None else table
        sources = {name: find_source(item, name, known) for name in names}
        guard_items([item], [source.asset for source in sources.values()], policy=item_policy(item, policy))
        scenes.append(Scene(item=item, sensor=known, sources=sources, grids={}))
    look = _Looker(policy=policy, sign=sign, all_files=skip)
    kept: list[Scene] = []
    gaps: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for scene, done in zip(scenes, pool.map(look, scenes), strict=True):
            if isinstance(done, Scene):
                kept.append(done)
            elif skip:
                gaps[scene.item.id] = str(done)
            else:
                raise done
    return kept, gaps


def checked_items(items: Iterable[pystac.Item]) -> list[pystac.Item]:
    """Return items as a list, and refuse what is none."""
    pystac = require("pystac", extra="stac")
    given = list(items) if not isinstance(items, pystac.Item) else [items]
    for item in given:
        if not isinstance(item, pystac.Item):
            raise ArgumentTypeError(
                f"items has {item!r:.80}. Expected pystac Items, as search() and read_items() return them."
            )
        if why := wrong_id(item.id):
            raise InputError(f"An item is refused: {why}. Expected a plain name. Type: item.id = '...'")
    if not given:
        raise InputError(
            "There are no items. Check bbox (west, south, east, north: longitude first) and dates, or widen them or "
            "the filters of the search."
        )
    return given


def instant_of(item: pystac.Item) -> dt.datetime:
    """Return when an item was taken, in UTC, which is what times without a zone are taken for."""
    instant = item.datetime or item.common_metadata.start_datetime
    if instant is None:
        raise InputError(f"Item {item.id!r} has no datetime. Expected one, or start_datetime.")
    return instant.replace(tzinfo=dt.UTC) if instant.tzinfo is None else instant.astimezone(dt.UTC)


def item_policy(item: pystac.Item, policy: HrefPolicy) -> HrefPolicy:
    """Items that `read_items` read from files of this machine may name files of it, whatever their links say."""
    return replace(policy, allow_files=True) if getattr(item, FROM_FILE, False) else policy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looker:
    """Completes scenes; headers are read only where something is missing, or all of them when asked to."""

    policy: HrefPolicy
    sign: Sign | None
    all_files: bool

    def __call__(self, scene: Scene) -> Scene | ReadError:
        """Return the scene with what its headers say, or why they cannot be read."""
        try:
            return self._completed(scene)
        except ReadError as error:
            return error

    def _completed(self, scene: Scene) -> Scene:
        headers: dict[str, _Header] = {}
        grids: dict[str, GeoBox] = {}
        sources = dict(scene.sources)
        for name, source in scene.sources.items():
            grid = declared_grid(scene.item, source.asset)
            if grid is None or source.dtype is None or source.nodata is None or self.all_files:
                if source.asset not in headers:
                    headers[source.asset] = self._header(scene.item, source.asset)
                header = headers[source.asset]
                if source.index >= header.count:
                    raise BandNotFoundError(
                        f"Item {scene.item.id!r}, asset {source.asset!r}: the file has {header.count} bands, and band "
                        f"{source.index + 1} is wanted for {name!r}."
                    )
                grid = grid or header.grid
                # Where neither the item nor the sensor declares nodata, the file may.
                nodata = header.nodata if source.nodata is None else source.nodata
                sources[name] = replace(source, dtype=source.dtype or header.dtype, nodata=nodata)
            grids[name] = grid
        return replace(scene, sources=sources, grids=grids)

    def _header(self, item: pystac.Item, asset: str) -> _Header:
        from odc.geo.converters import rio_geobox

        policy = item_policy(item, self.policy)
        href = check_href(item.assets[asset].href, item=item, asset=asset, policy=policy)
        href = href if self.sign is None else self.sign(href)
        with takes_turns(href), open_guarded(href, item=item, asset=asset, policy=policy) as dataset:
            if dataset.crs is None:
                raise ReadError(f"Item {item.id!r}, asset {asset!r}: the file has no georeference.")
            affine = dataset.transform
            if affine.b != 0 or affine.d != 0 or affine.a <= 0 or affine.e >= 0:
                raise InputError(f"Item {item.id!r}, asset {asset!r}: the file's grid is rotated or flipped.")
            grid: Any = rio_geobox(dataset)
            return _Header(grid=grid, dtype=dataset.dtypes[0], count=dataset.count, nodata=dataset.nodata)


def split_by_grid(
    items: Iterable[pystac.Item], *, bands: Sequence[str] = ("red",), policy: HrefPolicy | None = None
) -> dict[str, list[pystac.Item]]:
    """Split items into groups whose pixels coincide, such as UTM zones.

    Parameters
    ----------
    items
        Of any catalogues.
    bands
        The bands whose grid counts; the finest of them.
    policy
        What hrefs may lead to: headers are read where items do not declare their grid.

    Returns
    -------
    dict
        Name of the grid -> items, each group for one `load`.

    Raises
    ------
    BandNotFoundError, HrefError, ReadError
        As `load`.

    Examples
    --------
    >>> cubes = [load(group) for group in split_by_grid(items).values()]  # doctest: +SKIP
    """
    scenes, _ = inspect_scenes(items, bands, sensor=None, policy=policy or HrefPolicy(), sign=None, skip=False)
    groups: dict[str, list[pystac.Item]] = {}
    for scene in scenes:
        groups.setdefault(grid_name(scene.grid), []).append(scene.item)
    return groups
