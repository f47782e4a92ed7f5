"""A campaign over real scenes: two products on two grids, masks in a bucket, killed twice, resumed, checked."""

from __future__ import annotations

import numpy as np
import pytest
from run_processes import finish, kill_after, make_bucket, records

import xcloudmask
from xcloudmask import run as campaigns
from xcloudmask.run.place import open_campaign
from xcloudmask.run.stores.base import open_sink

pytest.importorskip("distributed")
pytest.importorskip("s3fs")

SCENES = ("sentinel2_l1c_10m", "sentinel2_wgs84_20190522")
BUCKET = "masks-of-real-scenes"
STORE = f"s3://{BUCKET}/real"
CONFIG = """
[source]
kind = "cube"
paths = [{paths}]
time = "2022-06-01"

[model]
normalize = "lattice"
precision = "fp32"

[store]
path = "{store}"
chunk_px = 128
region_px = 256
block_px = 256

[run]
workers = 2
memory_limit = "4 GiB"
window = 4
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_scenes_are_masked_as_predict_masks_them_whatever_is_killed(tmp_path, data_dir, s3_endpoint, monkeypatch):
    make_bucket(BUCKET, s3_endpoint, monkeypatch)
    config = tmp_path / "real.toml"
    paths = ", ".join(f'"{data_dir / "scenes" / name}"' for name in SCENES)
    config.write_text(CONFIG.format(paths=paths, store=STORE))
    first = kill_after(STORE, 1, "start", config, "--quiet", whole=True)
    second = kill_after(STORE, len(first) + 1, "start", STORE, "--quiet", whole=False)
    assert first.items() <= second.items()
    finish("start", config, code=0)
    last = records(STORE)
    assert second.items() <= last.items()
    assert campaigns.status(STORE).complete
    assert campaigns.verify(STORE).checked == len(last) == campaigns.status(STORE).tasks

    found = open_campaign(STORE)
    with found.manifest() as manifest:
        cells = {step.ids[0]: (step.cell, step.time) for step in manifest.steps()}
    seen = set()
    for name in SCENES:
        (cell, when), *more = [place for source, place in cells.items() if name in source]
        assert not more
        cube = xcloudmask.open_cube(data_dir / "scenes" / name).compute()
        expected = cube.cloudmask.predict(normalize="lattice", precision="fp32").squeeze(drop=True)
        got = open_sink(found.job).masks(cell).sel(time=when)
        np.testing.assert_array_equal(got.values, expected.values, err_msg=name)
        seen |= set(np.unique(got))
    assert seen >= {0, 1, 2, 3}

    done = campaigns.export(STORE, stac=tmp_path / "stac", table=tmp_path / "table.csv")
    assert (done.items, done.rows) == (2, len(last))
    page = campaigns.report(STORE, tmp_path / "report.html").read_text()
    assert f"{len(last)} of {len(last)} tasks" in page
