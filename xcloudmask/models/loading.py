"""Networks from weights files: read with a bound, checked against the sha256 of the spec, built from a fixed list.

Foreign models are files of other formats, or built by a function that a spec names: see `xcloudmask.models.foreign`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, cast

from xcloudmask.errors import ModelError, WeightsError
from xcloudmask.models.hub import FILE_BYTES_MAX, fetch, is_address
from xcloudmask.models.registry import weights_path
from xcloudmask.models.spec import FOREIGN, WAVELENGTHS, ModelSpec

if TYPE_CHECKING:
    import torch

    from xcloudmask.models.anybands import SenseiNet

__all__ = ["WEIGHTS_BYTES_MAX", "load_network", "read_weights"]

WEIGHTS_BYTES_MAX = FILE_BYTES_MAX
"""A weights file larger than this is refused before it is read."""


def read_weights(path: Path, spec: ModelSpec) -> bytes:
    """Read a weights file whole, with a bound, and check it.

    Parameters
    ----------
    path
        A safetensors file.
    spec
        The model, whose sha256 the file must have.

    Returns
    -------
    bytes

    Raises
    ------
    WeightsError
        The file is missing, too large or changed.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> len(read_weights(weights_path(get_spec("default")), get_spec("default"))) > 0
    True
    """
    try:
        with path.open("rb") as file:
            content = file.read(WEIGHTS_BYTES_MAX + 1)
    except OSError as error:
        raise WeightsError(
            f"The weights of model {spec.name!r} cannot be read from {path}: {error}. Every worker needs the file "
            "under that path."
        ) from error
    if len(content) > WEIGHTS_BYTES_MAX:
        raise WeightsError(f"{path} is larger than {WEIGHTS_BYTES_MAX} bytes, the most that is read for a model.")
    found = hashlib.sha256(content).hexdigest()
    if found != spec.sha256:
        advice = "Remove it, and it is fetched again" if is_address(spec.weights) else "Reinstall xcloudmask"
        raise WeightsError(
            f"The weights of model {spec.name!r} are not those of its card: {path} has sha256 {found}, expected "
            f"{spec.sha256}. The file is not loaded. {advice}, or register a spec with the new checksum."
        )
    return content


def load_network(spec: ModelSpec, *, fold: bool = True) -> torch.nn.Module:
    """Return a model as one network, not kept for the next caller.

    Parameters
    ----------
    spec
        The model; the members of an ensemble become one network that votes.
    fold
        Fold batch norms into convolutions: faster, with other last bits.

    Returns
    -------
    torch.nn.Module
        On the CPU, in float32 and eval mode. Maps bands (n, bands, y, x) and a level (n, values) or
        None to logits (n, classes, y, x).

    Raises
    ------
    WeightsError
        The weights are missing, too large, changed, or do not fit the architecture.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> load_network(get_spec("default")).training
    False
    """
    if is_address(spec.weights):
        fetch(spec.weights, sha256=spec.sha256)
    if not spec.members:
        return _build(spec, read_weights(weights_path(spec), spec), fold=fold)
    from xcloudmask.models.voting import VotingNet

    try:
        nets = [load_network(member, fold=fold) for member in spec.members]
    except WeightsError as error:
        raise WeightsError(f"A member of ensemble {spec.name!r} cannot be loaded. {error}") from error
    takes_level = [member.level for member in spec.members]
    return VotingNet(nets, takes_level=takes_level, voting=spec.voting, votes=spec.votes).eval()


def _build(spec: ModelSpec, weights: bytes, *, fold: bool) -> torch.nn.Module:
    if spec.architecture in FOREIGN:
        from xcloudmask.models.foreign.load import load_foreign

        return load_foreign(spec, weights)
    from safetensors import SafetensorError
    from safetensors.torch import load

    from xcloudmask.models._layers import fold_batch_norms
    from xcloudmask.models.architectures import build

    try:
        config = dict(spec.config)
        wavelengths_nm = config.pop(WAVELENGTHS, None)
        net = build(spec.architecture, config)
        net.load_state_dict({key: tensor.float() for key, tensor in load(weights).items()})
        if wavelengths_nm is not None:
            net = cast("SenseiNet", net.eval()).specialised(wavelengths_nm)
    except (RuntimeError, ModelError, SafetensorError) as error:
        raise WeightsError(
            f"The weights of model {spec.name!r} do not fit {spec.architecture!r} with {dict(spec.config)}: {error}"
        ) from error
    return fold_batch_norms(net.eval()) if fold else net.eval()
