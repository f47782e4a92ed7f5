"""From the spec of a foreign model and its bytes to a network; each format is a module of its own."""

from __future__ import annotations

from torch import nn

from xcloudmask.models.spec import ModelSpec

__all__ = ["load_foreign"]


def load_foreign(spec: ModelSpec, content: bytes) -> nn.Module:
    """Make a network of a file that has been checked against its sha256.

    Parameters
    ----------
    spec
        A model whose architecture is one of `xcloudmask.models.spec.FOREIGN`.
    content
        The file.

    Returns
    -------
    torch.nn.Module
        Maps bands (n, bands, y, x) and a level or None to logits of our four classes (n, 4, y, x).

    Raises
    ------
    WeightsError
        The file is broken, something else, or not to be trusted.
    ModelError
        The model cannot be used as the spec says.
    MissingPackageError
        A package for the format is missing.
    """
    if spec.architecture == "torchscript":
        from xcloudmask.models.foreign.torchscript import load_torchscript

        return load_torchscript(spec, content)
    if spec.architecture == "pt2":
        from xcloudmask.models.foreign.exported import load_exported

        return load_exported(spec, content)
    if spec.architecture == "onnx":
        from xcloudmask.models.foreign.onnx import load_onnx

        return load_onnx(spec, content)
    from xcloudmask.models.foreign.factory import load_factory

    return load_factory(spec, content)
