"""Items to a lazy cube that is ready to mask."""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xcloudmask._optional import require
from xcloudmask._sensor import Sensor
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, ReadError
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.stac._grids import area_of, check_chunks, cube_grid, offset_in, on_blocks
from xcloudmask.stac._signing import SceneDriver, is_geotiff
from xcloudmask.stac.catalogues import Sign, SignChoice, resolve_sign
from xcloudmask.stac.driver import GuardedDriver
from xcloudmask.stac.facts import add_facts
from xcloudmask.stac.hrefs import HrefPolicy, check_href
from xcloudmask.stac.openbands import wanted_names
from xcloudmask.stac.scenes import Scene, checked_items, inspect_scenes, instant_of, item_policy

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

__all__ = ["load", "load_scenes"]

Chunks = int | Mapping[str, int] | None
GroupBy = Literal["id", "solar_day"]
OnError = Literal["raise", "skip"]
Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]

CHUNK_PX = 2048
"""As in `open_cube`: a chunk with its halo is one tile of the model."""


def load(
    items: Iterable[pystac.Item],
    *,
    bands: Sequence[str] | None = None,
    model: str | ModelSpec = "default",
    sensor: str | Sensor | None = None,
    chunks: Chunks = None,
    crs: str | int | None = None,
    resolution: float | None = None,
    resampling: Resampling = "nearest",
    bbox: Sequence[float] | None = None,
    geometry: Mapping[str, Any] | Any | None = None,
    geobox: GeoBox | None = None,
    groupby: GroupBy = "id",
    sign: SignChoice = None,
    policy: HrefPolicy | None = None,
    on_error: OnError = "raise",
) -> xr.Dataset:
    """Load items as a lazy cube, ready for `xcloudmask.predict`.

    Parameters
    ----------
    items
        As `search` and `read_items` return them. `dedupe` them first: each item becomes a time step.
    bands
        Names of bands: roles (``"nir"``), bands in any spelling (``"B8A"``), or keys of assets. The variables are
        called so. None for those that the model needs, by role; for a model of any bands, all of the sensor that the
        items have, but the panchromatic and thermal radiance.
    model
        The model that `bands` is for.
    sensor
        The sensor of all items. None: as each item says.
    chunks
        Pixels along y and x, or sizes by dimension. None: 2048, and one time step. Chunks begin where blocks of the
        files begin, where sizes allow it: those at the left and at the top of a cut cube are smaller then.
    crs, resolution
        Grid of the cube. None: the items' own; they must agree on one.
    resampling
        How bands get onto another grid.
    bbox
        West, south, east, north in degrees: the cube is cut to them.
    geometry
        GeoJSON geometry in degrees, instead of `bbox`: the cube is cut to its bounding box.
    geobox
        The grid itself, such as ``other.odc.geobox`` of a cube to lie on, instead of `crs`, `resolution`, `bbox` and
        `geometry`. Its chunks begin at its corner.
    groupby
        ``"id"``: a time step per item, which is what masks need. ``"solar_day"``: items of one day are put over each
        other, the first on top.
    sign
        How hrefs are signed: ``"planetary-computer"``, or a function from href to href. It is called before each read,
        in the worker that reads, so that tokens that expire are renewed.
    policy
        What hrefs may lead to. None: public hosts over https, s3, gs and az. Items that `read_items` read from files of
        this machine may name files of it.
    on_error
        ``"raise"``: a file that cannot be read is an error, which names item and asset, when its pixels are read.
        ``"skip"``: the header of each file is read now, and items with a file that cannot be read are left out, with a
        warning and in ``attrs["skipped_items"]``. What fails later is an error all the same; it is never nodata.

    Returns
    -------
    Dataset
        A variable per band, (time, y, x), DN in the product's type; ``nodata``, and where it is known and the same for
        all dates ``scale_factor`` and ``add_offset``, in its attributes. Where it differs between dates, coordinates
        ``<variable>_scale_factor`` and ``<variable>_add_offset`` along time; NaN where unknown. Coordinates along time:
        ``item_id``, and ``platform``, ``processing_baseline``, ``sun_elevation`` and ``sun_azimuth`` (degrees) where
        items tell. ``attrs["sensor"]`` where all items are of one sensor.

    Raises
    ------
    BandNotFoundError
        An item has no such band.
    HrefError
        An href is refused.
    InputError
        There are no items, they lie on several grids, or they do not fit together.
    ReadError
        A header is needed and cannot be read; later, when pixels are read.
    ArgumentError, ArgumentTypeError
        An argument cannot be understood.

    Warns
    -----
    UserWarning
        Items were skipped.

    Notes
    -----
    Reads with odc-stac. The offsets of each catalogue: `xcloudmask.stac.items.band_scale`.

    Examples
    --------
    >>> items = search("earth-search", collections="sentinel-2-c1-l2a", bbox=(9.0, 47.0, 9.2, 47.2),
    ...                datetime="2024-06")  # doctest: +SKIP
    >>> load(dedupe(items), bbox=(9.0, 47.0, 9.2, 47.2)).cloudmask.predict()  # doctest: +SKIP
    """
    require("odc.stac", extra="stac")
    _check_choice("groupby", groupby, ("id", "solar_day"))
    _check_choice("on_error", on_error, ("raise", "skip"))
    given = checked_items(items)
    names = wanted_names(get_spec(model), given, sensor=sensor) if bands is None else _names(bands)
    area, sizes = area_of(bbox, geometry), _chunks(chunks)
    signer, allowed = resolve_sign(sign), policy or HrefPolicy()
    scenes, gaps = inspect_scenes(given, names, sensor=sensor, policy=allowed, sign=signer, skip=on_error == "skip")
    scenes = _report(scenes, gaps)
    if geobox is None:
        grid = cube_grid([(scene.item, scene.grid) for scene in scenes], crs=crs, resolution=resolution, area=area)
        padded = on_blocks(grid, [scene.grid for scene in scenes], sizes)
    else:
        _check_alone(crs=crs, resolution=resolution, bbox=bbox, geometry=geometry)
        grid = padded = geobox
    groups = _groups(scenes, groupby, grid)
    cube = load_scenes(
        _members(scenes, groups),
        grid=padded,
        wanted=None if padded == grid else grid,
        chunks=sizes,
        resampling=resampling,
        policy=allowed,
        sign=signer,
    )
    if gaps:
        cube.attrs["skipped_items"] = [f"{name}: {why}" for name, why in gaps.items()]
    return cube


