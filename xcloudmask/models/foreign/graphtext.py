"""The graph of a `torch.export` program, as JSON: only names, numbers and arithmetic may stand in it.

torch makes Python of some of these texts (shapes go through `sympy.sympify`, guards and argument names into generated
functions), and looks others up by attribute. Names without brackets and quotes, and operators of a list, leave nothing
to run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

__all__ = ["safe_graph"]

_NAME = re.compile(r"[\w.,:+\-> ]{0,300}", re.ASCII)
_ARITHMETIC = re.compile(r"[\w.+\-*/%<>=!&|,() ]{0,2000}", re.ASCII)
_QUOTED = re.compile(r"'(\w+)'", re.ASCII)
_WORD = re.compile(r"[^\W\d]\w*", re.ASCII)
_SYMBOL = re.compile(r"[suz]+\d+", re.ASCII)
_FUNCTIONS = frozenset(
    word
    for words in (
        "Abs CeilDiv CeilToInt CleanDiv FloatTrueDiv FloorDiv FloorToInt Identity IntTrueDiv Max Min Mod PythonMod",
        "RoundToInt ToFloat TruncToInt Where ceiling floor int_oo oo True False Eq Ne Ge Gt Le Lt And Or Not",
        "Symbol Integer Rational Add Mul integer positive nonnegative",
    )
    for word in words.split()
)
"""No power: a tower of them would take for ever."""
_TARGET = re.compile(
    r"torch\.ops\.(?:aten|prims)\.\w+\.\w+|torch\.ops\.higher_order\.wrap_with_set_grad_enabled"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(?:ceil|floor|trunc)|torch\.sym_\w+",
    re.ASCII,
)
_FILES = frozenset({"save", "load", "from_file"})
"""Operators of aten that would read or write files."""
_CONTAINERS = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict"})

Refuse = Callable[[str], Exception]


def safe_graph(graph: Any, refuse: Refuse) -> Any:
    """Return the graph without metadata and guards, or raise.

    Parameters
    ----------
    graph
        The JSON of a program.
    refuse
        Makes the error from what is wrong.

    Returns
    -------
    dict, list or plain value
        A copy.

    Examples
    --------
    >>> safe_graph({"target": "torch.ops.aten.relu.default", "metadata": {"stack_trace": "..."}}, ValueError)
    {'target': 'torch.ops.aten.relu.default', 'metadata': {}}
    """
    try:
        return _checked(graph, "", refuse)
    except RecursionError:
        raise refuse("its graph is nested too deeply") from None


def _checked(value: Any, key: str, refuse: Refuse) -> Any:
    if isinstance(value, dict):
        for name in value:
            _name(name, refuse)
        return {name: _of_key(name, item, refuse) for name, item in value.items()}
    if isinstance(value, list):
        return [_checked(item, key, refuse) for item in value]
    if isinstance(value, str):
        _name(value, refuse)
    return value


def _of_key(key: str, value: Any, refuse: Refuse) -> Any:
    if key == "metadata":
        return {}  # where the code came from: nobody predicts with that
    if key == "guards_code":
        return []
    if not isinstance(value, str):
        return _checked(value, key, refuse)
    if key == "target" and (not _TARGET.fullmatch(value) or not _FILES.isdisjoint(value.split("."))):
        raise refuse(f"it calls {value!r}, which is none of the operators that a network needs")
    if key == "expr_str":
        _expression(value, refuse)
    elif key in {"in_spec", "out_spec"}:
        _tree(value, refuse)
    else:
        _name(value, refuse)
    return value


def _name(text: str, refuse: Refuse) -> None:
    if not _NAME.fullmatch(text):
        raise refuse(f"its graph has the text {text[:80]!r} where a name belongs")


def _expression(text: str, refuse: Refuse) -> None:
    plain = _QUOTED.sub(r"\1", text)  # as in Symbol('s0', positive=True)
    words = _WORD.findall(plain)
    known = all(word in _FUNCTIONS or _SYMBOL.fullmatch(word) for word in words)
    if not known or not _ARITHMETIC.fullmatch(plain) or "**" in plain or re.search(r"[\w)]\.\D|\.[A-Za-z_]", plain):
        raise refuse(f"its graph has the text {text[:80]!r} where the size of a side belongs")


def _tree(text: str, refuse: Refuse) -> None:
    """How arguments are nested, as JSON in a string: plain containers only."""
    try:
        tree = json.loads(text)
    except ValueError:
        raise refuse("the nesting of its arguments is no JSON") from None
    stack = tree[1:] if isinstance(tree, list) else [None]
    while stack:
        node = stack.pop()
        if not isinstance(node, dict) or node.get("type") not in _CONTAINERS:
            raise refuse("its arguments are more than tensors, tuples, lists and dictionaries")
        for name in _keys(node.get("context"), refuse):
            _name(name, refuse)
        children = node.get("children_spec", [])
        stack.extend(children if isinstance(children, list) else [None])


def _keys(context: Any, refuse: Refuse) -> list[str]:
    try:
        keys = json.loads(context) if isinstance(context, str) else context
    except ValueError:
        keys = context
    keys = [] if keys is None else keys
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise refuse("its arguments have keys that are no names")
    return keys
