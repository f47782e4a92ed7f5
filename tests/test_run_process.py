"""One task: the mask of a region is that of the whole step, whatever the regions, and is written once."""

from __future__ import annotations

import dataclasses
import json
import threading
import time

import dask
import numpy as np
import pytest
from cubes import odc_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from run_tasks import MemoryLedger, MemorySink, card_of, cell_of, regions, task_of
from stac_shelf import ROLES, Shelf, grid_cube

import xcloudmask
from xcloudmask.classes import NODATA
from xcloudmask.errors import ArgumentError
from xcloudmask.geometry import plan_geometry
from xcloudmask.run import process as process_module
from xcloudmask.run import read
from xcloudmask.run.blocks import block_chunks, blocks_along, context_of, plan_reads
from xcloudmask.run.faults import FatalError
from xcloudmask.run.process import process_in_transaction, process_task
from xcloudmask.run.regions import regions_of
from xcloudmask.run.stores import digest_of, open_sink
from xcloudmask.run.task import Job, Region
from xcloudmask.run.turns import Seats, predicting, predictions_at_once, seats_of
from xcloudmask.stac import load

SHAPE = (144, 112)
LOCAL = {"allow_files": True}


@pytest.fixture(scope="module")
def card(tiny_model, tmp_path_factory):
    return card_of(tiny_model, tmp_path_factory.mktemp("card"))


@pytest.fixture
def job(card, tiny_model, tmp_path):
    """Lattice, blocks of 64."""
    return Job(
        store=str(tmp_path / "campaign"),
        kind="zarr",
        model=card,
        model_sha256=tiny_model.sha256,
        options={"normalize": "lattice", "device": "cpu", "precision": "fp32"},
        policy=LOCAL,
        chunk_px=32,
        block_px=64,
    )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    found = Shelf(tmp_path_factory.mktemp("shelf"))
    found.scene("a", grid=grid_cube(shape=SHAPE))
    found.documents = {"a": document(found, "a")}
    return found


def document(shelf, name):
    """The item as a manifest keeps it: absolute hrefs."""
    item = json.loads((shelf.folder / f"{name}.json").read_text())
    for asset in item["assets"].values():
        assert asset["href"].startswith("/"), "absolute"
    return item


def changed(job, **options):
    return dataclasses.replace(job, options=job.options | options)


def run(tasks):
    sink, ledger = MemorySink(), MemoryLedger()
    for task in tasks:
        process_task(task, sink=sink, ledger=ledger)
    return sink, ledger


def masks(cube, job):
    """What `predict` makes of it."""
    with dask.config.set(scheduler="synchronous"):
        return xcloudmask.predict(cube, **{**job.options, "model": job.model}).values


# --- the mask is that of the whole step ---


@pytest.mark.parametrize("side", [64, 96, 512])
def test_lattice_regions_are_the_whole_step(shelf, job, side):
    cell = cell_of(grid_cube(shape=SHAPE))
    sink, ledger = run([task_of(job, cell, [shelf.documents["a"]], region=one) for one in regions(cell, side)])
    assert {record.status for record in ledger.records} == {"ok"}
    expected = masks(load(shelf.items("a")), job)[0]
    assert len(np.unique(expected)) > 2, "a mask with something in it"
    np.testing.assert_array_equal(sink.plane, expected)


@pytest.mark.parametrize(("side", "block"), [(64, 64), (128, 64), (48, 96), (512, 80)])
def test_chunk_regions_are_the_step_in_chunks(shelf, job, side, block):
    job = dataclasses.replace(changed(job, normalize="chunk"), block_px=block)
    cell = cell_of(grid_cube(shape=SHAPE))
    sink, _ = run([task_of(job, cell, [shelf.documents["a"]], region=one) for one in regions(cell, side)])
    cube = load(shelf.items("a"))
    expected = masks(cube.chunk({"y": block, "x": block}), job)[0]
    np.testing.assert_array_equal(sink.plane, expected)
    assert not np.array_equal(expected, masks(cube, job)[0]), "chunks do change it"


