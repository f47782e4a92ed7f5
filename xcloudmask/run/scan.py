"""Items and cubes to scenes of a manifest: their grid, their cell, what tells them from an older processing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudmask._optional import require
from xcloudmask.errors import InputError, XCloudMaskError
from xcloudmask.grid import time_dim
from xcloudmask.models.registry import get_spec
from xcloudmask.run._checks import policy_of
from xcloudmask.run._cubestamp import cube_stamps
from xcloudmask.run._rows import Skip, Source
from xcloudmask.run.cells import cell_of_grid, family_of, utm_zone
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.sources import fingerprint, item_pages, trim_item

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

    from xcloudmask.stac.assets import Source as AssetSource

__all__ = ["Page", "scan"]

_THREADS = 8
_WHY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some scenes."""

    sources: list[Source]
    """Those that can be planned."""
    skips: list[Skip]
    """Those that cannot, and why."""


def scan(config: CampaignConfig) -> Iterator[Page]:
    """Find the scenes of a campaign, page by page.

    Parameters
    ----------
    config
        The campaign.

    Yields
    ------
    Page

    Raises
    ------
    CatalogueError, ReadError
        The source cannot be read.
    InputError
        A cube cannot be masked.
    """
    if config.source.kind == "cube":
        for path in config.source.paths:
            yield Page(sources=list(_cube_steps(str(path), config)), skips=[])
        return
    looker = _Looker(config)
    for items in item_pages(config.source):
        yield looker.page(items)


# -- items -------------------------------------------------------------------------------------------------------------


class _Looker:
    """Looks at items as `stac.load` would; headers are read only where an item does not declare its grid."""

    def __init__(self, config: CampaignConfig) -> None:
        from xcloudmask.sensors import get_sensor
        from xcloudmask.stac.catalogues import resolve_sign
        from xcloudmask.stac.hrefs import HrefPolicy

        source = config.source
        self._source, self._utm = source, config.store.layout == "utm"
        self._named = band_names(config)
        self._sensor = None if source.sensor is None else get_sensor(source.sensor)
        self._policy = HrefPolicy(**policy_of(source) | {"allow_files": False})
        self._sign = resolve_sign(source.sign)

    def page(self, items: Sequence[pystac.Item]) -> Page:
        """Look at some items."""
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            found = [self._look(item) for item in items]
            # Headers are read at once: each takes as long as the network does.
            later = {place: pool.submit(self._with_headers, items[place]) for place, one in enumerate(found) if not one}
            rows = [later[place].result() if place in later else one for place, one in enumerate(found)]
        sources = [row for row in rows if isinstance(row, Source)]
        return Page(sources=sources, skips=[row for row in rows if isinstance(row, Skip)])

    def _look(self, item: pystac.Item) -> Source | Skip | None:
        """None where headers have to be read."""
        from xcloudmask.stac.assets import declared_grid

        def build() -> Source | None:
            assets = self._assets(item)
            grids = [declared_grid(item, asset.asset) for asset in assets.values()]
            known = [grid for grid in grids if grid is not None]
            return self._row(item, assets, known) if len(known) == len(grids) else None

        return _or_skip(item, build)

    def _with_headers(self, item: pystac.Item) -> Source | Skip | None:
        from xcloudmask.stac.scenes import inspect_scenes

        def build() -> Source:
            scenes, _ = inspect_scenes(
                [item], self._names(item), sensor=self._sensor, policy=self._policy, sign=self._sign, skip=False
            )
            return self._row(item, scenes[0].sources, list(scenes[0].grids.values()))

        return _or_skip(item, build)

    def _names(self, item: pystac.Item) -> list[str]:
        """Names of the bands to read: those of the configuration, or all of the item for a model that takes any."""
        from xcloudmask.stac.openbands import all_roles

        return self._named or all_roles([item], sensor=self._sensor)

    def _assets(self, item: pystac.Item) -> dict[str, AssetSource]:
        from xcloudmask.stac.assets import find_source
        from xcloudmask.stac.guard import guard_items
        from xcloudmask.stac.items import sensor_of
        from xcloudmask.stac.scenes import item_policy

        sensor = self._sensor or sensor_of(item)
        found = {name: find_source(item, name, sensor) for name in self._names(item)}
        guard_items([item], [one.asset for one in found.values()], policy=item_policy(item, self._policy))
        return found

    def _row(self, item: pystac.Item, assets: Mapping[str, AssetSource], grids: Sequence[GeoBox]) -> Source:
        from xcloudmask.stac.duplicates import cell_of
        from xcloudmask.stac.items import sensor_of
        from xcloudmask.stac.scenes import instant_of

        finest = min(grids, key=lambda grid: float(grid.transform.a))
        name, sensor = cell_of(item), self._sensor or sensor_of(item)
        cell = cell_of_grid(finest, name=name)
        made_by = sensor.name if sensor is not None else str(item.collection_id or "unknown")
        document = self._trimmed(item, assets)
        box = ",".join(f"{side:.6f}" for side in item.bbox or ())
        return Source(
            name=item.id,
            collection=item.collection_id or "",
            fingerprint=fingerprint(document),
            place=f"{made_by}|{name or box or item.id}",
            family=f"{made_by}|{utm_zone(cell)}" if self._utm else family_of(cell, made_by),
            time=instant_of(item).replace(tzinfo=None).isoformat(),
            cell=cell,
            document=document,
            scale=json.dumps({band: found.scale for band, found in assets.items()}, sort_keys=True),
        )

    def _trimmed(self, item: pystac.Item, assets: Mapping[str, AssetSource]) -> dict[str, Any]:
        """The item with the files that are read; with all of them where a worker would choose others otherwise."""
        library: Any = require("pystac", extra="stac")
        wanted = [one.asset for one in assets.values()]
        document = trim_item(item, wanted, source=self._source)
        copy = json.loads(json.dumps(document))  # some times faster than deepcopy
        try:
            same = self._assets(_trusted(library.Item.from_dict(copy, preserve_dict=False), item)) == dict(assets)
        except XCloudMaskError:
            same = False
        return document if same else trim_item(item, [*wanted, *self._readable(item)], source=self._source)

    def _readable(self, item: pystac.Item) -> Iterator[str]:
        """Files that the policy lets through: a thumbnail elsewhere is no reason to give up an item."""
        from xcloudmask.errors import HrefError
        from xcloudmask.stac.guard import guard_items
        from xcloudmask.stac.scenes import item_policy

        for key in item.assets:
            try:
                guard_items([item], [key], policy=item_policy(item, self._policy))
            except HrefError:
                continue
            yield key


