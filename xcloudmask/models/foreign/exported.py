"""Programs of `torch.export` (.pt2), without what in them is code.

`torch.export.load` unpickles sample inputs, evaluates expressions and guards as Python, and loads compiled libraries
that an archive may hold. None of that is needed to predict. So the archive is written anew with the tensors and the
graph alone, after a look at every text in the graph, and only that is given to torch.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from xcloudmask.errors import WeightsError
from xcloudmask.models.foreign.archive import open_archive, pack
from xcloudmask.models.foreign.graphtext import safe_graph
from xcloudmask.models.foreign.network import ForeignNet
from xcloudmask.models.foreign.shapes import check_fixed
from xcloudmask.models.spec import ModelSpec

__all__ = ["load_exported", "safe_archive"]

_GRAPH = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_SAMPLES = "data/sample_inputs/model.pt"
_LABELS = ("archive_format", "archive_version", "byteorder", "version", ".data/version")
_LABEL = re.compile(rb"[\w.]{0,16}\s*")


def load_exported(spec: ModelSpec, content: bytes) -> nn.Module:
    """Make a network of a program of `torch.export`.

    Parameters
    ----------
    spec
        The model.
    content
        The file, whose sha256 has been checked.

    Returns
    -------
    torch.nn.Module
        A `ForeignNet`.

    Raises
    ------
    WeightsError
        The file is something else, broken, too large, or holds more than tensors and a graph.
    ModelError
        It takes one shape only, and the spec says otherwise.
    """
    archive = safe_archive(spec, content)
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what fails comes as an error
    try:
        program = torch.export.load(io.BytesIO(archive))
        net = program.module()
    except Exception as error:
        raise WeightsError(
            f"The program of model {spec.name!r} cannot be loaded with torch {torch.__version__}: "
            f"{type(error).__name__}: {error}. Export it on a processor (not on a GPU), with torch 2.9 or later."
        ) from error
    finally:
        log.setLevel(level)
    return ForeignNet(net, spec, batch=check_fixed(spec, _shape_taken(program, spec)))


def safe_archive(spec: ModelSpec, content: bytes) -> bytes:
    """Write the archive anew with tensors and a checked graph alone.

    Parameters
    ----------
    spec
        The model, for messages.
    content
        The file.

    Returns
    -------
    bytes

    Raises
    ------
    WeightsError
        The archive needs pickles or code, or is broken.
    """
    members = open_archive(content, name=spec.name, expected="pt2")
    kept = {path: members[path] for path in _LABELS if path in members}
    if not all(_LABEL.fullmatch(label) for label in kept.values()):
        raise _refused(spec, "its version is no number")
    graph = safe_graph(_parsed(spec, members, _GRAPH), lambda why: _refused(spec, why))
    kept[_GRAPH] = json.dumps(graph).encode()
    kept[_SAMPLES] = b""  # a pickle in the original; an empty one is not opened
    for path in _CONFIGS:
        config = _parsed(spec, members, path)
        folder = path.rpartition("/")[0]
        for tensor in _tensors(spec, config, members, folder):
            kept[tensor] = members[tensor]
        kept[path] = json.dumps(config).encode()
    return pack(kept)


def _parsed(spec: ModelSpec, members: Mapping[str, bytes], path: str) -> Any:
    try:
        return json.loads(members[path])
    except KeyError:
        raise _refused(spec, f"it has no {path}; torch before 2.9 kept weights in pickles") from None
    except (ValueError, RecursionError) as error:
        raise _refused(spec, f"{path} is no JSON: {error}") from error


def _tensors(spec: ModelSpec, config: Any, members: Mapping[str, bytes], folder: str) -> Iterator[str]:
    """Yield the files of plain numbers; refuse pickles, and shapes that their bytes cannot fill."""
    try:
        for name, entry in config["config"].items():
            path = f"{folder}/{entry['path_name']}"
            plain = re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"])
            if entry["use_pickle"] is not False or not plain or path not in members:
                raise _refused(spec, f"{name} is kept as a pickle or an object, not as plain numbers")
            sizes = [int(size["as_int"]) for size in entry["tensor_meta"]["sizes"]]
            if not members[path] and 0 not in sizes:
                raise _refused(spec, f"{name} has the shape {sizes} and no bytes")
            yield path
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _refused(spec, f"its list of tensors is not as torch writes it: {error!r}") from error


def _refused(spec: ModelSpec, why: str) -> WeightsError:
    return WeightsError(
        f"The program of model {spec.name!r} is not loaded: {why}. Expected plain tensors and a graph of "
        "torch.ops.aten alone. Type: torch.export.save(torch.export.export(net.eval(), (tiles,)), path) with torch 2.9 "
        "or later."
    )


def _shape_taken(program: torch.export.ExportedProgram, spec: ModelSpec) -> list[int | None]:
    names = program.graph_signature.user_inputs
    if len(names) != 1 + spec.level:
        raise WeightsError(
            f"The program of model {spec.name!r} takes {len(names)} inputs, expected {1 + spec.level}: tiles"
            f"{' and the level' if spec.level else ''}. Export a module whose forward takes that."
        )
    node = next(node for node in program.graph.nodes if node.name == names[0])
    return [side if isinstance(side, int) else None for side in node.meta["val"].shape]
