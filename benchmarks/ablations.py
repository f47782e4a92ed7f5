"""What each part of the training is worth: ``python -m benchmarks.ablations --data DIR --out DIR``.

Trains the recipe `ablation` once for each variant, then measures all of them, and prints one table. A variant that is
trained already (its checkpoint is in --out) is only measured.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xcloudmask.evaluate import Counted, Evaluation, summarise
from xcloudmask.training.config import TrainConfig, load_config
from xcloudmask.training.data import Patch
from xcloudmask.training.score import load_split, source_of
from xcloudmask.training.train import load_pools, make_stream, train
from xcloudmask.training.validate import count_patches

_REAL = {"real": 0.52, "thumbnails": 0.48, "clouded": 0.0, "landscapes": 0.0, "pasted": 0.0}
_SIMULATED = {"real": 0.0, "thumbnails": 0.0, "clouded": 0.6, "landscapes": 0.4, "pasted": 0.0}

VARIANTS: Mapping[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "base": ("z-score per patch, everything below", {}),
    "fixed": ("fixed mean and spread of the training data", {"mixture": {"normalize": "fixed"}}),
    "percentile": ("percentiles 1 and 99 of the training data", {"mixture": {"normalize": "percentile"}}),
    "one_resolution": ("no mixed resolution", {"mixture": {"mixed_resolution": False}}),
    "real": ("real labels only", {"mixture": _REAL}),
    "simulated": ("simulated clouds only, on clear images and landscapes", {"mixture": _SIMULATED}),
    "guessed_labels": ("no partial labels: not cloud is clear, cloud is thick", {"mixture": {"partial_labels": False}}),
    "no_nir_guess": ("thumbnails without a guessed near infrared", {"data": {"nir_guess": False}}),
    "no_pasted": ("no real clouds pasted onto clear images", {"mixture": {"pasted": 0.0}}),
    "no_landscapes": ("no simulated ground", {"mixture": {"landscapes": 0.0}}),
}
"""Name: what it is, and the changes of the recipe."""

MEASURED = ("known", "unknown", "known, no NIR")
"""How each is measured: with and without the level, and with the near infrared given up."""


def variant_config(name: str, *, steps: int | None, tiny: bool = False) -> TrainConfig:
    config = load_config("ablation")
    changes = VARIANTS[name][1]
    changed = {table: replace(getattr(config, table), **values) for table, values in changes.items()}
    config = replace(config, **changed)
    if tiny:
        small = {"bands": 3, "classes": 4, "width": 8, "blocks": 1, "level": 1}
        config = replace(
            config,
            model=replace(config.model, config=small),
            mixture=replace(config.mixture, size_px=64),
            fit=replace(config.fit, workers=0, batch=2),
        )
    return replace(config, fit=replace(config.fit, steps=steps or config.fit.steps))


def evaluate_variant(config: TrainConfig, *, data: Path, out: Path, patches: list[Patch]) -> dict[str, Evaluation]:
    net = train(config, data=data, out=out)
    normalizer = make_stream(load_pools(data, config), mixture=config.mixture, seed=0, length=1).normalizer
    result = {}
    for how in MEASURED:
        chosen = [patch for patch in patches if patch.nir or "NIR" not in how]
        counts = count_patches(
            net, chosen, level_known=not how.startswith("unknown"), nir="NIR" not in how, normalizer=normalizer
        )
        result[how] = summarise(
            Counted(name=patch.name, source=source_of(patch), confusion=one)
            for patch, one in zip(chosen, counts, strict=True)
        )
    return result


def table(results: Mapping[str, Mapping[str, Evaluation]]) -> str:
    sources = list(next(iter(results.values()))["known"].sources)
    lines = [
        "| variant | level | " + " | ".join(sources) + " | mean |",
        "|---|---|" + "---|" * (len(sources) + 1),
    ]
    for name, by_level in results.items():
        for level, evaluation in by_level.items():
            cells = [
                _cell(evaluation.sources[source].estimates) if source in evaluation.sources else "-"
                for source in sources
            ]
            lines.append(f"| {name} | {level} | " + " | ".join([*cells, _cell(evaluation.mean)]) + " |")
    return "\n".join(lines)


def _cell(estimates: Mapping[str, Any]) -> str:
    """Cloud OA, and shadow F1 where shadows are labelled."""
    shadow = estimates["cloud_shadow_f1"].value
    return f"{100 * estimates['cloud_oa'].value:.1f}" + ("" if math.isnan(shadow) else f" / {100 * shadow:.0f}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with patches.csv, patches/ and s2cmc_rgb/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoints and ablations.json")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--split", choices=("holdout", "eval"), default="holdout")
    parser.add_argument("--steps", type=int, help="instead of those of the recipe")
    parser.add_argument("--tiny", action="store_true", help="a tiny network: to see that it runs")
    given = parser.parse_args(arguments)
    patches = load_split(given.data, given.split)
    results = {}
    for name in given.variants:
        config = variant_config(name, steps=given.steps, tiny=given.tiny)
        results[name] = evaluate_variant(config, data=given.data, out=given.out / name, patches=patches)
        print(f"{name}: {VARIANTS[name][0]}", file=sys.stderr, flush=True)
    print(table(results))
    plain = {name: {level: one.to_dict() for level, one in by.items()} for name, by in results.items()}
    (given.out / f"ablations-{given.split}.json").write_text(json.dumps(plain, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
