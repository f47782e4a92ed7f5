"""How good a mask is with which bands: ``python -m benchmarks.bandsets --data DIR``.

The sets are those of the SEnSeI paper (Francis et al., 2022, IEEE TGRS 60): all bands, those that Sentinel-2 and
Landsat 8 have in common, RGB, RGB and near infrared, and all but RGB. Measured are models of any bands with each set,
and models of given bands with the sets that hold these; on labelled patches, on the catalogue's thumbnails (RGB
alone), and on simulated scenes of sensors, one of them made up. Everything goes through the engine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from benchmarks.core import data_dir
from xcloudmask._sensor import Band, Sensor
from xcloudmask.errors import XCloudMaskError
from xcloudmask.evaluate import (
    Bootstrap,
    Counted,
    Estimate,
    confusion,
    difference,
    pool,
    sets_from_labels,
    summarise,
)
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.predict import predict
from xcloudmask.sensors import get_sensor
from xcloudmask.simulated import simulated_scene
from xcloudmask.training.data import ALL_BANDS, Patch, only_bands
from xcloudmask.training.score import evaluate_model, load_split

COMMON = ("blue", "green", "red", "nir", "swir16", "swir22")
SETS: Mapping[str, tuple[str, ...] | None] = {
    "ALL": None,
    "COMMON": COMMON,
    "RGB": ("red", "green", "blue"),
    "RGBNIR": ("red", "green", "blue", "nir"),
    "No-RGB": None,
}
"""Roles of each set; None depends on the bands that there are."""
MEASURES: Mapping[str, str] = {
    "cloud_oa": "OA",
    "cloud_ba": "BA",
    "cloud_precision": "P",
    "cloud_recall": "R",
    "cloud_f1": "F1",
    "cloud_shadow_f1": "shadow F1",
}
SENSORS = (
    *("sentinel-2-l1c", "sentinel-2-l2a", "landsat-oli-c2-l1", "landsat-etm-c2-l1"),
    *("planetscope-8b", "sentinel-3-slstr-l1b", "modis-09", "hyperspectral"),
)
FEWEST = 3
TABLE = Path(__file__).parents[1] / "docs" / "_bandsets.md"
_COARSE_M = 60.0
_VISIBLE_NM = (450.0, 690.0)
_CENTRES_NM = (
    *(430, 490, 520, 560, 590, 620, 660, 705, 740, 780),
    *(830, 870, 950, 1030, 1240, 1610, 1680, 2090, 2200, 2280),
)
_ROLES = {490: "blue", 560: "green", 660: "red", 830: "nir", 1610: "swir16", 2200: "swir22"}

HYPERSPECTRAL = Sensor(
    name="hyperspectral",
    title="Made up: twenty bands of 10 nm",
    bands=tuple(
        Band(
            name=f"W{centre}",
            roles=(_ROLES.get(centre, f"w{centre}"),),
            wavelength_nm=(centre - 5.0, float(centre), centre + 5.0),
            resolution_m=30.0,
            scale=1e-4,
            offset=0.0,
            nodata=0.0,
            quantity="toa_reflectance",
        )
        for centre in _CENTRES_NM
    ),
)
"""A sensor that no table has: windows of the air between 430 and 2280 nm."""

Images = dict[tuple[str, str], list[Counted]]
"""Counted images by set of bands and model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    source: str
    what: str
    """Set of bands and model, or one of these less another."""
    images: int
    measures: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = {
            name: None if np.isnan(one.value) else {"value": one.value, "low": one.low, "high": one.high}
            for name, one in ((name, self.measures[name]) for name in MEASURES)
        }
        return {"source": self.source, "what": self.what, "images": self.images} | plain


def chosen(name: str, bands: Mapping[str, float]) -> list[str] | None:
    """Return the roles of a set among bands (role -> centre in nm), or None where they do not make it."""
    wanted = SETS[name]
    low, high = _VISIBLE_NM
    if wanted is not None:
        roles = [role for role in wanted if role in bands]
        return roles if len(roles) == len(wanted) else None
    roles = [role for role, centre in bands.items() if name == "ALL" or not low <= centre <= high]
    return roles if len(roles) >= FEWEST else None


