"""Scenes to tasks: duplicates out, cells, time steps, regions. The same for a first plan and for what comes later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from xcloudmask._optional import require
from xcloudmask.run.cells import Window, geobox_of, join_grids, reaches_beyond, window_in, zone_cell
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.regions import area_filter, regions_of, touching
from xcloudmask.run.task import Cell

__all__ = ["CUT", "Settled", "cut_text", "settle"]

CUT = "cut"
"""Fact of a manifest: cell of a UTM zone -> scenes that reach beyond it."""


class Settled(NamedTuple):
    """What became of the scenes."""

    new: int
    """Tasks that were not there."""
    anew: int
    """Tasks that took the place of others, since their scenes were processed anew."""


def settle(manifest: Manifest, config: CampaignConfig, *, area: Mapping[str, Any] | None) -> Settled:
    """Make tasks of all scenes of a manifest.

    Parameters
    ----------
    manifest
        With its scenes.
    config
        The campaign.
    area
        GeoJSON geometry in degrees; None for everything.

    Returns
    -------
    Settled
    """
    if config.source.kind != "cube" and config.source.dedupe:
        manifest.replace_sources(list(_replaced(manifest)))
    for family in manifest.families():
        _place(manifest, family, config, area)
        manifest.fill_slots(family, shift_minutes=_shift(family) if config.store.layout == "utm" else None)
    new = anew = 0
    cut: dict[str, int] = {}
    for name in sorted(manifest.cell_names()):
        windows = _Windows(manifest.cell(name), area, zone=config.store.layout == "utm")
        for counts in _put_steps(manifest, name, config, area, windows):
            new, anew = new + counts[0], anew + counts[1]
        cut |= {name: windows.cut} if windows.cut else {}
    manifest.note(CUT, cut)
    return Settled(new, anew)


class _Windows:
    """Where scenes lie in a cell, each grid looked at once."""

    def __init__(self, cell: Cell, area: Mapping[str, Any] | None, *, zone: bool) -> None:
        self._cell, self._area, self._zone = cell, area, zone
        self._known: dict[Cell, tuple[Window | None, bool]] = {}
        self.cut = 0
        """Scenes of which the cell, made when others were planned, has only a part."""

    def of(self, grid: Cell) -> Window | None:
        if grid not in self._known:
            beyond = self._zone and reaches_beyond(self._cell, grid, self._area)
            self._known[grid] = touching(self._cell, grid), beyond
        window, beyond = self._known[grid]
        self.cut += beyond
        return window


def cut_text(manifest: Manifest) -> str:
    """Say which scenes reach beyond the cell of their zone; empty where none does."""
    cut: Mapping[str, int] = manifest.fact(CUT) or {}
    if not cut:
        return ""
    return (
        f"{sum(cut.values()):,} scenes reach beyond the grid of their zone ({', '.join(sorted(cut))}), which the first "
        "plan fixed: what lies outside of it gets no mask. Another campaign makes the grid anew, for all of it: give "
        "[store] another path in the configuration, and type: xcloudmask run start CAMPAIGN.toml"
    )


def _replaced(manifest: Manifest) -> Iterator[tuple[int, int]]:
    """Numbers of scenes that others replace, and of those; the items of one place are in memory at a time."""
    from xcloudmask.stac.duplicates import duplicates

    library: Any = require("pystac", extra="stac")
    for place in manifest.places():
        numbers: dict[int, int] = {}
        items = []
        for number, source in manifest.sources(place):
            items.append(library.Item.from_dict(dict(source.document), preserve_dict=False))
            numbers[id(items[-1])] = number
        for found in duplicates(items) if len(items) > 1 else ():
            yield numbers[id(found.dropped)], numbers[id(found.kept)]


def _place(manifest: Manifest, family: str, config: CampaignConfig, area: Mapping[str, Any] | None) -> None:
    """Put each scene of a family into a cell: one that is there, else a new one."""
    left: dict[Cell, list[int]] = {}
    cells = manifest.cells_of(family)
    for grid, numbers in manifest.grids(family).items():
        cell = next((cell for cell in cells if _fits(cell, grid, config)), None)
        if cell is None:
            left[grid] = numbers
        else:
            manifest.assign(cell.name, numbers)
    made = _new_cell(list(left), family, config, area) if left else None
    if made is not None:
        cell = _named(made, manifest.cell_names())
        manifest.add_cells([cell], family=family)
        for numbers in left.values():
            manifest.assign(cell.name, numbers)


def _fits(cell: Cell, grid: Cell, config: CampaignConfig) -> bool:
    if config.store.layout == "utm":
        return touching(cell, grid) is not None
    top, bottom, left, right = window_in(cell, grid)
    return top >= 0 and left >= 0 and bottom <= cell.shape[0] and right <= cell.shape[1]


def _new_cell(grids: list[Cell], family: str, config: CampaignConfig, area: Mapping[str, Any] | None) -> Cell | None:
    unit = config.store.shard_px or config.store.chunk_px
    if config.store.layout == "utm":
        zone = family.rpartition("|")[2]
        return zone_cell(grids, zone=zone, resolution=config.store.resolution_m, area=area, unit_px=unit)
    return join_grids(grids, unit_px=unit)


def _named(cell: Cell, taken: set[str]) -> Cell:
    """The cell with a name that no other has, on systems too that do not tell A from a."""
    from dataclasses import replace

    known = {name.casefold() for name in taken}
    names = (cell.name if number == 1 else f"{cell.name}-{number}" for number in range(1, len(known) + 2))
    return replace(cell, name=next(name for name in names if name.casefold() not in known))


def _shift(family: str) -> int:
    """Minutes from UTC to the solar time of a zone."""
    return (int(family[-2:]) * 6 - 183) * 4


def _put_steps(
    manifest: Manifest, name: str, config: CampaignConfig, area: Mapping[str, Any] | None, windows: _Windows
) -> Iterator[tuple[int, int]]:
    cell = manifest.cell(name)
    wanted, region_px = area_filter(cell, area), None if config.whole else config.region_px
    context_px = _context(cell, config)
    for time, rows in groupby(manifest.scenes(name), key=itemgetter(0)):
        scenes: list[tuple[int, Window]] = []
        for _, number, grid in rows:
            if (window := windows.of(grid)) is not None:
                scenes.append((number, window))
        regions = list(regions_of(cell, scenes, region_px=region_px, context_px=context_px, wanted=wanted))
        if regions:
            yield manifest.put_step(name, time, regions)


def _context(cell: Cell, config: CampaignConfig) -> int:
    """Pixels around a region that the model looks at: the scenes there are read as well."""
    from xcloudmask.models.registry import get_spec
    from xcloudmask.run.blocks import context_of

    if config.whole:
        return 0
    crs = geobox_of(cell).crs
    return context_of(
        get_spec(config.model.name),
        config.model.options,
        region_px=config.region_px,
        block_px=config.block_px,
        pixel_m=abs(cell.transform[0]) if crs is not None and crs.projected else None,
    )
