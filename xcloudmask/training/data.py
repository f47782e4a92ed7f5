"""Labelled patches, thumbnails and clear backgrounds, and the stream of training samples drawn from them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xcloudmask._optional import require
from xcloudmask.errors import InputError, ReadError
from xcloudmask.sensors import get_sensor
from xcloudmask.training.labels import ANY, CLEAR, CLOUD, NOT_CLOUD, allowed_from_labels
from xcloudmask.training.options import BANDS

__all__ = [
    "ALL_BANDS",
    "BANDS",
    "WAVELENGTHS_NM",
    "Patch",
    "load_patches",
    "load_rgbn",
    "load_thumbnails",
    "only_bands",
    "patch_wavelengths",
    "read_table",
    "split_holdout",
]

WAVELENGTHS_NM = (665.0, 560.0, 842.0)
ALL_BANDS = ("blue", "green", "red", "nir", "swir16", "swir22", "cirrus")
"""Roles that labelled patches may have, for networks that take more than three."""
RGB = ("red", "green", "blue")
"""Bands of a thumbnail that is loaded with all its colours."""
THUMBNAIL_RESOLUTION_M = 40.0
GUESS_DROPPED = 0.5
"""Share of samples whose near infrared is given up where it was a guess."""
_COARSE = ("rfuego", "max-schaefer", "SorourMo")
_SENSORS = {"Landsat-8": "landsat-oli-c2-l1", "Sentinel-2": "sentinel-2-l1c"}
"""What the table of patches calls a sensor: whose wavelengths these are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """An image with sets of allowed classes."""

    name: str
    """Name of the file, without its ending."""
    source: str
    """Where it was gathered."""
    split: str
    """train, eval, val or background."""
    image: npt.NDArray[np.uint16]
    """(band, y, x) reflectance * 10,000; near infrared is 0 where there is none."""
    valid: npt.NDArray[np.bool_]
    """(y, x)."""
    allowed: npt.NDArray[np.uint8]
    """(y, x) sets of `xcloudmask.training.labels`."""
    resolution_m: float
    """Size of a pixel."""
    level_known: bool = True
    """False where the values are no reflectance."""
    nir: bool = True
    """Whether there is a near infrared band."""
    nir_guessed: bool = False
    """Whether that band is a guess; samples then often do without."""
    weight: float = 1.0
    """Lower for coarse outlines."""
    bands: tuple[str, ...] = BANDS
    """Roles of the bands."""
    sensor: str = ""
    """Key of `xcloudmask.sensors.SENSORS`; empty where it is not known."""

    @property
    def is_clear(self) -> bool:
        """Whether every pixel is known to be clear."""
        return bool((self.allowed[self.valid] == CLEAR).all())


def read_table(folder: Path) -> list[dict[str, str]]:
    """Read `patches.csv` of a data folder.

    Parameters
    ----------
    folder
        The folder that holds `patches.csv`, `patches/` and `s2cmc_rgb/`.

    Returns
    -------
    list of dict

    Raises
    ------
    ReadError
        The table is missing.
    """
    path = folder / "patches.csv"
    if not path.is_file():
        raise ReadError(
            f"{path} does not exist. Expected a folder with patches.csv, patches/ and s2cmc_rgb/: give it as --data."
        )
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def load_patches(folder: Path, *, splits: Sequence[str], bands: Sequence[str] = BANDS) -> list[Patch]:
    """Load the patches of some splits into memory.

    Parameters
    ----------
    folder
        The data folder.
    splits
        Values of the column `split`.
    bands
        Roles, in the order of the images; those of `ALL_BANDS` that are not in `BANDS` are left out where a patch does
        not have them.

    Returns
    -------
    list of Patch

    Raises
    ------
    ReadError
        The table is missing.
    """
    return [_load_patch(folder, row, bands) for row in read_table(folder) if row["split"] in splits]


