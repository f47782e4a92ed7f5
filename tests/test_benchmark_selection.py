"""The experiment on selection runs, and its figures are paired."""

import json

import numpy as np
import pytest
from test_score import write_folder

from benchmarks import selection
from xcloudmask.training.data import Patch


def patch(name, source="", side=256):
    return Patch(
        name=name,
        source=source,
        split="train",
        image=np.random.default_rng(0).integers(500, 6000, (3, side, side), np.uint16),
        valid=np.ones((side, side), bool),
        allowed=np.ones((side, side), np.uint8),
        resolution_m=10.0,
    )


def test_no_scene_is_in_the_pool_and_in_the_test():
    patches = [patch(f"scene{index}_a") for index in range(30)] + [patch("oncloudn_a"), patch("38cloud_1")]
    candidates, tests = selection.split_scenes(patches, test=0, left_out=None)
    assert tests
    learnt = {chip.name.split("@")[0] for chip in candidates}
    measured = {test.name.split("@")[0] for test in tests}
    assert learnt | measured == {one.name for one in patches}
    assert not learnt & measured
    assert {"oncloudn_a", "38cloud_1"} <= learnt  # coarse labels measure nothing
    assert {chip.valid.shape for chip in candidates} == {(128, 128)}


def test_trials_never_see_the_final_test():
    patches = [patch(f"scene{index}_a") for index in range(30)]
    final = {one.name.split("@")[0] for one in selection.split_scenes(patches, test=0, left_out=None)[1]}
    candidates, tests = selection.split_scenes(patches, test=1, left_out=0)
    assert not final & {one.name.split("@")[0] for one in (*candidates, *tests)}


def test_dates_of_a_place_stay_together():
    source = "Sentinel-2 Cloud Mask Catalogue"
    names = [f"S2A_MSIL1C_{date}_N0206_R064_T36TVP_{date}" for date in ("20180102T084341", "20180502T084341")]
    assert len({selection.third(patch(name, source)) for name in names}) == 1


def test_differences_are_paired():
    plan = selection.Plan(budgets=(10,))
    base = {"0": 0.5, "1": 0.9}
    results = {
        seed: {
            name: [{"agreement": value + gain, "cloud_ba": value}]
            for name, gain in (("random", 0.0), ("default", 0.02))
        }
        for seed, value in base.items()
    }
    rows = selection.intervals(results, plan)
    (row,) = (row for row in rows if row["strategy"] == "default" and row["measure"] == "agreement")
    assert row["difference"] == pytest.approx(0.02)
    assert row["low"] == pytest.approx(0.02)  # the spread between seeds does not count
    assert "+2.0 to +2.0" in selection.table(rows)


@pytest.mark.slow
def test_it_runs_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    names = [f"scene{index}_a" for index in range(6)]
    (tmp_path / "data").mkdir()
    data = write_folder(tmp_path / "data", [("train", name, "label4") for name in names])
    monkeypatch.setattr(selection, "SIZE_PX", 32)  # those patches are small
    line = ["--data", str(data), "--out", str(tmp_path / "out"), "--quick", "--strategies", "random", "default"]
    assert selection.main([*line, "--seeds", "1"]) == 0
    assert "| default | 4 | agreement |" in capsys.readouterr().out
    path = tmp_path / "out" / "selection-final-quick.json"
    first = json.loads(path.read_text())["results"]
    assert set(first["100"]) == {"random", "default"}
    monkeypatch.setattr(selection, "run", lambda *given, **settings: [{"agreement": 0.0, "cloud_ba": 0.0}] * 2)
    assert selection.main([*line, "--seeds", "2"]) == 0
    again = json.loads(path.read_text())["results"]
    assert again["100"] == first["100"]
    assert again["101"]["default"][0]["agreement"] == 0.0