@pytest.mark.parametrize("options", [{"normalize": "scene"}, {"normalize": "ocm"}, {"stride": 32}, {"halo_px": 8}])
def test_other_options(shelf, job, options):
    job = changed(job, **options)
    cell = cell_of(grid_cube(shape=SHAPE))
    side = 512 if "normalize" in options else 64
    sink, ledger = run([task_of(job, cell, [shelf.documents["a"]], region=one) for one in regions(cell, side)])
    assert [record.reason for record in ledger.records if record.reason] == []
    np.testing.assert_array_equal(sink.plane, masks(load(shelf.items("a"), chunks=64), job)[0])


@pytest.mark.parametrize("options", [{"resolution_m": 3.0}, {"resolution_m": 60.0, "upsample": True}])
def test_finer_and_coarser_pixels(shelf, job, options):
    job = changed(job, **options)
    cell = cell_of(grid_cube(shape=SHAPE))
    sink, ledger = run([task_of(job, cell, [shelf.documents["a"]], region=one) for one in regions(cell, 64)])
    assert [record.reason for record in ledger.records if record.reason] == []
    np.testing.assert_array_equal(sink.plane, masks(load(shelf.items("a")), job)[0])


def test_whole_steps_are_not_cut(shelf, job):
    cell = cell_of(grid_cube(shape=SHAPE))
    task = task_of(changed(job, normalize="scene"), cell, [shelf.documents["a"]], region=Region(y=(0, 64), x=(0, 64)))
    with pytest.raises(FatalError, match=r"whole time step.*normalize='lattice'"):
        run([task])


