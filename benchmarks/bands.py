"""What SEnSeI costs: the forward pass for 3, 8 and 13 bands, with it, without it, and as its paper computes it.

Three networks with the same body, fresh weights (they cost the same) and folded batch norms: the any-bands model
specialised to the bands, the body that takes these bands directly, and SEnSeI in front of the body, which makes a map
of all its channels from every pixel. ``python -m benchmarks.bands`` writes the table of the documentation.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.core import Figure, asked, benchmark
from xcloudmask.models._layers import fold_batch_norms
from xcloudmask.models.anybands import BODIES, SenseiNet
from xcloudmask.models.architectures import ANY_BANDS
from xcloudmask.models.registry import get_spec, list_models
from xcloudmask.models.sensei import Sensei, describe
from xcloudmask.sensors import SENSORS

COUNTS = (3, 8, 13)
CHANNELS = 64
TABLE = Path(__file__).parents[1] / "docs" / "_bands_speed.md"

Net = Callable[[Tensor], Tensor]


class Unfolded(nn.Module):
    """SEnSeI in front of a body, pixel by pixel: the vectors of the bands are worked out once, the map is made."""

    def __init__(self, sensei: Sensei, body: nn.Module, wavelengths_nm: Any) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("matrix", sensei.eval().matrix(describe(wavelengths_nm)).detach())

    def forward(self, x: Tensor) -> Tensor:
        """Logits of (n, bands, y, x)."""
        mixed = torch.einsum("cb,nbyx->ncyx", self.get_buffer("matrix"), x)
        logits: Tensor = self.body(mixed)
        return logits


@benchmark
def bands(*, quick: bool) -> Iterator[Figure]:
    """CPU seconds per megapixel of one torch thread; the networks take turns, the median of ratios counts."""
    side_px = 128 if quick else 1024
    rounds = 1 if quick else max(asked.rounds, 5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for count in COUNTS:
            yield from of_count(count, side_px=side_px, rounds=rounds)
    finally:
        torch.set_num_threads(threads)


def body_of_model() -> tuple[str, dict[str, int]]:
    """The body of the model that is shipped; the defaults of the compact U-Net where there is none."""
    if "any-bands" not in list_models():
        return "unet", {}
    spec = get_spec("any-bands")
    config = {key: value for key, value in spec.config if key != "channels"}
    return spec.architecture.removeprefix(ANY_BANDS), config


@torch.inference_mode()
def of_count(count: int, *, side_px: int, rounds: int) -> Iterator[Figure]:
    wavelengths = [band.wavelength_nm for band in SENSORS["sentinel-2-l1c"].bands][:count]
    kind, config = body_of_model()
    nets = make_nets(kind, config, wavelengths)
    image = torch.rand(1, count, side_px, side_px)
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    for net in nets.values():
        net(image)  # memory and plans of the library
    for _ in range(rounds):
        for name, net in nets.items():
            began = time.process_time()
            net(image)
            seconds[name].append(time.process_time() - began)
    for name, each in seconds.items():
        value = statistics.median(each) / (side_px**2 / 1e6)
        yield Figure(name=f"bands.{count}.{name}.cpu_per_megapixel", value=value, unit="CPU s")
    for name, target in (("specialised", "<= 1.15"), ("unfolded", "")):
        pairs = zip(seconds[name], seconds["direct"], strict=True)
        ratio = statistics.median(one / other for one, other in pairs)
        yield Figure(name=f"bands.{count}.{name}_over_direct", value=ratio, unit="times", target=target)
    yield Figure(name=f"bands.{count}.specialise", value=specialise_seconds(kind, config, wavelengths), unit="CPU s")


def make_nets(kind: str, config: Mapping[str, int], wavelengths_nm: Any) -> dict[str, Net]:
    """The three, ready to run."""
    options = {key: value for key, value in config.items() if key != "level"}
    whole = SenseiNet(kind, channels=CHANNELS, **options).eval()
    body = BODIES[kind]
    made = {
        "specialised": whole.specialised(wavelengths_nm),
        "direct": body(bands=len(wavelengths_nm), level=0, **options).eval(),
        "unfolded": Unfolded(whole.sensei, body(bands=CHANNELS, level=0, **options).eval(), wavelengths_nm).eval(),
    }
    return {name: fold_batch_norms(net) for name, net in made.items()}


def specialise_seconds(kind: str, config: Mapping[str, int], wavelengths_nm: Any) -> float:
    """What a set of bands costs once: the descriptor network, and the weights of the first layer."""
    net = SenseiNet(kind, channels=CHANNELS, **{key: value for key, value in config.items() if key != "level"}).eval()
    began = time.process_time()
    net.specialised(wavelengths_nm)
    return time.process_time() - began


def table(figures: Mapping[str, float]) -> str:
    """Lay the figures out for the documentation."""
    lines = [
        "| bands | body alone, CPU s per megapixel | any-bands | SEnSeI per pixel | any-bands over body | "
        "SEnSeI per pixel over body | once per set of bands, CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for count in COUNTS:
        own = f"bands.{count}."
        costs = (figures[f"{own}{name}.cpu_per_megapixel"] for name in ("direct", "specialised", "unfolded"))
        ratios = (figures[f"{own}{name}_over_direct"] for name in ("specialised", "unfolded"))
        cells = [*(f"{value:.3f}" for value in costs), *(f"{value:.2f}" for value in ratios)]
        lines.append(f"| {count} | {' | '.join(cells)} | {figures[f'{own}specialise']:.2f} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bands", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it runs, not to measure")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each network, at least 5")
    parser.add_argument("--out", type=Path, default=TABLE, help="file of the table")
    given = parser.parse_args(arguments)
    asked.rounds = given.rounds
    figures = {figure.name: figure.value for figure in bands(quick=given.quick)}
    kind, config = body_of_model()
    network = ", ".join([kind, *(f"{key} {value}" for key, value in config.items())])
    given.out.write_text(f"Network: {network}; float32, one thread, torch {torch.__version__}.\n\n{table(figures)}")
    print(given.out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