def sets_for(spec: ModelSpec, bands: Mapping[str, float]) -> dict[str, list[str]]:
    """Return the sets that a model is measured with: those that feed it something else than a smaller one does."""
    found = {name: roles for name in SETS if (roles := chosen(name, bands)) is not None}
    if spec.any_bands:
        return found
    needed = set(spec.bands) - set(spec.optional_bands)
    fitting = {name: roles for name, roles in found.items() if needed <= set(roles)}
    smallest: dict[frozenset[str], str] = {}
    for name in sorted(fitting, key=lambda name: (len(fitting[name]), SETS[name] is None)):
        smallest.setdefault(frozenset(fitting[name]) & frozenset(spec.bands), name)
    return {name: roles for name, roles in fitting.items() if name in smallest.values()}


# --- labelled patches ---


def of_patches(specs: Mapping[str, ModelSpec], patches: Sequence[Patch]) -> Images:
    """Count patches with each set that they have."""
    counted: Images = {}
    for model, spec in specs.items():
        sets = [(patch, sets_for(spec, _centres(patch))) for patch in patches]
        for name in SETS:
            fed = [only_bands(patch, roles[name]) for patch, roles in sets if name in roles]
            if fed:
                result = evaluate_model(spec, fed, levels=["known"], how=Bootstrap(draws=2))
                counted[name, model] = list(result["known"].images)
    return counted


def _centres(patch: Patch) -> dict[str, float]:
    sensor = get_sensor(patch.sensor or "sentinel-2-l1c")
    return {role: sensor.candidates(role)[0].wavelength_nm[1] for role in patch.bands}


# --- simulated scenes ---


def of_sensors(
    specs: Mapping[str, ModelSpec], sensors: Sequence[str], *, seeds: Sequence[int], size_px: int | None
) -> Images:
    """Count simulated scenes with each set that their sensor has."""
    counted: Images = {}
    for name in sensors:
        sensor = HYPERSPECTRAL if name == HYPERSPECTRAL.name else get_sensor(name)
        bands = {band.name: band for band in sensor.bands if band.role != "pan"}
        for seed in seeds:
            cube, truth = simulated_scene(sensor, bands=list(bands), seed=seed, size_px=size_px)
            for key, mask in _masks(cube, sensor, bands, specs):
                dates = (confusion(codes, sets_from_labels(one)) for codes, one in zip(mask, truth, strict=True))
                image = Counted(name=f"{name} seed {seed}", source=name, confusion=pool(dates))
                counted.setdefault(key, []).append(image)
    return counted


def _masks(
    cube: xr.Dataset, sensor: Sensor, bands: Mapping[str, Band], specs: Mapping[str, ModelSpec]
) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.uint8]]]:
    by_role = {band.role: name for name, band in bands.items()}
    coarse = min(band.resolution_m for band in bands.values()) > _COARSE_M
    centres = {role: bands[name].wavelength_nm[1] for role, name in by_role.items()}
    for model, spec in specs.items():
        for name, roles in sets_for(spec, centres).items():
            names = [by_role[role] for role in roles]
            fixed = {role: by_role[role] if role in roles else None for role in spec.bands}
            given: Any = names if spec.any_bands else fixed
            mask = predict(cube[names], model=spec, bands=given, sensor=sensor, upsample=coarse)
            yield (name, model), mask.to_numpy()


# --- tables ---


def accuracy(counted: Images, *, how: Bootstrap) -> list[Row]:
    """Rows of each source, and the mean over the sources that have all sets."""
    rich = _with_all_sets(counted)
    rows = []
    for (bands, model), images in counted.items():
        result = summarise(images, how=how)
        for source, group in result.sources.items():
            what = f"{bands} | {model}"
            rows.append(Row(source=source, what=what, images=group.patches, measures=group.estimates))
        kept = [image for image in images if image.source in rich]
        if len(rich) > 1 and kept:
            label = f"mean of the {len(rich)} sources with all sets"
            mean = summarise(kept, how=how).mean
            rows.append(Row(source=label, what=f"{bands} | {model}", images=len(kept), measures=mean))
    return _together(rows)


def _with_all_sets(counted: Images) -> set[str]:
    most = {model for name, model in counted if name == "COMMON"}
    by_set = [{one.source for one in counted.get((name, model), [])} for model in most for name in SETS]
    return set.intersection(*by_set) if by_set else set()


def gains(counted: Images, *, how: Bootstrap) -> list[Row]:
    """What each set has more than RGB, and each model more than the last one, on the images that both have."""
    last = [model for _, model in counted][-1]
    rows = []
    for (bands, model), images in counted.items():
        for base in ((bands, last), ("RGB", model)):
            if base != (bands, model) and base in counted:
                what = f"{bands} | {model} less {base[1] if base[0] == bands else base[0]}"
                rows += _gain(images, counted[base], what=what, how=how)
    return _together(rows)


