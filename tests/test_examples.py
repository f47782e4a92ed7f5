"""The examples run as scripts, on small cubes."""

import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import xcloudmask

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: object, folder: Path, code: int = 0) -> str:
    """Run an example in a folder of its own, as a user would, and return what it prints, or why it stops."""
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
    assert done.returncode == code, done.stderr
    assert "Warning:" not in done.stderr, done.stderr
    return done.stderr if code else done.stdout


def test_every_example_is_tested_short_and_guarded():
    tested = {
        "simulated_to_zarr",
        "distributed_cluster",
        "planetscope_like",
        "own_model",
        "torchscript_model",
        "stac_sentinel2",
        "icechunk_time_travel",
        "percentile_experiment",
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


@pytest.mark.slow
def test_torchscript_model(tmp_path):
    printed = run("torchscript_model", tmp_path, "--quick", folder=tmp_path)
    assert "<ModelSpec elsewhere: torchscript, red+green+nir, stride 2 px, halo 2 px" in printed
    mask = xcloudmask.open_mask(tmp_path / "masks.zarr")
    assert mask.attrs["model_sha256"] == hashlib.sha256((tmp_path / "elsewhere.pt").read_bytes()).hexdigest()
    assert not bool((mask == 2).any())  # a class that the network does not know


@pytest.mark.slow
def test_percentile_experiment(tmp_path):
    printed = run("percentile_experiment", tmp_path / "out", "--quick", folder=tmp_path)
    rows = [line.split(" | ") for line in printed.splitlines()[2:]]
    assert len(rows) == 6  # no folder of real patches is given
    assert {row[0] for row in rows} == {"| reflectance", "| percentiles"}
    figures = np.array([[float(cell.strip(" |")) for cell in row[2:]] for row in rows])
    assert ((figures >= 0) & (figures <= 1)).all()
    assert not np.array_equal(figures[:3], figures[3:])


@pytest.mark.slow
def test_icechunk_time_travel(tmp_path):
    pytest.importorskip("icechunk")
    printed = run("icechunk_time_travel", tmp_path, "--quick", folder=tmp_path)
    assert "normalize = 'chunk', and this one has 'lattice'" in printed
    assert [line.split()[1] for line in printed.splitlines() if " | default" in line] == ["appended", "new"]
    assert "now 3 dates, in the paper 2" in printed
    assert xcloudmask.open_icechunk(tmp_path / "masks.icechunk").attrs["normalize"] == "lattice"
    assert xcloudmask.open_icechunk(tmp_path / "masks.icechunk", tag="paper").attrs["normalize"] == "chunk"


def test_stac_sentinel2_shows_its_help(tmp_path):
    pytest.importorskip("odc.stac")
    pytest.importorskip("pystac_client")
    printed = run("stac_sentinel2", "--help", folder=tmp_path)
    assert "--bbox" in printed
    assert "--catalogue" in printed


@pytest.mark.slow
def test_stac_sentinel2(tmp_path):
    """Against an API and a web server of this machine: two dates in a UTM zone, one of them twice, one in another."""
    pytest.importorskip("odc.stac")
    pytest.importorskip("stac_fastapi.api")
    import stac_items as cat
    from http_server import serve
    from stac_server import serve_api
    from stac_shelf import Shelf, grid_cube

    files, items = tmp_path / "files", tmp_path / "items"
    files.mkdir()
    items.mkdir()
    zones = {31: grid_cube(), 32: grid_cube(epsg=32632, x=158_900.0, y=5_409_500.0)}
    build = partial(cat.earth_search_v1, applied=False, collection="sentinel-2-c1-l2a")
    with serve(files) as server, serve_api(items) as root:
        shelf = Shelf(files, server.url)
        for name, day, zone, more in [
            ("a", 14, 31, {}),
            ("b", 24, 31, {}),
            ("old", 14, 31, {"baseline": "03.01", "made": "20240514T120000"}),
            ("c", 24, 32, {"tile": "32UKU"}),
        ]:
            cover = {"eo:cloud_cover": 40}
            time = f"2024-05-{day}T10:50:31Z"
            item = shelf.scene(name, build, time=time, grid=zones[zone], extra=cover, **more)
            (items / f"{name}.json").write_text(json.dumps(item))
        box = zones[31].odc.geobox.extent.to_crs("EPSG:4326").boundingbox
        arguments = ("--catalogue", root, "--allow-private", "--bbox", *box)
        printed = run("stac_sentinel2", tmp_path, *arguments, folder=tmp_path)
        assert "4 items, 3 scenes" in printed
        assert printed.count("% clear") == 3
        sizes = [xcloudmask.open_mask(tmp_path / f"masks-{number}.zarr").sizes["time"] for number in (0, 1)]
        assert sorted(sizes) == [1, 2]
        mask = xcloudmask.open_mask(tmp_path / f"masks-{sizes.index(2)}.zarr")
        assert int(mask.spatial_ref) == 32631
        assert mask.processing_baseline.values.tolist() == ["05.10", "05.10"]
        nothing = run("stac_sentinel2", tmp_path, *arguments, "--cloud-cover", 10, folder=tmp_path, code=1)
        assert "No scene found" in nothing