def _load_patch(folder: Path, row: dict[str, str], bands: Sequence[str]) -> Patch:
    with np.load(folder / "patches" / f"{row['name']}.npz", allow_pickle=False) as arrays:
        names = [str(name) for name in arrays["bands"]]
        found = tuple(band for band in bands if band in names or band in BANDS)
        pixels = arrays["img"]
        image = np.stack([pixels[names.index(band)] for band in found])
        valid = arrays["valid"]
        if row["split"] == "background":
            allowed = np.full(valid.shape, CLEAR, np.uint8)
        else:
            allowed = allowed_from_labels(arrays["label"], kind=row["kind"])
    coarse = any(word in row["source"] for word in _COARSE)
    allowed = np.where(valid, allowed, ANY).astype(np.uint8)
    if coarse and row["split"] == "train":
        allowed = _blank_edges(allowed, 8)
    return Patch(
        name=row["name"],
        source=row["source"],
        split=row["split"],
        image=image,
        valid=valid,
        allowed=allowed,
        resolution_m=float(row["res_m"]),
        weight=0.5 if coarse else 1.0,
        bands=found,
        sensor=_SENSORS.get(row.get("sensor", ""), ""),
    )


def patch_wavelengths(patch: Patch) -> tuple[tuple[float, float, float], ...]:
    """Return the wavelengths of the bands of a patch.

    Parameters
    ----------
    patch
        Of a known sensor.

    Returns
    -------
    tuple of tuple
        (shortest, centre, longest) of each band, in nm.

    Raises
    ------
    InputError
        The sensor is not known, or has no such band.

    Examples
    --------
    >>> one = np.zeros((1, 2, 2), np.uint16)
    >>> rest = {"split": "train", "valid": one[0] == 0, "allowed": one[0].astype(np.uint8), "resolution_m": 10.0}
    >>> patch = Patch(name="a", source="b", image=one, bands=("swir22",), sensor="modis-09", **rest)
    >>> patch_wavelengths(patch)
    ((2105.0, 2130.0, 2155.0),)
    """
    if not patch.sensor:
        raise InputError(f"The sensor of the patch {patch.name!r} is not known, and so no wavelength of its bands.")
    sensor = get_sensor(patch.sensor)
    found = {band: sensor.candidates(band)[:1] for band in patch.bands}
    missing = [band for band, rows in found.items() if not rows]
    if missing:
        raise InputError(
            f"The patch {patch.name!r} has a band {missing[0]!r}, and the sensor {patch.sensor!r} has none."
        )
    return tuple(rows[0].wavelength_nm for rows in found.values())


def _blank_edges(allowed: npt.NDArray[np.uint8], reach_px: int) -> npt.NDArray[np.uint8]:
    """Make pixels near the border of two labels unknown: coarse outlines are wrong there."""
    near = np.zeros(allowed.shape, bool)
    for axis in (0, 1):
        for step in range(1, reach_px + 1):
            for sign in (-step, step):
                near |= np.roll(allowed, sign, axis) != allowed
    return np.where(near, ANY, allowed).astype(np.uint8)


def load_rgbn(folder: Path, *, split: str) -> list[npt.NDArray[np.float32]]:
    """Load the patches of a split that have no hole, as reflectance.

    Parameters
    ----------
    folder
        The data folder.
    split
        Value of the column `split`.

    Returns
    -------
    list of numpy.ndarray
        Each (red, green, blue, nir; y; x) float32.

    Raises
    ------
    ReadError
        The table is missing.
    """
    images = []
    for row in read_table(folder):
        if row["split"] == split:
            with np.load(folder / "patches" / f"{row['name']}.npz", allow_pickle=False) as arrays:
                names = [str(name) for name in arrays["bands"]]
                if arrays["valid"].all():
                    image = arrays["img"][[names.index(band) for band in ("red", "green", "blue", "nir")]]
                    images.append(image.astype(np.float32) * np.float32(1e-4))
    return images


