"""`ModelSpec`: all that the graph, the engine and the user need to know of a model, without the model.

A spec is small and frozen. It travels in the Dask graph; the weights are loaded from it once per process and device.
"""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from xcloudmask.errors import ModelError

__all__ = ["CARD_BYTES_MAX", "ModelSpec"]

CARD_BYTES_MAX = 1_000_000
"""A card larger than this is not a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Description of a cloud mask model.

    Examples
    --------
    >>> from xcloudmask.models.registry import get_spec
    >>> get_spec("default").bands
    ('red', 'green', 'nir')
    """

    name: str
    """The name users type in ``predict(model=...)``."""
    architecture: str
    """Key of the fixed list of architectures; never an importable path from a file."""
    config: tuple[tuple[str, int], ...] = ()
    """Arguments of the architecture."""
    bands: tuple[str, ...] = ("red", "green", "nir")
    """Roles of the input channels, in the order of the network."""
    optional_bands: tuple[str, ...] = ()
    """Roles that may be given up on purpose (fed as zeros)."""
    stride_px: int
    """Total stride of the network: tiles start on its multiples."""
    radius_px: int
    """Receptive radius: an input pixel farther away than this changes no output."""
    exact_halo: bool = True
    """False where global layers (attention, squeeze-excite) let every pixel see the whole tile."""
    normalization: Literal["zscore", "none"] = "zscore"
    """What the network expects its bands to have gone through."""
    level: bool = False
    """Whether the network also takes log mean and log spread of the reflectance, where the scale is known."""
    resolution_m: tuple[float, float] = (10.0, 50.0)
    """Finest and coarsest pixel, in metres, that the network was trained for."""
    tile_px: int = 1024
    """Side of a tile of the lattice, without its halo."""
    window_px: int = 512
    """Side of the moving window (``stride=``)."""
    weights: str
    """File name in the package's weights folder, or an absolute path."""
    sha256: str
    """Checksum of the weights file, in hexadecimal."""
    licence: str = ""
    """Licence of the weights."""
    sources: tuple[str, ...] = ()
    """What the weights were trained on, with licences."""
    metrics: tuple[tuple[str, float], ...] = ()
    """Measured figures; the card says where and how."""
    notes: str = ""
    """Known failures and intended use."""

    def __post_init__(self) -> None:
        """Make lists and dictionaries hashable, and refuse numbers that make no geometry."""
        for name in ("config", "bands", "optional_bands", "resolution_m", "sources", "metrics"):
            object.__setattr__(self, name, _freeze(getattr(self, name)))
        if self.stride_px < 1 or self.radius_px < 0:
            raise ModelError(
                f"Model {self.name!r}: stride_px={self.stride_px} and radius_px={self.radius_px} must be positive."
            )
        if self.tile_px % self.stride_px or self.window_px % self.stride_px:
            raise ModelError(
                f"Model {self.name!r}: tile_px={self.tile_px} and window_px={self.window_px} must be multiples of "
                f"stride_px={self.stride_px}."
            )

    @property
    def halo_px(self) -> int:
        """Smallest halo that is a multiple of the stride and covers the receptive radius."""
        return -(-self.radius_px // self.stride_px) * self.stride_px

    @classmethod
    def from_card(cls, path: str | PathLike[str]) -> ModelSpec:
        """Read the spec from a model card.

        Parameters
        ----------
        path
            A JSON file, beside its weights. Keys that are no field of the spec belong to the card alone.

        Returns
        -------
        ModelSpec

        Raises
        ------
        ModelError
            The file is missing, too large, no JSON, or lacks a field.

        Examples
        --------
        >>> from xcloudmask.models.registry import WEIGHTS_DIR
        >>> ModelSpec.from_card(WEIGHTS_DIR / "default.json").name
        'default'
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                content = file.read(CARD_BYTES_MAX + 1)
        except OSError as error:
            raise ModelError(f"The model card {path} cannot be read: {error}") from error
        if len(content) > CARD_BYTES_MAX:
            raise ModelError(f"{path} is larger than {CARD_BYTES_MAX} bytes, the most that a model card may have.")
        try:
            card = json.loads(content)
            known = {f.name for f in fields(cls)}
            spec = cls(**{key: value for key, value in card.items() if key in known})
            return replace(spec, weights=str(path.parent.resolve() / spec.weights))
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} is no model card: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data; pairs become dictionaries.

        Returns
        -------
        dict

        Examples
        --------
        >>> from xcloudmask.models.registry import get_spec
        >>> get_spec("default").to_dict()["name"]
        'default'
        """
        return asdict(self) | {"config": dict(self.config), "metrics": dict(self.metrics)}

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"<ModelSpec {self.name}: {self.architecture}, {'+'.join(self.bands)}, stride {self.stride_px} px, "
            f"halo {self.halo_px} px, {self.resolution_m[0]:g}-{self.resolution_m[1]:g} m>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th><td>{html.escape(str(value))}</td></tr>"
            for key, value in self.to_dict().items()
        )
        return f"<table><caption>ModelSpec</caption>{rows}</table>"


def _freeze(value: Any) -> Any:
    """Turn lists into tuples and dictionaries into pairs, so that a spec stays hashable."""
    if isinstance(value, dict):
        return tuple((str(key), _freeze(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    return value
