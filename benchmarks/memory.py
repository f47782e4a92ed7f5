"""Memory that a block at work takes, per cell of its tile: the number behind `plan().block_bytes`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.core import Figure, benchmark

PROBE = """
import json, sys
import numpy as np
from xcloudmask.blocks import predict_block
from xcloudmask.halo import BlockPlace
from xcloudmask.models.registry import get_spec
from xcloudmask.settings import EngineSettings

def peak():
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

def work(side):
    place = BlockPlace(start=0, stop=side, depth=0, length=side)
    settings = EngineSettings(spec=get_spec("default"), halo_px=(0, 0), tile_px=(side, side), precision=sys.argv[2])
    block = np.random.default_rng(0).integers(1, 4000, (1, 3, side, side), dtype=np.uint16)
    predict_block(block, places=(place, place), settings=settings)

work(64)
before = peak()
side = int(sys.argv[1])
work(side)
print(json.dumps((peak() - before) / side**2))
"""


@benchmark
def memory(*, quick: bool) -> Iterator[Figure]:
    side = 512 if quick else 2192
    for precision in ("bf16", "fp32"):
        command = [sys.executable, "-c", PROBE, str(side), precision]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield Figure(name=f"memory.bytes_per_cell_{precision}", value=json.loads(done.stdout), unit="B")
