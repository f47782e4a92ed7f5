"""Fields of extensions, for items and for the definitions of assets in a collection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from xcloudmask.classes import CLASS_DIM, NODATA, NODATA_COLOUR, Style
from xcloudmask.grid import metres_per_degree
from xcloudmask.stac.out._facts import Facts
from xcloudmask.stac.out._survey import Survey

__all__ = [
    "EXTENSIONS",
    "asset_fields",
    "class_objects",
    "cloud_cover",
    "ground_resolution",
    "percents",
    "projection_fields",
]

_ROOT = "https://stac-extensions.github.io"
EXTENSIONS: Mapping[str, str] = {
    "classification": f"{_ROOT}/classification/v2.0.0/schema.json",
    "eo": f"{_ROOT}/eo/v1.1.0/schema.json",
    "processing": f"{_ROOT}/processing/v1.1.0/schema.json",
    "projection": f"{_ROOT}/projection/v2.0.0/schema.json",
    "raster": f"{_ROOT}/raster/v1.1.0/schema.json",
    "view": f"{_ROOT}/view/v1.0.0/schema.json",
    "xarray": f"{_ROOT}/xarray-assets/v1.0.0/schema.json",
    "zarr": f"{_ROOT}/zarr/v1.0.0/schema.json",
}
"""Versions that are written: those that pystac 1.15 knows, and the first one of zarr."""

_DESCRIPTIONS: Mapping[str, str] = {
    "clear": "Clear land or water.",
    "thick_cloud": "Cloud that hides the ground.",
    "thin_cloud": "Cloud or haze that the ground shows through.",
    "cloud_shadow": "Shadow of a cloud on the ground.",
    "not_cloud": "No cloud: clear ground, or the shadow of a cloud.",
    "cloud": "Thick or thin cloud.",
    "valid": "Clear ground.",
    "invalid": "Cloud, thick or thin, or the shadow of one.",
}
_CLOUDS = ("thick_cloud", "thin_cloud", "cloud")
_DIGITS = 3


def class_objects(style: Style, survey: Survey | None = None) -> list[dict[str, Any]]:
    """Return `classification:classes` of a style, nodata last.

    Parameters
    ----------
    style
        The output style.
    survey
        Adds to each class its pixels, and their share of all pixels of the raster.

    Returns
    -------
    list of dict

    Examples
    --------
    >>> from xcloudmask.classes import get_style
    >>> [entry["value"] for entry in class_objects(get_style("valid-invalid"))]
    [0, 1, 255]
    """
    rows = [
        (code, name, _DESCRIPTIONS[name], colour)
        for code, (name, colour) in enumerate(zip(style.meanings, style.colours, strict=True))
    ]
    rows.append((NODATA, "nodata", "No data in the image, or none that can be masked.", NODATA_COLOUR))
    classes: list[dict[str, Any]] = []
    for value, name, description, colour in rows:
        entry = {"value": value, "name": name, "title": name.replace("_", " "), "description": description}
        entry |= {"color_hint": colour.removeprefix("#").upper(), "nodata": value == NODATA}
        if survey is not None and survey.counts is not None:
            count = int(survey.counts[value])
            entry |= {"percentage": round(100 * count / int(survey.counts.sum()), _DIGITS), "count": count}
        classes.append(entry)
    return classes


def percents(facts: Facts, survey: Survey) -> dict[str, float]:
    """Return each class in percent of the pixels that have data; of percentages their means. Empty without data.

    Parameters
    ----------
    facts, survey
        Of one mask.

    Returns
    -------
    dict
    """
    if not survey.valid:
        return {}
    if survey.means is not None:
        return {name: round(mean, _DIGITS) for name, mean in zip(facts.classes, survey.means, strict=True)}
    counts = np.zeros(256) if survey.counts is None else survey.counts
    return {
        name: round(100.0 * float(counts[code]) / survey.valid, _DIGITS)
        for code, name in enumerate(facts.style.meanings)
    }


def cloud_cover(shares: Mapping[str, float]) -> float | None:
    """Return thick and thin cloud together, in percent of the pixels with data.

    Parameters
    ----------
    shares
        Of each class.

    Returns
    -------
    float or None
        None where it is not known: a "valid-invalid" mask does not tell cloud from shadow.

    Examples
    --------
    >>> cloud_cover({"clear": 50.0, "thick_cloud": 30.0, "thin_cloud": 12.5, "cloud_shadow": 7.5})
    42.5
    """
    found = [share for name, share in shares.items() if name in _CLOUDS]
    return min(100.0, round(sum(found), _DIGITS)) if found else None


def projection_fields(facts: Facts) -> dict[str, Any]:
    """Return the fields of the projection extension.

    Parameters
    ----------
    facts
        Of one mask.

    Returns
    -------
    dict
        ``proj:code`` is null and ``proj:wkt2`` is there where the CRS has no EPSG code.
    """
    fields: dict[str, Any] = {}
    if facts.crs_wkt is not None:
        from odc.geo import CRS

        crs = CRS(facts.crs_wkt)
        epsg = crs.to_epsg()
        fields["proj:code"] = f"EPSG:{epsg}" if epsg else None
        if not epsg:
            fields["proj:wkt2"] = crs.proj.to_wkt("WKT2_2019")
    fields["proj:shape"] = list(facts.shape)
    if facts.transform is not None:
        transform = [float(number) for number in facts.transform]
        across, down = np.array(transform[:3]), np.array(transform[3:])
        height, width = facts.shape
        corners = np.array([(column, row, 1) for row in (0, height) for column in (0, width)])
        xs, ys = (corners @ across).tolist(), (corners @ down).tolist()
        fields |= {"proj:transform": transform, "proj:bbox": [min(xs), min(ys), max(xs), max(ys)]}
    return fields


def asset_fields(facts: Facts, survey: Survey | None = None, *, variable: str | None = None) -> dict[str, Any]:
    """Return the fields of a mask's asset but for its href: bands of STAC 1.1 and of the raster extension, classes.

    Parameters
    ----------
    facts
        Of one mask.
    survey
        None for the asset of a collection, which is the same for all items.
    variable
        Name of the array in a Zarr store; None for a GeoTIFF.

    Returns
    -------
    dict
    """
    values: dict[str, Any] = {"data_type": "uint8", "nodata": NODATA}
    if facts.classes:
        values["unit"] = "percent"
    raster = dict(values) | {"sampling": "area"}
    if survey is not None:
        values["statistics"] = {"valid_percent": round(survey.valid_percent, _DIGITS)}
        raster["statistics"] = dict(values["statistics"])
        if (metres := ground_resolution(facts)) is not None:
            raster["spatial_resolution"] = metres
    if facts.classes:
        # As the STAC best practices for Zarr name what lies along a dimension.
        named = {name: name if variable is None else f"{variable}[{CLASS_DIM}={name}]" for name in facts.classes}
        bands = [{"name": named[name], "description": _DESCRIPTIONS.get(name, name)} | values for name in facts.classes]
        return {"bands": bands, "raster:bands": [dict(raster) for _ in bands]}
    band = {"name": variable or "cloud_mask", "description": f"Cloud mask, {facts.style.name}."} | values
    return {
        "bands": [band],
        "raster:bands": [raster],
        "classification:classes": class_objects(facts.style, survey),
    }


def ground_resolution(facts: Facts) -> float | None:
    """Return the size of a pixel in metres, None where it is not known.

    Parameters
    ----------
    facts
        Of one mask.

    Returns
    -------
    float or None
        The square root of its area; of degrees at the middle latitude.
    """
    if facts.crs_wkt is None or facts.transform is None:
        return None
    from odc.geo import CRS

    crs = CRS(facts.crs_wkt)
    a, b, _, d, e, f = facts.transform
    area = abs(a * e - b * d)
    if crs.geographic:
        north, east = metres_per_degree(f + e * facts.shape[0] / 2)
        area *= north * east
    else:
        axes = crs.proj.axis_info
        area *= (axes[0].unit_conversion_factor if axes else 1.0) ** 2
    return round(math.sqrt(area), 3)
