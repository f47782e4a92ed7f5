"""TorchScript: a traced or scripted network in one file.

A TorchScript file is a program. What is looked at here keeps pickles and the plainest tricks out; it is no sandbox.
PyTorch's own advice (SECURITY.md) is to run only those of people one trusts.
"""

from __future__ import annotations

import io
import re
import warnings

import torch
from torch import nn

from xcloudmask.errors import WeightsError
from xcloudmask.models.foreign.archive import open_archive, pack
from xcloudmask.models.foreign.network import ForeignNet
from xcloudmask.models.spec import ModelSpec

__all__ = ["load_torchscript"]

_FILE_OPERATORS = re.compile(rb"\b(?:torch|ops\.\w+)\.(?:save|load|from_file)\b")
"""Operators of TorchScript that read or write files."""


def load_torchscript(spec: ModelSpec, content: bytes) -> nn.Module:
    """Make a network of a TorchScript file.

    Parameters
    ----------
    spec
        The model.
    content
        The file, whose sha256 has been checked.

    Returns
    -------
    torch.nn.Module
        A `ForeignNet`.

    Raises
    ------
    WeightsError
        The file is something else, broken, too large, or reaches for files.
    """
    members = open_archive(content, name=spec.name, expected="torchscript")
    for path, code in members.items():
        found = _FILE_OPERATORS.search(code) if path.startswith("code/") and path.endswith(".py") else None
        if found:
            raise WeightsError(
                f"The TorchScript of model {spec.name!r} calls {found.group().decode()!r} in {path}: a network has no "
                "business with files. The file is not loaded. Expected one that only computes."
            )
    # Debug records and inputs of the trace are pickles that no prediction needs.
    needed = {path: data for path, data in members.items() if not path.endswith(".debug_pkl") and "traced_" not in path}
    try:
        with warnings.catch_warnings():
            # Deprecated in favour of torch.export; the files are there all the same. One load at a time: see `cache`.
            warnings.simplefilter("ignore", DeprecationWarning)
            net = torch.jit.load(io.BytesIO(pack(needed)), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # its reader raises whatever C++ does
        raise WeightsError(
            f"The TorchScript of model {spec.name!r} cannot be loaded with torch {torch.__version__}: {error}"
        ) from error
    return ForeignNet(net.eval(), spec)
