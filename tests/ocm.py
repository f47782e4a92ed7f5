"""omnicloudmask as it is installed for comparisons: alone, its large dependencies replaced by empty modules.

from ocm import imported, Plain
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch

from xcloudmask.models.loading import load_network
from xcloudmask.models.spec import ModelSpec

# Networks for its own weights, downloads, tags of files: nothing that `predict_from_array(custom_models=...)` calls.
_STUBS = {
    "timm": (),
    "segmentation_models_pytorch": (),
    "gdown": (),
    "platformdirs": (),
    "classcounter": ("count_classes",),
    "huggingface_hub": ("hf_hub_download",),
}


def predict_from_array() -> Callable[..., Any]:
    """Return the function of omnicloudmask, and leave no trace of the import and of the empty modules."""
    if importlib.util.find_spec("omnicloudmask") is None:
        pytest.skip("omnicloudmask is not installed: pip install --no-deps omnicloudmask==1.8.1")
    pytest.importorskip("rasterio")
    with pytest.MonkeyPatch.context() as patch:
        for name, members in _STUBS.items():
            module = types.ModuleType(name)
            for member in members:
                setattr(module, member, None)
            patch.setitem(sys.modules, name, module)
        omnicloudmask = importlib.import_module("omnicloudmask")
    for name in [name for name in sys.modules if name.split(".")[0] == "omnicloudmask"]:
        del sys.modules[name]
    if omnicloudmask.__version__ != "1.8.1":
        pytest.skip(f"omnicloudmask is {omnicloudmask.__version__}, and 1.8.1 is what is compared with")
    function: Callable[..., Any] = omnicloudmask.predict_from_array
    return function


class Plain(torch.nn.Module):
    """A model of the package as a module that takes three bands and nothing else, as omnicloudmask calls it."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.net, self.calls = load_network(spec, fold=False), 0
        self.values = 1 + 2 * len(spec.bands) if spec.level else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits; the level is unknown."""
        self.calls += 1
        result: torch.Tensor = self.net(x, torch.zeros(len(x), self.values) if self.values else None)
        return result


class Squeeze(torch.nn.Module):
    """Two convolutions with squeeze-and-excitation between: global, and of no stride."""

    def __init__(self, *, width: int = 8) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.Conv2d(width, 4, 3, padding=1)
        self.excite = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits."""
        features = torch.relu(self.first(x))
        gates = torch.sigmoid(self.excite(features.mean(dim=(2, 3))))
        result: torch.Tensor = self.last(features * gates[:, :, None, None])
        return result
