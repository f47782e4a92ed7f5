"""What a caller may ask of ``normalize="ocm"``, and the geometry that comes of it."""

from __future__ import annotations

from collections.abc import Sequence

from xcloudmask.errors import ArgumentError
from xcloudmask.geometry import Geometry
from xcloudmask.models.spec import ModelSpec
from xcloudmask.options import Options
from xcloudmask.parity.windows import asked_size, fitted_size

__all__ = ["ocm_geometry"]


def ocm_geometry(chunks: tuple[Sequence[int], Sequence[int]], options: Options, spec: ModelSpec) -> Geometry:
    """Plan the patches of OmniCloudMask; the chunks stay what they are.

    Parameters
    ----------
    chunks
        Chunks of the cube along y and x.
    options
        What the caller asked for.
    spec
        The model.

    Returns
    -------
    Geometry

    Raises
    ------
    ArgumentError
        An option has no meaning for OmniCloudMask, or makes no patches.
    InputError
        The cube is smaller than the smallest patch.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> plan = ocm_geometry(((2000,), (3000,)), Options(normalize="ocm"), get_spec("default"))
    >>> plan.tile_cells, plan.step_cells
    ((1000, 1000), 700)
    """
    if options.upsample is not False and int(options.upsample) != 1:
        raise ArgumentError(
            f"upsample={options.upsample} with normalize='ocm': OmniCloudMask takes pixels as they are. Leave upsample "
            "out, or type normalize='lattice'."
        )
    if options.batch_size not in ("auto", 1):
        raise ArgumentError(
            f"batch_size={options.batch_size} with normalize='ocm': patches are fed one by one, because another batch "
            "gives other last bits. Leave batch_size out."
        )
    if spec.normalization != "zscore":
        raise ArgumentError(
            f"Model {spec.name!r} takes reflectance, and normalize='ocm' feeds the z-score of each patch. Leave "
            "normalize out, or take a model with normalization 'zscore'."
        )
    shape = (sum(chunks[0]), sum(chunks[1]))
    size = fitted_size(asked_size(step_px=options.stride, overlap_px=options.halo_px), shape)
    rows, columns = chunks
    return Geometry(
        factor=1,
        upsample=1,
        halo_cells=0,
        tile_cells=(size.side, size.side),
        step_cells=size.step,
        chunks=(tuple(rows), tuple(columns)),
        depth=(0, 0),
        multiple=(1, 1),
    )