def _gain(images: Sequence[Counted], base: Sequence[Counted], *, what: str, how: Bootstrap) -> list[Row]:
    names = {(image.source, image.name) for image in images} & {(image.source, image.name) for image in base}
    both = ([one for one in each if (one.source, one.name) in names] for each in (images, base))
    if not names:
        return []
    first, second = (summarise(each, how=how) for each in both)
    found = difference(first, second).sources
    counts = {source: group.patches for source, group in first.sources.items()}
    return [
        Row(source=source, what=what, images=counts.get(source, len(names)), measures=measured)
        for source, measured in found.items()
    ]


def _together(rows: Sequence[Row]) -> list[Row]:
    order = list(dict.fromkeys(row.source for row in rows))
    return sorted(rows, key=lambda row: order.index(row.source))


def table(rows: Sequence[Row], *, signed: bool = False) -> str:
    """Lay rows out, in percent; differences in percentage points, with their intervals."""
    lines = [
        f"| source | bands | model | images | {' | '.join(MEASURES.values())} |",
        "|" + "---|" * (4 + len(MEASURES)),
    ]
    for row in rows:
        cells = (_cell(row.measures[name], signed=signed) for name in MEASURES)
        lines.append(f"| {row.source} | {row.what} | {row.images} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(one: Estimate, *, signed: bool) -> str:
    if np.isnan(one.value):
        return "-"
    if not signed:
        return f"{100 * one.value:.1f}"
    interval = "" if one.low is None or one.high is None else f" ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
    return f"{100 * one.value:+.1f}{interval}"


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    specs = named(given.models)
    how = Bootstrap(draws=20 if given.quick else 2000)
    counted: dict[str, Images] = {}
    if "patches" in given.parts:
        if given.data is None:
            raise SystemExit("No folder of patches. Type --data DIR, or --parts simulated.")
        patches = load_split(given.data, {"dev": "holdout"}.get(given.split, given.split), bands=ALL_BANDS)
        counted[f"Labelled patches, split {given.split}"] = of_patches(specs, patches)
    if "simulated" in given.parts:
        seeds, size_px = (range(1), 64) if given.quick else (range(given.seeds), None)
        images = of_sensors(specs, given.sensors, seeds=seeds, size_px=size_px)
        counted[f"Simulated scenes, {len(seeds)} of each sensor"] = images
    write({title: (accuracy(one, how=how), gains(one, how=how)) for title, one in counted.items()}, specs, given)
    return 0


def named(models: Sequence[str]) -> dict[str, ModelSpec]:
    """Return the models by what tables call them: their name, or what was typed where two have the same."""
    specs = {typed: get_spec(typed) for typed in models}
    names = [spec.name for spec in specs.values()]
    return {spec.name if names.count(spec.name) == 1 else typed: spec for typed, spec in specs.items()}


def write(
    tables: Mapping[str, tuple[list[Row], list[Row]]], specs: Mapping[str, ModelSpec], given: argparse.Namespace
) -> None:
    """Print the tables, and write them as Markdown and JSON."""
    parts = [
        f"{title}:\n\n{table(rows)}\n\nDifferences, in percentage points, with 95 % intervals over images:\n\n"
        f"{table(more, signed=True)}\n"
        for title, (rows, more) in tables.items()
    ]
    print("\n".join(parts))
    given.markdown.write_text("\n".join(parts))
    if given.json is not None:
        models = {name: spec.sha256 for name, spec in specs.items()}
        plain = {
            title: {"accuracy": [row.to_dict() for row in rows], "differences": [row.to_dict() for row in more]}
            for title, (rows, more) in tables.items()
        }
        given.json.write_text(json.dumps({"models": models, "tables": plain}, indent=1, allow_nan=False) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bandsets", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["any-bands", "default"], help="names or cards")
    parser.add_argument("--data", type=Path, default=data_dir(), help="folder with patches.csv and patches/")
    parser.add_argument("--split", default="dev", help="dev, the tenth of train that is held out, or eval")
    parser.add_argument("--parts", nargs="+", choices=("patches", "simulated"), default=["patches", "simulated"])
    parser.add_argument("--sensors", nargs="+", choices=SENSORS, default=list(SENSORS))
    parser.add_argument("--seeds", type=int, default=8, help="simulated scenes of each sensor")
    parser.add_argument("--markdown", type=Path, default=TABLE)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small scenes: to see that it runs, not to measure")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except XCloudMaskError as error:
        sys.exit(str(error))
