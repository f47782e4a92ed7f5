"""The networks of OmniCloudMask 4, from timm and segmentation_models_pytorch.

Two U-Nets, whose encoders are RegNetY-400MF and EdgeNeXt-Small, see the same bands, and their logits are averaged:
Wright et al. (2025), doi:10.1016/j.rse.2025.114694. Both encoders have global layers (squeeze-and-excite; attention
across channels): every pixel of a tile has a say in every other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from xcloudmask._optional import require
from xcloudmask.errors import MissingPackageError

__all__ = ["ENCODERS", "SmpUNet"]

ENCODERS: Mapping[str, str] = MappingProxyType(
    {"smp-unet-regnety-004": "tu-regnety_004", "smp-unet-edgenext-small": "tu-edgenext_small"}
)
"""Names of encoders in segmentation_models_pytorch, by the architecture of a spec."""


class SmpUNet(nn.Module):
    """A U-Net of segmentation_models_pytorch, called as the package's networks are. Its state has the same keys.

    Parameters
    ----------
    encoder
        A value of `ENCODERS`.
    bands
        Input channels.
    classes
        Output channels.

    Raises
    ------
    MissingPackageError
        A package is missing, or torchvision is not the one for this torch.
    """

    stride_px = 32

    def __init__(self, encoder: str, *, bands: int = 3, classes: int = 4) -> None:
        super().__init__()
        net = _smp_unet()(encoder, encoder_weights=None, in_channels=bands, classes=classes)
        self.encoder, self.decoder, self.segmentation_head = net.encoder, net.decoder, net.segmentation_head

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:  # noqa: ARG002 - as networks are called
        """Return logits (n, classes, y, x); y and x are multiples of the stride."""
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(x)))
        return logits


def _smp_unet() -> type:
    """Import the class; timm imports torchvision as soon as it is imported itself."""
    try:
        require("torchvision", extra="omnicloudmask")
    except (MissingPackageError, RuntimeError) as error:
        # A torchvision that was built for another torch fails with RuntimeError: its operators are not there.
        import torch

        raise MissingPackageError(
            "timm and segmentation_models_pytorch need the torchvision that was built for torch "
            f"{torch.__version__}, and it cannot be imported ({error}). Type: pip install torchvision, from the index "
            "that torch came from."
        ) from error
    require("timm", extra="omnicloudmask")
    smp = require("segmentation_models_pytorch", extra="omnicloudmask")
    unet: type = smp.Unet
    return unet