def load_scenes(
    steps: Sequence[Sequence[Scene]],
    *,
    grid: GeoBox,
    chunks: Mapping[str, int],
    resampling: Resampling,
    policy: HrefPolicy,
    sign: Sign | None,
    wanted: GeoBox | None = None,
) -> xr.Dataset:
    """Load scenes that were looked at before onto a grid.

    Parameters
    ----------
    steps
        Scenes of each time step, the first of a step on top.
    grid
        Where chunks begin.
    chunks
        Pixels along time, y and x.
    resampling, policy, sign
        As in `load`.
    wanted
        The part of the grid to return, if not all of it; at the left and at the top it may begin later.

    Returns
    -------
    Dataset
        As `load` returns it.
    """
    odc_stac = require("odc.stac", extra="stac")
    scenes = [scene for step in steps for scene in step]
    names = list(scenes[0].sources)
    for step in steps:
        _check_mosaic(step)
    check_chunks(grid, chunks, times=len(steps), bands=len(names))
    cube = odc_stac.load(
        [_plain_item(scene, policy, order) for order, scene in enumerate(scenes)],
        bands=names,
        geobox=grid,
        chunks=dict(chunks),
        groupby=_by_order([index for index, step in enumerate(steps) for _ in step]),
        preserve_original_order=True,
        resampling=resampling,
        fail_on_error=True,
        driver=_driver(scenes, names, policy, sign, wanted=wanted),
    )
    return add_facts(_cut(cube, grid, wanted or grid), steps)


