"""Run benchmarks, all or by name; one JSON object per figure."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import (  # noqa: F401 - they register themselves
    agreement,
    backends,
    bands,
    campaign,
    cogs,
    engine,
    graph,
    http_bytes,
    memory,
    overlap,
    seams,
    speed,
    stores,
    task,
)
from benchmarks.core import BENCHMARKS, asked


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it runs, not to measure")
    parser.add_argument("--full", action="store_true", help="the sizes that targets are for, where they take long")
    parser.add_argument("--rounds", type=int, default=3, help="repeats of what is compared; the median counts")
    parser.add_argument("--data", type=Path, help="folder of real imagery, where a benchmark takes some")
    parser.add_argument("--json", type=Path, help="also write the figures to this file, one a line")
    options = parser.parse_args(arguments)
    unknown = set(options.name) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(sorted(BENCHMARKS))}")
    asked.full, asked.rounds = options.full, options.rounds
    if options.data is not None:
        os.environ["XCLOUDMASK_DATA"] = str(options.data)
    lines, missed = [], 0
    for name in options.name or BENCHMARKS:
        for figure in BENCHMARKS[name](quick=options.quick):
            print(figure.to_json(), flush=True)
            lines.append(figure.to_json())
            missed += figure.passed is False
    if options.json:
        options.json.write_text("\n".join(lines) + "\n")
    return 1 if missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
