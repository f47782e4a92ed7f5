"""One item, as a document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xcloudmask._version import __version__
from xcloudmask.stac.out._facts import Facts
from xcloudmask.stac.out._fields import (
    EXTENSIONS,
    cloud_cover,
    ground_resolution,
    percents,
    projection_fields,
)
from xcloudmask.stac.out._names import shown_text
from xcloudmask.stac.out._outline import outline_of_pixels, to_geojson
from xcloudmask.stac.out._survey import Survey

__all__ = ["STAC_VERSION", "item_document", "settings_fields"]

STAC_VERSION = "1.1.0"


def item_document(
    facts: Facts, survey: Survey, *, name: str, collection: str, assets: Mapping[str, Any], links: list[dict[str, Any]]
) -> dict[str, Any]:
    """Build an item.

    Parameters
    ----------
    facts, survey
        Of one mask, whose time is known.
    name
        Its id.
    collection
        Id of the collection; empty for none.
    assets
        By key.
    links
        Of the item.

    Returns
    -------
    dict
        The same for the same mask, whenever it is built: it does not say when.
    """
    place = _place(facts, survey)
    document: dict[str, Any] = {"type": "Feature", "stac_version": STAC_VERSION, "id": name}
    document["stac_extensions"] = _extensions(facts, survey, assets)
    document["geometry"] = None if place is None else place[0]
    if place is not None:
        document["bbox"] = place[1]
    document["properties"] = _properties(facts, survey)
    document |= {"links": links, "assets": dict(assets)}
    return document | ({"collection": collection} if collection else {})


def settings_fields(facts: Facts) -> dict[str, Any]:
    """Return how a mask was made, under the prefix of this package.

    Parameters
    ----------
    facts
        Of one mask.

    Returns
    -------
    dict
    """
    fields: dict[str, Any] = {"xcloudmask:output_style": facts.style.name}
    if facts.classes:
        fields["xcloudmask:percent_of"] = list(facts.classes)
    for key in ("model", "model_sha256", "normalize", "processing"):
        if key in facts.provenance:
            fields[f"xcloudmask:{key}"] = shown_text(facts.provenance[key])
    if "settings" in facts.provenance:
        fields["xcloudmask:settings"] = _settings(facts.provenance["settings"])
    return fields


def _settings(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return shown_text(text)
    return found if isinstance(found, dict) else shown_text(text)


def _place(facts: Facts, survey: Survey) -> tuple[dict[str, Any], list[float]] | None:
    """Return the outline of the data; without data that of the raster, and without georeference none."""
    if facts.crs_wkt is None or facts.transform is None:
        return None
    import numpy as np
    from odc.geo import CRS

    crs = CRS(facts.crs_wkt)
    data = outline_of_pixels(survey.left, survey.right, facts.transform)
    if data is None:
        rows, columns = facts.shape
        whole = np.zeros(rows, np.int64), np.full(rows, columns, np.int64)
        data = outline_of_pixels(*whole, facts.transform)
    return None if data is None else to_geojson(data, crs)


def _properties(facts: Facts, survey: Survey) -> dict[str, Any]:
    shares = percents(facts, survey)
    cover = cloud_cover(shares)
    properties: dict[str, Any] = dict(facts.when.fields) if facts.when is not None else {"datetime": None}
    if facts.platforms:
        properties["platform"] = shown_text(" ".join(dict.fromkeys(facts.platforms)))
    if (metres := ground_resolution(facts)) is not None:
        properties["gsd"] = metres
    if cover is not None:
        properties["eo:cloud_cover"] = cover
    for key, value in (("view:sun_elevation", facts.sun_elevation), ("view:sun_azimuth", facts.sun_azimuth)):
        if value is not None:
            properties[key] = round(value, 6)
    properties |= projection_fields(facts) | _processing(facts) | settings_fields(facts)
    properties["xcloudmask:class_percent"] = shares
    if facts.source:
        properties["xcloudmask:source"] = shown_text(facts.source, 4000)
    return properties


def _processing(facts: Facts) -> dict[str, Any]:
    """Return the fields of the processing extension."""
    model = facts.provenance.get("model", "")
    by_model = f" by the model {shown_text(model)!r}" if model else ""
    what = "Percent per class" if facts.classes else f"Cloud mask ({facts.style.name})"
    lineage = f"{what} predicted{by_model} of xcloudmask"
    lineage += f" from {shown_text(facts.source, 4000)}." if facts.source else "."
    if facts.provenance.get("processing"):
        lineage += f" Afterwards: {shown_text(facts.provenance['processing'])}."
    version = shown_text(facts.provenance.get("xcloudmask_version", __version__))
    return {
        "processing:level": "L2",
        "processing:lineage": lineage,
        "processing:software": {"xcloudmask": version},
    }


def _extensions(facts: Facts, survey: Survey, assets: Mapping[str, Any]) -> list[str]:
    used = ["processing", "projection", "raster"]
    if not facts.classes:
        used.append("classification")
    if cloud_cover(percents(facts, survey)) is not None:
        used.append("eo")
    if facts.sun_elevation is not None or facts.sun_azimuth is not None:
        used.append("view")
    prefixes = {key.partition(":")[0] for asset in assets.values() for key in asset}
    used += sorted(prefixes & {"xarray", "zarr"})
    return [EXTENSIONS[name] for name in sorted(used)]
