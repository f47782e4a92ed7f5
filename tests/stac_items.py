"""Items in the spelling of each catalogue, for files that tests write.

    shot = Shot.of(cube, step=0, hrefs={"red": "red.tif"}, time="2024-06-01T10:50:31Z")
    earth_search_v1(shot, baseline="05.10")

Written after the catalogues' published items and the STAC extensions they declare; only what readers look at is there.
The keys of `hrefs` are the provider's names of bands (B04, SR_B4, red).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

Item = dict[str, Any]
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
EXTENSIONS = "https://stac-extensions.github.io"
S2_COMMON = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
OLI_COMMON = {
    "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "nir08", "B6": "swir16", "B7": "swir22",
    "B8": "pan", "B9": "cirrus", "B10": "lwir11", "B11": "lwir12",
}  # fmt: skip
TM_COMMON = {"B1": "blue", "B2": "green", "B3": "red", "B4": "nir08", "B5": "swir16", "B6": "lwir", "B7": "swir22"}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One scene on disk or on a server."""

    hrefs: Mapping[str, str]
    epsg: int | None
    """None where the grid has no code."""
    transform: tuple[float, ...]
    shape: tuple[int, int]
    time: str = "2024-05-14T10:50:31Z"
    sun_elevation: float = 50.0
    footprint: Mapping[str, Any] = field(default_factory=dict)
    grids: Mapping[str, tuple[tuple[float, ...], tuple[int, int]]] = field(default_factory=dict)
    """Transform and shape of bands that are on another grid."""
    wkt2: str = ""

    @staticmethod
    def of(cube: xr.Dataset, *, hrefs: Mapping[str, str], **more: Any) -> Shot:
        """A scene on the grid of a cube."""
        from odc.geo.xr import ODCExtension  # noqa: F401  # registers .odc

        box = cube.odc.geobox
        polygon = box.extent.to_crs("EPSG:4326")
        return Shot(
            hrefs=hrefs,
            epsg=box.crs.epsg,
            transform=tuple(box.transform)[:6],
            shape=tuple(box.shape),
            footprint=json.loads(json.dumps(polygon.json)),
            wkt2=box.crs.to_wkt(),
            **more,
        )

    def projection(self, band: str) -> dict[str, Any]:
        transform, shape = self.grids.get(band, (self.transform, self.shape))
        return {"proj:shape": list(shape), "proj:transform": list(transform)}


def write_tif(path: Path, bands: Mapping[str, np.ndarray], cube: xr.Dataset, *, nodata: float | None) -> None:
    """Write the bands of one scene into one tiled GeoTIFF."""
    import rasterio

    arrays = list(bands.values())
    height, width = arrays[0].shape
    box = cube.odc.geobox
    crs = box.crs.to_wkt() if box.crs.epsg is None else f"EPSG:{box.crs.epsg}"
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
    with rasterio.open(
        path, "w", driver="GTiff", dtype=arrays[0].dtype, count=len(arrays), height=height, width=width,
        crs=crs, transform=box.transform, nodata=nodata, **options,
    ) as file:  # fmt: skip
        for index, (name, array) in enumerate(bands.items(), start=1):
            file.write(array, index)
            file.set_band_description(index, name)


def _base(shot: Shot, name: str, collection: str, *, extensions: tuple[str, ...], properties: Item) -> Item:
    ring = np.array(shot.footprint["coordinates"][0])
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [f"{EXTENSIONS}/{text}/schema.json" for text in extensions],
        "id": name,
        "collection": collection,
        "geometry": dict(shot.footprint),
        "bbox": [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()],
        "properties": {"datetime": shot.time, **properties},
        "links": [],
        "assets": {},
    }


def _compact(time: str) -> str:
    return time.replace("-", "").replace(":", "").removesuffix("Z")


def s2_product(shot: Shot, *, level: str, baseline: str, made: str, tile: str = "31UDQ", satellite: str = "S2A") -> str:
    number = baseline.replace(".", "")
    return f"{satellite}_MSI{level}_{_compact(shot.time)}_N{number}_R051_T{tile}_{made}"


