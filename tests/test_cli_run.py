"""`xcloudmask run`: what it prints, its exit codes, and that bad input is an error before the first task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from run_campaigns import TABLES, fail, make_campaign, make_job, mask, tasks_of
from stac_server import free_port
from typer.testing import CliRunner

import xcloudmask
from xcloudmask import run as campaigns
from xcloudmask.cli.app import app
from xcloudmask.errors import ArgumentError
from xcloudmask.run.frozen import Frozen, write_frozen
from xcloudmask.run.lease import hold_lease
from xcloudmask.run.objects import open_objects
from xcloudmask.run.place import open_campaign
from xcloudmask.run.process import process_task
from xcloudmask.run.stores.base import open_sink
from xcloudmask.simulate.scene import simulate_sentinel2

SIDE = 128
CONFIG = """
[source]
kind = "cube"
paths = ["cube.zarr"]
sensor = "sentinel-2-l2a"

[model]
normalize = "lattice"

[store]
path = "masks"
chunk_px = 32
region_px = 64
block_px = 64

[run]
workers = 1
memory_limit = "4 GiB"
"""


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["run", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def write_cube(path, *, times=2, seed=0, side=SIDE):
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    box = GeoBox((side, side), Affine(10, 0, 600_000, 0, -10, 5_200_000), "EPSG:32632")
    scene = simulate_sentinel2(size_px=side, times=times, seed=seed + 3)
    coords = {"time": np.array([f"2024-06-{1 + 5 * n:02}T10:50:31" for n in range(times)], "M8[ns]"), **xr_coords(box)}
    bands = {name: (("time", "y", "x"), scene[name].values, {"nodata": 0}) for name in ("red", "green", "nir")}
    xr.Dataset(bands, coords=coords).chunk(time=1, y=64, x=64).to_zarr(path, consolidated=False)


@pytest.fixture
def config(tmp_path):
    write_cube(tmp_path / "cube.zarr")
    path = tmp_path / "campaign.toml"
    path.write_text(CONFIG)
    return path


# --- the whole way ---


@pytest.mark.slow
def test_from_a_configuration_to_a_report(tmp_path, config, monkeypatch):
    store = tmp_path / "masks"
    assert "tasks        8," in run("plan", config, "--dry-run").stdout
    assert not store.exists()
    run("plan", config)
    assert campaigns.status(store).pending == 8
    first = run("start", config, "--metrics", tmp_path / "metrics.prom")
    assert "<RunResult 8 ok in " in first.stdout
    assert "8 of 8 tasks (100%)" in first.stderr
    assert 'xcloudmask_tasks_total{status="ok"} 8' in (tmp_path / "metrics.prom").read_text()
    assert "nothing to do" in run("start", store).stdout
    assert run("start", config, "--quiet").stdout == ""
    found = json.loads(run("status", store, "--json").stdout)
    assert (found["counts"], found["complete"], found["holder"]) == ({"ok": 8}, True, "")
    (masks,) = (store / "masks").glob("*.zarr")
    cube = xcloudmask.io.open_cube(tmp_path / "cube.zarr")
    expected = xcloudmask.predict(cube, normalize="lattice", sensor="sentinel-2-l2a")
    assert {0, 1, 2, 3} <= set(np.unique(expected))
    np.testing.assert_array_equal(xcloudmask.open_mask(masks), expected)

    chunk = next(path for path in (masks / "cloud_mask" / "c").rglob("*") if path.is_file())
    good = chunk.read_bytes()
    chunk.write_bytes(good[: len(good) // 2])
    assert "damaged      1" in run("verify", config, code=3).stdout
    assert "to redo      1" in run("verify", store, "--redo", "--quiet", code=3).stdout
    assert "<RunResult 1 ok in " in run("start", store).stdout
    assert chunk.read_bytes() == good
    assert "damaged      0" in run("verify", store).stdout

    assert "8 records put together" in run("compact", store).stdout
    done = run("export", store, "--stac", tmp_path / "stac", "--table", tmp_path / "t.csv").stdout
    assert "2 items, collections: 1" in done
    assert "8 rows" in done
    monkeypatch.chdir(tmp_path)
    assert "Wrote campaign.html" in run("report", store).stdout
    assert "8 of 8 tasks" in (tmp_path / "campaign.html").read_text()

    config.write_text(CONFIG.replace("lattice", "scene"))
    refused = run("start", config, code=2)
    assert 'options.normalize: it has "lattice", and now asks for "scene"' in refused.stderr
    assert "tasks        2," in run("fork", store, tmp_path / "other", "--config", config).stdout
    assert campaigns.status(tmp_path / "other").pending == 2
    assert campaigns.status(store).complete
    assert json.loads((tmp_path / "other" / "campaign.json").read_text())["origin"] == str(store)


def test_more_dates_are_found_by_update(tmp_path, config):
    run("plan", config)
    task = tasks_of(tmp_path / "masks")[0]
    campaigns.run_tasks([], None)  # nothing: no cluster is asked for
    write_cube(tmp_path / "more.zarr", times=1, seed=5)
    config.write_text(CONFIG.replace('["cube.zarr"]', '["cube.zarr", "more.zarr"]'))
    again = run("plan", config)  # nothing has begun: it is planned anew
    assert "scenes       3" in again.stdout
    open_objects(tmp_path / "masks").put(f"ledger/records/{task.key[:2]}/{task.key}.ok.json", b"{}")
    config.write_text(CONFIG)
    assert "--update to search again" in run("start", config, code=2).stderr
    assert "--update to search again" in run("plan", config, code=2).stderr
    config.write_text(CONFIG.replace('["cube.zarr"]', '["cube.zarr", "more.zarr"]'))
    assert "xcloudmask run start" in run("plan", config, code=2).stderr
    write_cube(tmp_path / "third.zarr", times=1, seed=6)
    config.write_text(CONFIG.replace('["cube.zarr"]', '["cube.zarr", "more.zarr", "third.zarr"]') + "attempts = 9\n")
    assert "scenes       4" in run("plan", config, "--update").stdout
    assert campaigns.status(config).tasks == 16
    assert {task.job.attempts for task in tasks_of(tmp_path / "masks")} == {9}
    assert "writes nothing" in run("plan", config, "--update", "--dry-run", code=2).stderr


def test_other_engines_need_no_cluster(tmp_path, config):
    """As docs/scaling.md has it."""
    run("plan", config)
    campaign = open_campaign(tmp_path / "masks")
    with campaign.manifest() as manifest, campaign.index() as index:
        campaign.prepare(manifest)
        done = [process_task(task) for task in manifest.tasks(without=index.path)]
    assert [record.status for record in done] == ["ok"] * 8
    assert campaigns.status(config).complete
    run("start", config)  # nothing is left to do
    run("verify", config, "--quiet")
    (masks,) = (tmp_path / "masks" / "masks").glob("*.zarr")
    cube = xcloudmask.io.open_cube(tmp_path / "cube.zarr")
    expected = xcloudmask.predict(cube, normalize="lattice", sensor="sentinel-2-l2a")
    assert {0, 1, 2, 3} <= set(np.unique(expected))
    np.testing.assert_array_equal(xcloudmask.open_mask(masks), expected)
    items = run("export", config, "--stac", tmp_path / "stac").stdout
    assert "2 items, collections: 1" in items


def test_scenes_that_were_processed_anew_are_masked_anew(tmp_path, config):
    run("plan", config)
    store = tmp_path / "masks"
    before = tasks_of(store)
    with open_campaign(store).manifest() as manifest:
        open_campaign(store).prepare(manifest)
    records = [mask(task) for task in before]
    assert campaigns.status(store).complete
    config.write_text(CONFIG.replace("sensor =", 'version = "2"\nsensor ='))
    assert "source" not in run("plan", config, "--update").stderr
    found = campaigns.status(store)
    assert (found.pending, found.counts) == (8, {})
    after = tasks_of(store)
    assert not {task.key for task in before} & {task.key for task in after}
    assert [task.region for task in before] == [task.region for task in after]
    assert campaigns.verify(store).checked == 0  # what the old records say is no matter any more
    assert [record.key for record in records] == [task.key for task in before]


def test_how_to_run_may_change_between_two_runs(tmp_path, config):
    run("plan", config)
    keys = [task.key for task in tasks_of(tmp_path / "masks")]
    config.write_text(f"{CONFIG}attempts = 7\n")
    with open_campaign(config).manifest() as manifest:
        assert [(task.key, task.job.attempts) for task in manifest.tasks()] == [(key, 7) for key in keys]
    with open_campaign(tmp_path / "masks").manifest() as manifest:
        assert {task.job.attempts for task in manifest.tasks()} == {4}


def test_a_store_that_was_prepared_has_begun(tmp_path, config):
    run("plan", config)
    open_sink(tasks_of(tmp_path / "masks")[0].job).prepare([])
    run("plan", config)
    (tmp_path / "masks" / "masks").mkdir()
    assert "was planned and has begun" in run("plan", config, code=2).stderr


def test_what_was_given_up_is_in_the_exit_code(tmp_path):
    store = tmp_path / "campaign"
    make_campaign(store)
    tasks = tasks_of(store)
    for task in tasks[:-1]:
        mask(task)
    fail(tasks[-1])
    config = TABLES | {"source": {"kind": "cube", "paths": ["cube.zarr"]}, "store": {"path": str(store)}}
    (store / "campaign.json").unlink()
    write_frozen(open_objects(store), Frozen(job=make_job(store), config=config))
    done = run("start", store, code=3)
    assert "quarantined  1" in done.stdout
    assert "xcloudmask run retry" in done.stderr
    assert "1 x ReadError: ... ends early" in run("status", store).stdout


def test_retry_forgets_and_runs(tmp_path, monkeypatch):
    """Without a cluster: the tasks that would be run are looked at."""
    store = tmp_path / "campaign"
    make_campaign(store)
    tasks = tasks_of(store)
    for task in tasks[:-2]:
        mask(task)
    fail(tasks[-2], "failed", "503")
    fail(tasks[-1])
    config = TABLES | {"source": {"kind": "cube", "paths": ["cube.zarr"]}, "store": {"path": str(store)}}
    (store / "campaign.json").unlink()
    write_frozen(open_objects(store), Frozen(job=make_job(store), config=config))
    seen = []

    def run_here(waiting, client, **_):
        seen.append([mask(task).key for task in waiting])
        return campaigns.RunResult(counts={"ok": len(seen[-1])})

    monkeypatch.setattr("xcloudmask.run.campaign.run_tasks", run_here)
    campaigns.retry(store, client=object(), quiet=True)
    assert seen == [[tasks[-2].key]]
    campaigns.retry(store, failed=False, quarantined=True, client=object(), quiet=True)
    assert seen[1:] == [[tasks[-1].key]]
    assert campaigns.status(store).complete
    assert "Nothing to run again" in run("retry", store, "--no-failed", code=2).stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_and_is_in_the_exit_code(tmp_path, monkeypatch, number, code):
    store = tmp_path / "campaign"
    make_campaign(store)
    config = TABLES | {"source": {"kind": "cube", "paths": ["cube.zarr"]}, "store": {"path": str(store)}}
    (store / "campaign.json").unlink()
    write_frozen(open_objects(store), Frozen(job=make_job(store), config=config))

    @contextmanager
    def no_cluster(_options):
        yield None

    def run_here(waiting, client, *, stop, **_):
        mask(next(waiting))
        os.kill(os.getpid(), number)
        return campaigns.RunResult(counts={"ok": 1}, drained=stop.wait(5))

    monkeypatch.setattr("xcloudmask.run.campaign.connected", no_cluster)
    monkeypatch.setattr("xcloudmask.run.campaign.run_tasks", run_here)
    said = run("start", store, code=code)
    assert f"To go on, type: xcloudmask run start {store}" in said.stderr
    assert campaigns.status(store).pending == 7


def test_one_coordinator_at_a_time(tmp_path, config):
    run("plan", config)
    with hold_lease(open_objects(tmp_path / "masks")):
        for command in (("start", config), ("compact", config), ("verify", config, "--redo"), ("retry", config)):
            said = run(*command, code=1).stderr
            assert f"process {os.getpid()}, since " in said
        assert f"process {os.getpid()}" in run("status", config).stdout
        run("verify", config, "--quiet")


def test_stop_before_it_begins(tmp_path, config):
    stop = threading.Event()
    stop.set()
    result = campaigns.start(config, stop=stop, quiet=True)
    assert result.drained
    assert campaigns.status(config).pending == 8


# --- bad input ---


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[run]", "[runs]", "'runs' is unknown. Did you mean 'run'"),
        ("workers", "wokers", "'wokers' is unknown. Did you mean 'workers'"),
        ("workers = 1", 'workers = "one"', "workers = 'one' (text)"),
        ('normalize = "lattice"', 'normalise = "lattice"', "'normalise' is unknown. Did you mean 'normalize'"),
        ("region_px = 64", "region_px = 60", "region_px"),
        ('"4 GiB"', '"10 MiB"', "memory"),
        ('["cube.zarr"]', '["missing.zarr"]', "missing.zarr"),
        ('path = "masks"', 'path = "cube.zarr"', "cube.zarr"),
        ("[model]", '[model]\nname = "nope"', "No model is called 'nope'"),
        ("[model]", f'[model]\nsha256 = "{"0" * 64}"', "sha256"),
        ("[source]", "[source", "cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be(tmp_path, config, old, new, said):
    config.write_text(config.read_text().replace(old, new))
    for command in (("plan", config), ("start", config)):
        result = CliRunner().invoke(app, ["run", *map(str, command)])
        assert result.exit_code in (1, 2), result.output
        assert said in result.stderr
        assert "Traceback" not in result.stderr
        assert "Unexpected" not in result.stderr
    assert not (tmp_path / "masks" / "campaign.json").exists()


def test_commands_on_nothing(tmp_path):
    for command in ("start", "status", "verify", "compact", "retry", "report"):
        result = CliRunner().invoke(app, ["run", command, str(tmp_path / "none")])
        assert result.exit_code in (1, 2), command
        assert "holds no campaign" in result.stderr, command
    assert "holds no campaign" in run("export", tmp_path / "none", "--table", tmp_path / "t.csv", code=1).stderr
    assert "cannot be read" in run("start", tmp_path / "none.toml", code=2).stderr
    assert "is no configuration" in run("plan", tmp_path / "none", code=2).stderr
    assert "Nothing to write" in run("export", tmp_path / "none", code=2).stderr
    with pytest.raises(ArgumentError, match=r"\.html or \.md"):
        campaigns.report(tmp_path / "none", tmp_path / "page.pdf")


def stac_config(folder: Path, url: str) -> Path:
    path = folder / "stac.toml"
    path.write_text(
        f'[source]\nkind = "stac"\nurl = "{url}"\ncollections = "sentinel-2-l2a"\nbbox = [9.0, 47.0, 9.5, 47.5]\n'
        f'datetime = "2024-06"\nallow_private = true\nschemes = ["http"]\n\n[store]\npath = "masks"\n'
    )
    return path


def test_an_api_that_does_not_answer(tmp_path):
    said = run("start", stac_config(tmp_path, f"http://127.0.0.1:{free_port()}"), code=1).stderr
    assert "127.0.0.1" in said
    assert not (tmp_path / "masks" / "campaign.json").exists()


def test_a_search_that_finds_nothing(tmp_path):
    items = tmp_path / "items.json"
    items.write_text('{"type": "FeatureCollection", "features": []}')
    path = tmp_path / "items.toml"
    path.write_text('[source]\nkind = "items"\npaths = ["items.json"]\n\n[store]\npath = "masks"\n')
    assert "found nothing" in run("start", path, code=1).stderr


def test_a_store_inside_of_another_one(tmp_path, config):
    run("plan", config)
    config.write_text(CONFIG.replace('"masks"', '"masks/inner"'))
    assert "lies in that of another campaign" in run("start", config, code=2).stderr
    assert (
        "lies in that of another campaign"
        in run("fork", tmp_path / "masks", tmp_path / "masks" / "x", "--model", "default-context", code=2).stderr
    )


def test_no_scheduler_there(tmp_path, config):
    pytest.importorskip("distributed")
    code = (
        "import xcloudmask.run.surroundings as s; s._CONNECT_S = 1\n"
        "from xcloudmask.cli import main; import sys; sys.argv = ['xcloudmask', *sys.argv[1:]]; main()"
    )
    address = f"tcp://127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", code, "run", "start", str(config), "--scheduler", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert f"There is no Dask scheduler at {address}" in done.stderr


def test_wrong_credentials(tmp_path, config, s3_endpoint, monkeypatch):
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3_endpoint}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config.write_text(CONFIG.replace('"masks"', '"s3://no-such-bucket/masks"'))
    said = run("start", config, code=1).stderr
    assert "s3://no-such-bucket/masks" in said
    assert "AWS_ACCESS_KEY_ID" in said
