"""COGs whose writers are killed, have little memory, a full disk, a folder that is read-only, or neighbours."""

import os
import resource
import shutil
import subprocess
import sys
import threading
import time

import dask
import dask.array as da
import numpy as np
import processes
import pytest
import rasterio
import xarray as xr

from xcloudmask.classes import STYLES, mask_attrs
from xcloudmask.errors import WriteError
from xcloudmask.io import _cogfolder, to_cog

STYLES_WRITTEN = ["4-class", "cloud-noncloud"]
CODES = np.array([0, 1, 2, 3, 255], np.uint8)


def codes_of(seed, shape):
    """Blobs of all codes."""
    small = np.random.default_rng(seed).choice(CODES, (-(-shape[0] // 20), -(-shape[1] // 20)))
    return np.repeat(np.repeat(small, 20, 0), 20, 1)[: shape[0], : shape[1]]


def make_mask(shape=(2, 600, 700), *, seed=0):
    codes = np.stack([codes_of(seed + date, shape[1:]) for date in range(shape[0])])
    coords = {
        "time": np.datetime64("2024-01-01", "ns") + np.arange(shape[0]) * np.timedelta64(5, "D"),
        "y": 5e6 - 10.0 * np.arange(shape[1]),
        "x": 5e5 + 10.0 * np.arange(shape[2]),
        "epsg": 32631,
    }
    attrs = mask_attrs(STYLES["4-class"]) | {"model": "default", "model_sha256": "abc", "normalize": "chunk"}
    mask = xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, name="clouds", attrs=attrs)
    return mask.chunk(time=1, y=300)


def write(folder, **options):
    # 300 kB at a time: each date in two batches, and one after the other.
    with dask.config.set({"array.chunk-size": "300 kB", "scheduler": "synchronous"}):
        return to_cog(make_mask(), folder, style=STYLES_WRITTEN, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def leftovers(folder):
    return [path.name for path in folder.rglob(".xcloudmask-*")]


@pytest.mark.slow
@pytest.mark.parametrize(("overwrite", "times"), [(False, 50), (True, 20)])
def test_killed_at_any_point(tmp_path, overwrite, times):
    rng = np.random.default_rng(int(overwrite))
    write(tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    to_cog(make_mask(seed=9), tmp_path / "others", style=STYLES_WRITTEN)
    before = contents(tmp_path / "others") if overwrite else {}
    longest = min(processes.run_whole("test_io_cog_killed:write", folder=tmp_path / f"timed{n}") for n in range(3))
    killed = incomplete = left = 0
    for _ in range(times):
        folder = tmp_path / "masks"
        if overwrite:
            shutil.copytree(tmp_path / "others", folder)
        killed += processes.run_killed(
            "test_io_cog_killed:write", after_s=rng.uniform(0, longest), folder=folder, overwrite=overwrite
        )
        found = contents(folder) if folder.exists() else {}
        check_whole(found, before, expected)
        incomplete += found != expected
        left += folder.exists() and bool(leftovers(folder))
        write(folder, overwrite=overwrite, resume=not overwrite)
        assert contents(folder) == expected
        assert leftovers(folder) == []
        shutil.rmtree(folder)
    assert min(killed, incomplete, left) >= times // 4


def check_whole(found, before, expected):
    files = {name for name in found if name.endswith(".tif")}
    assert files >= {name for name in before if name.endswith(".tif")}
    for name in files:
        whole = before if found[name] == before.get(name) else expected
        assert found[name] == whole[name]
        sidecar = found.get(f"{name}.aux.xml")
        # A new file is complete once it is there; one that replaces another may lack its sidecar for a moment.
        assert sidecar == whole[f"{name}.aux.xml"] or (before and sidecar is None)


def test_a_file_without_its_sidecar_is_written_again(tmp_path):
    paths = write(tmp_path)
    expected = contents(tmp_path)
    (tmp_path / f"{paths[1].name}.aux.xml").unlink()
    kept = paths[0].stat().st_mtime_ns
    write(tmp_path, resume=True)
    assert contents(tmp_path) == expected
    assert paths[0].stat().st_mtime_ns == kept


def test_leftovers_of_live_writers_stay(tmp_path):
    with _cogfolder.Folder(tmp_path).staging() as live:
        dead, foreign, old = (tmp_path / f".xcloudmask-{name}" for name in ("host-a", "other-b", "other-c"))
        for folder in (dead, foreign, old):
            folder.mkdir()
            (folder / "plain.tif").write_bytes(b"half")
        os.utime(old / "plain.tif", (0, 0))
        os.utime(old, (0, 0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("platform.node", lambda: "host")
            write(tmp_path)
        assert live.exists()
        assert foreign.exists()
        assert not dead.exists()
        assert not old.exists()
    assert not live.exists()


def block_until(folder, path):
    """Write, and wait within the first block until a file is there."""

    def wait(codes):
        if codes.size:
            (folder / "computing").touch()
            while not path.exists():
                time.sleep(0.01)
        return codes

    mask = make_mask()
    data = da.map_blocks(wait, mask.data, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    with dask.config.set({"array.chunk-size": "300 kB", "scheduler": "synchronous"}):
        # The first date is written at once; the second waits.
        to_cog(xr.concat([mask[:1], mask.copy(data=data)[1:]], "time"), folder)


def test_two_writers_in_one_folder(tmp_path):
    other = threading.Thread(target=block_until, args=(tmp_path, tmp_path / "go"))
    other.start()
    try:
        while not (tmp_path / "computing").exists():
            time.sleep(0.01)
        assert len(leftovers(tmp_path)) == 1
        write(tmp_path)
        assert len(leftovers(tmp_path)) == 1
    finally:
        (tmp_path / "go").touch()
        other.join()
    assert leftovers(tmp_path) == []
    assert len(list(tmp_path.glob("*.tif"))) == 6


def write_large(folder, dates):
    """Dates of 16.8 MB, in chunks of 1 MB."""

    def block(block_id):
        return np.resize(codes_of(block_id[0], (64, 64)), (1, 1024, 1024))

    chunks = ((1,) * dates, (1024,) * 4, (1024,) * 4)
    data = da.map_blocks(block, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    mask = xr.DataArray(data, dims=("time", "y", "x"), attrs=mask_attrs(STYLES["4-class"]), name="large")
    with dask.config.set({"array.chunk-size": "4 MB", "scheduler": "synchronous"}):
        to_cog(mask, folder)


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
    memory_mb, dates = 72, 91
    assert dates * 4096**2 > 20 * memory_mb * 2**20
    processes.run_limited("test_io_cog_killed:write_large", memory_mb=memory_mb, folder=tmp_path, dates=dates)
    assert len(list(tmp_path.glob("*.tif"))) == dates
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        file = rasterio.open(tmp_path / f"large_{dates - 1}.tif")
    with file:
        codes = file.read(1)
    np.testing.assert_array_equal(codes, np.tile(np.resize(codes_of(dates - 1, (64, 64)), (1024, 1024)), (4, 4)))


def write_to_small_files(folder, limit, **options):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(WriteError, match="cannot be written"):
        write(folder, **options)


@pytest.mark.parametrize("limit", [0, 300, 2000, 5000, 8000])
def test_a_file_that_the_disk_does_not_take(tmp_path, limit):
    """As on a full disk: each write beyond the limit fails."""
    to_cog(make_mask(seed=9), tmp_path, style=STYLES_WRITTEN)
    before = contents(tmp_path)
    smallest = min(len(data) for name, data in before.items() if name.endswith(".tif"))
    assert limit < smallest
    seconds = processes.run_whole(
        "test_io_cog_killed:write_to_small_files", folder=tmp_path, limit=limit, overwrite=True
    )
    assert seconds < 20
    assert contents(tmp_path) == before
    assert leftovers(tmp_path) == []
    processes.run_whole("test_io_cog_killed:write_to_small_files", folder=tmp_path / "new" / "folder", limit=limit)
    assert not (tmp_path / "new").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S607


def test_a_full_disk(small_disk):
    masks = [make_mask((1, 600, 700), seed=date) for date in range(30)]
    masks = [mask.assign_coords(time=mask["time"] + np.timedelta64(date, "D")) for date, mask in enumerate(masks)]
    with pytest.raises(WriteError, match=r"clouds_2024.*cannot be written"):
        to_cog(xr.concat(masks, "time"), small_disk)
    files = sorted(small_disk.glob("*.tif"))
    assert files
    assert leftovers(small_disk) == []
    for date, path in enumerate(files):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), codes_of(date, (600, 700)))


def write_as_nobody(folder):
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    with pytest.raises(WriteError, match=r"masks cannot be written: Permission denied"):
        write(folder / "masks", overwrite=True)
    with pytest.raises(WriteError, match=r"new cannot be written: Permission denied"):
        write(folder / "masks" / "new")
    # What is complete needs no right to write.
    assert len(write(folder / "masks", resume=True)) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="folders are no read-only on Windows")
def test_a_folder_that_is_read_only(tmp_path):
    write(tmp_path / "masks")
    before = contents(tmp_path / "masks")
    (tmp_path / "masks").chmod(0o555)
    # Others may look for it: pytest's folders are closed to them.
    own = [parent for parent in tmp_path.parents if any(part.startswith("pytest-of-") for part in parent.parts)]
    for folder in (tmp_path, *own):
        folder.chmod(0o755)
    try:
        assert processes.run_whole("test_io_cog_killed:write_as_nobody", folder=tmp_path) < 20
    finally:
        (tmp_path / "masks").chmod(0o755)
    assert contents(tmp_path / "masks") == before
    assert leftovers(tmp_path) == []
