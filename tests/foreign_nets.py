"""Networks for the tests of foreign models: built by importable functions, saved in every format."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from xcloudmask.models.unet import CloudUNet

CLASSES = ("clear", "thick_cloud", "thin_cloud", "cloud_shadow")
CONFIG = {"bands": 3, "classes": 4, "width": 8, "blocks": 1, "level": 0}
GEOMETRY = {"stride_px": 8, "radius_px": 39, "tile_px": 64, "window_px": 64}


class Bands(nn.Module):
    """A network of ours without the argument for the level."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Softmax(Bands):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.net(x), dim=1)


class Codes(Bands):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).argmax(1)


class Standardised(Bands):
    """What mean and std of a spec do, inside the network."""

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1)
        return self.net((x - mean) / 0.25)


class Half(nn.Module):
    """Answers at half the resolution."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Nan(nn.Module):
    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * torch.inf * 0


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("the network is out of order")


class Listing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return {"names": "of nothing"}


def unet() -> nn.Module:
    """The random network that all files hold."""
    torch.manual_seed(5)
    net = CloudUNet(**CONFIG)
    with torch.no_grad():
        net.head.weight.mul_(4)
    return net.eval()


def build(width: int = 8, *, answer: str = "logits") -> nn.Module:
    """A factory: the network that `unet` fills with weights."""
    net = CloudUNet(**{**CONFIG, "width": width})
    return {"logits": Bands, "probabilities": Softmax, "codes": Codes}[answer](net)


def untold(width: int = 8):
    """A function that does not say what it returns."""
    return build(width)


def liar() -> nn.Module:
    """A function that does not return what it says."""
    return 3  # type: ignore[return-value]


def half(channels: int = 4) -> nn.Module:
    return Half(channels)


def tiles(batch: int = 2, side: int = 64) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def save_torchscript(net: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, tiles()), path)
    return path


def save_exported(net: nn.Module, path: Path, *, fixed: int = 0) -> Path:
    auto = torch.export.Dim.AUTO
    shapes = None if fixed else ({0: auto, 2: auto, 3: auto},)
    example = tiles(1, fixed) if fixed else tiles()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net, (example,), dynamic_shapes=shapes), path)
    return path


def save_onnx(net: nn.Module, path: Path, *, fixed: int = 0) -> Path:
    auto = torch.export.Dim.AUTO
    shapes = None if fixed else ({0: auto, 2: auto, 3: auto},)
    example = tiles(1, fixed) if fixed else tiles()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (example,), path, dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False)
    return path


def save_weights(net: nn.Module, path: Path) -> Path:
    save_file({key: value.contiguous().clone() for key, value in net.state_dict().items()}, path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fields(architecture: str, path: Path, **given: Any) -> dict[str, Any]:
    """A spec as a dictionary."""
    plain = {
        "name": f"{architecture}-{path.stem}",
        "architecture": architecture,
        "weights": str(path),
        "sha256": sha256(path),
        "bands": ["red", "green", "nir"],
        "classes": list(CLASSES),
        **GEOMETRY,
    }
    return {key: value for key, value in (plain | given).items() if value is not None}


def as_toml(table: dict[str, Any]) -> str:
    """Text, whole numbers, lists and one level of tables, as TOML."""
    flat = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{key} = {_value(value)}" for key, value in flat.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += [f"[{key}]", *(f"{name} = {_value(item)}" for name, item in value.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
