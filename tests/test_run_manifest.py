"""The manifest: order, what is left out, replaced scenes, and that nobody holds all tasks."""

import sqlite3
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.errors import ArgumentError, ReadError, WriteError
from xcloudmask.run.manifest import Manifest, Skip, Source
from xcloudmask.run.task import Cell, Job, Region

JOB = Job(store="masks", kind="zarr", model="default", model_sha256="ab", options={"normalize": "lattice"})
CELL = Cell(name="a", crs="EPSG:32632", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), shape=(8, 16))
LEFT, RIGHT = Region(y=(0, 8), x=(0, 8)), Region(y=(0, 8), x=(8, 16))


def source(name, *, fingerprint="1", place="a", day=1, **document):
    time = f"2024-01-{day:02d}T10:00:00"
    return Source(
        name=name,
        fingerprint=fingerprint,
        place=place,
        family=place,
        time=time,
        cell=CELL,
        document={"id": name, **document},
    )


def fill(path, days, *, order=None):
    """A manifest of a scene a day, two tasks each."""
    manifest = Manifest.create(path, JOB)
    manifest.add_sources([source(f"s{day}", day=day) for day in order or days])
    manifest.add_cells([CELL])
    numbers = {found.name: number for number, found in manifest.sources("a")}
    for day in days:
        number = numbers[f"s{day}"]
        manifest.put_step("a", f"2024-01-{day:02d}T10:00:00", [(LEFT, [number]), (RIGHT, [number])])
    return manifest


def test_tasks_come_step_by_step_with_all_they_need(tmp_path):
    with fill(tmp_path / "m.sqlite", [1, 2]) as manifest:
        tasks = list(manifest.tasks())
    assert [(task.time[:10], task.region) for task in tasks] == [
        ("2024-01-01", LEFT), ("2024-01-01", RIGHT), ("2024-01-02", LEFT), ("2024-01-02", RIGHT),
    ]  # fmt: skip
    assert tasks[0].sources == ({"id": "s1"},)
    assert tasks[2].ids == ("s2",)
    assert tasks[0].cell == CELL
    assert tasks[0].job == JOB
    assert len({task.key for task in tasks}) == 4


def test_a_manifest_is_opened_as_it_was_left(tmp_path):
    with fill(tmp_path / "m.sqlite", [1, 2]) as manifest:
        tasks, digest = list(manifest.tasks()), manifest.digest()
    with Manifest.open(tmp_path / "m.sqlite") as again:
        assert list(again.tasks()) == tasks
        assert again.digest() == digest
        assert list(again.cells()) == [(CELL, ("2024-01-01T10:00:00", "2024-01-02T10:00:00"))]
        assert [(step.cell, step.ids, step.tasks) for step in again.steps()] == [("a", ("s1",), 2), ("a", ("s2",), 2)]
        assert (len(again), again.tally().steps, again.tally().pixels) == (4, 2, 256)
        assert repr(again) == "<Manifest m.sqlite: 4 tasks, 2 time steps, 1 cells>"
    with Manifest.open(tmp_path / "m.sqlite", store="s3://elsewhere") as moved:
        assert {task.job.store for task in moved.tasks()} == {"s3://elsewhere"}
        assert [task.key for task in moved.tasks()] == [task.key for task in tasks]


@given(st.sets(st.integers(0, 19)))
def test_finished_tasks_are_left_out_both_ways(tmp_path_factory, done):
    folder = tmp_path_factory.mktemp("manifest")
    with fill(folder / "m.sqlite", range(1, 11)) as manifest:
        tasks = list(manifest.tasks())
        keys = [tasks[index].key for index in done]
        expected = [task for index, task in enumerate(tasks) if index not in done]
        index = sqlite3.connect(folder / "index.sqlite")
        index.execute("CREATE TABLE final (key TEXT PRIMARY KEY)")
        index.executemany("INSERT INTO final VALUES (?)", [(key,) for key in [*keys, "unknown"]])
        index.commit()
        index.close()
        assert list(manifest.tasks(without=iter([*keys, "unknown"]))) == expected
        assert list(manifest.tasks(without=folder / "index.sqlite")) == expected
        assert manifest.count(without=keys) == len(expected)


def test_the_ledgers_index_leaves_out_what_is_final(tmp_path):
    ledgers = pytest.importorskip("xcloudmask.run.ledger")
    indices = pytest.importorskip("xcloudmask.run.index")
    from xcloudmask.run.task import Record

    ledger = ledgers.open_ledger(str(tmp_path / "store"))
    with fill(tmp_path / "m.sqlite", [1, 2]) as manifest:
        tasks = list(manifest.tasks())
        for task, status in zip(tasks, ("ok", "failed", "quarantined", "nodata"), strict=True):
            record = {"name": task.name, "cell": "a", "time": task.time, "region": task.region, "ids": task.ids}
            ledger.put(Record(key=task.key, status=status, **record))
        with indices.open_index(ledger) as index:
            index.refresh(ledger)
            listing = manifest.tasks(without=index.path)
            assert next(listing).key == tasks[1].key
            index.refresh(ledger)  # a listing that goes on does not lock the index
            assert list(listing) == []


