"""`xcloudmask sensors`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from xcloudmask._sensor import Band, Constants, Sensor
from xcloudmask.cli import _options as opt
from xcloudmask.cli._report import reporting, stdout

__all__ = ["sensors"]


@reporting
def sensors(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            show_default=False,
            help="Name of a sensor, or the path of a TOML file with one of your own.",
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: opt.DebugOption = False,  # noqa: ARG001  # read by @reporting
) -> None:
    """List the sensors, or show all that is known of one: bands, names, wavelengths, scale, sources."""
    from xcloudmask.sensors import SENSORS, get_sensor, load_sensor

    if name is None:
        found = list(SENSORS.values())
        if as_json:
            _print_json([_summary(sensor) for sensor in found])
        else:
            stdout().print(_list(found), markup=False)
        return
    sensor = load_sensor(name) if name.endswith(".toml") else get_sensor(name)
    if as_json:
        _print_json(asdict(sensor))
        return
    for part in (_facts(sensor), _bands(sensor), _constants(sensor), _names(sensor)):
        if part.row_count:
            stdout().print(part, markup=False)
            stdout().print()


def _print_json(value: Any) -> None:
    # Not through rich, which would wrap long lines.
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _summary(sensor: Sensor) -> dict[str, Any]:
    return {
        "name": sensor.name,
        "title": sensor.title,
        "bands": [band.name for band in sensor.bands],
        "resolution_m": sorted({band.resolution_m for band in sensor.bands}),
        "platforms": list(sensor.platforms),
        "aliases": list(sensor.aliases),
        "source": sensor.source,
    }


def _list(found: Iterable[Sensor]) -> Table:
    table = Table("name", "title", "bands", "pixels", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for sensor in found:
        pixels = ", ".join(f"{metres:g}" for metres in sorted({band.resolution_m for band in sensor.bands}))
        table.add_row(sensor.name, sensor.title, str(len(sensor.bands)), f"{pixels} m")
    return table


def _facts(sensor: Sensor) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "name": (sensor.name,),
        "title": (sensor.title,),
        "other names": sensor.aliases,
        "platforms": sensor.platforms,
        "comes with": sensor.companions,
        "source": (sensor.source,),
    }
    for key, values in rows.items():
        table.add_row(key, ", ".join(filter(None, values)) or "-")
    return table


def _bands(sensor: Sensor) -> Table:
    columns = ("band", "roles", "nm (centre)", "m", "scale", "offset", "nodata", "quantity")
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns[:4]:
        column.no_wrap = True
    for band in sensor.bands:
        shortest, centre, longest = band.wavelength_nm
        table.add_row(
            band.name,
            " ".join(band.roles),
            f"{shortest:g}-{longest:g} ({centre:g})",
            f"{band.resolution_m:g}",
            *(_number(value) for value in (band.scale, band.offset, band.nodata)),
            band.quantity.replace("_", " "),
        )
    return table


def _constants(sensor: Sensor) -> Table:
    """Thermal constants, irradiance and gain of Level 1, for each satellite where they differ."""
    table = Table("band", "satellite", "K1", "K2", "ESUN", "gain", box=None, pad_edge=False)
    for band in sensor.bands:
        sets: list[tuple[str, Band | Constants]] = [(own.platform, own) for own in band.by_platform]
        for platform, own in sets or [("all", band)]:
            gain = own.level1_gain or band.level1_gain
            values = [*(_number(value) for value in (own.k1, own.k2, own.esun)), _gain(gain)]
            if set(values) != {"-"}:
                table.add_row(band.name, platform, *values)
    return table


def _gain(gain: tuple[float, float] | None) -> str:
    return "-" if gain is None else f"{gain[0]:g} {gain[1]:+g}"


def _names(sensor: Sensor) -> Table:
    table = Table("band", "other names, the likeliest first", "common name", box=None, pad_edge=False)
    for band in sensor.bands:
        table.add_row(band.name, ", ".join(band.aliases) or "-", band.common_name or "-")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}"
