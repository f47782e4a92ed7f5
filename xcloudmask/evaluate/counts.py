"""Count pixels by what the labels allow and what the mask says: the numbers from which every measure is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.errors import ArgumentError, InputError

__all__ = ["ANY", "Confusion", "Kind", "confusion", "confusion_from_dict", "pool", "set_name", "sets_from_labels"]

Kind = Literal[
    "label4",
    "label3_noshadowclass",
    "label_cloud_only",
    "label_cloud_shadow",
    "label_shadow_manual_cloud_auto",
    "clear",
]

CLOUD = (1 << CloudClass.THICK_CLOUD) | (1 << CloudClass.THIN_CLOUD)
ANY = (1 << len(CloudClass)) - 1
"""The set of all classes: nothing is known of the pixel."""

_CLEAR, _THICK, _THIN, _SHADOW = (1 << code for code in CloudClass)
_NOT_CLOUD = ANY - CLOUD
_KINDS: Mapping[str, tuple[int, int, int, int]] = MappingProxyType(
    {
        "label4": (_CLEAR, _THICK, _THIN, _SHADOW),
        "label3_noshadowclass": (_NOT_CLOUD, _THICK, _THIN, ANY),
        "label_cloud_only": (_NOT_CLOUD, CLOUD, CLOUD, ANY),
        "label_cloud_shadow": (_CLEAR, CLOUD, CLOUD, _SHADOW),
        "label_shadow_manual_cloud_auto": (_CLEAR, CLOUD, CLOUD, _SHADOW),
        "clear": (_CLEAR, ANY, ANY, ANY),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Counts from which every measure is made; counts of several images add up."""

    counts: npt.NDArray[np.int64]
    """(16, 4): pixels by set of allowed classes and by predicted class."""

    def __add__(self, other: Confusion) -> Confusion:
        """Pool the counts of two images."""
        return Confusion(counts=self.counts + other.counts)

    @property
    def matrix(self) -> npt.NDArray[np.int64]:
        """(4, 4): pixels known to be of one class (rows), by predicted class (columns)."""
        return self.counts[[1 << code for code in CloudClass]]

    def to_dict(self) -> dict[str, list[int]]:
        """Return the rows that are not empty, by the name of their set.

        Returns
        -------
        dict
            Four counts by predicted class: clear, thick cloud, thin cloud, shadow.

        Examples
        --------
        >>> confusion(np.array([0, 3]), np.array([1, 9])).to_dict()
        {'clear': [1, 0, 0, 0], 'clear or cloud_shadow': [0, 0, 0, 1]}
        """
        return {set_name(code): row.tolist() for code, row in enumerate(self.counts) if row.any()}


def confusion_from_dict(rows: Mapping[str, Sequence[int]]) -> Confusion:
    """Make counts again of what `Confusion.to_dict` returned.

    Parameters
    ----------
    rows
        Four counts for each set of classes, by the name of the set.

    Returns
    -------
    Confusion

    Raises
    ------
    InputError
        A name is no set of classes, or a row has other than four counts.

    Examples
    --------
    >>> counted = confusion(np.array([0, 3]), np.array([1, 9]))
    >>> bool((confusion_from_dict(counted.to_dict()).counts == counted.counts).all())
    True
    """
    names = {set_name(code): code for code in range(ANY + 1)}
    counts = np.zeros((ANY + 1, len(CloudClass)), np.int64)
    for name, row in rows.items():
        if name not in names or len(row) != len(CloudClass):
            raise InputError(f"{name!r}: {row!r} is no row of a confusion. Expected a set of classes and 4 counts.")
        counts[names[name]] = row
    return Confusion(counts=counts)


def set_name(code: int) -> str:
    """Return the classes of a set, in words.

    Parameters
    ----------
    code
        Bit k set where class k is possible.

    Returns
    -------
    str

    Examples
    --------
    >>> set_name(6), set_name(15), set_name(0)
    ('thick_cloud or thin_cloud', 'any', 'none')
    """
    if code == ANY:
        return "any"
    return " or ".join(member.name.lower() for member in CloudClass if code >> member & 1) or "none"


