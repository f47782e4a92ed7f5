"""`ModelSpec`: all that the graph, the engine and the user need to know of a model, without the model.

A spec is small and frozen. It travels in the Dask graph; the weights are loaded from it once per process and device.
The spec of an ensemble holds those of its members, and takes its geometry from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from xcloudmask._tables import html_table
from xcloudmask.errors import ModelError
from xcloudmask.models._ensemblespec import Voting, check_members
from xcloudmask.models._foreignspec import FOREIGN, Answer, check_foreign, check_native
from xcloudmask.models._normalspec import INPUT_TEXT, Normalization, check_normalization, sees_infrared
from xcloudmask.models.hub import is_address

__all__ = ["CARD_BYTES_MAX", "ENSEMBLE", "FOREIGN", "WAVELENGTHS", "ModelSpec", "Voting", "bands_text"]

WAVELENGTHS = "wavelengths_nm"
"""Argument of the network of an any-bands model once its bands are chosen: (shortest, central, longest) of each."""

ENSEMBLE = "ensemble"
"""The architecture of a spec that has members instead of weights."""

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
    """Key of the fixed list of architectures, ``"ensemble"``, or how a foreign model is kept: ``"torchscript"``,
    ``"pt2"``, ``"onnx"`` or ``"factory"``."""
    config: tuple[tuple[str, Any], ...] = ()
    """Arguments of the architecture, or keyword arguments of the factory."""
    factory: str = ""
    """``"module:function"`` of a foreign model that Python code builds."""
    bands: tuple[str, ...] = ("red", "green", "nir")
    """Roles of the input channels, in the order of the network."""
    optional_bands: tuple[str, ...] = ()
    """Roles that may be given up on purpose (fed as zeros)."""
    any_bands: bool = False
    """Whether it takes any three or more bands of known wavelength. `bands` is empty then, until some are chosen: see
    `xcloudmask.models.openbands.with_bands`."""
    stride_px: int
    """Total stride of the network: tiles start on its multiples."""
    radius_px: int
    """Receptive radius: an input pixel farther away than this changes no output."""
    exact_halo: bool = True
    """False where global layers (attention, squeeze-excite) let every pixel see the whole tile."""
    normalization: Normalization = "zscore"
    """What pixels become before the network. ``"zscore"``: that of each band, of a window, tile or scene. Of the other
    three a cube of unknown scale is refused, and pixels without data are 0 afterwards. ``"fixed"``: (reflectance -
    `mean`) / `std`. ``"percentile"``: (reflectance - `low`) / (`high` - `low`), kept between 0 and 1. ``"none"``:
    reflectance as it is."""
    level: bool = False
    """Whether the network also takes log mean and log spread of the reflectance, where the scale is known."""
    level_complete: bool = False
    """Whether it takes them only where none of its bands is given up; a model of any bands: only where one of them is
    infrared. In visible light, bright snow and cloud have the same level."""
    mean: tuple[float, ...] = ()
    """Per band, the reflectance that is fed as 0 (``"fixed"``)."""
    std: tuple[float, ...] = ()
    """Per band, the difference from `mean` that is fed as 1."""
    low: tuple[float, ...] = ()
    """Per band, the reflectance that is fed as 0, as is all below (``"percentile"``): percentile 1 of what the network
    was trained on, as a rule."""
    high: tuple[float, ...] = ()
    """Per band, the reflectance that is fed as 1, as is all above: percentile 99, as a rule."""
    output: Answer = "logits"
    """What a foreign model returns: ``"logits"``, ``"probabilities"`` or class ``"codes"``."""
    classes: tuple[str, ...] = ()
    """Of a foreign model: the class of each channel, or of each code: clear, thick_cloud, thin_cloud, cloud_shadow, or
    ignore. Channels of one class are added up. The package's own models have the four in order."""
    input_px: int = 0
    """Of a foreign model: side of the tiles, halo included, where the file takes one shape only; else 0."""
    resolution_m: tuple[float, float] = (10.0, 50.0)
    """Finest and coarsest pixel, in metres, that the network was trained for."""
    tile_px: int = 1024
    """Side of a tile of the lattice, without its halo."""
    window_px: int = 512
    """Side of the moving window (``stride=``)."""
    weights: str = ""
    """File name in the package's weights folder, an absolute path, or an address on the Hugging Face hub
    (``hf://owner/repository@revision/file``); empty for an ensemble."""
    sha256: str = ""
    """Checksum of the weights file, in hexadecimal. That of an ensemble is made of its members', the voting and the
    votes."""
    members: tuple[ModelSpec, ...] = ()
    """The models of an ensemble; see `xcloudmask.models.ensemble.combine`."""
    voting: Voting = "logits"
    """What an ensemble averages: the logits of its members, or their probabilities (soft voting)."""
    votes: tuple[float, ...] = ()
    """Of an ensemble: how much each member counts in the mean, such as ``(2, 1)``; empty where all count alike."""
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
        for name in _FROZEN:
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
        if self.architecture == ENSEMBLE:
            check_members(self)
            votes = [repr(tuple(map(float, self.votes)))] if self.votes else []
            checksums = "\n".join([self.voting, *votes, *(member.sha256 for member in self.members)])
            object.__setattr__(self, "sha256", hashlib.sha256(checksums.encode()).hexdigest())
        elif self.members or not (self.weights and self.sha256):
            raise ModelError(
                f"Model {self.name!r} of architecture {self.architecture!r} needs weights= and sha256= and no "
                f"members=. Type: architecture={ENSEMBLE!r} for a model that is made of others."
            )
        if self.any_bands:
            _check_any_bands(self)
        else:
            (check_foreign if self.architecture in FOREIGN else check_native)(self)
            check_normalization(self)

    def takes_level_of(self, present: Sequence[bool]) -> bool:
        """Tell whether it is given the level of an image, where the scale is known.

        Parameters
        ----------
        present
            By band: False where it is given up.

        Returns
        -------
        bool

        Examples
        --------
        >>> from xcloudmask.models.registry import get_spec
        >>> get_spec("default").takes_level_of([True, True, False])
        False
        """
        wavelengths_nm = dict(self.config).get(WAVELENGTHS)
        complete = all(present) and (wavelengths_nm is None or sees_infrared(wavelengths_nm))
        return self.level and (complete or not self.level_complete)

    @property
    def takes_reflectance(self) -> bool:
        """Whether it is fed values in units of reflectance, so that the scale of a cube must be known."""
        return self.normalization != "zscore"

    @property
    def zero_and_unit(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per band, the reflectance that is fed as 0, and the difference from it that is fed as 1."""
        if self.normalization == "fixed":
            return self.mean, self.std
        if self.normalization == "percentile":
            return self.low, tuple(high - low for low, high in zip(self.low, self.high, strict=True))
        return (0.0,) * len(self.bands), (1.0,) * len(self.bands)

    @property
    def halo_px(self) -> int:
        """Smallest halo that is a multiple of the stride and covers the receptive radius."""
        return -(-self.radius_px // self.stride_px) * self.stride_px

    @classmethod
    def from_card(cls, path: str | PathLike[str]) -> ModelSpec:
        """Read the spec from a model card, or from a TOML file.

        Parameters
        ----------
        path
            A JSON file, beside its weights. Keys that are no field of the spec belong to the card alone. Or a TOML
            file, as people write it for a model of their own: there a key that is no field is an error.

        Returns
        -------
        ModelSpec

        Raises
        ------
        ModelError
            The file is missing, too large, no JSON or TOML, or lacks a field.

        Examples
        --------
        >>> from xcloudmask.models.registry import WEIGHTS_DIR
        >>> ModelSpec.from_card(WEIGHTS_DIR / "default.json").name
        'default'
        """
        path = Path(path)
        if path.suffix == ".toml":
            from xcloudmask.models._specfile import read_spec

            return read_spec(path)
        try:
            with path.open("rb") as file:
                content = file.read(CARD_BYTES_MAX + 1)
        except OSError as error:
            raise ModelError(f"The model card {path} cannot be read: {error}") from error
        if len(content) > CARD_BYTES_MAX:
            raise ModelError(f"{path} is larger than {CARD_BYTES_MAX} bytes, the most that a model card may have.")
        try:
            card = json.loads(content)
            if card.get("architecture") == "sensei":
                raise ModelError(
                    f"{path} is of SEnSeI alone, which predicts nothing: it is where a training starts. Type: "
                    f"xcloudmask train any-bands-start --from {path}"
                )
            return _from_fields(card).located(lambda name: str(path.parent.resolve() / name))
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} is no model card: {error}") from error

    def located(self, place: Callable[[str], str]) -> ModelSpec:
        """Return the spec with its weights, or those of all its members, somewhere else.

        Parameters
        ----------
        place
            Maps the path of a weights file to another. An address on the hub stays as it is.

        Returns
        -------
        ModelSpec

        Examples
        --------
        >>> from xcloudmask.models.registry import get_spec
        >>> get_spec("default").located("/models/{}".format).weights
        '/models/default.safetensors'
        """
        if self.members:
            return replace(self, members=tuple(member.located(place) for member in self.members))
        return self if is_address(self.weights) else replace(self, weights=place(self.weights))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data; pairs become dictionaries.

        Returns
        -------
        dict
            The fields of a card: those of weights or those of an ensemble.

        Examples
        --------
        >>> from xcloudmask.models.registry import get_spec
        >>> get_spec("default").to_dict()["name"]
        'default'
        """
        plain = asdict(self) | {"config": dict(self.config), "metrics": dict(self.metrics)}
        plain["members"] = [member.to_dict() for member in self.members]
        left_out = {"weights", "sha256", "config"} if self.members else {"members", "voting"}
        if self.architecture not in FOREIGN:
            left_out |= _FOREIGN_FIELDS
        if not self.any_bands:
            left_out |= {"any_bands"}
        numbers = ("low", "high") if self.architecture in FOREIGN else ("mean", "std", "low", "high")
        left_out |= {name for name in ("votes", *numbers) if not plain[name]}
        return {key: value for key, value in plain.items() if key not in left_out}

    def __repr__(self) -> str:
        """Return one line."""
        members = f" of {' + '.join(member.name for member in self.members)}" if self.members else ""
        return (
            f"<ModelSpec {self.name}: {self.architecture}{members}, "
            f"{'any bands' if self.any_bands else '+'.join(self.bands)}, "
            f"stride {self.stride_px} px, halo {self.halo_px} px, {self.resolution_m[0]:g}-{self.resolution_m[1]:g} m>"
        )

    def _repr_html_(self) -> str:
        return html_table("cloud mask model", _rows(self))


def _rows(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    """Yield what people ask of a model, as pairs of a label and a text."""
    yield "name", spec.name
    yield "architecture", " ".join([spec.architecture, *(f"{key}={value}" for key, value in spec.config)])
    if spec.members:
        weighted = f", votes {' : '.join(f'{vote:g}' for vote in spec.votes)}" if spec.votes else ""
        yield f"mean of {spec.voting}{weighted}", "\n".join(repr(member)[1:-1] for member in spec.members)
    if spec.classes:
        yield "output", f"{spec.output} of {', '.join(spec.classes)}"
    yield "bands", bands_text(spec)
    yield "resolution", f"{spec.resolution_m[0]:g} to {spec.resolution_m[1]:g} m"
    if spec.any_bands:
        yield "input", "reflectance, and brightness temperature in kelvin"
    else:
        complete = _COMPLETE_TEXT if spec.level_complete else ""
        yield "input", INPUT_TEXT[spec.normalization] + (_LEVEL_TEXT + complete if spec.level else "")
    exact = "" if spec.exact_halo else ", not exact"
    yield "halo", f"{spec.halo_px} px{exact}; stride {spec.stride_px} px"
    yield "tile", f"{spec.tile_px} px; moving window {spec.window_px} px"
    yield "sha256", spec.sha256
    optional = (
        ("licence", spec.licence),
        ("sources", "\n".join(map(str, spec.sources))),
        ("metrics", "\n".join(f"{name} {value:g}" for name, value in spec.metrics)),
        ("notes", spec.notes),
    )
    for label, text in optional:
        if text:
            yield label, text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]} ... (the card has it all)"


