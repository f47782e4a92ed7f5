"""Score a network on labelled patches: ``python -m xcloudmask.training.score --data DIR --checkpoint FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from xcloudmask.classes import NODATA
from xcloudmask.evaluate import Confusion, Scores, confusion, pool, scores
from xcloudmask.models.unet import STRIDE_PX, CloudUNet
from xcloudmask.training.augment import normalize_window
from xcloudmask.training.checkpoint import load_network
from xcloudmask.training.config import CONFIG
from xcloudmask.training.data import Patch, load_patches, load_thumbnails, split_holdout

__all__ = ["main", "markdown", "predict_patch", "score", "score_patches"]

HALO_PX = 72


def predict_patch(net: nn.Module, patch: Patch, *, level_known: bool) -> npt.NDArray[np.uint8]:
    """Predict a whole patch as one window, as the engine does with a chunk.

    Parameters
    ----------
    net
        In eval mode.
    patch
        The image.
    level_known
        Whether the network is told the level; never where the patch has none.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8 classes, 255 where the patch has no data.
    """
    known = level_known and patch.level_known
    image = patch.image.astype(np.float32) * np.float32(1e-4)
    valid = None if patch.valid.all() else patch.valid
    scored, level = normalize_window(image, valid, level_known=known, nir=patch.nir)
    height, width = patch.valid.shape
    pads = [(HALO_PX, HALO_PX + -size % STRIDE_PX) for size in (height, width)]
    padded = torch.from_numpy(np.pad(scored, [(0, 0), *pads]))[None]
    with torch.inference_mode():
        logits = net(padded.contiguous(memory_format=torch.channels_last), torch.from_numpy(level)[None])
    mask = logits[0, :, HALO_PX : HALO_PX + height, HALO_PX : HALO_PX + width].argmax(0).numpy().astype(np.uint8)
    return np.where(patch.valid, mask, NODATA).astype(np.uint8)


def score_patches(net: nn.Module, patches: Iterable[Patch], *, level_known: bool) -> dict[str, Confusion]:
    """Count right and wrong pixels by source.

    Parameters
    ----------
    net
        In eval mode.
    patches
        Labelled patches.
    level_known
        As in `predict_patch`.

    Returns
    -------
    dict
        Counts by the first word of the patches' names.
    """
    counted: dict[str, list[Confusion]] = {}
    for patch in patches:
        mask = predict_patch(net, patch, level_known=level_known)
        counted.setdefault(_short_source(patch), []).append(confusion(mask, np.where(patch.valid, patch.allowed, 0)))
    return {source: pool(parts) for source, parts in counted.items()}


def _short_source(patch: Patch) -> str:
    names = {"layton": "alberta", "scg": "scg_pair", "38cloud": "cloud38"}
    word = patch.name.split("_", maxsplit=1)[0]
    return "s2cmc" if not patch.nir else names.get(word, word)


def score(net: nn.Module, patches: Sequence[Patch]) -> dict[str, dict[str, Scores]]:
    """Score with the level known and unknown, by source.

    Parameters
    ----------
    net
        In eval mode.
    patches
        Labelled patches.

    Returns
    -------
    dict
        Source, then "known" and "unknown"; sources without a level have only the latter.
    """
    result: dict[str, dict[str, Scores]] = {}
    leveled = [patch for patch in patches if patch.level_known]
    for name, chosen in (("known", leveled), ("unknown", patches)):
        counted = score_patches(net, chosen, level_known=name == "known")
        for source, counts in counted.items():
            result.setdefault(source, {})[name] = scores(counts)
    return result


def markdown(result: Mapping[str, Mapping[str, Scores]]) -> str:
    """Lay scores out as a Markdown table.

    Parameters
    ----------
    result
        What `score` returns.

    Returns
    -------
    str
    """
    lines = [
        "| source | level | agreement | cloud OA | cloud BA | cloud F1 | shadow P | shadow R | shadow F1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for source, by_level in result.items():
        for level, s in by_level.items():
            shadow = s.classes[3]
            numbers = (s.agreement, s.cloud_oa, s.cloud_ba, s.cloud.f1, shadow.precision, shadow.recall, shadow.f1)
            lines.append(f"| {source} | {level} | " + " | ".join(f"{100 * number:.1f}" for number in numbers) + " |")
    return "\n".join(lines)


def load_split(data: Path, split: str) -> list[Patch]:
    """Load "eval" (with the thumbnails' val), or "holdout": the part of train that the fit leaves out.

    Parameters
    ----------
    data
        The data folder.
    split
        Which.

    Returns
    -------
    list of Patch
    """
    if split == "eval":
        return [*load_patches(data, splits=("eval",)), *load_thumbnails(data, split="val")]
    patches = split_holdout(load_patches(data, splits=("train",)))[1]
    return [*patches, *split_holdout(load_thumbnails(data, split="train"))[1]]


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, score and write the tables.

    Parameters
    ----------
    arguments
        None takes those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with patches.csv, patches/ and s2cmc_rgb/")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint of the fit, or exported weights")
    parser.add_argument("--split", choices=("holdout", "eval"), default="holdout")
    parser.add_argument("--json", type=Path, help="also write the measures here")
    given = parser.parse_args(arguments)
    net = load_network(CloudUNet(**CONFIG), given.checkpoint)
    result = score(net, load_split(given.data, given.split))
    sys.stdout.write(markdown(result) + "\n")
    if given.json is not None:
        plain = {source: {level: s.to_dict() for level, s in by.items()} for source, by in result.items()}
        given.json.write_text(json.dumps(plain, indent=2) + "\n")


if __name__ == "__main__":
    main()
