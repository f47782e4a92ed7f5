"""torchvision for tests, also where it was installed without its own torch: its two operators are declared, not called.

timm and segmentation_models_pytorch import torchvision. On a torch without CUDA, the usual wheel of torchvision lacks
its operators and fails when it is imported, unless somebody has declared them.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType

import pytest


def need_smp() -> ModuleType:
    """Return segmentation_models_pytorch, or skip the test."""
    for name in ("timm", "segmentation_models_pytorch", "torchvision"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install timm segmentation-models-pytorch torchvision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, when they are imported
        _import_torchvision()
        return importlib.import_module("segmentation_models_pytorch")


def _import_torchvision() -> None:
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
