"""The tables of a training run: every setting, its default and what it does, in one place."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

__all__ = [
    "ANY_BANDS",
    "BANDS",
    "CONFIG",
    "FINE_TUNING_RATE",
    "LEARNING_RATE",
    "TABLES",
    "CardOptions",
    "CubeOptions",
    "DataOptions",
    "FitOptions",
    "Mixture",
    "ModelOptions",
    "TrainConfig",
    "describe_table",
]

BANDS = ("red", "green", "nir")
"""Roles of the bands of the model `default`."""
ANY_BANDS = "sensei-"
"""Begins the name of an architecture that takes any bands."""

CONFIG: Mapping[str, int] = MappingProxyType({"bands": 3, "classes": 4, "width": 32, "blocks": 3, "level": 1})
"""Arguments of the U-Net of the model `default`."""

LEARNING_RATE = 2e-3
"""Peak of the schedule of a network that starts from random weights."""
FINE_TUNING_RATE = 5e-4
"""Peak of the schedule of a network that starts from another's weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """The network."""

    name: str = "model"
    """Name of the weights and the card."""
    architecture: str = "unet"
    """Key of `xcloudmask.models.architectures.ARCHITECTURES`."""
    config: Mapping[str, int] = field(default_factory=lambda: dict(CONFIG))
    """Arguments of the architecture."""
    bands: tuple[str, ...] = BANDS
    """Roles of the bands that the network takes, in its order; samples without one of them are fed zeros. Not read
    where the architecture has SEnSeI in front ("sensei-unet"), which takes any."""
    start: str = ""
    """Model to start from, as `--from`: a name, a card, or weights of this network. A model brings its network along:
    `architecture` and `config` are then not read."""
    after: str = ""
    """Recipe or TOML file that is trained first, in a folder of its name in that of the run; its model is the one to
    start from. It may have one before itself. `--from` goes without them."""
    needed: tuple[str, ...] = ("red", "green", "blue")
    """With other bands than red, green and near infrared: those that a cube must have; the others may be given up."""
    body: str = ""
    """With SEnSeI in front: model of certain bands whose network stands behind it at the beginning, so that the
    training goes on from what that model does with them. Without it: model of any bands, such as "any-bands", that the
    network begins as, for its own bands as the first of `sensors` has them. Where it says the same as `after`, it is
    the model of that run."""
    level_complete: bool = False
    """Whether the model that is exported is told the level only where none of its bands is given up (with SEnSeI in
    front: only where one of the bands is infrared), however it was trained."""
    start_share: float = 0.0
    """Share, 0 to 1, that the weights it started from keep in those that are exported, the rest being what the run made
    of them (Wortsman et al., 2022, arXiv:2109.01903)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """The folder of labelled patches."""

    folder: str = ""
    """Folder with patches.csv; `--data` wins. Without one, samples come from `cubes` and from simulated scenes."""
    splits: tuple[str, ...] = ("train", "background")
    """Splits of the folder of patches; "background" holds clear images for simulated clouds."""
    thumbnails: bool = True
    """Whether to use the thumbnails without near infrared, where the folder has them."""
    nir_guess: bool = True
    """Whether thumbnails also train with a near infrared guessed from their colours."""
    holdout_every: int = 10
    """Every so many patches (by name) is kept out of the fit, for choosing; 0 keeps none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeOptions:
    """A labelled cube. `[[cubes]]` stands once for each."""

    path: str
    """Zarr store, NetCDF file, GeoTIFF or folder of GeoTIFFs, as `xcloudmask predict` takes it."""
    labels: str = ""
    """Variable of the cube, or path of a file on the same grid, with codes 0 to 3; empty where `kind` is "clear"."""
    kind: Literal[
        "label4",
        "label3_noshadowclass",
        "label_cloud_only",
        "label_cloud_shadow",
        "label_shadow_manual_cloud_auto",
        "clear",
    ] = "label4"
    """What the codes mean."""
    name: str = ""
    """Source of its patches; empty is the name of the file."""
    licence: str = ""
    """Licence of image and labels, for the card."""
    bands: Mapping[str, str] = field(default_factory=dict)
    """Role = name in the cube, such as `{ red = "B04", nir = "none" }`."""
    sensor: str = ""
    """Sensor, such as "sentinel-2-l2a"."""
    scale: float | None = None
    """Reflectance = value * scale + offset, where neither sensor nor attributes tell."""
    offset: float = 0.0
    """Goes with `scale`."""
    nodata: float | None = None
    """Value without data, where the cube does not declare it."""
    resolution_m: float | None = None
    """Size of a pixel, where coordinates and CRS do not tell."""
    windows: int = 64
    """Most windows that are cut out of the cube; those without a label are left out. A window of 512 px takes 2 MB."""
    window_px: int = 512
    """Side of a window, in pixels of the network (10 m or coarser)."""
    weight: float = 1.0
    """Weight of its samples; lower it for coarse outlines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """How samples are drawn. The five shares are weights: they need not add up to 1."""

    real: float = 0.22
    """Labelled patches."""
    thumbnails: float = 0.2
    """Labelled thumbnails."""
    clouded: float = 0.28
    """Clear patches under simulated clouds."""
    landscapes: float = 0.14
    """Simulated surfaces under simulated clouds."""
    pasted: float = 0.16
    """Clear patches under the clouds of labelled ones."""
    clear: float = 0.18
    """Share of `clouded` and `landscapes` that stays without a cloud."""
    snow: float = 0.18
    """Share of clear patches under simulated clouds whose ground is covered with snow before."""
    snowscapes: float = 0.0
    """With `many_sensors` or other bands: share of simulated scenes that are of snow and ice; the others are of any
    ground."""
    swir_snow: float = 0.0
    """Added to `snow` and `snowscapes` where the sample shows short-wave infrared, which tells snow from cloud."""
    level_dropped: float = 0.45
    """Share of samples whose level is kept from the network."""
    level_jitter: float = 0.4
    """Spread of random changes to the logs of the level (0.4: by half, up or down): it tells bright from dark, and does
    not give away which patch it is."""
    level_complete: bool = False
    """As under `[model]`, but in training as well as afterwards."""
    nir_dropped: float = 0.2
    """Share of samples whose near infrared is given up."""
    statistics_mixed: float = 0.2
    """Share of samples normalised as a part of a larger window with another place in it."""
    size_px: int = 192
    """Side of a sample; a multiple of the network's stride."""
    mixed_resolution: bool = True
    """Whether windows are brought to other pixel sizes (9 to 50 m); False keeps each patch at its own."""
    partial_labels: bool = True
    """False guesses one class for each partial label: clear for not cloud, thick for cloud."""
    many_sensors: bool = False
    """Whether a network of red, green and near infrared is shown what those of other bands are: simulated scenes of
    all sensors that have its bands, and clouds, snow and water on thumbnails as well."""
    sensors: tuple[str, ...] = ()
    """With `many_sensors` or other bands than red, green and near infrared: sensors of the simulated scenes, keys of
    `xcloudmask.sensors.SENSORS`, drawn more often where they stand more than once; none for all of them, and with any
    bands for bands that no sensor has."""
    left_out: tuple[str, ...] = ()
    """With `many_sensors` or other bands: sensors that are neither simulated nor read, to measure how a network does
    without them."""
    all_bands: float = 0.3
    """With any bands: share of samples that show all bands there are; a quarter shows red, green and blue alone or with
    near infrared, the others any three or more."""
    most_bands: int = 13
    """With any bands: no sample shows more than so many."""
    normalize: Literal["zscore", "fixed", "percentile", "none"] = "zscore"
    """"zscore" of each window; "fixed" mean and spread, or "percentile" 1 to 99, of the whole training data; with any
    bands also "none", reflectance as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """The fit."""

    steps: int | None = None
    """Planned steps; None goes by the clock, as many as fit `minutes`, and is then not the same each time."""
    minutes: float = 50.0
    """Planned duration, where `steps` is None."""
    batch: int = 14
    """Samples of a step."""
    seed: int = 0
    """Seed of weights and samples."""
    learning_rate: float | None = None
    """Peak of the cosine schedule, which warms up over 200 steps and ends at 1 % of it. None is 0.002 from random
    weights, and 0.0005 from those of a model."""
    weight_decay: float = 0.02
    """Of AdamW."""
    ema: float = 0.998
    """Memory of the averaged weights."""
    loss: Literal["partial", "dice"] = "partial"
    """"partial" is minus the log of the summed probability of the classes that a pixel may have; "dice" the soft Dice
    overlap of each class (arXiv:1606.04797), where a pixel of several possible classes counts as each of them by what
    the network thinks."""
    shadow_weight: float = 2.5
    """Weight of pixels that are known to be shadow; others have 1."""
    thin_weight: float = 1.2
    """Weight of pixels that are known to be thin cloud."""
    checkpoint_s: float = 180.0
    """Seconds between checkpoints."""
    validate_steps: int = 0
    """Steps between measurements on what is held out; 0 makes none. The end is measured for the card in any case."""
    workers: int = 1
    """Processes that draw samples; 0 draws them in this one."""
    device: str = "auto"
    """"auto" takes CUDA where there is one; "cpu", "cuda", "cuda:0"."""
    bf16: bool = True
    """Whether to multiply in bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardOptions:
    """What the card says beside what is measured. It changes nothing in the fit."""

    licence: str = ""
    """Licence of the weights."""
    intended: str = ""
    """What the model is for."""
    known_failures: tuple[str, ...] = ()
    """Where it fails."""
    notes: str = ""
    """Whatever else a user must know."""
    attribution: str = ""
    """What the licences of the data want to be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole run."""

    model: ModelOptions = field(default_factory=ModelOptions)
    """Table [model]."""
    data: DataOptions = field(default_factory=DataOptions)
    """Table [data]."""
    cubes: tuple[CubeOptions, ...] = ()
    """Tables [[cubes]]."""
    mixture: Mixture = field(default_factory=Mixture)
    """Table [mixture]."""
    fit: FitOptions = field(default_factory=FitOptions)
    """Table [fit]."""
    card: CardOptions = field(default_factory=CardOptions)
    """Table [card]."""

    @property
    def any_bands(self) -> bool:
        """Whether the network takes any bands."""
        return self.model.architecture.startswith(ANY_BANDS)

    @property
    def other_bands(self) -> bool:
        """Whether it takes others than red, green and near infrared, or is shown many sensors as those are."""
        return self.any_bands or self.model.bands != BANDS or self.mixture.many_sensors

    @property
    def level_complete(self) -> bool:
        """Whether the model is told the level only where none of its bands is given up."""
        return self.model.level_complete or self.mixture.level_complete

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as plain data, as in the file."""
        return asdict(self)


TABLES: Mapping[str, type] = MappingProxyType(
    {
        "model": ModelOptions,
        "data": DataOptions,
        "cubes": CubeOptions,
        "mixture": Mixture,
        "fit": FitOptions,
        "card": CardOptions,
    }
)
"""Tables of a TOML file."""


def describe_table(table: str) -> list[tuple[str, str, str]]:
    """Tell the settings of a table, from the docstrings in the source.

    Parameters
    ----------
    table
        A key of `TABLES`.

    Returns
    -------
    list of tuple
        (name, default, what it does); the default is "" where a value must be given.

    Examples
    --------
    >>> describe_table("fit")[0][:2]
    ('steps', 'None')
    """
    kind: Any = TABLES[table]
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    texts: dict[str, str] = {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for entry, after in itertools.pairwise(body):
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name) and isinstance(after, ast.Expr):
            texts[entry.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return [(entry.name, _default_text(entry), texts.get(entry.name, "")) for entry in fields(kind)]


def _default_text(entry: Any) -> str:
    if entry.default_factory is not MISSING:
        return repr(entry.default_factory())
    return "" if entry.default is MISSING else repr(entry.default)