def sets_from_labels(label: npt.NDArray[np.integer], *, kind: Kind = "label4") -> npt.NDArray[np.uint8]:
    """Turn labels into sets of allowed classes.

    Parameters
    ----------
    label
        Codes 0 to 3; anything else, such as 255, is unknown and allows every class.
    kind
        What the codes mean. In "label4" each code is its class. In "label_cloud_only" and "label3_noshadowclass" 0 is
        clear or shadow. In "label_cloud_only", "label_cloud_shadow" and "label_shadow_manual_cloud_auto" 1 and 2 are
        cloud of unknown thickness.

    Returns
    -------
    numpy.ndarray
        uint8 sets of the same shape, bit k for class k.

    Raises
    ------
    ArgumentError
        The kind is unknown.

    Notes
    -----
    Sets of candidate labels: Cour, Sapp, Taskar (2011), Learning from Partial Labels, JMLR 12.

    Examples
    --------
    >>> sets_from_labels(np.array([0, 3, 255])).tolist()
    [1, 8, 15]
    >>> sets_from_labels(np.array([0, 1, 255]), kind="label_cloud_only").tolist()
    [9, 6, 15]
    """
    if kind not in _KINDS:
        raise ArgumentError(f"kind={kind!r} is unknown. Expected one of {', '.join(map(repr, get_args(Kind)))}.")
    table = np.array(_KINDS[kind], np.uint8)
    known = (label >= 0) & (label < len(CloudClass))
    if kind == "label3_noshadowclass" and not np.isin(label, (1, 2, 3)).any():
        table[0] = _CLEAR  # no cloud anywhere: nothing there to cast a shadow
    return np.where(known, table[np.where(known, label, 0).astype(np.intp)], np.uint8(ANY)).astype(np.uint8)


def confusion(mask: npt.NDArray[np.generic], allowed: npt.NDArray[np.generic]) -> Confusion:
    """Count pixels by allowed set and predicted class; nodata pixels of the mask are left out.

    Parameters
    ----------
    mask
        Predicted classes 0 to 3; 255 nodata.
    allowed
        Sets of allowed classes, of the same shape: bit k set where class k is possible. See `sets_from_labels`.

    Returns
    -------
    Confusion

    Raises
    ------
    InputError
        Shapes differ, or the mask holds other codes.

    Examples
    --------
    >>> int(confusion(np.array([[0, 255]]), np.array([[1, 1]])).counts.sum())
    1
    """
    if mask.shape != allowed.shape:
        raise InputError(
            f"The mask has shape {mask.shape} and the labels {allowed.shape}. Expected the same: crop one of them."
        )
    codes, sets = mask.astype(np.int64).ravel(), allowed.astype(np.int64).ravel()
    used = codes != NODATA
    codes, sets = codes[used], sets[used]
    if codes.size and (codes.min() < 0 or codes.max() >= len(CloudClass)):
        found = sorted(set(np.unique(codes).tolist()))
        raise InputError(
            f"The mask holds the codes {found}. Expected the 4 classes 0 to 3, and 255: "
            "predict with output_style='4-class'."
        )
    if sets.size and (sets.min() < 0 or sets.max() > ANY):
        raise InputError(
            f"The sets of allowed classes reach from {sets.min()} to {sets.max()}. Expected 0 to {ANY}: "
            "see sets_from_labels."
        )
    counts = np.bincount(sets * len(CloudClass) + codes, minlength=(ANY + 1) * len(CloudClass))
    return Confusion(counts=counts.reshape(ANY + 1, len(CloudClass)))


def pool(parts: Iterable[Confusion]) -> Confusion:
    """Add up the counts of several images.

    Parameters
    ----------
    parts
        Counts.

    Returns
    -------
    Confusion

    Examples
    --------
    >>> int(pool([]).counts.sum())
    0
    """
    total = Confusion(counts=np.zeros((ANY + 1, len(CloudClass)), np.int64))
    for part in parts:
        total = total + part
    return total