def bands_text(spec: ModelSpec) -> str:
    """Return the bands of a model, for people."""
    if spec.any_bands:
        return "any 3 or more bands"
    return ", ".join(f"{role} (optional)" if role in spec.optional_bands else role for role in spec.bands)


_FROZEN = (
    *("config", "bands", "optional_bands", "mean", "std", "low", "high", "classes"),
    *("resolution_m", "sources", "metrics", "members", "votes"),
)
_FOREIGN_FIELDS = {"factory", "output", "classes", "input_px"}

_TEXT_MAX = 600
"""A table for a glance shows no more characters of a text."""

_LEVEL_TEXT = ", and the level of each band where the scale is known"
_COMPLETE_TEXT = " and no band is given up"


def _freeze(value: Any) -> Any:
    """Turn lists into tuples and dictionaries into pairs, so that a spec stays hashable."""
    if isinstance(value, dict):
        return tuple((str(key), _freeze(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    return value


def _from_fields(card: dict[str, Any]) -> ModelSpec:
    """Build a spec of a card's fields, members included; keys that are no field are left out."""
    known = {f.name for f in fields(ModelSpec)}
    given = {key: value for key, value in card.items() if key in known}
    given["members"] = [_from_fields(member) for member in given.get("members", ())]
    return ModelSpec(**given)


def _check_any_bands(spec: ModelSpec) -> None:
    """Refuse what says of single bands: they are chosen later, for each cube."""
    for name in ("bands", "optional_bands", "mean", "std", "low", "high", "classes", "members"):
        if value := getattr(spec, name):
            raise ModelError(
                f"Model {spec.name!r} has any_bands and {name}={value!r}. Expected none: bands are chosen for each "
                f"cube. Type {name}=(), or leave any_bands out for a model of certain bands."
            )
    if spec.level and spec.normalization != "zscore":
        raise ModelError(
            f"Model {spec.name!r} has any_bands, level and normalization={spec.normalization!r}. Expected level=False: "
            "reflectance itself tells the level."
        )
