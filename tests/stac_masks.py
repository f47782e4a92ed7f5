"""Masks for tests of STAC out, and what an item of them has to say."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from stac_schemas import official_schemas

from xcloudmask.classes import CLASS_DIM, get_style, mask_attrs

MADE = {
    "model": "tiny",
    "model_sha256": "0" * 64,
    "normalize": "chunk",
    "settings": '{"bands":"red green nir","factor":1,"halo_px":40}',
    "xcloudmask_version": "0.1.0",
}
TIMES = ("2024-05-14T10:50:31", "2024-05-24T10:50:31")


def make_mask(
    times=TIMES, *, shape=(60, 80), crs="EPSG:32631", origin=(600_000.0, 5_400_000.0), pixel=10.0, style="4-class",
    seed=0, nodata_px=0, coords=None, chunks=None, attrs=None,
):  # fmt: skip
    """A mask of random codes, (time, y, x), with `nodata_px` columns of nodata at its left."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(get_style(style).meanings), (len(times), *shape), dtype=np.uint8)
    codes[:, :, :nodata_px] = 255
    box = GeoBox(shape, Affine(pixel, 0, origin[0], 0, -pixel, origin[1]), crs)
    place = xr_coords(box, dims=("y", "x"))
    found = xr.DataArray(
        codes,
        dims=("time", "y", "x"),
        coords={"time": np.array(times, "M8[ns]")} | {str(key): value for key, value in place.items()},
        name="cloud_mask",
        attrs=mask_attrs(get_style(style)) | MADE | (attrs or {}),
    )
    found = found.assign_coords({key: ("time", value) for key, value in (coords or {}).items()})
    return found if chunks is None else found.chunk(chunks)


def make_percent(**more):
    """Percentages of each class, which add up to 100."""
    codes = make_mask(**more)
    names = get_style("4-class").meanings
    shares = np.stack([np.where(codes == 255, 255, np.where(codes == code, 70, 10)) for code in range(4)], axis=1)
    attrs = {"output_style": "4-class", "units": "percent", "nodata": 255} | MADE
    return xr.DataArray(
        shares.astype(np.uint8),
        dims=("time", CLASS_DIM, "y", "x"),
        coords={CLASS_DIM: np.array(names), **codes.coords},
        name="cloud_mask",
        attrs=attrs,
    )


def read(path):
    return json.loads(path.read_text())


def items_in(folder, collection="cloud-masks"):
    return {path.stem: read(path) for path in sorted((folder / collection).glob("*/*.json"))}


def files_in(folder):
    """Every file and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def validate(document):
    """Core by pystac's own schemas; extensions by the official schemas where they were downloaded.

    Returns the names of the extensions that were validated by schema.
    """
    import pystac

    make = {"Feature": pystac.Item, "Collection": pystac.Collection, "Catalog": pystac.Catalog}[document["type"]]
    make.from_dict(document | {"stac_extensions": []}).validate()
    schemas = official_schemas()
    if schemas is None:
        return []
    import jsonschema
    from pystac.validation.local_validator import get_local_schema_cache
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    known = get_local_schema_cache() | schemas
    registry = Registry().with_resources(
        [(name, Resource.from_contents(schema, default_specification=DRAFT7)) for name, schema in known.items()]
    )
    checked = [name for name in document.get("stac_extensions", []) if name in schemas]
    for name in checked:
        jsonschema.Draft7Validator(schemas[name], registry=registry).validate(document)
    return checked
