"""Write simulated scenes as agencies and companies deliver them: Sentinel-2 .SAFE, Landsat folders, PlanetScope."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr
from affine import Affine

SUN = {"elevation": 41.5, "azimuth": 152.25}
THERMAL = {"ML": 3.342e-4, "AL": 0.1, "k1": 774.8853, "k2": 1321.0789}
"""Band 10 of Landsat 8."""
COEFFICIENTS = (2.43e-5, 2.31e-5, 2.29e-5, 2.27e-5, 2.33e-5, 2.41e-5, 2.52e-5, 3.71e-5)
"""PlanetScope's reflectanceCoefficient, one per band; these are made up, of the usual size."""

Pixels = npt.NDArray[Any]


@cache
def simulated(sensor: str, *, size_px: int = 96, resolution_m: float | None = None) -> xr.Dataset:
    """Two dates of all bands that the writers write."""
    from xcloudmask.simulate.cubes import simulate_scene

    bands = ["B02", "B03", "B04", "B05", "B08", "B8A", "B11"] if sensor.startswith("sentinel") else None
    return simulate_scene(
        sensor, size_px=size_px, times=2, bands=bands, chunks=size_px, seed=5, resolution_m=resolution_m
    ).compute(scheduler="synchronous")


def transform_of(cube: xr.Dataset, factor: float = 1) -> Affine:
    step = float(cube.x[1] - cube.x[0])
    left, top = float(cube.x[0]) - step / 2, float(cube.y[0]) + step / 2
    return Affine(step * factor, 0, left, 0, -step * factor, top)


def write_raster(path: Path, pixels: Pixels, transform: Affine, *, driver: str = "GTiff", **options: Any) -> Path:
    """One file with one or several bands in UTM zone 31 north."""
    layers = pixels if pixels.ndim == 3 else pixels[None]
    count, height, width = layers.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    if driver == "JP2OpenJPEG":
        options |= {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}
    with rasterio.open(
        path,
        "w",
        driver=driver,
        count=count,
        height=height,
        width=width,
        dtype=layers.dtype,
        crs="EPSG:32631",
        transform=transform,
        **options,
    ) as target:
        target.write(layers)
    return path


# Sentinel-2


def write_safe(
    folder: Path,
    cube: xr.Dataset,
    *,
    time: int = 0,
    level: Literal["L1C", "L2A"] = "L2A",
    baseline: str = "05.10",
    platform: str = "Sentinel-2B",
    transform: Affine | None = None,
) -> Path:
    """Write one date of a cube of DN with the offset of baseline 04.00; older baselines are written without it."""
    scene = cube.isel(time=time)
    stamp = np.datetime_as_string(scene.time.values, unit="s").replace("-", "").replace(":", "")
    unit = platform[-1]
    name = f"S2{unit}_MSI{level}_{stamp}_N{baseline.replace('.', '')}_R094_T31UDQ_{stamp}.SAFE"
    product = folder / name
    granule = product / "GRANULE" / f"{level}_T31UDQ_A000001_{stamp}"
    grid = transform or transform_of(cube)
    for band, pixels in safe_pixels(scene, baseline).items():
        for size in _sizes_of(band, level):
            step = size // 10
            path = granule / "IMG_DATA" / f"T31UDQ_{stamp}_{band}.jp2"
            if level == "L2A":
                path = granule / "IMG_DATA" / f"R{size}m" / f"T31UDQ_{stamp}_{band}_{size}m.jp2"
            write_raster(path, pixels[::step, ::step], grid @ Affine.scale(step), driver="JP2OpenJPEG")
    if level == "L2A":
        classes = np.full((48, 48), 4, "uint8")
        path = granule / "IMG_DATA" / "R20m" / f"T31UDQ_{stamp}_SCL_20m.jp2"
        write_raster(path, classes, grid @ Affine.scale(2), driver="JP2OpenJPEG")
    (product / f"MTD_MSI{level}.xml").write_text(_user_product(name, level, baseline, platform), encoding="utf-8")
    sensing = np.datetime_as_string(scene.time.values, unit="us") + "Z"
    (granule / "MTD_TL.xml").write_text(_tile(level, sensing), encoding="utf-8")
    return product


def safe_pixels(scene: xr.Dataset, baseline: str) -> dict[str, Pixels]:
    """The DN of each band as the product holds them."""
    found = {str(name): band.values for name, band in scene.data_vars.items()}
    if float(baseline) >= 4:
        return found
    return {name: np.where(x > 0, np.maximum(x.astype(int) - 1000, 1), 0).astype("uint16") for name, x in found.items()}


