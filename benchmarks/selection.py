"""Does choosing what to label beat chance? ``python -m benchmarks.selection --data DIR --out DIR``.

A start model knows simulated scenes alone. Each strategy spends the same budgets of real chips: choose, label,
fine-tune from the start model, choose again with the new model. All fine-tunings have the same steps, the same
simulated samples and the same seed; the test scenes are never in the pool. Pool and test are parts of the split
`train`; eval and val are not touched. What is measured already (in --out) is not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from benchmarks.finetune import SIZE_PX, Bank, fine_tune, start_model, write_model
from xcloudmask.evaluate import pool, scores
from xcloudmask.training.data import BANDS, Patch, load_patches
from xcloudmask.training.labels import ANY
from xcloudmask.training.score import load_split, source_of
from xcloudmask.training.selection import Chip, rank_chips
from xcloudmask.training.selection.rank import DIVERSITY
from xcloudmask.training.validate import count_patches

STRATEGIES: Mapping[str, float | None] = {"random": None, "default": DIVERSITY, "uncertain": 0.0, "typical": 1.0}
"""Name: diversity; None chooses by chance."""
MEASURES = ("agreement", "cloud_ba")
_TEST_PX = 256
_SPLITS = {"dev": (1, 0), "final": (0, None)}
"""Which third of the scenes is the test, and which is left out; dev, for choosing a method, never sees final's test."""
_FIRST_SEED = {"dev": 0, "final": 100}
_COARSE = ("oncloudn", "cloud38")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one experiment is."""

    budgets: tuple[int, ...] = (10, 20, 40)
    """Labelled chips after each round."""
    pool: int = 200
    """Candidates that a seed draws from all."""
    steps: int = 100
    """Of each fine-tuning."""
    width: int = 8
    """Of the network."""
    start_steps: int = 400
    """Of the start model."""
    bank: int = 256
    """Simulated samples of the fine-tunings."""
    clear: float = 0.0
    """Share of the pool that is clear images without a cloud, as most of an archive is."""


def third(patch: Patch) -> int:
    """0, 1 or 2, the same for all dates of a place: tiles of the catalogue by their name, patches by their own."""
    source = source_of(patch)
    place = patch.name.split("_")[5] if source == "s2cmc" else patch.name
    return hashlib.sha256(place.encode()).digest()[0] % 3


def split_scenes(patches: Sequence[Patch], *, test: int, left_out: int | None) -> tuple[list[Patch], list[Patch]]:
    """Chips of the pool, and test patches of other scenes. Coarse labels may teach, but do not measure."""
    pool_chips, tests = [], []
    for patch in patches:
        coarse = source_of(patch) in _COARSE
        if not coarse and third(patch) == test:
            tests.append(cut(patch, 0, 0, _TEST_PX))
        elif coarse or third(patch) != left_out:
            pool_chips += chips_of(patch)
    return pool_chips, tests


def chips_of(patch: Patch, *, along: int | None = 2) -> list[Patch]:
    """Chips of a scene, so many along each side; None takes as many as overlap by half."""
    rows, columns = (
        np.linspace(0, side - SIZE_PX, along or 1 + 2 * (side - SIZE_PX) // SIZE_PX).astype(int)
        for side in patch.valid.shape
    )
    chips = [cut(patch, int(row), int(column), SIZE_PX) for row in rows for column in columns]
    return [chip for chip in chips if chip.valid.any() and (chip.allowed != ANY).any()]


def clear_chips(data: Path, *, test: int, left_out: int | None) -> list[Patch]:
    """Chips of clear images of the places whose scenes are in the pool."""
    backgrounds = load_patches(data, splits=("background",))
    return [
        chip for patch in backgrounds if third(patch) not in (test, left_out) for chip in chips_of(patch, along=None)
    ]


def cut(patch: Patch, row: int, column: int, side: int) -> Patch:
    window = (slice(row, row + side), slice(column, column + side))
    return replace(
        patch,
        name=f"{patch.name}@{row},{column}",
        image=patch.image[:, *window],
        valid=patch.valid[window],
        allowed=patch.allowed[window],
    )


def as_chip(patch: Patch) -> Chip:
    """A patch as the ranking takes it: without its labels."""
    attrs = {"scale_factor": 1e-4, "add_offset": 0.0}
    image = np.where(patch.valid, patch.image.astype(np.float32), np.float32(np.nan))
    there = BANDS if patch.nir else BANDS[:2]
    cube = xr.Dataset({band: (("y", "x"), image[index], attrs) for index, band in enumerate(there)})
    bands: dict[str, str | int | None] = {band: band if band in there else None for band in BANDS}
    return Chip(name=patch.name, cube=cube, bands=bands, resolution_m=patch.resolution_m)


def measure(net: nn.Module, tests: Sequence[Patch]) -> dict[str, float]:
    result = scores(pool(count_patches(net, tests, level_known=True)))
    return {name: float(getattr(result, name)) for name in MEASURES}


def run(
    name: str,
    start: nn.Module,
    bank: Bank,
    candidates: list[Patch],
    tests: Sequence[Patch],
    *,
    plan: Plan,
    seed: int,
    clear: Sequence[Patch] = (),
) -> list[dict[str, float]]:
    """One strategy with one seed: the measures after each round."""
    diversity = STRATEGIES[name]
    rng = np.random.default_rng((seed, 2))
    count = round(plan.pool * plan.clear)
    left = [candidates[index] for index in rng.permutation(len(candidates))[: plan.pool - count]]
    left += [clear[index] for index in rng.permutation(len(clear))[:count]]
    left = [left[index] for index in rng.permutation(len(left))] if count else left
    labelled: list[Patch] = []
    net, rounds = start, []
    for budget in plan.budgets:
        count = budget - len(labelled)
        new = (
            left[:count]
            if diversity is None
            else chosen(net, left, labelled, count=count, diversity=diversity, width=plan.width, seed=seed)
        )
        labelled += new
        taken = {patch.name for patch in new}
        left = [patch for patch in left if patch.name not in taken]
        net = fine_tune(start, labelled, bank, steps=plan.steps, seed=seed)
        rounds.append(measure(net, tests))
    return rounds


def chosen(
    net: nn.Module,
    left: list[Patch],
    labelled: list[Patch],
    *,
    count: int,
    diversity: float,
    width: int,
    seed: int,
) -> list[Patch]:
    chips = [as_chip(patch) for patch in left]
    known = [as_chip(patch) for patch in labelled]
    with tempfile.TemporaryDirectory() as folder:
        spec = write_model(net, Path(folder) / "net.safetensors", width=width)
        ranked = rank_chips(spec, chips, count=count, diversity=diversity, labelled=known, seed=seed)
    by_name = {patch.name: patch for patch in left}
    return [by_name[one.chip.name] for one in ranked]


def intervals(results: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """Mean and spread over the seeds, and the paired difference to random with its 95 % bootstrap interval."""
    rows = []
    for name in STRATEGIES:
        seeds = sorted(seed for seed in results if name in results[seed] and "random" in results[seed])
        for place, budget in enumerate(plan.budgets if seeds else ()):
            for measured in MEASURES:
                own = np.array([results[seed][name][place][measured] for seed in seeds])
                less = own - np.array([results[seed]["random"][place][measured] for seed in seeds])
                draws = np.random.default_rng(0).integers(len(seeds), size=(10_000, len(seeds)))
                low, high = np.percentile(less[draws].mean(axis=1), (2.5, 97.5))
                row = {"strategy": name, "budget": budget, "measure": measured, "seeds": len(seeds)}
                rows.append(
                    row
                    | {"mean": own.mean(), "spread": own.std(ddof=1) if len(own) > 1 else 0.0}
                    | {"difference": less.mean(), "low": low, "high": high}
                )
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| strategy | chips | measure | mean | spread | less random | 95 % |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        difference = (
            "- | -"
            if row["strategy"] == "random"
            else f"{100 * row['difference']:+.1f} | {100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
        )
        figures = f"{100 * row['mean']:.1f} | {100 * row['spread']:.1f}"
        lines.append(f"| {row['strategy']} | {row['budget']} | {row['measure']} | {figures} | {difference} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with patches.csv, patches/ and s2cmc_rgb/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the start model and selection-<part>.json")
    parser.add_argument("--part", choices=sorted(_SPLITS), default="final", help="dev: other scenes, to try methods")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--clear", type=float, default=0.0, help="share of the pool that is images without a cloud")
    parser.add_argument("--pool", type=int, default=Plan().pool, help="candidates that a seed draws")
    parser.add_argument("--steps", type=int, default=Plan().steps, help="of each fine-tuning")
    parser.add_argument("--quick", action="store_true", help="tiny: to see that it runs")
    given = parser.parse_args(arguments)
    plan = Plan(budgets=(2, 4), pool=8, steps=2, start_steps=2, bank=8) if given.quick else Plan()
    plan = plan if given.quick else replace(plan, pool=given.pool, steps=given.steps)
    plan = replace(plan, clear=given.clear)
    test, left_out = _SPLITS[given.part]
    candidates, tests = split_scenes(load_split(given.data, "train"), test=test, left_out=left_out)
    clear = clear_chips(given.data, test=test, left_out=left_out) if given.clear else []
    tests = tests[:4] if given.quick else tests
    start, bank = start_model(given.out, width=plan.width, steps=plan.start_steps), Bank(plan.bank, seed=1)
    kind = f"-clear{round(100 * given.clear)}" if given.clear else ""
    path = given.out / f"selection-{given.part}{kind}{'-quick' if given.quick else ''}.json"
    results = json.loads(path.read_text())["results"] if path.exists() else {}
    began = measure(start, tests)
    first = _FIRST_SEED[given.part]
    for seed in map(str, range(first, first + given.seeds)):
        for name in given.strategies:
            if name not in results.setdefault(seed, {}):
                results[seed][name] = run(name, start, bank, candidates, tests, plan=plan, seed=int(seed), clear=clear)
            facts = {"start": began, "candidates": len(candidates), "clear": len(clear), "tests": len(tests)}
            rows = intervals(results, plan)
            path.write_text(json.dumps(facts | {"rows": rows, "results": results}, indent=1) + "\n")
            print(seed, name, results[seed][name], file=sys.stderr, flush=True)
    print(table(intervals(results, plan)))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
