"""The arrows between modules go one way, and importing the package is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import xcloudmask

ROOT = Path(xcloudmask.__file__).parent

NUMPY = {
    "_composite_blocks",
    "_config_fields",
    "_bandnames",
    "_buffers",
    "_distances",
    "_feed",
    "_files",
    "_optional",
    "_sensor",
    "_tables",
    "_version",
    "blocks",
    "classes",
    "cleaning",
    "codes",
    "components",
    "errors",
    "evaluate",
    "geometry",
    "halo",
    "models",
    "morphology",
    "normalize",
    "options",
    "parity",
    "resample",
    "scene",
    "sensors",
    "settings",
    "simulate",
    "tiles",
}
DASK = {"_areas", "_composite_graph", "_counts", "graph", "graph_ocm", "padding", "stacking"}
TOP = {"__init__", "_accessor", "cli", "__main__"}
# Built on the engine's parts, used by nobody below.
ABOVE_NUMPY = {"simulate.cubes", "simulate.over", "simulate.scene", "simulate.series", "training"}


def layer(module: str) -> int:
    """0 numpy, 1 dask, 2 xarray, 3 accessor and command line."""
    head = module.split(".", maxsplit=1)[0]
    if module in ABOVE_NUMPY or head in ABOVE_NUMPY:
        return 2
    if head in NUMPY:
        return 0
    if head in DASK:
        return 1
    return 3 if head in TOP else 2


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__" and len(parts) > 1:
            parts.pop()
        found[".".join(parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever in the file, but those only for type checkers."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", sorted(modules()))
def test_no_module_imports_from_a_layer_above(module):
    known = modules()
    for name in imports(known[module]):
        if not name.startswith("xcloudmask."):
            continue
        target = name.removeprefix("xcloudmask.")
        if target in known:
            assert layer(target) <= layer(module), f"{module} imports {target}"


@pytest.mark.parametrize("module", sorted(m for m in modules() if layer(m) == 0))
def test_the_numpy_layer_knows_no_dask_and_no_xarray(module):
    allowed = {"models.process"}  # asks dask's configuration how many threads there are
    heads = {name.split(".")[0] for name in imports(modules()[module])}
    assert not heads & {"dask", "xarray", "rioxarray", "rasterio"} or module in allowed, heads


@pytest.mark.parametrize("module", sorted(m for m in modules() if layer(m) == 1))
def test_the_dask_layer_knows_no_xarray(module):
    assert not {name.split(".")[0] for name in imports(modules()[module])} & {"xarray", "rioxarray"}


def test_map_overlap_is_used_in_one_module():
    users = {module for module, path in modules().items() if "map_overlap(" in path.read_text()}
    assert users == {"graph"}


def test_import_is_light():
    heavy = ("torch", "rasterio", "distributed", "matplotlib", "folium", "PIL")
    code = f"import sys, xcloudmask; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_accessor_is_thin():
    assert len((ROOT / "_accessor.py").read_text().splitlines()) <= 150


def test_no_assert_and_no_pickle_in_the_package():
    for module, path in modules().items():
        tree = ast.parse(path.read_text())
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), module
        assert not imports(path) & {"pickle", "cloudpickle", "joblib"}, module
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not calls & {"torch.load", "eval", "exec"}, module