def _sizes_of(band: str, level: str) -> tuple[int, ...]:
    native = {"B02": 10, "B03": 10, "B04": 10, "B08": 10}.get(band, 20)
    return (native, 20) if level == "L2A" and native == 10 and band != "B08" else (native,)


def _user_product(name: str, level: str, baseline: str, platform: str) -> str:
    kind = f"Level-{level[1:]}_User_Product"
    tag, list_, quantification = {
        "L1C": ("RADIO_ADD_OFFSET", "Radiometric_Offset_List", "<QUANTIFICATION_VALUE>10000</QUANTIFICATION_VALUE>"),
        "L2A": (
            "BOA_ADD_OFFSET",
            "BOA_ADD_OFFSET_VALUES_LIST",
            '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
            "<AOT_QUANTIFICATION_VALUE>1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>",
        ),
    }[level]
    offsets = "".join(f'<{tag} band_id="{number}">-1000</{tag}>' for number in range(13))
    offsets = f"<{list_}>{offsets}</{list_}>" if float(baseline) >= 4 else ""
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{kind} xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/{kind}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_URI>{name}</PRODUCT_URI>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Datatake datatakeIdentifier="x"><SPACECRAFT_NAME>{platform}</SPACECRAFT_NAME></Datatake>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
      </Special_Values>
      {quantification}{offsets}
      <Reflectance_Conversion><U>0.97</U></Reflectance_Conversion>
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:{kind}>
"""


def _tile(level: str, sensing: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level[1:]}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Tile_Metadata.xsd">
  <n1:General_Info><SENSING_TIME metadataLevel="Standard">{sensing}</SENSING_TIME></n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Angles metadataLevel="Standard">
      <Sun_Angles_Grid><Zenith><Values_List><VALUES>1 2</VALUES></Values_List></Zenith></Sun_Angles_Grid>
      <Mean_Sun_Angle>
        <ZENITH_ANGLE unit="deg">{90 - SUN["elevation"]}</ZENITH_ANGLE>
        <AZIMUTH_ANGLE unit="deg">{SUN["azimuth"]}</AZIMUTH_ANGLE>
      </Mean_Sun_Angle>
      <Mean_Viewing_Incidence_Angle_List>
        <Mean_Viewing_Incidence_Angle bandId="0"><ZENITH_ANGLE unit="deg">3.5</ZENITH_ANGLE>
        <AZIMUTH_ANGLE unit="deg">107.5</AZIMUTH_ANGLE></Mean_Viewing_Incidence_Angle>
      </Mean_Viewing_Incidence_Angle_List>
    </Tile_Angles>
  </n1:Geometric_Info>
</n1:Level-{level[1:]}_Tile_ID>
"""


# Landsat

Groups = dict[str, dict[str, Any]]

_INSTRUMENTS = {"oli": ("LC08", "LANDSAT_8", "OLI_TIRS"), "etm": ("LE07", "LANDSAT_7", "ETM")}
_INSTRUMENTS["tm"] = ("LT05", "LANDSAT_5", "TM")


def write_landsat(
    folder: Path,
    cube: xr.Dataset,
    *,
    sensor: str,
    time: int = 0,
    kinds: tuple[str, ...] = ("txt",),
    without: tuple[str, ...] = (),
) -> Path:
    """Write one date of a cube of 30 m pixels into a folder of its own; the panchromatic band has 15 m."""
    scene = cube.isel(time=time)
    _, kind, _, level = sensor.split("-")
    number = int(level[1])
    prefix, spacecraft, instrument = _INSTRUMENTS[kind]
    day, clock = np.datetime_as_string(scene.time.values, unit="ms").split("T")
    product = f"{prefix}_L{number}{'TP' if number == 1 else 'SP'}_199026_{day.replace('-', '')}_20240930_02_T1"
    groups: Groups = {
        "PRODUCT_CONTENTS": {
            "ORIGIN": "Image courtesy of the U.S. Geological Survey",
            "LANDSAT_PRODUCT_ID": product,
            "PROCESSING_LEVEL": product.split("_")[1],
            "COLLECTION_NUMBER": "02",
        },
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": spacecraft,
            "SENSOR_ID": instrument,
            "DATE_ACQUIRED": day,
            "SCENE_CENTER_TIME": f"{clock}0000Z",
            "SUN_AZIMUTH": SUN["azimuth"],
            "SUN_ELEVATION": SUN["elevation"],
        },
        "PROJECTION_ATTRIBUTES": {"GRID_CELL_SIZE_REFLECTIVE": "30.00", "GRID_CELL_SIZE_PANCHROMATIC": "15.00"},
    }
    home = folder / product
    for name, band in scene.data_vars.items():
        if str(name) not in without:
            _landsat_band(home, product, str(name), band, groups, transform_of(cube))
    if number == 2:
        # Level 2 repeats the factors of Level 1 under the same keys.
        groups["LEVEL1_RADIOMETRIC_RESCALING"] = {f"REFLECTANCE_MULT_BAND_{b}": 2e-5 for b in range(1, 8)}
        groups["LEVEL1_RADIOMETRIC_RESCALING"] |= {f"REFLECTANCE_ADD_BAND_{b}": -0.1 for b in range(1, 8)}
        groups["LEVEL1_PROCESSING_RECORD"] = {"PROCESSING_LEVEL": "L1TP", "FILE_NAME_BAND_4": "elsewhere_B4.TIF"}
    quality = f"{product}_QA_PIXEL.TIF"
    groups["PRODUCT_CONTENTS"]["FILE_NAME_QUALITY_L1_PIXEL"] = quality
    write_raster(home / quality, np.full(scene["y"].shape + scene["x"].shape, 21824, "uint16"), transform_of(cube))
    for spelling in kinds:
        (home / f"{product}_MTL.{spelling}").write_text(MTL[spelling](groups), encoding="utf-8")
    return home