def load_thumbnails(
    folder: Path,
    *,
    split: str,
    guess: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] | None = None,
    rgb: bool = False,
) -> list[Patch]:
    """Load the RGB thumbnails of the Sentinel-2 Cloud Mask Catalogue.

    Parameters
    ----------
    folder
        The data folder.
    split
        "train" or "val".
    guess
        Makes a near infrared (y, x) of (red, green, blue; y; x) reflectance; None leaves it 0.
    rgb
        Gives red, green and blue, and a near infrared only where there is a guess.

    Returns
    -------
    list of Patch
        Their 8-bit values over 255 are taken for reflectance, which they resemble: 0.03 to 0.1 over
        deep water, 0.1 to 0.2 over land, 0.8 and more over snow.

    Raises
    ------
    ReadError
        The folder is missing.
    """
    place = folder / "s2cmc_rgb" / split
    if not place.is_dir():
        raise ReadError(f"{place} does not exist. Expected the catalogue's thumbnails there.")
    image_module = require("PIL.Image", extra="train")
    patches = []
    for path in sorted(place.glob("*.jpg")):
        colours = np.asarray(image_module.open(path).convert("RGB"))
        mask = np.asarray(image_module.open(path.with_name(f"{path.stem}_mask.png")).convert("L")) > 127
        rows = ((np.arange(colours.shape[0]) + 0.5) * mask.shape[0] / colours.shape[0]).astype(np.intp)
        columns = ((np.arange(colours.shape[1]) + 0.5) * mask.shape[1] / colours.shape[1]).astype(np.intp)
        patch = _thumbnail(path.stem, split, colours, mask[np.ix_(rows, columns)])
        if rgb:
            patch = replace(patch, image=_reflectance(colours), bands=RGB)
        patches.append(patch if guess is None else _with_nir(patch, colours, guess))
    return patches


def _with_nir(
    patch: Patch, rgb: npt.NDArray[np.uint8], guess: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
) -> Patch:
    guessed = guess(np.moveaxis(rgb.astype(np.float32) / np.float32(255.0), 2, 0))
    nir = np.round(guessed * 10_000.0).astype(np.uint16)[None]
    known = [band for band in patch.bands if band != "nir"]
    image = np.concatenate([patch.image[: len(known)], nir])
    return replace(patch, image=image, bands=(*known, "nir"), nir=True, nir_guessed=True)


def _reflectance(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    scaled = np.round(rgb.astype(np.float32) * (10_000 / 255)).astype(np.uint16)
    return np.ascontiguousarray(np.moveaxis(scaled, 2, 0))


def _thumbnail(name: str, split: str, rgb: npt.NDArray[np.uint8], cloud: npt.NDArray[np.bool_]) -> Patch:
    image = _reflectance(rgb)
    image[2] = 0
    ground = NOT_CLOUD if cloud.any() else CLEAR
    return Patch(
        name=name,
        source="Sentinel-2 Cloud Mask Catalogue",
        split=split,
        image=image,
        valid=np.ones(cloud.shape, bool),
        allowed=np.where(cloud, CLOUD, ground).astype(np.uint8),
        resolution_m=THUMBNAIL_RESOLUTION_M,
        nir=False,
        sensor="sentinel-2-l1c",
    )


def only_bands(patch: Patch, roles: Sequence[str]) -> Patch:
    """Leave bands of a patch out.

    Parameters
    ----------
    patch
        A patch.
    roles
        What is kept, in this order.

    Returns
    -------
    Patch

    Raises
    ------
    InputError
        The patch does not have one of them.

    Examples
    --------
    >>> patch = Patch(name="a", source="", split="", image=np.zeros((3, 2, 2), np.uint16), valid=np.ones((2, 2), bool),
    ...               allowed=np.ones((2, 2), np.uint8), resolution_m=10.0)
    >>> only_bands(patch, ["green", "red"]).image.shape
    (2, 2, 2)
    """
    missing = [role for role in roles if role not in patch.bands]
    if missing:
        raise InputError(f"The patch {patch.name!r} has no {missing[0]!r}. Expected some of {', '.join(patch.bands)}.")
    kept = [patch.bands.index(role) for role in roles]
    return replace(patch, image=patch.image[kept], bands=tuple(roles), nir=patch.nir and "nir" in roles)


def split_holdout(patches: Sequence[Patch], *, every: int = 10) -> tuple[list[Patch], list[Patch]]:
    """Set every n-th patch (in the order of their names) aside for choosing.

    Parameters
    ----------
    patches
        All patches of one kind.
    every
        One in so many is set aside; 0 sets none aside.

    Returns
    -------
    kept, held_out
        Two lists.
    """
    ordered = sorted(patches, key=lambda patch: patch.name)
    if every < 1:
        return ordered, []
    kept = [patch for index, patch in enumerate(ordered) if index % every != every // 2]
    return kept, [patch for index, patch in enumerate(ordered) if index % every == every // 2]