def earth_search_v1(
    shot: Shot,
    *,
    baseline: str,
    applied: bool | None,
    collection: str = "sentinel-2-l2a",
    made: str = "20240514T143000",
    level: str = "L2A",
    sequence: int = 0,
    tile: str = "31UDQ",
    strip: str | None = None,
) -> Item:
    """https://earth-search.aws.element84.com/v1: common names as keys, raster v1, and the flag of the offset."""
    product = s2_product(shot, level=level, baseline=baseline, made=made, tile=tile)
    properties = {
        "created": f"{made[:4]}-{made[4:6]}-{made[6:8]}T20:00:00Z",
        "platform": "sentinel-2a",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": 41.5,
        "proj:epsg": shot.epsg,
        "mgrs:utm_zone": int(tile[:2]),
        "mgrs:latitude_band": tile[2],
        "mgrs:grid_square": tile[3:],
        "grid:code": f"MGRS-{tile}",
        "view:sun_elevation": shot.sun_elevation,
        "view:sun_azimuth": 158.0,
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"{product}.SAFE",
        "s2:sequence": str(sequence),
    }
    if strip is not None:
        properties["s2:datastrip_id"] = f"S2A_OPER_MSI_{level}_DS_2APS_{made}_S{strip}_N{baseline}"
    if applied is not None:
        properties["earthsearch:boa_offset_applied"] = applied
    day = _compact(shot.time)[:8]
    item = _base(
        shot,
        f"S2A_{tile}_{day}_{sequence}_{level}" if "c1" not in collection else product,
        collection,
        extensions=("eo/v1.1.0", "raster/v1.1.0", "projection/v1.1.0", "view/v1.0.0", "grid/v1.1.0", "mgrs/v1.0.0"),
        properties=properties,
    )
    for band, href in shot.hrefs.items():
        # The catalogue declares the offset whatever was applied.
        raster = {"nodata": 0, "data_type": "uint16", "bits_per_sample": 15, "scale": 0.0001, "offset": -0.1}
        common = S2_COMMON[band]
        item["assets"][common] = {
            "href": href,
            "type": COG,
            "roles": ["data", "reflectance"],
            "eo:bands": [{"name": common, "common_name": common}],
            "raster:bands": [raster],
            **shot.projection(band),
        }
    item["assets"]["thumbnail"] = {"href": "preview.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    return item


def earth_search_v0(shot: Shot, *, baseline: str | None, applied: bool | None = None) -> Item:
    """https://earth-search.aws.element84.com/v0: the provider's names as keys, and no raster extension."""
    properties: Item = {
        "platform": "sentinel-2a",
        "instruments": ["msi"],
        "proj:epsg": shot.epsg,
        "sentinel:utm_zone": 31,
        "sentinel:latitude_band": "U",
        "sentinel:grid_square": "DQ",
        "sentinel:sequence": "0",
        "sentinel:product_id": s2_product(shot, level="L2A", baseline=baseline or "00.01", made="20240514T143000"),
    }
    if baseline is not None:
        properties["sentinel:processing_baseline"] = baseline
    if applied is not None:
        properties["sentinel:boa_offset_applied"] = applied
    name = f"S2A_31UDQ_{_compact(shot.time)[:8]}_0_L2A"
    item = _base(
        shot, name, "sentinel-s2-l2a-cogs", extensions=("eo/v1.0.0", "projection/v1.0.0"), properties=properties
    )
    for band, href in shot.hrefs.items():
        item["assets"][band] = {
            "href": href,
            "type": COG,
            "roles": ["data"],
            "eo:bands": [{"name": band, "common_name": S2_COMMON[band]}],
            **shot.projection(band),
        }
    return item


def planetary_computer_s2(shot: Shot, *, baseline: str, made: str = "20240514T143000") -> Item:
    """https://planetarycomputer.microsoft.com/api/stac/v1: ESA's files as COGs, and nothing about scales."""
    product = s2_product(shot, level="L2A", baseline=baseline, made=made)
    properties = {
        "platform": "Sentinel-2A",
        "constellation": "Sentinel 2",
        "instruments": ["msi"],
        "proj:epsg": shot.epsg,
        "s2:mgrs_tile": "31UDQ",
        "s2:datatake_id": f"GS2A_{_compact(shot.time)}_046424_N{baseline}",
        "s2:product_uri": f"{product}.SAFE",
        "s2:processing_baseline": baseline,
        "s2:generation_time": f"{made[:4]}-{made[4:6]}-{made[6:8]}T14:30:00.000000Z",
        "s2:mean_solar_zenith": 90 - shot.sun_elevation,
        "s2:mean_solar_azimuth": 158.0,
    }
    name = product.replace(f"_N{baseline.replace('.', '')}", "")
    item = _base(shot, name, "sentinel-2-l2a", extensions=("eo/v1.0.0", "projection/v1.0.0"), properties=properties)
    for band, href in shot.hrefs.items():
        item["assets"][band] = {
            "href": href,
            "type": COG,
            "roles": ["data"],
            "eo:bands": [{"name": band, "common_name": S2_COMMON[band]}],
            **shot.projection(band),
        }
    return item


def cdse(shot: Shot, *, baseline: str, level: str = "L2A", made: str = "20240514T143000") -> Item:
    """https://stac.dataspace.copernicus.eu/v1: STAC 1.1, a key per band and resolution, raster v2."""
    product = s2_product(shot, level=level, baseline=baseline, made=made)
    properties = {
        "created": "2024-05-14T15:00:00Z",
        "platform": "sentinel-2a",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "proj:code": f"EPSG:{shot.epsg}",
        "grid:code": "MGRS-31UDQ",
        "processing:level": level,
        "processing:version": baseline,
        "view:sun_elevation": shot.sun_elevation,
        "view:sun_azimuth": 158.0,
    }
    item = _base(
        shot,
        product,
        f"sentinel-2-{level.lower()}",
        extensions=("eo/v2.0.0", "raster/v2.0.0", "projection/v2.0.0", "processing/v1.2.0", "grid/v1.1.0"),
        properties=properties,
    )
    item["stac_version"] = "1.1.0"
    for band, href in shot.hrefs.items():
        offset = -0.1 if baseline >= "04.00" else 0
        common = {"eo:common_name": S2_COMMON[band]} if band in S2_COMMON else {}
        finest = {"B02": 10, "B03": 10, "B04": 10, "B08": 10}.get(band, 20)
        item["assets"][f"{band}_{finest}m" if level == "L2A" else band] = {
            "href": href,
            "type": COG,
            "roles": ["data", "reflectance"],
            "data_type": "uint16",
            "nodata": 0,
            "raster:scale": 0.0001,
            "raster:offset": offset,
            "bands": [{"name": band, **common}],
            **shot.projection(band),
        }
    return item


def _landsat_name(shot: Shot, *, level: str, made: str | None, category: str, satellite: str) -> str:
    parts = [satellite, level, "199026", _compact(shot.time)[:8], *([made] if made else []), "02", category]
    return "_".join(parts)


def planetary_computer_landsat(shot: Shot, *, category: str = "T1", satellite: str = "LC08") -> Item:
    """landsat-c2-l2 of the Planetary Computer: common names as keys, raster v1."""
    number = int(satellite[2:])
    common = OLI_COMMON if number >= 8 else TM_COMMON
    item = _base(
        shot,
        _landsat_name(shot, level="L2SP", made=None, category=category, satellite=satellite),
        "landsat-c2-l2",
        extensions=("raster/v1.0.0", "eo/v1.0.0", "view/v1.0.0", "projection/v1.0.0", "landsat/v1.1.1"),
        properties={
            "created": "2024-06-01T00:00:00Z",
            "platform": f"landsat-{number}",
            "instruments": ["oli", "tirs"] if number >= 8 else ["tm"],
            "proj:epsg": shot.epsg,
            "view:sun_elevation": shot.sun_elevation,
            "view:sun_azimuth": 150.0,
            "landsat:correction": "L2SP",
            "landsat:wrs_path": "199",
            "landsat:wrs_row": "026",
            "landsat:collection_category": category,
            "proj:shape": list(shot.shape),
            "proj:transform": list(shot.transform),
        },
    )
    for band, href in shot.hrefs.items():
        key = common[band.removeprefix("SR_")]
        item["assets"][key] = {
            "href": href,
            "type": COG,
            "roles": ["data", "reflectance"],
            "eo:bands": [{"name": f"OLI_{band.removeprefix('SR_')}", "common_name": key}],
            "raster:bands": [{"scale": 2.75e-05, "offset": -0.2, "nodata": 0, "data_type": "uint16", "unit": None}],
        }
    return item


def usgs(
    shot: Shot, *, level: str = "L2SP", category: str = "T1", satellite: str = "LC08", made: str = "20240520"
) -> Item:
    """https://landsatlook.usgs.gov/stac-server: common names as keys, LANDSAT_8, no raster extension."""
    number = int(satellite[2:])
    common = OLI_COMMON if number >= 8 else TM_COMMON
    name = _landsat_name(shot, level=level, made=made, category=category, satellite=satellite)
    item = _base(
        shot,
        f"{name}_SR" if level.startswith("L2") else name,
        "landsat-c2l2-sr" if level.startswith("L2") else "landsat-c2l1",
        extensions=("eo/v1.0.0", "view/v1.0.0", "projection/v1.0.0", "alternate-assets/v1.1.0", "storage/v1.0.0"),
        properties={
            "created": f"{made[:4]}-{made[4:6]}-{made[6:]}T08:00:00Z",
            "updated": f"{made[:4]}-{made[4:6]}-{made[6:]}T08:00:00Z",
            "platform": f"LANDSAT_{number}",
            "instruments": ["OLI", "TIRS"] if number >= 8 else ["ETM"] if number == 7 else ["TM"],
            "proj:epsg": shot.epsg,
            "proj:shape": list(shot.shape),
            "proj:transform": list(shot.transform),
            "view:sun_elevation": shot.sun_elevation,
            "view:sun_azimuth": 150.0,
            "landsat:correction": level,
            "landsat:wrs_path": "199",
            "landsat:wrs_row": "026",
            "landsat:collection_category": category,
            "landsat:collection_number": "02",
        },
    )
    for band, href in shot.hrefs.items():
        key = common[band.removeprefix("SR_")]
        item["assets"][key] = {
            "href": href,
            "type": "image/vnd.stac.geotiff; cloud-optimized=true",
            "roles": ["data"],
            "eo:bands": [{"name": band.removeprefix("SR_"), "common_name": key}],
        }
    return item


def hls(shot: Shot, *, product: str, grid: bool = False, mislabelled: bool = True) -> Item:
    """HLS of LP DAAC: the provider's names as keys; neither raster nor (by default) projection extension."""
    day = np.datetime64(shot.time.removesuffix("Z"))
    number = int((day - day.astype("M8[Y]").astype("M8[s]")) / np.timedelta64(1, "D")) + 1
    stamp = f"{shot.time[:4]}{number:03d}T{shot.time[11:19].replace(':', '')}"
    item = _base(
        shot,
        f"HLS.{product}.T31UDQ.{stamp}.v2.0",
        f"HLS{product}_2.0",
        extensions=("eo/v1.0.0", *(("projection/v1.0.0",) if grid else ())),
        properties={"eo:cloud_cover": 40, "start_datetime": shot.time, "end_datetime": shot.time},
    )
    if grid:
        item["properties"]["proj:epsg"] = shot.epsg
    # Some catalogues call B05 of L30 nir, which is nir08 in the eo extension.
    wrong = {"B05": "nir"} if product == "L30" and mislabelled else {}
    for band, href in shot.hrefs.items():
        names = {"name": band} | ({"common_name": wrong[band]} if band in wrong else {})
        item["assets"][band] = {"href": href, "type": COG, "roles": ["data"], "eo:bands": [names]}
        if grid:
            item["assets"][band] |= shot.projection(band)
    return item


def planet(shot: Shot, *, bands: int = 4, surface: bool = True, instrument: str | None = None) -> Item:
    """PSScene as Planet delivers it: one file with all bands, and its grid in the file alone."""
    key = f"ortho_analytic_{bands}b" + ("_sr" if surface else "")
    satellite = "24bc" if bands == 8 else "1053" if instrument == "PS2.SD" else "2478"
    names = ["blue", "green", "red", "nir"]
    if bands == 8:
        names = ["coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"]
    common = {"coastal_blue": "coastal", "green_i": None, "yellow": "yellow"}
    entries = []
    for name in names:
        known = common.get(name, name)
        entries.append({"name": name} | ({"common_name": known} if known else {}))
    item = _base(
        shot,
        f"{_compact(shot.time).replace('T', '_')}_24_{satellite}",
        "PSScene",
        extensions=("eo/v1.0.0", "view/v1.0.0", "projection/v1.0.0"),
        properties={
            "platform": satellite,
            "constellation": "planetscope",
            "instruments": [instrument or ("PSB.SD" if bands == 8 else "PS2")],
            "gsd": 3.7,
            "proj:epsg": shot.epsg,
            "view:sun_elevation": shot.sun_elevation,
            "view:sun_azimuth": 150.0,
        },
    )
    item["assets"][key] = {"href": next(iter(shot.hrefs.values())), "type": COG, "roles": ["data"], "eo:bands": entries}
    return item


def slstr(shot: Shot) -> Item:
    """SLSTR Level-1B that somebody projected and wrote as COGs, in STAC 1.1: a collection of no known name.

    The archives hold netCDF in the geometry of the instrument, which has no pixels on a map.
    """
    item = _base(
        shot,
        f"S3A_SL_1_RBT____{_compact(shot.time)}",
        "slstr-on-a-map",
        extensions=("eo/v2.0.0", "raster/v2.0.0", "projection/v2.0.0"),
        properties={
            "platform": "sentinel-3a",
            "constellation": "sentinel-3",
            "instruments": ["slstr"],
            "proj:code": f"EPSG:{shot.epsg}",
        },
    )
    item["stac_version"] = "1.1.0"
    for band, href in shot.hrefs.items():
        item["assets"][f"{band}_reflectance_an"] = {
            "href": href,
            "type": COG,
            "roles": ["data"],
            "data_type": "uint16",
            "nodata": 0,
            "bands": [{"name": band}],
            **shot.projection(band),
        }
    return item


def planetary_computer_modis(shot: Shot) -> Item:
    """modis-09A1-061 of the Planetary Computer: eight days in place of an instant, a CRS without a code, no nodata."""
    day = np.datetime64(shot.time.removesuffix("Z"))
    number = int((day - day.astype("M8[Y]").astype("M8[s]")) / np.timedelta64(1, "D")) + 1
    item = _base(
        shot,
        f"MOD09A1.A{shot.time[:4]}{number:03d}.h18v04.061.2024175051338",
        "modis-09A1-061",
        extensions=("eo/v1.0.0", "raster/v1.1.0", "projection/v1.0.0"),
        properties={
            "platform": "terra",
            "instruments": ["modis"],
            "start_datetime": shot.time,
            "end_datetime": f"{day + np.timedelta64(7, 'D')}Z",
            "modis:tile-id": "51018004",
            "proj:epsg": shot.epsg,
            "proj:wkt2": shot.wkt2,
            "proj:shape": list(shot.shape),
            "proj:transform": list(shot.transform),
        },
    )
    item["properties"]["datetime"] = None
    for band, href in shot.hrefs.items():
        common = {"1": "red", "2": "nir", "3": "blue", "4": "green"}[band[-1]]
        item["assets"][band] = {
            "href": href,
            "type": COG,
            "roles": ["data"],
            "eo:bands": [{"name": band, "common_name": common}],
            "raster:bands": [{"scale": 0.0001, "data_type": "int16", "spatial_resolution": 500}],
        }
    return item


def perusat(shot: Shot) -> Item:
    """PeruSat-1 in STAC 1.1, the four bands in one file; its agency publishes no items."""
    item = _base(
        shot,
        f"IMG_PER1_{_compact(shot.time)}_ORTHO_MS",
        "perusat-ortho",
        extensions=("eo/v2.0.0", "projection/v2.0.0"),
        properties={"platform": "per1", "instruments": ["naomi"], "gsd": 2.8, "proj:code": f"EPSG:{shot.epsg}"},
    )
    item["stac_version"] = "1.1.0"
    names = zip(("B1", "B2", "B3", "B4"), ("blue", "green", "red", "nir"), strict=True)
    item["assets"]["ms"] = {
        "href": next(iter(shot.hrefs.values())),
        "type": COG,
        "roles": ["data"],
        "data_type": "uint16",
        "nodata": 0,
        "bands": [{"name": name, "eo:common_name": common} for name, common in names],
        **shot.projection("ms"),
    }
    return item


def maxar(shot: Shot) -> Item:
    """In the spelling of the Maxar Open Data Program: its names of satellites, one file with all bands."""
    item = _base(
        shot,
        f"10300100{_compact(shot.time)}",
        "maxar-open-data",
        extensions=("eo/v1.0.0", "projection/v1.0.0", "view/v1.0.0"),
        properties={"platform": "WV02", "gsd": 2.0, "view:sun_elevation": shot.sun_elevation, "proj:epsg": shot.epsg},
    )
    names = {"BAND_B": "blue", "BAND_G": "green", "BAND_R": "red", "BAND_N": "nir"}
    item["assets"]["ms_analytic"] = {
        "href": next(iter(shot.hrefs.values())),
        "type": COG,
        "roles": ["data"],
        "eo:bands": [{"name": name, "common_name": common} for name, common in names.items()],
        "raster:bands": [{"nodata": 0, "data_type": "uint16"} for _ in names],
        **shot.projection("ms"),
    }
    return item


def l1_sun_elevation(scale_factor: float) -> float:
    """The sun's elevation that a scale of OLI Level 1 holds."""
    return math.degrees(math.asin(2e-5 / scale_factor))


Builder = Callable[..., Item]
