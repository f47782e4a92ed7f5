"""What the spec of a model may say of the values that its network is fed, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from xcloudmask.errors import ModelError
from xcloudmask.models._foreignspec import FOREIGN

if TYPE_CHECKING:
    from xcloudmask.models.spec import ModelSpec

__all__ = ["INPUT_TEXT", "NUMBERS", "Normalization", "check_normalization", "sees_infrared"]

Normalization = Literal["zscore", "fixed", "percentile", "none"]

INPUT_TEXT: Mapping[Normalization, str] = MappingProxyType(
    {
        "zscore": "z-score of each band",
        "fixed": "reflectance, less a fixed mean of each band, over a fixed spread",
        "percentile": "reflectance, 0 to 1 between two fixed levels of each band",
        "none": "reflectance",
    }
)
"""What a network is fed, in words."""

NUMBERS: Mapping[Normalization, tuple[str, ...]] = MappingProxyType(
    {"zscore": (), "fixed": ("mean", "std"), "percentile": ("low", "high"), "none": ()}
)
"""Fields that hold the numbers of a normalisation, one for each band."""

_NEAR_INFRARED_NM = 750.0

_FIELDS = ("mean", "std", "low", "high")


def check_normalization(spec: ModelSpec) -> None:
    """Refuse a normalisation that does not exist, lacks its numbers, or has those of another.

    Parameters
    ----------
    spec
        A model of certain bands.

    Raises
    ------
    ModelError
        The message says what to type.
    """
    if spec.normalization not in get_args(Normalization):
        raise _refused(
            spec,
            f"normalization = {spec.normalization!r}",
            "Type 'zscore', or one of 'fixed' (with mean = [...] and std = [...]), 'percentile' (with low = [...] and "
            "high = [...]) and 'none' for a model of reflectance.",
        )
    wanted = NUMBERS[spec.normalization]
    given = tuple(name for name in _FIELDS if getattr(spec, name))
    # A foreign network may have its standardisation inside: then all of a tile passes through it, nodata too.
    inside = spec.normalization == "none" and spec.architecture in FOREIGN and set(given) <= {"mean", "std"}
    if set(given) - set(wanted) and not inside:
        raise _refused(
            spec,
            f"{' and '.join(given)} with normalization = {spec.normalization!r}",
            f"Type normalization = '{'fixed' if set(given) & {'mean', 'std'} else 'percentile'}': they apply to "
            "reflectance. Leave them out for a model that is fed anything else.",
        )
    if wanted or (inside and given):
        _check_numbers(spec, wanted or ("mean", "std"))


def _check_numbers(spec: ModelSpec, names: tuple[str, ...]) -> None:
    bands = len(spec.bands)
    first, second = (getattr(spec, name) for name in names)
    if len(first) != bands or len(second) != bands:
        counts = " and ".join(f"{len(getattr(spec, name))} numbers in {name}" for name in names)
        raise _refused(
            spec,
            f"{counts} for {bands} bands",
            f"Type {names[0]} = [...] and {names[1]} = [...] with one number for each band, in units of reflectance.",
        )
    if not all(math.isfinite(value) for value in (*first, *second)):
        raise _refused(spec, f"{names[0]} = {list(first)!r}, {names[1]} = {list(second)!r}", "Type finite numbers.")
    if names[0] == "low" and not all(low < high for low, high in zip(first, second, strict=True)):
        raise _refused(
            spec, f"low = {list(first)!r} and high = {list(second)!r}", "Type a high above the low of each band."
        )
    if names[0] == "mean" and not all(value > 0 for value in second):
        raise _refused(spec, f"std = {list(second)!r}", "Type positive numbers.")


def _refused(spec: ModelSpec, found: str, advice: str) -> ModelError:
    return ModelError(f"Model {spec.name!r}: {found}. {advice}")


def sees_infrared(wavelengths_nm: Sequence[tuple[float, float, float]]) -> bool:
    """Whether there is a band beyond visible light and the red edge, by which snow can be told from cloud.

    Parameters
    ----------
    wavelengths_nm
        (shortest, central, longest) of each band.

    Returns
    -------
    bool

    Examples
    --------
    >>> sees_infrared([(543.0, 560.0, 578.0), (650.0, 665.0, 680.0)])
    False
    """
    return any(centre >= _NEAR_INFRARED_NM for _, centre, _ in wavelengths_nm)
