"""What stands in the header of a GeoTIFF, and in its sidecar: tags, class names, colours, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask._pictures import hex_to_rgb
from xcloudmask.classes import CLASS_DIM, NODATA, NODATA_COLOUR, Style, get_style
from xcloudmask.io._georef import Affine6, affine_of, crs_of

__all__ = ["COMPARED", "Counts", "FileMeta", "attribute_table", "colour_table", "meta_of"]

PROVENANCE = ("model", "model_sha256", "normalize", "settings", "processing", "xcloudmask_version")
"""Attributes of a mask that become tags."""
SOURCE = ("item_id", "platform")
"""Coordinates that become tags."""
COMPARED = ("output_style", "flag_meanings", "datetime", *SOURCE, *PROVENANCE[:-1])
"""Tags that must agree where a file is kept; the version of the package may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What is known of a file before its pixels are."""

    shape: tuple[int, int, int]
    """Bands, rows, columns."""
    crs_wkt: str | None
    """The CRS, or None."""
    transform: Affine6 | None
    """Affine transform, or None."""
    style: str
    """Output style."""
    bands: tuple[str, ...]
    """Class of each band of percentages; empty for codes."""
    date: int = 0
    """Position along time."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Style, class names, time, model and settings."""


class Counts:
    """Pixels of each code, or sums of percentages, added up block by block."""

    def __init__(self, meta: FileMeta) -> None:
        self._meta = meta
        self._codes = range(len(get_style(meta.style).meanings))
        self.sums = np.zeros(len(meta.bands) if meta.bands else 256, np.int64)
        """Of each class, or of each of 256 codes."""
        self.valid = 0
        """Pixels with data."""

    def add(self, block: npt.NDArray[np.uint8]) -> None:
        """Count (band, y, x) pixels."""
        if self._meta.bands:
            valid = block[0] != NODATA
            self.sums += [int(band.sum(dtype=np.int64, where=valid)) for band in block]
            self.valid += int(np.count_nonzero(valid))
        else:
            # np.bincount would make eight bytes of each code, and take five times as long.
            counts = {code: self._count(block, code) for code in (*self._codes, NODATA)}
            for code, count in counts.items():
                self.sums[code] += count
            self.valid += block.size - counts[NODATA]

    def same(self, other: Counts) -> bool:
        """Whether another one has counted the same."""
        return self.valid == other.valid and bool((self.sums == other.sums).all())

    @staticmethod
    def _count(block: npt.NDArray[np.uint8], code: int) -> int:
        """Count a code some rows at a time: what is compared stays in the processor's cache."""
        step = max(1, 2**18 // block.shape[2])
        return sum(int(np.count_nonzero(block[:, row : row + step] == code)) for row in range(0, block.shape[1], step))

    def tags(self) -> dict[str, str]:
        """Return the share of each class among the pixels with data, and that of nodata among all, in percent."""
        names = self._meta.bands or get_style(self._meta.style).meanings
        total = self._meta.shape[1] * self._meta.shape[2]
        unit = 1.0 if self._meta.bands else 100.0
        shares = {
            f"percent_{name}": f"{unit * self.sums[index] / self.valid:.3f}" if self.valid else "nan"
            for index, name in enumerate(names)
        }
        return shares | {"percent_nodata": f"{100.0 * (total - self.valid) / total:.3f}"}


def meta_of(mask: xr.DataArray, date: int, style: str, *, shares: bool) -> FileMeta:
    """Return the header of the file of one date.

    Parameters
    ----------
    mask
        (time, band, y, x).
    date
        Position along time.
    style
        Output style of the file.
    shares
        Whether the bands are percentages.

    Returns
    -------
    FileMeta

    Examples
    --------
    >>> mask = xr.DataArray(np.zeros((1, 1, 2, 3), np.uint8), dims=("time", "cloud_class", "y", "x"))
    >>> meta_of(mask, 0, "valid-invalid", shares=False).tags["flag_meanings"]
    'valid invalid'
    """
    crs = crs_of(mask)
    names = tuple(map(str, mask.coords[CLASS_DIM].values)) if CLASS_DIM in mask.coords else get_style(style).meanings
    tags = {"output_style": style, "flag_meanings": " ".join(names)}
    if not shares:
        tags["flag_values"] = " ".join(map(str, range(len(names))))
    time = _datetime(mask, date)
    tags |= {"datetime": time} if time else {}
    tags |= {key: text for key in SOURCE if (text := _coord_text(mask, key, date))}
    return FileMeta(
        shape=(mask.shape[1], mask.shape[2], mask.shape[3]),
        crs_wkt=None if crs is None else str(crs.to_wkt()),
        transform=affine_of(mask),
        style=style,
        bands=names if shares else (),
        date=date,
        tags=tags | {key: str(mask.attrs[key]) for key in PROVENANCE if key in mask.attrs},
    )


def colour_table(style: Style) -> dict[int, tuple[int, int, int, int]]:
    """Return red, green, blue and alpha of each code; nodata is transparent.

    Parameters
    ----------
    style
        The output style.

    Returns
    -------
    dict

    Examples
    --------
    >>> colour_table(get_style("4-class"))[1]
    (255, 255, 255, 255)
    """
    table = {code: (*hex_to_rgb(colour), 255) for code, colour in enumerate(style.colours)}
    return table | {NODATA: (*hex_to_rgb(NODATA_COLOUR), 0)}


def attribute_table(meta: FileMeta, counts: Counts) -> str:
    """Return GDAL's sidecar: the names of the classes, and a raster attribute table.

    Parameters
    ----------
    meta, counts
        Of a file of codes.

    Returns
    -------
    str
        XML, the same for the same counts.

    Notes
    -----
    The persistent auxiliary metadata of GDAL (``.aux.xml``). Types and usages are the numbers of GDALRATFieldType and
    GDALRATFieldUsage in gdal.h: https://gdal.org/en/stable/api/raster_c_api.html
    """
    style = get_style(meta.style)
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    categories = ET.SubElement(band, "CategoryNames")
    for name in style.meanings:
        ET.SubElement(categories, "Category").text = name
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = ET.SubElement(table, "FieldDefn", index=str(index))
        for key, text in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(column, key).text = text
    names = dict(enumerate(style.meanings)) | {NODATA: "nodata"}
    for index, (code, colour) in enumerate(colour_table(style).items()):
        row = ET.SubElement(table, "Row", index=str(index))
        for value in (code, counts.sums[code], names[code], *colour):
            ET.SubElement(row, "F").text = str(value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


# Counts are real numbers: GDAL's integers end at 2**31.
_COLUMNS = (
    ("Value", "0", "5"),
    ("Count", "1", "1"),
    ("Class", "2", "2"),
    ("Red", "0", "6"),
    ("Green", "0", "7"),
    ("Blue", "0", "8"),
    ("Alpha", "0", "9"),
)


def _datetime(mask: xr.DataArray, date: int) -> str:
    times = mask.coords.get(mask.dims[0])
    if times is None or times.dtype.kind != "M" or np.isnat(times.values[date]):
        return ""
    return f"{times.values[date].astype('M8[s]')}Z"


def _coord_text(mask: xr.DataArray, name: str, date: int) -> str:
    coord = mask.coords.get(name)
    if coord is None or coord.dims not in ((), (mask.dims[0],)):
        return ""
    value = coord.values[date] if coord.dims else coord.values[()]
    return "" if value is None or value != value else str(value)  # noqa: PLR0124  # NaN