def _landsat_band(home: Path, product: str, name: str, band: xr.DataArray, groups: Groups, transform: Affine) -> None:
    """Write a band, and its entries in the metadata."""
    number = name.removeprefix("SR_").removeprefix("B") if not name.startswith("ST_") else name
    file = f"{product}_{name}.TIF"
    groups["PRODUCT_CONTENTS"][f"FILE_NAME_BAND_{number}"] = file
    pixels, thermal = band.values, band.attrs["units"] == "K"
    if "_L2" in product:
        kind, quantity = ("TEMPERATURE", "TEMPERATURE") if thermal else ("REFLECTANCE", "REFLECTANCE")
        group = groups.setdefault(f"LEVEL2_SURFACE_{kind}_PARAMETERS", {})
        factors = (band.attrs["scale_factor"], band.attrs["add_offset"])
    else:
        quantity = "RADIANCE" if thermal else "REFLECTANCE"
        group = groups.setdefault("LEVEL1_RADIOMETRIC_RESCALING", {})
        height = math.sin(math.radians(SUN["elevation"]))
        factors = (band.attrs["scale_factor"] * height, band.attrs["add_offset"] * height)
        if thermal:
            pixels, factors = radiance_dn(band), (THERMAL["ML"], THERMAL["AL"])
            constants = groups.setdefault("LEVEL1_THERMAL_CONSTANTS", {})
            constants |= {f"{key.upper()}_CONSTANT_BAND_{number}": THERMAL[key] for key in ("k1", "k2")}
    group[f"{quantity}_MULT_BAND_{number}"], group[f"{quantity}_ADD_BAND_{number}"] = factors
    fine = name == "B8"
    if fine:
        pixels = np.repeat(np.repeat(pixels, 2, 0), 2, 1)
    write_raster(home / file, pixels, transform @ Affine.scale(0.5) if fine else transform)


def radiance_dn(band: xr.DataArray) -> Pixels:
    """Kelvin of the simulator as the radiance that TIRS stores."""
    kelvin = band.values * band.attrs["scale_factor"] + band.attrs["add_offset"]
    radiance = THERMAL["k1"] / (np.exp(THERMAL["k2"] / kelvin) - 1)
    return np.where(band.values == 0, 0, np.round((radiance - THERMAL["AL"]) / THERMAL["ML"])).astype("uint16")


