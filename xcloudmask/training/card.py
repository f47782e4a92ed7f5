"""Export a checkpoint with its card: ``python -m xcloudmask.training.card --data DIR --checkpoint FILE --out DIR``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcloudmask._version import __version__
from xcloudmask.evaluate import Scores
from xcloudmask.models.unet import STRIDE_PX, CloudUNet, receptive_radius
from xcloudmask.training.checkpoint import Progress, export, load_network, read_progress
from xcloudmask.training.config import CONFIG
from xcloudmask.training.data import read_table
from xcloudmask.training.score import load_split, score

__all__ = ["build_card", "flat_metrics", "main", "training_sources"]

_CATALOGUE = "Sentinel-2 Cloud Mask Catalogue (Francis, Mrziglod, Sidiropoulos, Muller): CC BY 4.0"
_ATTRIBUTION = (
    "Contains modified Copernicus Sentinel data; Landsat imagery courtesy of the U.S. Geological Survey; SEN12MS-CR; "
    "Sentinel-2 Cloud Mask Catalogue; On Cloud N (Radiant Earth, Microsoft, DrivenData); L8 Biome; 38-Cloud."
)
_MEASURES = ("agreement", "cloud_oa", "cloud_ba", "cloud_f1", "cloud_shadow_f1")


def training_sources(data: Path) -> list[str]:
    """Name every source of the training with its licence.

    Parameters
    ----------
    data
        The data folder.

    Returns
    -------
    list of str
    """
    rows = [row for row in read_table(data) if row["split"] in ("train", "background")]
    return [*sorted({f"{row['source']}: {row['licence']}" for row in rows}), _CATALOGUE]


def flat_metrics(result: Mapping[str, Mapping[str, Scores]]) -> dict[str, float]:
    """Flatten scores into names such as ``l8biome_level_known_cloud_oa``.

    Parameters
    ----------
    result
        What `xcloudmask.training.score.score` returns.

    Returns
    -------
    dict
        Shares, rounded; measures without a value are left out.
    """
    flat: dict[str, float] = {}
    for source, by_level in result.items():
        for level, measured in by_level.items():
            values = measured.to_dict()
            kept = {name: values[name] for name in _MEASURES if not math.isnan(values[name])}
            flat |= {f"{source}_level_{level}_{name}": round(value, 4) for name, value in kept.items()}
    return flat


def build_card(
    *, sources: list[str], metrics: Mapping[str, float], progress: Progress, notes: str, history: Sequence[str] = ()
) -> dict[str, Any]:
    """Put the card of the default model together.

    Parameters
    ----------
    sources, metrics, notes
        As in `xcloudmask.models.spec.ModelSpec`.
    progress
        Of the run.
    history
        The runs before this one, where it started from their weights.

    Returns
    -------
    dict
        All fields of the spec but `weights` and `sha256`, and how the weights were made.
    """
    net = CloudUNet(**CONFIG).eval()
    return {
        "name": "default",
        "architecture": "unet",
        "config": dict(CONFIG),
        "bands": ["red", "green", "nir"],
        "optional_bands": ["nir"],
        "stride_px": STRIDE_PX,
        "radius_px": receptive_radius(net, bands=CONFIG["bands"], stride_px=STRIDE_PX, reach_px=96),
        "exact_halo": True,
        "normalization": "zscore",
        "level": True,
        "resolution_m": [10, 50],
        "tile_px": 1024,
        "window_px": 512,
        "licence": "Apache-2.0",
        "sources": sources,
        "metrics": dict(metrics),
        "notes": notes,
        "attribution": _ATTRIBUTION,
        "training": {
            "command": "python -m xcloudmask.training.fit --data DIR --out DIR --minutes MINUTES --seed SEED",
            "history": list(history),
            "code_version": __version__,
            "seed": progress.seed,
            "steps": progress.step,
            "planned_steps": progress.planned,
            "minutes": round(progress.elapsed_s / 60, 1),
            "device": "CPU, 2 cores, bfloat16 autocast",
            "data": "splits train and background without every tenth patch (by name, kept for choosing), and simulated "
            "clouds over the clear patches; eval and the thumbnails' val were only measured",
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, score on eval and val, and export.

    Parameters
    ----------
    arguments
        None takes those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with patches.csv, patches/ and s2cmc_rgb/")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint of the fit")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights and the card")
    parser.add_argument("--notes", default="", help="known failures and intended use")
    parser.add_argument("--history", action="append", default=[], help="a run that the weights started from; repeat")
    parser.add_argument("--unmeasured", action="store_true", help="leave eval and val alone: for interim exports")
    given = parser.parse_args(arguments)
    net = load_network(CloudUNet(**CONFIG), given.checkpoint)
    metrics = {} if given.unmeasured else flat_metrics(score(net, load_split(given.data, "eval")))
    card = build_card(
        sources=training_sources(given.data),
        metrics=metrics,
        progress=read_progress(given.checkpoint),
        notes=given.notes,
        history=given.history,
    )
    export(net, given.out, card=card)


if __name__ == "__main__":
    main()