def _check_alone(**others: object) -> None:
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ArgumentError(f"geobox= is the whole grid. Leave out {', '.join(f'{name}=' for name in given)}.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ArgumentError(f"{name}={value!r}. Expected one of {', '.join(map(repr, choices))}.")


def _names(bands: Sequence[str]) -> list[str]:
    if isinstance(bands, str):
        raise ArgumentError(f"bands={bands!r} is one string. Type bands=[{bands!r}].")
    names = list(bands)
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(f"bands={names!r:.200}: expected one name or more, each once.")
    return names


def _chunks(chunks: Chunks) -> dict[str, int]:
    given = {"y": CHUNK_PX, "x": CHUNK_PX} if chunks is None else chunks
    given = {"y": given, "x": given} if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(given, Mapping) or not all(isinstance(size, int) for size in given.values()):
        raise ArgumentTypeError(f"chunks={chunks!r}. Expected 2048, or {{'y': 2048, 'x': 2048}}.")
    if set(given) - {"time", "y", "x"} or not all(size >= 1 for size in given.values()):
        raise ArgumentError(f"chunks={chunks!r}: expected sizes of 1 or more for 'time', 'y' and 'x'.")
    return {"time": 1, "y": CHUNK_PX, "x": CHUNK_PX} | dict(given)


def _report(scenes: list[Scene], gaps: Mapping[str, str]) -> list[Scene]:
    if gaps:
        shown, count = "\n".join(f"  {why}" for why in list(gaps.values())[:5]), len(gaps) + len(scenes)
        if not scenes:
            raise ReadError(f"None of the {count} items can be read:\n{shown}")
        warnings.warn(
            f"{len(gaps)} of {count} items are left out, because their files cannot be read:\n{shown}", stacklevel=3
        )
    return scenes


def _groups(scenes: Sequence[Scene], groupby: GroupBy, grid: GeoBox) -> list[int]:
    """Time step of each scene."""
    if groupby == "id":
        return list(range(len(scenes)))
    ((longitude, _),) = grid.extent.centroid.to_crs("EPSG:4326").points
    shift = dt.timedelta(hours=longitude / 15)
    days = [(instant_of(scene.item) + shift).date() for scene in scenes]
    order = {day: step for step, day in enumerate(sorted(set(days)))}
    return [order[day] for day in days]


def _check_mosaic(scenes: Sequence[Scene]) -> None:
    """Refuse to put DN of different meaning into one image."""
    for name in scenes[0].sources:
        if len({scene.sources[name].scale for scene in scenes}) > 1:
            shown = ", ".join(scene.item.id for scene in scenes)
            day = instant_of(scenes[0].item).date()
            raise InputError(
                f"The items of {day} have different scales or offsets for {name!r}: {shown}. Their DN do not fit into "
                "one image. Type groupby='id', mask, and mosaic what is clear."
            )


def _members(scenes: Sequence[Scene], groups: Sequence[int]) -> list[list[Scene]]:
    members: list[list[Scene]] = [[] for _ in range(max(groups) + 1)]
    for scene, step in zip(scenes, groups, strict=True):
        members[step].append(scene)
    return members


def _by_order(groups: Sequence[int]) -> Callable[[Any, Any, int], int]:
    def step(item: Any, parsed: Any, index: int) -> int:  # noqa: ARG001  # as odc-stac calls it
        return groups[index]

    return step


def _plain_item(scene: Scene, policy: HrefPolicy, order: int) -> pystac.Item:
    """An item with one asset per variable, so that spellings and extensions of catalogues end here."""
    library: Any = require("pystac", extra="stac")
    item = scene.item
    properties: dict[str, Any] = {"xcloudmask:order": order}
    plain: pystac.Item = library.Item(
        item.id,
        item.geometry,
        item.bbox,
        instant_of(scene.item),
        properties,
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        collection="xcloudmask",
    )
    for name, source in scene.sources.items():
        grid = scene.grids[name]
        href = check_href(
            item.assets[source.asset].href, item=item, asset=source.asset, policy=item_policy(item, policy)
        )
        fields = {
            "proj:shape": list(grid.shape),
            "proj:transform": list(grid.transform)[:6],
            "proj:wkt2": grid.crs.to_wkt() if grid.crs is not None else None,
            "xcloudmask:source": {"asset": source.asset, "band": source.index + 1},
        }
        plain.add_asset(name, library.Asset(href, media_type="image/tiff", extra_fields=fields))
    return plain


def _cut(cube: xr.Dataset, padded: GeoBox, grid: GeoBox) -> xr.Dataset:
    """Cut away what was added so that chunks begin on blocks."""
    if padded == grid:
        return cube
    from odc.geo.xr import xr_coords

    cut = {dim: slice(start, None) for dim, start in zip(grid.dimensions, offset_in(grid, padded), strict=True)}
    # The transform in the coordinate of the CRS, which isel leaves as it is, would be that of the larger grid.
    return cube.isel(cut).assign_coords(xr_coords(grid))


def _driver(
    scenes: Sequence[Scene], names: Sequence[str], policy: HrefPolicy, sign: Any, *, wanted: GeoBox | None
) -> SceneDriver:
    policies = [item_policy(scene.item, policy) for scene in scenes]
    hrefs = [scene.item.assets[source.asset].href for scene in scenes for source in scene.sources.values()]
    return SceneDriver(
        guarded=GuardedDriver(policy=next((found for found in policies if found.allow_files), policy)),
        sign=sign,
        exclusive=not all(map(is_geotiff, hrefs)),
        dtypes={name: str(_dtype(scenes, name)) for name in names},
        nodata={name: _nodata(scenes, name) for name in names},
        wanted=wanted,
    )


def _dtype(scenes: Sequence[Scene], name: str) -> np.dtype[Any]:
    return np.result_type(*{np.dtype(scene.sources[name].dtype) for scene in scenes})


def _nodata(scenes: Sequence[Scene], name: str) -> float | None:
    found: dict[float | str | None, Scene] = {}
    for scene in scenes:
        value = scene.sources[name].nodata
        found.setdefault("nan" if value is not None and math.isnan(value) else value, scene)
    if len(found) > 1:
        shown = ", ".join(f"{value} ({scene.item.id})" for value, scene in found.items())
        raise InputError(f"The items have different nodata values for {name!r}: {shown}. Load them one kind at a time.")
    return scenes[0].sources[name].nodata