def _odl(groups: Groups) -> str:
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for group, items in groups.items():
        lines.append(f"  GROUP = {group}")
        lines += [
            f"    {key} = " + (f'"{value}"' if isinstance(value, str) else f"{value}") for key, value in items.items()
        ]
        lines.append(f"  END_GROUP = {group}")
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def _mtl_xml(groups: Groups) -> str:
    text = "".join(
        f"<{group}>{''.join(f'<{key}>{value}</{key}>' for key, value in items.items())}</{group}>"
        for group, items in groups.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><LANDSAT_METADATA_FILE>{text}</LANDSAT_METADATA_FILE>'


def _mtl_json(groups: Groups) -> str:
    text = {group: {key: str(value) for key, value in items.items()} for group, items in groups.items()}
    return json.dumps({"LANDSAT_METADATA_FILE": text})


MTL = {"txt": _odl, "xml": _mtl_xml, "json": _mtl_json}


# PlanetScope


def write_planetscope(
    folder: Path,
    cube: xr.Dataset,
    *,
    time: int = 0,
    kind: Literal["SR", "radiance"] = "SR",
    metadata: tuple[str, ...] = ("xml", "json"),
    suffix: str = "",
) -> Path:
    """Write one date of a cube of 4 or 8 bands, its masks and its metadata; return the image."""
    scene = cube.isel(time=time)
    stamp = np.datetime_as_string(scene.time.values, unit="s").replace("-", "").replace(":", "").replace("T", "_")
    name = f"{stamp}_41_2477"
    count = len(scene.data_vars)
    eight = "_8b" if count == 8 else ""
    stem = f"{name}_3B_AnalyticMS{'_SR' if kind == 'SR' else ''}{eight}{suffix}"
    stack = np.stack([band.values for band in scene.data_vars.values()])
    if kind == "radiance":
        stack = planet_radiance(stack)
    write_raster(folder / f"{stem}.tif", stack, transform_of(cube), nodata=0)
    write_raster(folder / f"{name}_3B_udm2{suffix}.tif", np.ones((8, *stack.shape[1:]), "uint8"), transform_of(cube))
    instrument = "PSB.SD" if count == 8 else "PS2"
    acquired = np.datetime_as_string(scene.time.values, unit="us") + "Z"
    if "xml" in metadata:
        text = _planet_xml(acquired, instrument, COEFFICIENTS[:count])
        (folder / f"{name}_3B_AnalyticMS{eight}_metadata{suffix}.xml").write_text(text, encoding="utf-8")
    if "json" in metadata:
        properties = {"acquired": acquired, "instrument": instrument, "satellite_id": "2477"}
        properties |= {"sun_elevation": SUN["elevation"], "sun_azimuth": SUN["azimuth"]}  # type: ignore[dict-item]
        item = {"id": name, "type": "Feature", "properties": properties}
        (folder / f"{name}_metadata.json").write_text(json.dumps(item), encoding="utf-8")
    return folder / f"{stem}.tif"


def planet_radiance(stack: Pixels) -> Pixels:
    """Reflectance * 10,000 as scaled radiance."""
    gains = np.array(COEFFICIENTS[: len(stack)])[:, None, None]
    return np.where(stack == 0, 0, np.clip(np.round(stack * 1e-4 / gains), 1, 65535)).astype("uint16")


def _planet_xml(acquired: str, instrument: str, coefficients: tuple[float, ...]) -> str:
    bands = "".join(
        f"<ps:bandSpecificMetadata><ps:bandNumber>{number}</ps:bandNumber>"
        f"<ps:radiometricScaleFactor>0.01</ps:radiometricScaleFactor>"
        f"<ps:reflectanceCoefficient>{value}</ps:reflectanceCoefficient></ps:bandSpecificMetadata>"
        for number, value in enumerate(coefficients, start=1)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ps:EarthObservation xmlns:ps="http://schemas.planet.com/ps/v1/planet_product_metadata_geocorrected_level"
  xmlns:eop="http://earth.esa.int/eop" xmlns:opt="http://earth.esa.int/opt" xmlns:gml="http://www.opengis.net/gml">
  <gml:using><eop:EarthObservationEquipment>
    <eop:platform><eop:Platform><eop:shortName>PlanetScope</eop:shortName></eop:Platform></eop:platform>
    <eop:instrument><eop:Instrument><eop:shortName>{instrument}</eop:shortName></eop:Instrument></eop:instrument>
    <eop:acquisitionParameters><ps:Acquisition>
      <opt:illuminationAzimuthAngle uom="deg">{SUN["azimuth"]}</opt:illuminationAzimuthAngle>
      <opt:illuminationElevationAngle uom="deg">{SUN["elevation"]}</opt:illuminationElevationAngle>
      <ps:acquisitionDateTime>{acquired.replace("Z", "+00:00")}</ps:acquisitionDateTime>
    </ps:Acquisition></eop:acquisitionParameters>
  </eop:EarthObservationEquipment></gml:using>
  <gml:resultOf><ps:EarthObservationResult>{bands}</ps:EarthObservationResult></gml:resultOf>
</ps:EarthObservation>
"""


def reflectance_of(cube: xr.Dataset) -> Mapping[str, Pixels]:
    """Values after the declared scale, NaN for nodata, of a cube with scales in attributes or along time."""
    found = {}
    for name, band in cube.data_vars.items():
        pair = []
        for key in ("scale_factor", "add_offset"):
            along = cube.coords.get(f"{name}_{key}")
            pair.append(band.attrs[key] if along is None else along.values[:, None, None])
        dn = band.values.astype("float64")
        found[str(name)] = np.where(dn == band.attrs["nodata"], np.nan, dn * pair[0] + pair[1])
    return found
