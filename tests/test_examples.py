"""The examples run as scripts, on small cubes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xcloudmask

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: object, folder: Path) -> str:
    """Run an example in a folder of its own, as a user would, and return what it prints."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning:" not in done.stderr, done.stderr
    return done.stdout


def test_every_example_is_tested_short_and_guarded():
    tested = {
        "simulated_to_zarr",
        "distributed_cluster",
        "planetscope_like",
        "own_model",
        "stac_sentinel2",
    }
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) < 80, path
        assert text.endswith('if __name__ == "__main__":\n    main()\n'), path
        assert f"../examples/{path.name}" in (ROOT / "docs" / "examples.md").read_text(), path


@pytest.mark.slow
def test_simulated_to_zarr(tmp_path):
    printed = run("simulated_to_zarr", tmp_path / "out", "--quick", folder=tmp_path)
    assert "halo         72 px (exact)" in printed
    assert printed.count("% clear") == 3
    mask = xcloudmask.open_mask(tmp_path / "out" / "masks.zarr")
    assert mask.sizes == {"time": 3, "y": 256, "x": 256}
    assert "Attributes:\n    units:    1\n    nodata:   0" in printed  # of the cube, from which clouds were removed


@pytest.mark.slow
def test_distributed_cluster(tmp_path):
    pytest.importorskip("distributed")
    printed = run("distributed_cluster", tmp_path, "--quick", folder=tmp_path)
    assert "2 worker processes" in printed
    assert "same mask: True" in printed


@pytest.mark.slow
def test_planetscope_like(tmp_path):
    printed = run("planetscope_like", tmp_path, "--quick", folder=tmp_path)
    assert "averaged by 4 to 12 m, mask on the cube's own grid" in printed
    assert "4 x 4 pixels are averaged to a cell of 12 m" in printed
    assert xcloudmask.open_mask(tmp_path / "masks.zarr").sizes == {"time": 1, "y": 512, "x": 512}


@pytest.mark.slow
def test_own_model(tmp_path):
    printed = run("own_model", tmp_path, "--quick", folder=tmp_path)
    assert "<ModelSpec small: unet" in printed
    mask = xcloudmask.open_mask(tmp_path / "masks.zarr")
    assert mask.attrs["model"] == "small"
    assert mask.attrs["model_sha256"] == hashlib.sha256((tmp_path / "small.safetensors").read_bytes()).hexdigest()


def test_stac_sentinel2_shows_its_help(tmp_path):
    """The example itself needs a network."""
    pytest.importorskip("odc.stac")
    pytest.importorskip("pystac_client")
    printed = run("stac_sentinel2", "--help", folder=tmp_path)
    assert "--bbox" in printed
    assert "--catalogue" in printed