def band_names(config: CampaignConfig) -> list[str]:
    """Return what the bands to read are called: as the configuration says, else the roles of the model.

    Nothing for a model of any bands where the configuration names none: what items have is looked up in each.
    """
    if config.source.bands:
        return list(config.source.bands)
    given = config.model.options.get("bands")
    spec = get_spec(config.model.name)
    if spec.any_bands and given is not None:
        return [str(name) for name in (given.values() if isinstance(given, Mapping) else given)]
    names = [given.get(role, role) if isinstance(given, Mapping) else role for role in spec.bands]
    return [str(name) for name in names if name is not None]


def _trusted(copy: pystac.Item, item: pystac.Item) -> pystac.Item:
    """A copy may name files of this machine where its original was read from one."""
    from xcloudmask.stac.read import FROM_FILE

    if getattr(item, FROM_FILE, False):
        setattr(copy, FROM_FILE, True)
    return copy


def _or_skip(item: pystac.Item, build: Any) -> Source | Skip | None:
    from xcloudmask.stac.read import BAD_ITEM

    try:
        found: Source | None = build()
    except (XCloudMaskError, *BAD_ITEM) as error:
        why = str(error) if isinstance(error, XCloudMaskError) else f"it is no valid STAC item ({error!r:.200})"
        return Skip(name=item.id, collection=item.collection_id or "", why=why[:_WHY])
    return found


# -- cubes -------------------------------------------------------------------------------------------------------------


def _cube_steps(path: str, config: CampaignConfig) -> Iterator[Source]:
    """Time steps of a cube; each is a scene."""
    from odc.geo.xr import ODCExtension  # noqa: F401  # registers .odc

    from xcloudmask.io.read import open_cube

    cube = open_cube(path, bands=config.source.bands or None)
    grid = getattr(cube, "odc").geobox  # noqa: B009  # the accessor is not typed
    if grid is None or grid.crs is None:
        raise InputError(f"{path} has no grid or no coordinate system. Expected both; type: cube.rio.write_crs(...)")
    if grid.transform.b or grid.transform.d:
        raise InputError(f"{path}: the grid is rotated. Expected rows along x and columns along y.")
    name = re.sub(r"[^A-Za-z0-9_-]", "-", Path(path.rstrip("/")).name.split(".")[0])[:64] or "cube"
    cell = cell_of_grid(grid, name=name)
    family, times = family_of(cell, f"cube {path}"), _times(cube, path, config.source.time)
    stamps = cube_stamps(path, cube, version=config.source.version, time=time_dim(cube), steps=len(times))
    for time, stamp in zip(times, stamps, strict=True):
        yield Source(
            name=name,
            collection=f"{path} {time}",
            fingerprint=stamp,
            place=f"cube {path}",
            family=family,
            time=time,
            cell=cell,
            document={"cube": path, "time": time},
        )


def _times(cube: xr.Dataset, path: str, given: str) -> list[str]:
    dim = time_dim(cube)
    if dim is None:
        alone = cube.coords["time"].values if "time" in cube.coords else np.datetime64("NaT")
        if not given and alone.dtype.kind == "M" and not np.isnat(alone):
            given = str(np.datetime_as_string(alone, unit="s"))
        if not given:
            raise InputError(f"{path} has no time axis. Type in [source]: time = '2024-06-01T10:50:31'")
        return [str(np.datetime64(given, "s"))]
    values = cube[dim].values
    if values.dtype.kind != "M" or np.isnat(values).any():
        raise InputError(f"{path}: time is {values.dtype}, or has gaps. Expected dates (datetime64).")
    texts = [np.datetime_as_string(value, unit="ns") for value in values]
    times = [str(text).rstrip("0").rstrip(".") if "." in text else str(text) for text in texts]
    if len(set(times)) < len(times):
        raise InputError(f"{path} has a date twice. Expected each once. Type: cube.drop_duplicates('time')")
    return times
