"""`torch.compile` on a processor beside what runs, for the default model: ``python -m benchmarks.compiled``.

Not among the others: it needs a C++ compiler, and a quarter of a minute of CPU before the first tile.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator

from benchmarks.core import Figure, cpu_seconds
from xcloudmask.models.cropped import cropped_logits
from xcloudmask.models.loading import load_network
from xcloudmask.models.process import keep_freed_memory
from xcloudmask.models.registry import get_spec

TILE_PX, CORE_PX, ROUNDS = 1168, 1024, 6


def with_children() -> float:
    """CPU seconds of this process and of the compilers that it started."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cpu_seconds() + usage.ru_utime + usage.ru_stime


def least(sides: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds per megapixel fed, the least of rounds that take turns."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            start = cpu_seconds()
            side()
            taken[name].append((cpu_seconds() - start) / (TILE_PX**2 / 1e6))
    return {name: min(seconds) for name, seconds in taken.items()}


def compiled() -> Iterator[Figure]:
    """Start and speed in bf16, one thread."""
    import torch
    import torch._inductor.config as inductor

    keep_freed_memory()
    inductor.freezing = True
    torch.set_num_threads(1)
    net = load_network(get_spec("default")).to(dtype=torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
    tile, level = torch.randn(1, 3, TILE_PX, TILE_PX).bfloat16(), torch.rand(1, 7).bfloat16()
    crop = (slice((TILE_PX - CORE_PX) // 2, (TILE_PX + CORE_PX) // 2),) * 2
    with torch.no_grad():
        start, program = with_children(), torch.compile(net, dynamic=False)
        labels = program(tile, level).argmax(1)
        yield Figure(name="compiled.start", value=with_children() - start, unit="CPU s")
        shared = float((labels == net(tile, level).argmax(1)).float().mean())
        yield Figure(name="compiled.labels_shared", value=100 * shared, unit="%")
        sides: dict[str, Callable[[], object]] = {
            "as_it_is": lambda: net(tile, level),
            "compiled": lambda: program(tile, level),
            "what_runs": lambda: cropped_logits(net, tile, level, crop),
        }
        for name, seconds in least(sides).items():
            yield Figure(name=f"compiled.{name}.cpu_per_megapixel", value=seconds, unit="CPU s")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for figure in compiled():
        print(figure.to_json(), flush=True)
