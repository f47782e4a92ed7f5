"""What a model on labelled patches is compared with: masks of products that lie beside the image, and other models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from xcloudmask._product_masks import ProductMask, decode_layer, layer_in
from xcloudmask.errors import InputError
from xcloudmask.evaluate import Bootstrap, Compared, Counted, Evaluation, Pairs
from xcloudmask.models.spec import ModelSpec
from xcloudmask.training.data import Patch
from xcloudmask.training.predictor import Predictor
from xcloudmask.training.score import Level, evaluate_model, source_of

__all__ = ["Reference", "compare_model", "product_of_patches"]

Codes = npt.NDArray[np.uint8]
Reference = Callable[[Patch], Codes | None]
"""From a patch, as the model is fed it, to another (y, x) mask of it; None where there is none."""


def product_of_patches(data: Path, product: ProductMask) -> Reference:
    """Read a product's mask from the files of patches.

    Parameters
    ----------
    data
        The data folder.
    product
        Which; see `xcloudmask._product_masks.find_product`.

    Returns
    -------
    callable
        From a patch to its mask; None where the file has no such layer, or the patch has no file, as thumbnails.

    Examples
    --------
    >>> from xcloudmask._product_masks import PRODUCTS
    >>> image, valid = np.zeros((3, 1, 1), np.uint16), np.ones((1, 1), bool)
    >>> patch = Patch(name="a", source="", split="", image=image, valid=valid, allowed=valid.view(np.uint8),
    ...               resolution_m=10.0)
    >>> product_of_patches(Path("nowhere"), PRODUCTS["scl"])(patch) is None
    True
    """

    def read(patch: Patch) -> Codes | None:
        path = data / "patches" / f"{patch.name}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            layer = layer_in(arrays.files, product)
            codes = None if layer is None else arrays[layer]
        if codes is not None and codes.shape != patch.valid.shape:
            raise InputError(
                f"{layer} of {path} has the shape {codes.shape}, and the patch {patch.valid.shape}. Expected the same: "
                "leave resolution_m= (--resolution) out, and write layers on the grid of the patch."
            )
        return None if codes is None else decode_layer(codes, product)

    return read


def compare_model(
    model: str | ModelSpec | nn.Module | Predictor,
    patches: Sequence[Patch],
    references: Mapping[str, Reference],
    *,
    levels: Sequence[Level] = ("known", "unknown"),
    nir: bool = True,
    resolution_m: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    how: Bootstrap | None = None,
    on_patch: Callable[[str, Patch, Codes, Counted], None] | None = None,
) -> tuple[dict[str, Evaluation], dict[str, dict[str, Compared]]]:
    """Measure a model, and beside it other masks of the same patches on the pixels that both have.

    Parameters
    ----------
    model, patches, levels, nir, resolution_m, device, precision, how, on_patch
        As in `evaluate_model`.
    references
        By name: of `product_of_patches`, or of `xcloudmask.training.predictor.predictor`.

    Returns
    -------
    results
        What `evaluate_model` returns.
    compared
        By reference, then by level.

    Raises
    ------
    InputError
        There is no patch, none that has a reference, or the model takes other bands.
    XCloudMaskError
        The model cannot be used.

    Examples
    --------
    >>> image = np.full((3, 64, 64), 2000, np.uint16)
    >>> land = Patch(name="here_1", source="", split="", image=image, valid=np.ones((64, 64), bool),
    ...              allowed=np.ones((64, 64), np.uint8), resolution_m=10.0)
    >>> all_clear, all_cloud = (lambda patch, code=code: np.full((64, 64), code, np.uint8) for code in (0, 1))
    >>> _, compared = compare_model(all_clear, [land], {"other": all_cloud}, levels=["known"])
    >>> compared["other"]["known"].difference.sources["here"]["cloud_oa"].value
    1.0
    """
    pairs: dict[str, dict[str, Pairs]] = {name: {} for name in references}

    def collect(level: str, patch: Patch, mask: Codes, counted: Counted) -> None:
        allowed = np.where(patch.valid, patch.allowed, 0)
        for name, read in references.items():
            by_level = pairs[name].setdefault(level, Pairs(name))
            by_level.add(mask, read(patch), allowed, name=patch.name, source=source_of(patch))
        if on_patch is not None:
            on_patch(level, patch, mask, counted)

    results = evaluate_model(
        model,
        patches,
        levels=levels,
        nir=nir,
        resolution_m=resolution_m,
        device=device,
        precision=precision,
        how=how,
        on_patch=collect,
    )
    return results, {name: _compared(by_level, how) for name, by_level in pairs.items()}


def _compared(by_level: Mapping[str, Pairs], how: Bootstrap | None) -> dict[str, Compared]:
    having = {level: pairs for level, pairs in by_level.items() if len(pairs)}
    return {level: pairs.compared(how) for level, pairs in (having or by_level).items()}
