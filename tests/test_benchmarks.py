"""The benchmarks run, untimed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.core import BENCHMARKS, Figure


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_each_benchmark_runs(name, tmp_path, capsys):
    target = tmp_path / "figures.json"
    assert main([name, "--quick", "--json", str(target)]) == 0
    lines = target.read_text().splitlines()
    assert lines == capsys.readouterr().out.splitlines()
    for line in lines:
        assert set(json.loads(line)) == {"name", "value", "unit", "target", "pass"}


def test_each_module_is_found_where_the_readme_runs_it():
    """Here pytest adds folders to the path, so that an import of a helper of the tests would work by chance."""
    root = Path(__file__).parents[1]
    names = [f"benchmarks.{path.stem}" for path in (root / "benchmarks").glob("[!_]*.py")]
    code = f"import importlib; [importlib.import_module(name) for name in {sorted(names)}]"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["speeed"])
    assert (
        "expected agreement, backends, bands, campaign, cogs, engine, graph, http_bytes, memory, overlap, seams, "
        "speed, stores, task" in capsys.readouterr().err
    )


def test_targets():
    assert Figure(name="a", value=1.0, unit="s").passed is None
    assert Figure(name="a", value=1.0, unit="s", target="<= 1.1").passed is True
    assert Figure(name="a", value=1.0, unit="s", target=">= 1.1").passed is False