@settings(max_examples=25)
@given(data=st.data())
def test_blocks_cover_each_region_once(data):
    """Each pixel of a region is delivered by one block, and what the block needs is read with it."""
    from xcloudmask.models.registry import get_spec

    spec = get_spec("default")
    shape = data.draw(st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
    block = data.draw(st.sampled_from([64, 512, 1000, 2048]))
    normalize = data.draw(st.sampled_from(["chunk", "lattice"]))
    spans = [tuple(sorted(data.draw(st.tuples(*[st.integers(0, side)] * 2)))) for side in shape]
    spans = [(start, stop) if start < stop else (0, side) for (start, stop), side in zip(spans, shape, strict=True)]
    region = Region(y=spans[0], x=spans[1])
    chunks = tuple(block_chunks(side, block) for side in shape)
    geometry = plan_geometry(chunks, spec, factor=1, normalize=normalize, halo_px=None, step_px=None)
    most = data.draw(st.sampled_from([0, 10**6, 10**9]))
    reads = plan_reads(geometry, region, normalize=normalize, block_px=block, pixel_bytes=6, most_bytes=most)
    seen = np.zeros(region.shape, np.uint8)
    for reading in reads:
        assert (
            len(reads) == 1
            or len(reading.blocks) == 1
            or (reading.y[1] - reading.y[0]) * (reading.x[1] - reading.x[0]) * 6 <= most
        )
        for places in reading.blocks:
            for place, span in zip(places, (reading.y, reading.x), strict=True):
                assert span[0] <= place.origin < place.end <= span[1]
                if normalize == "lattice":
                    assert place.start % 1024 == 0
            y, x = (
                slice(max(place.start, first) - first, min(place.stop, last) - first)
                for place, (first, last) in zip(places, spans, strict=True)
            )
            seen[y, x] += 1
    assert (seen == 1).all()


def test_blocks_of_one_chunk_have_no_halo():
    (place,) = blocks_along((100,), (0, 50), normalize="chunk", multiple=8, depth=40, block_px=64)
    assert (place.origin, place.end, place.depth) == (0, 100, 0)


# --- sources ---


def test_bands_of_several_resolutions(shelf, job, tmp_path):
    """20 m beside 10 m: what a window shows is what the whole shows."""
    own = Shelf(tmp_path)
    item = own.scene("a", grid=grid_cube(shape=SHAPE))
    coarse = Shelf(tmp_path)
    half = coarse.scene(
        "h", grid=grid_cube(shape=(SHAPE[0] // 2, SHAPE[1] // 2), pixel=20.0), bands={"nir": "B8A"}, seed=3
    )
    item["assets"]["B08"] = half["assets"]["B8A"]
    (tmp_path / "mixed.json").write_text(json.dumps(item))
    for resampling in ("nearest", "bilinear"):
        chosen = dataclasses.replace(job, reading={"bands": ["B04", "B03", "B8A"], "resampling": resampling})
        chosen = changed(chosen, bands={"red": "B04", "green": "B03", "nir": "B8A"})
        item["assets"]["B8A"] = half["assets"]["B8A"]
        (tmp_path / "mixed.json").write_text(json.dumps(item))
        cell = cell_of(grid_cube(shape=SHAPE))
        sink, ledger = run([task_of(chosen, cell, [item], region=one) for one in regions(cell, 64)])
        assert [record.reason for record in ledger.records if record.reason] == []
        cube = load(own.items("mixed"), bands=["B04", "B03", "B8A"], resampling=resampling)
        np.testing.assert_array_equal(sink.plane, masks(cube, chosen)[0])


def test_a_mosaic_the_first_on_top(shelf, job, tmp_path):
    """Two scenes of a day, which overlap, and a cell that is larger than both."""
    own = Shelf(tmp_path)
    own.scene("left", grid=grid_cube(shape=(96, 96)), time="2024-05-14T10:50:31Z", seed=1)
    own.scene("right", grid=grid_cube(shape=(96, 96), x=600_640.0), time="2024-05-14T10:50:20Z", seed=2)
    cube = grid_cube(shape=(128, 192), x=599_840.0, y=5_400_160.0)
    cell = cell_of(cube)
    sources = [document(own, name) for name in ("left", "right")]
    expected = {}
    for order in ((0, 1), (1, 0)):
        tasks = [task_of(job, cell, [sources[index] for index in order], region=one) for one in regions(cell, 64)]
        sink, ledger = run(tasks)
        assert {record.status for record in ledger.records} == {"ok"}
        expected[order] = sink.plane
    box = cube.odc.geobox
    together = load(own.items("left", "right"), geobox=box, groupby="solar_day")
    assert together.sizes["time"] == 1
    np.testing.assert_array_equal(expected[1, 0], masks(together, job)[0], "the earlier one on top")
    assert not np.array_equal(expected[0, 1], expected[1, 0])
    assert (expected[0, 1][:16] == NODATA).all()


def test_regions_of_a_mosaic_know_the_scenes_around_them(job, tiny_model, tmp_path):
    """Tasks with the scenes that the plan gives them: the mask is that of the whole mosaic, also where scenes meet."""
    own = Shelf(tmp_path)
    names = ["left", "right"]
    for index, name in enumerate(names):
        own.scene(
            name,
            grid=grid_cube(shape=(128, 128), x=600_000.0 + 1280 * index),
            seed=index,
            time=f"2024-05-14T10:50:3{index}Z",
        )
    cube = grid_cube(shape=(128, 256))
    cell = cell_of(cube)
    windows = [(0, (0, 128, 0, 128)), (1, (0, 128, 128, 256))]
    context = context_of(tiny_model, job.options, region_px=64, block_px=64, pixel_m=10.0)
    planned = list(regions_of(cell, windows, region_px=64, context_px=context))
    assert [numbers for region, numbers in planned[:4]] == [[0], [0, 1], [0, 1], [1]]
    sources = [document(own, name) for name in names]
    tasks = [task_of(job, cell, [sources[number] for number in numbers], region=region) for region, numbers in planned]
    sink, _ = run(tasks)
    together = load(own.items(*names), geobox=cube.odc.geobox, groupby="solar_day")
    np.testing.assert_array_equal(sink.plane, masks(together, job)[0])
    alone = [
        task_of(job, cell, [sources[number] for number in numbers], region=region)
        for region, numbers in regions_of(cell, windows, region_px=64)
    ]
    sink, _ = run(alone)
    assert not np.array_equal(sink.plane, masks(together, job)[0]), "it does matter"


def test_load_onto_a_grid(shelf):
    """A part of the grid shows what the whole shows there."""
    box = grid_cube(shape=SHAPE).odc.geobox
    part = load(shelf.items("a"), geobox=box[30:70, 20:100], chunks=32)
    assert part.odc.geobox == box[30:70, 20:100]
    whole = load(shelf.items("a"))
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(part["red"].values, whole["red"].values[:, 30:70, 20:100])
    with pytest.raises(ArgumentError, match="Leave out resolution="):
        load(shelf.items("a"), geobox=box, resolution=20)


def test_a_region_that_no_item_touches_is_nodata(shelf, job):
    cell = cell_of(grid_cube(shape=(128, 128), x=700_000.0))
    sink, ledger = run([task_of(job, cell, [shelf.documents["a"]])])
    (record,) = ledger.records
    assert (record.status, record.fractions["nodata"], record.reason) == ("nodata", 1.0, "")
    assert record.digest == digest_of(sink.plane)


@pytest.mark.parametrize("times", [None, 3])
@pytest.mark.parametrize("normalize", ["lattice", "chunk"])
def test_cubes_in_zarr(job, tmp_path, times, normalize):
    cube = odc_dataset(shape=SHAPE, times=times, seed=4, nodata_fraction=0.01)
    path = str(tmp_path / "cube.zarr")
    cube.chunk({"y": 48, "x": 48}).to_zarr(path, consolidated=False)
    job = changed(job, normalize=normalize)
    cell = cell_of(cube)
    times = [""] if times is None else [str(time) for time in cube["time"].values]
    for index, instant in enumerate(times):
        source = {"cube": path, "time": instant}
        sink, _ = run([task_of(job, cell, [source], region=one, time=instant) for one in regions(cell, 64)])
        one = cube if instant == "" else cube.isel(time=[index])
        expected = masks(one.chunk({"y": 64, "x": 64}), job)
        np.testing.assert_array_equal(sink.plane, expected.reshape(SHAPE))


def test_a_cube_is_read_by_windows(job, tmp_path):
    """Chunks that the padded window does not touch are broken, and nobody notices, however it is opened."""
    cube = odc_dataset(shape=(256, 256), times=None, seed=4)
    path = tmp_path / "cube.zarr"
    cube.chunk({"y": 32, "x": 32}).to_zarr(path, consolidated=False)
    expected = masks(cube, job)
    for file in path.glob("*/c/*/*"):
        if file.is_file() and max(int(file.name), int(file.parent.name)) >= 4:
            file.write_bytes(b"broken")
    job = dataclasses.replace(job, reading={"chunks": 256})
    source = {"cube": str(path), "time": ""}
    cell = cell_of(cube)
    near, far = (
        task_of(job, cell, [source], region=Region(y=(0, stop), x=(0, 64)), time=f"{stop}") for stop in (64, 128)
    )
    sink, ledger = run([near])
    assert [record.reason for record in ledger.records] == [""]
    np.testing.assert_array_equal(sink.plane[:64, :64], expected[:64, :64])
    _, ledger = run([far])
    assert ledger.records[0].status == "quarantined", "and they are broken indeed"
    assert "pixels cannot be read" in ledger.records[0].reason


def test_a_cube_of_files(shelf, job):
    paths = [str(shelf.folder / f"a-{band}.tif") for band in ROLES.values()]
    cube = xcloudmask.open_cube(paths)
    cell = cell_of(cube)
    sink, ledger = run([task_of(job, cell, [{"cube": paths, "time": ""}], region=one) for one in regions(cell, 64)])
    assert {record.reason for record in ledger.records} == {""}
    np.testing.assert_array_equal(sink.plane, masks(cube, job))


def test_cubes_that_are_not_what_was_planned(job, tmp_path):
    cube = odc_dataset(shape=(64, 64), times=2)
    path = str(tmp_path / "cube.zarr")
    cube.to_zarr(path, consolidated=False)
    cell = cell_of(cube)
    other = dataclasses.replace(cell, shape=(64, 96))
    tasks = [
        task_of(job, cell, [{"cube": path, "time": "2001-01-01T00:00:00"}]),
        task_of(job, other, [{"cube": path, "time": str(cube["time"].values[0])}]),
        task_of(job, cell, [{"cube": str(tmp_path / "none.zarr"), "time": ""}]),
        task_of(job, cell, []),
        task_of(job, cell, [{"type": "Feature"}]),
    ]
    _, ledger = run(tasks)
    reasons = [record.reason for record in ledger.records]
    assert [record.status for record in ledger.records] == ["quarantined"] * 5
    for reason, expected in zip(
        reasons,
        ["0 time steps of 2001", "planned with 64 x 96", "none.zarr", "no sources", "no STAC item"],
        strict=True,
    ):
        assert expected in reason


# --- records and stores ---


def test_the_record(shelf, job):
    cell = cell_of(grid_cube(shape=SHAPE))
    task = task_of(job, cell, [shelf.documents["a"]], region=Region(y=(0, 64), x=(48, 112)))
    sink, ledger = run([task])
    (record,) = ledger.records
    codes = sink.plane[:64, 48:112]
    assert (record.key, record.status, record.cell, record.time) == (task.key, "ok", "32TPS", task.time)
    assert record.digest == digest_of(codes)
    assert record.fractions["clear"] == (codes == 0).mean()
    assert sum(record.fractions.values()) == pytest.approx(1)
    assert set(record.seconds) == {"read", "predict", "write", "wait", "total"}
    assert record.seconds["total"] >= record.seconds["predict"] > 0
    assert (record.attempts, record.reason) == (1, "")
    assert record.settings == job.settings()
    assert record.worker
    assert type(record).from_json(record.to_json()) == record


def test_styles(shelf, job):
    cell = cell_of(grid_cube(shape=SHAPE))
    sink, ledger = run([task_of(changed(job, output_style="valid-invalid"), cell, [shelf.documents["a"]])])
    assert set(np.unique(sink.plane)) <= {0, 1, 255}
    assert set(ledger.records[0].fractions) == {"valid", "invalid", "nodata"}


def test_done_is_done(shelf, job):
    cell = cell_of(grid_cube(shape=SHAPE))
    task = task_of(job, cell, [shelf.documents["a"]])
    sink, ledger = MemorySink(), MemoryLedger()
    first = process_task(task, sink=sink, ledger=ledger)
    assert process_task(task, sink=sink, ledger=ledger) is first
    assert sink.written == [task.key]


def test_in_a_transaction(shelf, job):
    cell = cell_of(grid_cube(shape=SHAPE))
    task = task_of(job, cell, [shelf.documents["a"]])
    sink = MemorySink()
    record, token = process_in_transaction(task, ["base"], sink=sink)
    assert token == ["base", task.key]
    assert (record.status, record.digest) == ("ok", digest_of(sink.plane))
    broken = dataclasses.replace(task, sources=())
    record, token = process_in_transaction(broken, ["base"], sink=sink)
    assert (record.status, token) == ("quarantined", ["base"])


def test_the_task_alone_is_enough(shelf, job):
    """Store and ledger are those of the task; as a cluster calls it."""
    cell = cell_of(grid_cube(shape=SHAPE))
    tasks = [task_of(job, cell, [shelf.documents["a"]], region=one) for one in regions(cell, 64)]
    sink = open_sink(job)
    sink.prepare([(cell, [tasks[0].time])])
    records = [process_task(task) for task in tasks]
    expected = masks(load(shelf.items("a")), job)[0]
    for task, record in zip(tasks, records, strict=True):
        np.testing.assert_array_equal(sink.read(record), expected[slice(*task.region.y), slice(*task.region.x)])
    with xcloudmask.open_mask(f"{job.store}/masks/32TPS.zarr") as mask:
        np.testing.assert_array_equal(mask.values[0], expected)
    again = [process_task(task) for task in tasks]
    assert again == records


def test_another_model_or_version_stops_the_run(shelf, job):
    cell = cell_of(grid_cube(shape=SHAPE))
    for wrong, message in (
        ({"model_sha256": "0" * 64}, "was planned with 000000000000"),
        ({"version": "0.0.1"}, "planned with 0.0.1"),
        ({"model": "nonesuch"}, "No model is called"),
        ({"options": {"colour": "red"}}, "not those of predict"),
        ({"options": {"normalize": "tiles"}}, "normalize='tiles'"),
        ({"options": {"categorise": False}}, "campaign writes codes"),
        ({"reading": {"chunks": 3}}, "'chunks'. Expected some of bands"),
        ({"policy": {"ports": [1]}}, "policy"),
    ):
        task = task_of(dataclasses.replace(job, **wrong), cell, [shelf.documents["a"]])
        sink, ledger = MemorySink(), MemoryLedger()
        with pytest.raises(FatalError, match=message):
            process_task(task, sink=sink, ledger=ledger)
        assert not ledger.records
        assert not sink.written


def test_files_of_this_machine_need_a_policy(shelf, job):
    cell = cell_of(grid_cube(shape=SHAPE))
    _, ledger = run([task_of(dataclasses.replace(job, policy={}), cell, [shelf.documents["a"]])])
    assert ledger.records[0].status == "quarantined"
    assert "HrefError" in ledger.records[0].reason


# --- many threads ---


def test_regions_of_a_step_open_it_once(shelf, job, monkeypatch):
    opened = []
    real = read._open
    monkeypatch.setattr(read, "_open", lambda *args: opened.append(1) or time.sleep(0.05) or real(*args))
    read._steps.clear()
    cell = cell_of(grid_cube(shape=SHAPE))
    tasks = [task_of(job, cell, [shelf.documents["a"]], region=one) for one in regions(cell, 64)]
    sink, ledger = MemorySink(), MemoryLedger()
    threads = [
        threading.Thread(target=process_task, args=(task,), kwargs={"sink": sink, "ledger": ledger}) for task in tasks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.records) == len(tasks)
    assert opened == [1]
    np.testing.assert_array_equal(sink.plane, masks(load(shelf.items("a")), job)[0])


def test_few_steps_stay_open(shelf, job, monkeypatch):
    monkeypatch.setattr(read, "_STEPS_MOST", 2)
    read._steps.clear()
    cell = cell_of(grid_cube(shape=SHAPE))
    for day in range(4):
        run([task_of(job, cell, [shelf.documents["a"]], time=f"2024-05-1{day}", region=Region(y=(0, 8), x=(0, 8)))])
    assert len(read._steps) == 2


def test_turns():
    """No more threads than places, and all of them come to their turn."""
    seats, most, lock, inside = Seats(), [0], threading.Lock(), []

    def work():
        with seats.taken(lambda: 2):
            with lock:
                most[0] = max(most[0], seats.in_use)
            time.sleep(0.002)
            inside.append(1)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], len(inside), seats.in_use) == (2, 12, 0)
    with pytest.raises(RuntimeError), seats.taken(lambda: 1):
        raise RuntimeError
    assert seats.in_use == 0


def test_how_many_predict_at_once():
    assert predictions_at_once("cpu") == 1, "not in a worker"
    assert predictions_at_once("cuda") == 1
    with dask.config.set({"xcloudmask.run.predicting": 5}):
        assert predictions_at_once("cpu") == predictions_at_once("cuda:0") == 5
    for wrong in (0, "two", True):
        with dask.config.set({"xcloudmask.run.predicting": wrong}), pytest.raises(ArgumentError, match="predicting"):
            predictions_at_once()


def test_others_read_while_one_predicts(shelf, job, monkeypatch):
    """A task that waits for its turn has read its pixels before."""
    cell = cell_of(grid_cube(shape=SHAPE))
    both_read, order = threading.Barrier(2, timeout=20), []
    real = read.OpenStep.read

    def slow(step, window):
        pixels = real(step, window)
        both_read.wait()  # nobody predicts before both have read: a lock around all of a task would never get here
        order.append("read")
        return pixels

    monkeypatch.setattr(read.OpenStep, "read", slow)
    tasks = [task_of(job, cell, [shelf.documents["a"]], region=one) for one in regions(cell, 128)[:2]]
    sink, ledger = MemorySink(), MemoryLedger()
    threads = [
        threading.Thread(target=process_task, args=(task,), kwargs={"sink": sink, "ledger": ledger}) for task in tasks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.status for record in ledger.records] == ["ok", "ok"]


def test_readers_are_threads_beyond_the_cores():
    for workers, threads, cores, seats in ((None, 3, 8, 3), (2, 4, 8, 4), (8, 2, 8, 1), (1, 4, 2, 2), (16, 2, 8, 1)):
        found = seats_of(workers=workers, threads=threads, cores=cores)
        with dask.config.set(found):
            assert predictions_at_once("cpu") == seats


def test_predicting_is_for_as_many_as_there_are_seats(monkeypatch):
    at_once, most, lock = [0], [0], threading.Lock()

    def work():
        with predicting("cpu"):
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            time.sleep(0.005)
            with lock:
                at_once[0] -= 1

    with dask.config.set({"xcloudmask.run.predicting": 3}):
        threads = [threading.Thread(target=work) for _ in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most[0] == 3


def test_rows_of_blocks_where_a_region_is_too_large(shelf, job, monkeypatch):
    """The same mask, read in pieces."""
    cell = cell_of(grid_cube(shape=SHAPE))
    windows = []
    real = read.OpenStep.read
    monkeypatch.setattr(read.OpenStep, "read", lambda step, window: windows.append(window) or real(step, window))
    planes = []
    for most, count in ((2**28, 1), (90_000, 3), (1, 6)):
        windows.clear()
        monkeypatch.setattr(process_module, "READ_BYTES", most)
        sink, _ = run([task_of(job, cell, [shelf.documents["a"]])])
        planes.append(sink.plane)
        assert len(windows) == count
    np.testing.assert_array_equal(planes[0], planes[1])
    np.testing.assert_array_equal(planes[0], planes[2])


def test_jpeg_2000_beside_files_that_are_written(shelf, job, tmp_path):
    """GDAL crashes where one thread reads JPEG 2000 and another one closes a GeoTIFF."""
    import rasterio

    item = json.loads(json.dumps(shelf.documents["a"]))
    with rasterio.open(item["assets"]["B04"]["href"]) as file:
        profile, pixels = file.profile, file.read()
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    profile = {key: profile[key] for key in ("width", "height", "count", "dtype", "crs", "transform")}
    with rasterio.open(tmp_path / "a-B04.jp2", "w", driver="JP2OpenJPEG", **profile, **lossless) as file:
        file.write(pixels)
    item["assets"]["B04"]["href"] = str(tmp_path / "a-B04.jp2")
    job = dataclasses.replace(job, kind="cog")
    cell = cell_of(grid_cube(shape=SHAPE))
    times = [f"2024-05-1{day}T10:50:31" for day in range(6)]
    tasks = [task_of(job, cell, [item], time=time) for time in times]
    open_sink(job).prepare([(cell, times)])
    records = []
    threads = [threading.Thread(target=lambda task=task: records.append(process_task(task))) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(record.status, record.reason) for record in records} == {("ok", "")}
    quiet, _ = run([task_of(job, cell, [shelf.documents["a"]])])
    assert {record.digest for record in records} == {digest_of(quiet.plane)}
    assert len(records) == 6
    np.testing.assert_array_equal(open_sink(job).read(records[0]), quiet.plane)