def test_a_listing_goes_on_beside_others_and_pages_end(tmp_path, monkeypatch):
    monkeypatch.setattr("xcloudmask.run.manifest._PAGE", 3)
    with fill(tmp_path / "m.sqlite", range(1, 6)) as manifest:
        first, second = manifest.tasks(), manifest.tasks()
        mixed = [(next(first), next(second)) for _ in range(10)]
        assert all(one == other for one, other in mixed)
        assert next(first, None) is None
        assert manifest.task(mixed[4][0].key) == mixed[4][0]
        assert manifest.task("unknown") is None


@given(st.permutations(range(1, 7)))
def test_the_digest_knows_no_order(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    with fill(folder / "a.sqlite", range(1, 7)) as one, fill(folder / "b.sqlite", range(1, 7), order=order) as other:
        assert one.digest() == other.digest()
    with fill(folder / "c.sqlite", range(1, 6)) as fewer:
        assert fewer.digest() != one_digest(folder / "a.sqlite")


def one_digest(path):
    with Manifest.open(path) as manifest:
        return manifest.digest()


def test_new_pixels_get_new_keys_and_the_rest_keeps_its_own(tmp_path):
    with fill(tmp_path / "m.sqlite", [1, 2]) as manifest:
        before = [task.key for task in manifest.tasks()]
        assert manifest.add_sources([source("s1", day=1), source("s2", day=2, fingerprint="2")]) == (0, 1)
        numbers = {found.name: number for number, found in manifest.sources("a")}
        for day in (1, 2):
            regions = [(LEFT, [numbers[f"s{day}"]]), (RIGHT, [numbers[f"s{day}"]])]
            assert manifest.put_step("a", f"2024-01-{day:02d}T10:00:00", regions) == (0, 2 * (day == 2))
        after = [task.key for task in manifest.tasks()]
        assert after[:2] == before[:2]
        assert not set(after[2:]) & set(before)
        assert len(manifest) == 4


def test_scenes_that_others_replace_stay_known(tmp_path):
    with Manifest.create(tmp_path / "m.sqlite", JOB) as manifest:
        manifest.add_sources([source("old"), source("new")])
        manifest.replace_sources([(1, 2)])
        assert manifest.tally().replaced == 1
        assert [found.name for _, found in manifest.sources("a")] == ["new", "old"]
        manifest.add_skips([Skip(name="bad", why="no grid")])
        assert [(skip.name, skip.why) for skip in manifest.skipped()] == [("bad", "no grid")]


def test_facts_are_kept(tmp_path):
    with Manifest.create(tmp_path / "m.sqlite", JOB) as manifest:
        manifest.note("layout", {"region_px": 512})
        assert manifest.fact("layout") == {"region_px": 512}
        assert manifest.fact("other") is None


def test_listing_holds_a_page_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("xcloudmask.run.manifest._PAGE", 200)
    with Manifest.create(tmp_path / "m.sqlite", JOB) as manifest:
        manifest.add_sources([source("s", padding="x" * 1000)])
        manifest.add_cells([CELL])
        for number in range(3000):
            manifest.put_step("a", f"2024-01-01T10:00:00.{number:06d}", [(LEFT, [1])])
        peaks = []
        for most in (300, 3000):
            tracemalloc.start()
            for number, _ in enumerate(manifest.tasks()):
                if number == most - 1:
                    break
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize("data", [b"", b"no database", b"SQLite format 3\0" + b"\0" * 200])
def test_what_is_no_manifest_is_said_so(tmp_path, data):
    (tmp_path / "m.sqlite").write_bytes(data)
    with pytest.raises(ReadError, match="xcloudmask run plan"):
        Manifest.open(tmp_path / "m.sqlite")


def test_a_later_format_and_a_missing_file_are_said_so(tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        Manifest.open(tmp_path / "m.sqlite")
    fill(tmp_path / "m.sqlite", [1]).close()
    with pytest.raises(WriteError, match="there already"):
        Manifest.create(tmp_path / "m.sqlite", JOB)
    with sqlite3.connect(tmp_path / "m.sqlite") as database:
        database.execute("UPDATE facts SET value = '9' WHERE name = 'format'")
    with pytest.raises(ReadError, match="format 9"):
        Manifest.open(tmp_path / "m.sqlite")


def test_a_key_alone_is_no_list_of_keys(tmp_path):
    with fill(tmp_path / "m.sqlite", [1]) as manifest, pytest.raises(ArgumentError, match="one text"):
        list(manifest.tasks(without="abc"))
