"""The network that is trained: the only place that knows its size."""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["CONFIG"]

CONFIG = MappingProxyType({"bands": 3, "classes": 4, "width": 32, "blocks": 3, "level": 1})
"""Arguments of `xcloudmask.models.unet.CloudUNet`."""
