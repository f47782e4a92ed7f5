"""The receptive radius of a foreign network, measured."""

from __future__ import annotations

import torch

from xcloudmask.errors import ArgumentError, ModelError
from xcloudmask.models._layers import receptive_radius
from xcloudmask.models.loading import load_network
from xcloudmask.models.spec import ModelSpec

__all__ = ["measure_radius"]

_FIRST_REACH_PX, _LAST_REACH_PX = 32, 512
_DRAWS = 3
"""Images tried: a unit that is off in one is on in another."""


def measure_radius(spec: ModelSpec) -> int:
    """Measure how far an input pixel reaches, on the weights of the model.

    Parameters
    ----------
    spec
        A foreign model of torch; its own radius is not read.

    Returns
    -------
    int
        Pixels.

    Raises
    ------
    ModelError
        The network reaches too far to be measured, or has no gradient.

    Notes
    -----
    What is measured is what these weights let through: a kernel trained to zeros at its rim counts as smaller.
    """
    if spec.output == "codes":
        raise ModelError(
            f"Model {spec.name!r} returns codes, which have no gradient to measure a radius by. Type radius_px = <px>."
        )
    net = load_network(spec)
    reach_px = _FIRST_REACH_PX
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        while reach_px <= _LAST_REACH_PX:
            try:
                return max(
                    receptive_radius(net, bands=len(spec.bands), stride_px=spec.stride_px, reach_px=reach_px)
                    for _ in range(_DRAWS)
                )
            except ArgumentError:
                reach_px *= 2
            except (RuntimeError, IndexError) as error:
                raise ModelError(
                    f"The radius of model {spec.name!r} cannot be measured: {error}. Type radius_px = <px>."
                ) from error
    raise ModelError(
        f"Model {spec.name!r} reaches {_LAST_REACH_PX} px or more; layers that see the whole tile (attention, "
        "squeeze-excite) always do. Type radius_px = the context to keep, and exact_halo = false."
    )
