"""One scene, several items: reprocessed products, and catalogues that keep the old ones."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xcloudmask.errors import ArgumentTypeError
from xcloudmask.stac.items import platform_of, processing_baseline, product_name, sensor_of

if TYPE_CHECKING:
    import pystac

__all__ = ["Duplicate", "cell_of", "dedupe", "duplicates"]

_SENTINEL2 = re.compile(r"(S2[A-D])_MSI(L1C|L2A)_(\d{8}T\d{6})_N\d{4}_R\d{3}_T(\w{5})_(\d{8}T\d{6})")
_DATATAKE = re.compile(r"G(S2[A-D])_(\d{8}T\d{6})_\d{6}_N\d\d\.\d\d")
_DATASTRIP = re.compile(r"_DS_\w{4}_\d{8}T\d{6}_S(\d{8}T\d{6})_")
_LANDSAT = re.compile(
    r"(L[COTEM]\d\d)_(L[12])(\w\w)_(\d{6})_(\d{8})(?:_(\d{8}))?_(\d\d)_(T1|T2|RT|A1|A2)(?:_(SR|ST|TA))?$"
)
_SAME_STRIP = dt.timedelta(seconds=10)
_CATEGORIES = {"RT": 0, "A2": 1, "A1": 2, "T2": 3, "T1": 4}
_CELL = re.compile(r"[A-Za-z0-9_]{1,32}")
_HLS = re.compile(r"HLS\.([LS]30)\.T(\w{5})\.(\d{7}T\d{6})\.v(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Duplicate:
    """An item that another one replaces."""

    dropped: pystac.Item
    """The older one."""
    kept: pystac.Item
    """The one that replaces it."""
    why: str
    """Why it is the older one."""

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.dropped.id}: replaced by {self.kept.id} ({self.why})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    scene: tuple[Any, ...]
    """What the items of one scene have in common."""
    rank: tuple[Any, ...]
    """The largest is kept."""
    names: tuple[str, ...]
    """What the parts of `rank` are."""
    strip: dt.datetime | None = None
    """Start of the datastrip: items of one scene that are far apart show different parts of it."""


def dedupe(items: Iterable[pystac.Item]) -> list[pystac.Item]:
    """Keep the newest processing of each scene.

    Parameters
    ----------
    items
        Of any catalogues, also of several.

    Returns
    -------
    list of pystac.Item
        In the order given. What was dropped and why: `duplicates`.

    Notes
    -----
    A scene is one grid cell at one instant. Sentinel-2: level, MGRS tile, start of the datatake and of the datastrip;
    the highest processing baseline, then the newest product, is kept. Two datastrips of one datatake show different
    parts of a tile and are both kept, and so are neighbouring tiles, which overlap: masking precedes mosaicking.
    Landsat: level, path, row and date; T1 and T2 replace RT, then the newest processing is kept. HLS: tile and instant.
    All others: collection, instant and bounding box; the newest ``updated`` or ``created`` is kept.

    Examples
    --------
    >>> dedupe([])
    []
    """
    return [members[0] for members in _scenes(items)]


def duplicates(items: Iterable[pystac.Item]) -> list[Duplicate]:
    """Tell what `dedupe` drops, and why.

    Parameters
    ----------
    items
        As for `dedupe`.

    Returns
    -------
    list of Duplicate

    Examples
    --------
    >>> duplicates([])
    []
    """
    return [
        Duplicate(dropped=dropped, kept=members[0], why=_why(members[0], dropped))
        for members in _scenes(items)
        for dropped in members[1:]
    ]


def cell_of(item: pystac.Item) -> str | None:
    """Return the cell of the product's own grid that an item lies in, or None where the product has none.

    Parameters
    ----------
    item
        Of any catalogue.

    Returns
    -------
    str or None
        MGRS tile (``"31UDQ"``) of Sentinel-2 and HLS; path and row (``"198026"``) of Landsat; of others, what they
        declare. Letters and digits alone.

    Examples
    --------
    >>> import datetime as dt, pystac
    >>> cell_of(pystac.Item("LC08_L2SP_198026_20240514_20240520_02_T1", None, None, dt.datetime(2024, 5, 14), {}))
    '198026'
    """
    found = _sentinel2(item) or _landsat(item)
    hls = _hls(item) if found is None else None
    name = _declared_cell(item) if found is None else found.scene[3]
    name = name if hls is None else hls.scene[2]
    # It becomes the name of a folder, and what a catalogue says may be anything.
    return str(name) if name is not None and _CELL.fullmatch(str(name)) else None


def _declared_cell(item: pystac.Item) -> str | None:
    """As the grid extension, the Landsat extension, or Open Data Cube says it."""
    properties = item.properties
    code = properties.get("grid:code")
    if isinstance(code, str) and "-" in code:
        return code.partition("-")[2]
    path, row = (str(properties.get(f"landsat:wrs_{name}", "")) for name in ("path", "row"))
    if path.isdecimal() and row.isdecimal():
        return f"{int(path):03d}{int(row):03d}"
    code = properties.get("odc:region_code")
    return code if isinstance(code, str) else None


def _scenes(items: Iterable[pystac.Item]) -> list[list[pystac.Item]]:
    """Items of each scene, the one to keep first; scenes in the order of the items kept."""
    given = list(items)
    scenes: dict[tuple[Any, ...], list[int]] = {}
    for index, item in enumerate(given):
        if not hasattr(item, "assets") or not hasattr(item, "properties"):
            raise ArgumentTypeError(f"items has {item!r:.80}. Expected pystac Items, as search() returns them.")
        scenes.setdefault(_identity(item).scene, []).append(index)
    strips = [indices for found in scenes.values() for indices in _by_strip(given, found)]
    ordered = [_best_first(given, indices) for indices in strips]
    return [[given[index] for index in indices] for indices in sorted(ordered, key=lambda indices: indices[0])]


def _by_strip(items: Sequence[pystac.Item], indices: list[int]) -> list[list[int]]:
    """Part items of one tile and datatake by datastrip; a strip that was processed again begins some seconds apart."""
    starts = {index: _identity(items[index]).strip for index in indices}
    known = sorted((start, index) for index, start in starts.items() if start is not None)
    unknown = [index for index in indices if starts[index] is None]
    parts: list[list[int]] = []
    for position, (start, index) in enumerate(known):
        if position and start - known[position - 1][0] <= _SAME_STRIP:
            parts[-1].append(index)
        else:
            parts.append([index])
    if len(parts) == 1:
        return [sorted(parts[0] + unknown)]
    return [sorted(part) for part in parts] + ([unknown] if unknown else [])


def _best_first(items: Sequence[pystac.Item], indices: list[int]) -> list[int]:
    best = max(indices, key=lambda index: (_identity(items[index]).rank, -index))
    return [best, *(index for index in indices if index != best)]


def _why(kept: pystac.Item, dropped: pystac.Item) -> str:
    new, old = _identity(kept), _identity(dropped)
    for name, newer, older in zip(new.names, new.rank, old.rank, strict=False):
        if newer != older:
            return f"{name} {_shown(older)}, kept {_shown(newer)}"
    return "the same processing twice"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "final" if value else "real-time"
    if isinstance(value, tuple):
        return ".".join(f"{part:02d}" for part in value)
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return next((name for name, rank in _CATEGORIES.items() if rank == value), str(value)) if value != "" else "unknown"


def _identity(item: pystac.Item) -> _Identity:
    return _sentinel2(item) or _landsat(item) or _hls(item) or _generic(item)


def _sentinel2(item: pystac.Item) -> _Identity | None:
    product = _SENTINEL2.search(product_name(item)) or _SENTINEL2.search(item.id)
    datatake = _DATATAKE.search(str(item.properties.get("s2:datatake_id", "")))
    strip = _DATASTRIP.search(str(item.properties.get("s2:datastrip_id", "")))
    sensor = sensor_of(item)
    if product:
        scene: tuple[Any, ...] = product[1], product[2], product[4], product[3]
        made = product[5]
    else:
        tile = _tile(item)
        if tile is None or datatake is None or sensor is None or not sensor.name.startswith("sentinel-2"):
            return None
        scene = datatake[1], sensor.name[-3:].upper(), tile, datatake[2]
        made = re.sub(r"\W", "", str(item.properties.get("s2:generation_time", "")))[:15]
    baseline = processing_baseline(item) or (0, 0)
    return _Identity(
        scene=("sentinel-2", *scene),
        rank=(baseline, made, *_stamps(item)),
        names=("processing baseline", "made", "updated"),
        strip=dt.datetime.strptime(strip[1], "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC) if strip else None,
    )


def _tile(item: pystac.Item) -> str | None:
    properties = item.properties
    parts = [properties.get(f"mgrs:{name}") for name in ("utm_zone", "latitude_band", "grid_square")]
    old = [properties.get(f"sentinel:{name}") for name in ("utm_zone", "latitude_band", "grid_square")]
    code = str(properties.get("grid:code", ""))
    text = properties.get("s2:mgrs_tile") or (code.removeprefix("MGRS-") if code.startswith("MGRS-") else None)
    for zone, band, square in (parts, old):
        if text is None and None not in (zone, band, square):
            text = f"{zone}{band}{square}"
    return str(text).zfill(5) if text else None


def _landsat(item: pystac.Item) -> _Identity | None:
    product = _LANDSAT.match(item.id)
    if product is None:
        return None
    satellite, level, _, cell, date, made, number, category, part = product.groups()
    return _Identity(
        scene=("landsat", satellite, level, cell, date, part),
        rank=(number, category != "RT", made or "", _CATEGORIES[category], *_stamps(item)),
        names=("collection", "processing", "processed", "category", "updated"),
    )


def _hls(item: pystac.Item) -> _Identity | None:
    product = _HLS.match(item.id)
    if product is None:
        return None
    return _Identity(
        scene=("hls", *product.groups()[:3]),
        rank=((int(product[4]), int(product[5])), *_stamps(item)),
        names=("version", "updated"),
    )


def _generic(item: pystac.Item) -> _Identity:
    box = tuple(round(float(side), 6) for side in item.bbox or ())
    instant = item.datetime or item.properties.get("start_datetime")
    # Without a place or a time nothing tells that two items show the same.
    alone = () if box and instant else (id(item),)
    return _Identity(
        scene=("other", item.collection_id, platform_of(item), str(instant), box, *alone),
        rank=_stamps(item),
        names=("updated",),
    )


def _stamps(item: pystac.Item) -> tuple[dt.datetime]:
    """When the item was last changed."""
    found = [dt.datetime.min.replace(tzinfo=dt.UTC)]
    for key in ("processing:datetime", "updated", "created"):
        text = item.properties.get(key)
        if isinstance(text, str):
            try:
                stamp = dt.datetime.fromisoformat(text)
            except ValueError:
                continue
            found.append(stamp if stamp.tzinfo else stamp.replace(tzinfo=dt.UTC))
    return (max(found),)
