"""`xcloudmask stac`: from a search to masks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import xarray as xr

from xcloudmask.cli import _options as opt
from xcloudmask.cli._masking import AppendOption, OverwriteOption, QuietOption, write_lazily
from xcloudmask.cli._outputs import OUTPUT_HELP, check_output
from xcloudmask.cli._report import reporting, stderr, stdout, usage_error

if TYPE_CHECKING:
    from xcloudmask.models.spec import ModelSpec

__all__ = ["stac"]

UrlArgument = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        show_default=False,
        help="An API: earth-search, planetary-computer, cdse, or its URL. A catalogue or items: a .json file or URL.",
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option("--out", show_default=False, help=OUTPUT_HELP),
]
CollectionOption = Annotated[
    list[str] | None, typer.Option("--collection", show_default=False, help="Id of a collection (repeat).")
]
BboxOption = Annotated[
    str | None,
    typer.Option("--bbox", metavar="W,S,E,N", show_default=False, help="Area in degrees; the cube is cut to it."),
]
GeometryOption = Annotated[
    str | None, typer.Option(metavar="FILE", show_default=False, help="GeoJSON geometry or feature, instead of --bbox.")
]
DatetimeOption = Annotated[
    str | None, typer.Option(show_default=False, help="Dates, such as 2024-06, or 2024-06-01/2024-08-31.")
]
QueryOption = Annotated[
    str | None, typer.Option(metavar="JSON", show_default=False, help="""Such as '{"eo:cloud_cover": {"lt": 60}}'.""")
]
FilterOption = Annotated[
    str | None, typer.Option("--filter", metavar="CQL2", show_default=False, help="Filter of the API, as CQL2 text.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, show_default=False, help="Most items. Default: 1000, or an error.")
]
KeepOption = Annotated[
    bool, typer.Option("--keep-duplicates", help="Keep scenes that were processed again, all versions of them.")
]
CrsOption = Annotated[str | None, typer.Option(show_default=False, help="CRS of the masks. Default: the items' own.")]
GridOption = Annotated[
    float | None, typer.Option("--resolution", show_default=False, help="Pixel of the masks, in units of the CRS.")
]
SolarDayOption = Annotated[
    bool, typer.Option("--solar-day", help="Put the items of a day over each other, instead of a mask for each.")
]
SignOption = Annotated[
    str | None, typer.Option(show_default=False, help="planetary-computer. Default: as the catalogue's name says.")
]
OnErrorOption = Annotated[str, typer.Option(help="raise, or skip: leave out items whose files cannot be read.")]
HostOption = Annotated[
    list[str] | None,
    typer.Option("--host", show_default=False, help="Host that files may come from (repeat). Default: any public one."),
]
PrivateOption = Annotated[bool, typer.Option("--allow-private", help="Files may come from private addresses.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show items, sizes, chunks and memory. Nothing is masked.")
]


@reporting
def stac(
    url: UrlArgument,
    *,
    out: OutOption = None,
    collection: CollectionOption = None,
    bbox: BboxOption = None,
    geometry: GeometryOption = None,
    datetime: DatetimeOption = None,
    query: QueryOption = None,
    filter: FilterOption = None,  # noqa: A002  # as the STAC API calls it
    limit: LimitOption = None,
    keep_duplicates: KeepOption = False,
    crs: CrsOption = None,
    resolution: GridOption = None,
    solar_day: SolarDayOption = False,
    sign: SignOption = None,
    on_error: OnErrorOption = "raise",
    host: HostOption = None,
    allow_private: PrivateOption = False,
    dry_run: DryRunOption = False,
    model: opt.ModelOption = "default",
    band: opt.BandOption = None,
    sensor: opt.SensorOption = None,
    normalize: opt.NormalizeOption = "chunk",
    output_style: opt.OutputStyleOption = "4-class",
    percent: opt.PercentOption = False,
    stride: opt.StrideOption = None,
    device: opt.DeviceOption = "auto",
    backend: opt.BackendOption = "auto",
    precision: opt.PrecisionOption = "auto",
    batch_size: opt.BatchSizeOption = "auto",
    chunk_px: opt.ChunkOption = None,
    workers: opt.WorkersOption = None,
    scheduler: opt.SchedulerOption = "threads",
    overwrite: OverwriteOption = False,
    append: AppendOption = False,
    quiet: QuietOption = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """Search a STAC catalogue, mask what is found, and write the masks."""
    from xcloudmask.predict import predict as predict_mask

    if out is None and not dry_run:
        raise usage_error("Expected --out masks.zarr, or --dry-run.")
    if out is not None:
        check_output(out, inputs=[], overwrite=overwrite, append=append)
    arguments = opt.predict_arguments(
        model=model,
        band=band,
        sensor=sensor,
        normalize=normalize,
        output_style=output_style,
        percent=percent,
        stride=stride,
        device=device,
        backend=backend,
        precision=precision,
        batch_size=batch_size,
    )
    area = {"bbox": _bbox(bbox), "geometry": _geometry(geometry)}
    found = _find(url, collection, area, datetime=datetime, query=query, filter_text=filter, limit=limit)
    items = found if keep_duplicates else _deduped(found, quiet=quiet)
    cube = _load(
        items,
        arguments,
        area,
        url=url,
        sign=sign,
        hosts=tuple(host or ()),
        allow_private=allow_private,
        chunks=chunk_px,
        crs=crs,
        resolution=resolution,
        groupby="solar_day" if solar_day else "id",
        on_error=on_error,
    )
    if dry_run:
        _show_plan(cube, found, items, arguments)
        return
    write_lazily(
        lambda: predict_mask(cube, **arguments),
        str(out),
        doing="Masking",
        scheduler=scheduler,
        workers=workers,
        overwrite=overwrite,
        append=append,
        quiet=quiet,
    )


def _is_file(url: str) -> bool:
    return url.partition("?")[0].endswith((".json", ".geojson"))


def _find(
    url: str,
    collection: list[str] | None,
    area: dict[str, Any],
    *,
    datetime: str | None,
    query: str | None,
    filter_text: str | None,
    limit: int | None,
) -> list[Any]:
    from xcloudmask.stac import read_items, search

    if _is_file(url):
        if query or filter_text or area["geometry"]:
            raise usage_error(
                f"{url} is no API: --query, --filter and --geometry need one. Expected --bbox, --datetime."
            )
        return read_items(url, collections=collection, bbox=area["bbox"], datetime=datetime, limit=limit or 10_000)
    if not collection:
        raise usage_error("Expected --collection, such as --collection sentinel-2-l2a.")
    asked = None if query is None else _json(query, "--query")
    return search(url, collections=collection, **area, datetime=datetime, query=asked, filter=filter_text, limit=limit)


def _deduped(items: list[Any], *, quiet: bool) -> list[Any]:
    from xcloudmask.stac import dedupe, duplicates

    dropped = duplicates(items)
    if dropped and not quiet:
        stderr().print(f"[yellow]Note:[/] {len(dropped)} of {len(items)} items were processed again:")
        for one in dropped[:5]:
            stderr().print(f"  {one}", markup=False)
    return dedupe(items)


def _load(
    items: list[Any],
    arguments: dict[str, Any],
    area: dict[str, Any],
    *,
    url: str,
    sign: str | None,
    hosts: tuple[str, ...],
    allow_private: bool,
    **options: Any,
) -> xr.Dataset:
    from xcloudmask.models.registry import get_spec
    from xcloudmask.stac import CATALOGUES, HrefPolicy, load

    known = CATALOGUES.get(url.casefold())
    signing: Any = sign or (known.sign if known is not None else None)
    return load(
        items,
        bands=_band_names(get_spec(arguments["model"]), arguments["bands"]),
        model=arguments["model"],
        sensor=arguments["sensor"],
        sign=signing,
        policy=HrefPolicy(hosts=hosts, allow_private=allow_private),
        **area,
        **options,
    )


def _band_names(spec: ModelSpec, chosen: dict[str, str | None] | list[str] | None) -> list[str] | None:
    """Names of the bands to load; None for those that the model takes."""
    if chosen is None or isinstance(chosen, list):
        return chosen
    names = list(chosen.values()) if spec.any_bands else [chosen.get(role, role) for role in spec.bands]
    return [name for name in names if name is not None]


def _bbox(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        sides = tuple(float(part) for part in text.split(","))
    except ValueError:
        sides = ()
    if len(sides) != 4:
        raise usage_error(f"--bbox {text}: expected west,south,east,north in degrees, such as --bbox 9,47,9.5,47.5")
    return sides


def _geometry(path: str | None) -> Any | None:
    if path is None:
        return None
    if not Path(path).is_file():
        raise usage_error(f"--geometry {path}: there is no such file.")
    shape = _json(Path(path).read_text(), f"--geometry {path}")
    if shape.get("type") == "FeatureCollection":
        features = shape.get("features") or []
        if len(features) != 1:
            raise usage_error(f"--geometry {path} has {len(features)} features. Expected one.")
        shape = features[0]
    return shape.get("geometry", shape) if shape.get("type") == "Feature" else shape


def _json(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise usage_error(f"{what}: no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise usage_error(f"{what}: expected a JSON object.")
    return found


def _show_plan(cube: xr.Dataset, found: list[Any], items: list[Any], arguments: dict[str, Any]) -> None:
    """Print what would be done: items, sizes, what was assumed, and the plan of `predict`."""
    from xcloudmask.plan import plan

    console = stdout()
    rows = [("items", f"{len(found)} found, {len(items)} after duplicates, {cube.sizes['time']} time steps")]
    rows += [("item", text) for text in _steps(cube)]
    pixels, count = math.prod(cube.sizes.values()), len(cube.data_vars)
    stored = sum(variable.nbytes for variable in cube.data_vars.values())
    sizes = ", ".join(f"{dim} {size}" for dim, size in next(iter(cube.data_vars.values())).sizes.items())
    rows += [
        ("cube", f"{sizes}; {count} bands ({', '.join(map(str, cube.data_vars))}), {stored / 1e6:,.0f} MB to read"),
        ("masks", f"{pixels / 1e6:,.0f} MB before compression"),
        ("sensor", cube.attrs.get("sensor", "unknown, or several")),
    ]
    rows += [("skipped", text) for text in cube.attrs.get("skipped_items", ())]
    for label, text in rows:
        console.print(f"{label:<12} {text}", markup=False)
    console.print(str(plan(cube, **arguments)), markup=False)


def _steps(cube: xr.Dataset) -> list[str]:
    """One line per time step; the offset is what catalogues get wrong."""
    first = next(iter(cube.data_vars))
    lines = []
    for step in range(cube.sizes["time"]):
        one = cube.isel(time=step)
        stamp = str(one["time"].values.astype("M8[s]")).replace("T", " ")
        scale, offset = (_fact(one, str(first), name) for name in ("scale_factor", "add_offset"))
        told = "scale unknown" if math.isnan(scale) else f"DN * {scale:g} + {offset:g}"
        lines.append(f"{stamp}  {one['item_id'].item()}  {told}")
    return lines


def _fact(cube: xr.Dataset, band: str, name: str) -> float:
    """Scale or offset of a band at one time step; NaN where unknown."""
    coord = cube.coords.get(f"{band}_{name}")
    return float(coord) if coord is not None else float(cube[band].attrs.get(name, math.nan))
