"""What `xcloudmask evaluate --against` names: masks of products, other models, and earlier evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcloudmask.cli import _options as opt
from xcloudmask.cli._report import usage_error

if TYPE_CHECKING:
    from xcloudmask._product_masks import ProductMask
    from xcloudmask.evaluate import Compared, Evaluation
    from xcloudmask.models.spec import ModelSpec

__all__ = ["Against", "compare_earlier", "read_against"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Everything that was named, by what was typed."""

    products: dict[str, ProductMask] = field(default_factory=dict)
    """Masks that lie beside the images."""
    models: dict[str, ModelSpec] = field(default_factory=dict)
    """Other models."""
    earlier: dict[str, Mapping[str, Evaluation]] = field(default_factory=dict)
    """What was measured before, by level."""

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.products, *self.models, *self.earlier]


def read_against(text: str | None) -> Against:
    """Tell products, models and files apart, and read the files.

    Parameters
    ----------
    text
        Names with commas between them; None for nothing.

    Returns
    -------
    Against

    Raises
    ------
    ArgumentError
        A name is none of them.
    ReadError
        A file is no evaluation.
    """
    from xcloudmask._product_masks import find_product

    found = Against()
    names = [] if text is None else [text] if Path(text).is_file() else [name.strip() for name in text.split(",")]
    for name in dict.fromkeys(names):
        product = find_product(name)
        if product is not None:
            found.products[name] = product
        elif Path(name).suffix == ".json":
            _read_json(name, found)
        else:
            found.models[name] = _other_model(name)
    return found


def _other_model(name: str) -> ModelSpec:
    from xcloudmask._product_masks import PRODUCTS
    from xcloudmask.errors import UnknownModelError
    from xcloudmask.models.registry import get_spec

    try:
        return get_spec(opt._model(name))
    except UnknownModelError as error:
        raise usage_error(
            f"--against {name!r} is no product ({', '.join(PRODUCTS)}, or layer=scheme), no JSON file of an earlier "
            f"evaluation, and no model: {error}"
        ) from error


def _read_json(name: str, found: Against) -> None:
    from xcloudmask.errors import ReadError
    from xcloudmask.evaluate import evaluation_from_dict

    try:
        content = json.loads(Path(name).read_text())
        is_card = "architecture" in content
        earlier = {} if is_card else {key: evaluation_from_dict(one) for key, one in content["results"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError(f"{name} is no evaluation: {error}. Expected a file of xcloudmask evaluate --json.") from error
    if is_card:
        found.models[name] = _other_model(name)
    else:
        found.earlier[name] = earlier


def compare_earlier(
    results: Mapping[str, Evaluation], others: Mapping[str, Mapping[str, Evaluation]]
) -> dict[str, dict[str, Compared]]:
    """Subtract other evaluations of the same images, level by level.

    Parameters
    ----------
    results
        What was measured now, by level.
    others
        The others, by name and level.

    Returns
    -------
    dict
        By name and level.

    Raises
    ------
    ArgumentError
        They have no level in common.
    InputError
        They are of other images.
    """
    from xcloudmask.evaluate import Compared, difference

    compared: dict[str, dict[str, Any]] = {}
    for name, other in others.items():
        compared[name] = {
            level: Compared(ours=one, theirs=other[level], difference=difference(one, other[level]))
            for level, one in results.items()
            if level in other
        }
        if not compared[name]:
            raise usage_error(f"--against {name} has {', '.join(other)}, and this is {', '.join(results)}.")
    return compared
