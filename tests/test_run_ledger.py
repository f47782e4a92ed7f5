"""The ledger and its index: what counts, what compaction and forgetting leave, whatever happens in between."""

import contextlib
import gzip
import itertools
import sqlite3
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_places import Killed, Mortal, bucket, memory_url, record_of  # noqa: F401  # a fixture

from xcloudmask.errors import ArgumentError, ReadError, WriteError
from xcloudmask.run.index import LedgerIndex, open_index
from xcloudmask.run.ledger import Ledger, open_ledger
from xcloudmask.run.objects import open_objects
from xcloudmask.run.task import Job, Record, is_final

KEYS = ("00aa", "00ab", "00ac", "01aa", "ffff")
STATUSES = ("ok", "nodata", "failed", "quarantined")
RANK = {status: rank for rank, status in enumerate(("ok", "nodata", "quarantined", "failed"))}


@pytest.fixture(params=["local", "memory", "s3"])
def ledger(request, tmp_path):
    if request.param == "local":
        return open_ledger(tmp_path / "campaign")
    return open_ledger(request.getfixturevalue("bucket") + "/c" if request.param == "s3" else memory_url())


def names(ledger):
    return sorted(ledger.objects.list("ledger/"))


def fill(ledger):
    """Put two failures and then a record of each kind."""
    records = [
        record_of("00aa", "failed", reason="ReadError: 503", finished="2024-06-01T10:00:00"),
        record_of("00aa", "failed", reason="ReadError: 429", finished="2024-06-01T11:00:00"),
        record_of("00aa", "ok", fractions={"clear": 0.75, "nodata": 0.25}, seconds={"read": 2.0, "total": 3.0}),
        record_of("00ab", "nodata", fractions={"nodata": 1.0}, seconds={"read": 1.0, "total": 1.0}),
        record_of("01aa", "failed", reason="ReadError: 404", finished="2024-06-01T10:00:00", cell="33UXP"),
        record_of("01aa", "failed", reason="ReadError: 500", finished="2024-06-02T10:00:00", cell="33UXP"),
        record_of("ffff", "quarantined", reason="killed its worker twice", cell="33UXP"),
    ]
    for record in records:
        assert ledger.put(record) is True
    return records


FINAL = {"00aa": "ok", "00ab": "nodata", "ffff": "quarantined"}
STATES = FINAL | {"01aa": "failed"}


def test_put_and_get(ledger):
    records = fill(ledger)
    assert dict(ledger.states()) == STATES
    assert ledger.get("00aa") == records[2]
    assert ledger.get("ffff") == records[-1]
    assert ledger.get("01aa") is None  # only failed
    assert ledger.get("0abc") is None
    assert names(ledger) == [
        "ledger/records/00/00aa.failed-1.json",
        "ledger/records/00/00aa.failed-2.json",
        "ledger/records/00/00aa.ok.json",
        "ledger/records/00/00ab.nodata.json",
        "ledger/records/01/01aa.failed-1.json",
        "ledger/records/01/01aa.failed-2.json",
        "ledger/records/ff/ffff.quarantined.json",
    ]
    counting = list(ledger.records())
    assert [record.key for record in counting] == sorted(STATES)
    assert {record.key: record.reason for record in counting}["01aa"] == "ReadError: 500"  # the last failure
    assert sorted(ledger.records(history=True), key=Record.to_json) == sorted(records, key=Record.to_json)
    assert [record.key for record in ledger.records(statuses={"failed"})] == ["01aa"]
    assert len(list(ledger.records(statuses={"failed"}, history=True))) == 4


def test_records_never_change(ledger):
    first, second = record_of("00aa", worker="one"), record_of("00aa", worker="two")
    assert ledger.put(first) is True
    assert ledger.put(second) is False
    assert ledger.get("00aa") == first
    failure = record_of("00ab", "failed", reason="503")
    assert [ledger.put(failure), ledger.put(failure)] == [True, False]  # the same one again is no other failure


def test_compaction_changes_nothing_but_the_names(ledger):
    records = fill(ledger)
    result = ledger.compact()
    assert (result.records, result.segments, result.damaged) == (5, 2, ())
    assert [name for name in names(ledger) if name.startswith("ledger/records")] == [
        "ledger/records/01/01aa.failed-1.json",
        "ledger/records/01/01aa.failed-2.json",
    ]
    assert dict(ledger.states()) == STATES
    assert ledger.get("00aa") == records[2]
    assert open_ledger(ledger.objects).get("ffff") == records[-1]
    assert ledger.get("00ac") is None
    assert sorted(ledger.records(history=True), key=Record.to_json) == sorted(records, key=Record.to_json)
    before = names(ledger)
    assert ledger.compact().records == 0
    assert names(ledger) == before
    ledger.put(record_of("00ac"))
    assert ledger.get("00ac").key == "00ac"  # not in the segments that this ledger has seen
    assert (ledger.compact().records, len(names(ledger))) == (1, 4)
    assert open_ledger(ledger.objects).get("00ac") == record_of("00ac")


def test_forgotten_tasks_run_again(ledger):
    fill(ledger)
    assert ledger.forget(STATES) == 2  # with failures; those of a task that is done too
    assert dict(ledger.states()) == FINAL
    assert ledger.forget(STATES) == 0
    ledger.compact()
    assert ledger.forget(STATES, statuses=("failed", "quarantined")) == 1
    assert dict(ledger.states()) == {"00aa": "ok", "00ab": "nodata"}
    assert ledger.forget(["00aa"], statuses=STATUSES) == 1
    assert dict(ledger.states()) == {"00ab": "nodata"}
    assert ledger.get("00aa") is None
    again = record_of("00aa", digest="other")
    assert ledger.put(again) is True
    assert ledger.get("00aa") == again
    assert ledger.forget(KEYS, statuses=STATUSES) == 2
    assert names(ledger) == []


def test_which_of_two_records_counts(tmp_path):
    ledger = open_ledger(tmp_path)
    for one, other in itertools.permutations(STATUSES, 2):
        key = f"{one[0]}{other[0]}00"
        for status in (one, other):
            ledger.put(record_of(key, status))
        expected = min(one, other, key=RANK.get)
        assert dict(ledger.states())[key] == expected
        assert ledger.get(key).status == expected
    before = dict(ledger.states())
    ledger.compact()
    assert dict(ledger.states()) == before


@pytest.mark.parametrize("harm", [b"", b"[" * 50_000, b'{"key":"00aa"}', b'{"key":"00aa","status":[]}', b"\xff\x00"])
def test_damaged_records_are_none(tmp_path, harm):
    ledger = open_ledger(tmp_path)
    fill(ledger)
    good = ledger.get("00ab")
    damages = {"ledger/records/00/00aa.ok.json": harm, "ledger/records/ff/ffff.quarantined.json": good.to_json()}
    for name, data in damages.items():
        ledger.objects.put(name, data)
    ledger.objects.put("ledger/records/00/README.json", b"not ours")
    assert ledger.get("00aa") is None
    assert ledger.get("ffff") is None  # the record of another task
    assert {record.key for record in ledger.records()} == {"00aa", "00ab", "01aa"}  # of 00aa a failure is left
    with open_index(ledger) as index:
        refreshed = index.refresh(ledger)
        assert sorted(refreshed.damaged) == sorted(damages)
        assert index.counts() == {"failed": 2, "nodata": 1}
        assert ledger.compact().damaged == tuple(sorted(damages))
        # The task runs again and writes what was lost.
        assert ledger.put(record_of("00aa")) is True
        assert ledger.get("00aa") == record_of("00aa")
        assert index.refresh(ledger).damaged == ("ledger/records/ff/ffff.quarantined.json",)
        assert index.counts() == {"failed": 1, "nodata": 1, "ok": 1}
    assert ledger.forget(["ffff"], statuses=STATUSES) == 1
    assert ledger.compact().damaged == ()


@pytest.mark.parametrize("harm", ["cut", "no gzip", "no record", "of another prefix", "no end", "long line"])
def test_damaged_segments_are_named(tmp_path, harm):
    ledger = open_ledger(tmp_path)
    fill(ledger)
    ledger.compact()
    (name,) = (name for name in names(ledger) if "segments/ff" in name)
    data = ledger.objects.get(name)
    plain = gzip.decompress(data)
    harmed = {
        "cut": data[:-9],
        "no gzip": b"hello",
        "no record": gzip.compress(b'{"key": 1}\n'),
        "of another prefix": gzip.compress(plain.replace(b"ffff", b"eeee")),
        "no end": gzip.compress(plain[:-1]),
        "long line": gzip.compress(b"x" * 100_000 + b"\n"),
    }[harm]
    ledger.objects.put(name, harmed)
    for act in (lambda: list(ledger.states()), lambda: open_ledger(tmp_path).get("ffff"), ledger.compact):
        with pytest.raises(ReadError, match=r"ledger/segments/ff-.* is damaged .* Delete it: its tasks then run again"):
            act()
    ledger.objects.delete([name])
    assert dict(ledger.states()) == {"00aa": "ok", "00ab": "nodata", "01aa": "failed"}


@pytest.mark.parametrize("key", ["", "../../etc", "a/b", "abc", "x" * 65, ".abc", "a\nbc", "a.bc"])
def test_keys_that_are_none(key):
    ledger = open_ledger(memory_url())
    with pytest.raises(ArgumentError, match="no key of a task"):
        ledger.put(record_of(key))
    with pytest.raises(ArgumentError, match="no key of a task"):
        ledger.get(key)


def test_records_that_are_too_large():
    with pytest.raises(ArgumentError, match="Expected 64000 at most"):
        open_ledger(memory_url()).put(record_of("00aa", reason="x" * 64_000))


def test_a_ledger_of_a_job(tmp_path):
    job = Job(store=str(tmp_path), kind="zarr", model="default", model_sha256="")
    open_ledger(job).put(record_of("00aa"))
    assert dict(open_ledger(str(tmp_path)).states()) == {"00aa": "ok"}


def test_fields_of_newer_versions_are_kept(tmp_path):
    ledger = open_ledger(tmp_path)
    newer = record_of("00aa").to_json()[:-1] + b',"new_field":1}'
    ledger.objects.put("ledger/records/00/00aa.ok.json", newer)
    assert ledger.compact().damaged == ()
    (name,) = names(ledger)
    assert gzip.decompress(ledger.objects.get(name)) == newer + b"\n"
    assert dict(ledger.states()) == {"00aa": "ok"}
    with open_index(ledger) as index:
        index.refresh(ledger)
        assert index.counts() == {"ok": 1}


entries = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(STATUSES), st.integers(0, 3)), max_size=12)


@given(before=entries, between=entries, number=st.integers(1, 12), after=st.booleans(), other=st.booleans())
@settings(max_examples=25)
def test_compaction_that_is_killed_at_any_moment_loses_nothing(before, between, number, after, other):
    ledger = open_ledger(memory_url())
    put_all(ledger, before)
    ledger.compact()
    put_all(ledger, between)
    expected, history = dict(ledger.states()), set(map(Record.to_json, ledger.records(history=True)))
    with open_index(ledger) as index:
        index.refresh(ledger)
        with contextlib.suppress(Killed):
            open_ledger(Mortal(ledger.objects, number, after=after)).compact()
        for _ in range(2):
            check(ledger, index, expected, history)
            (ledger if other else open_ledger(ledger.objects)).compact()
    assert len(names(ledger)) <= len({key[:2] for key in expected}) + len(
        [1 for name in names(ledger) if "failed" in name]
    )


def put_all(ledger, entries):
    for key, status, hour in entries:
        ledger.put(record_of(key, status, finished=f"2024-01-01T{hour:02}:00:00", reason=str(hour)))


def check(ledger, index, expected, history):
    assert dict(ledger.states()) == expected
    assert set(map(Record.to_json, ledger.records(history=True))) == history
    for key in KEYS:
        found = ledger.get(key)
        assert (found.status if found else "failed") == expected.get(key, "failed")
    index.refresh(ledger)
    assert dict(index.states()) == expected
    with open_index(ledger) as fresh:
        fresh.refresh(ledger, contents=False)
        assert dict(fresh.states()) == expected
        fresh.refresh(ledger)
        counting = {record.key: record for record in ledger.records()}
        assert {record.key: record for record in fresh.records()} == counting
        assert {record.key: record for record in index.records()} == counting


@given(before=entries, keys=st.sets(st.sampled_from(KEYS)), number=st.integers(1, 8), after=st.booleans())
@settings(max_examples=25)
def test_forgetting_that_is_killed_ends_when_it_is_repeated(before, keys, number, after):
    ledger = open_ledger(memory_url())
    put_all(ledger, before)
    ledger.compact()
    put_all(ledger, before[::2])
    expected = {key: status for key, status in ledger.states() if key not in keys}
    try:
        open_ledger(Mortal(ledger.objects, number, after=after)).forget(keys, statuses=STATUSES)
    except Killed:
        assert {key: status for key, status in ledger.states() if key not in keys} == expected
    ledger.forget(keys, statuses=STATUSES)
    assert dict(ledger.states()) == expected


def test_readers_and_workers_beside_compaction_miss_nothing(tmp_path):
    ledger, stop, errors = open_ledger(tmp_path), threading.Event(), []
    done = [f"{number % 3:02}{number:04}" for number in range(60)]
    for key in done[:20]:
        ledger.put(record_of(key))

    def look():
        own = open_ledger(tmp_path)
        with LedgerIndex(None) as index:
            while not stop.is_set():
                index.refresh(own)
                seen = {"listed": set(dict(own.states())), "indexed": set(dict(index.states()))}
                seen["got"] = {key for key in done[:20] if own.get(key) is not None}
                errors.extend(f"{how}: {set(done[:20]) - keys}" for how, keys in seen.items() if set(done[:20]) - keys)

    def gather():
        while not stop.is_set():
            open_ledger(tmp_path).compact()

    threads = [threading.Thread(target=act) for act in (look, gather, gather)]
    for thread in threads:
        thread.start()
    for key in done[20:]:
        ledger.put(record_of(key))
    stop.wait(1)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert dict(ledger.states()) == dict.fromkeys(done, "ok")


@pytest.mark.parametrize("moment", ["record_names", "segment_names"])
@pytest.mark.parametrize("contents", [True, False])
def test_the_index_beside_compaction_between_listing_and_reading(tmp_path, moment, contents):
    ledger = open_ledger(tmp_path)
    fill(ledger)
    compacted = []

    class Between(Ledger):
        def record_names(self, prefix):
            return self.then("record_names", super().record_names(prefix))

        def segment_names(self, prefix):
            return self.then("segment_names", super().segment_names(prefix))

        def then(self, what, found):
            if what == moment and not compacted:
                compacted.append(ledger.compact())
            return found

    with LedgerIndex(None) as index:
        assert index.refresh(Between(ledger.objects), contents=contents).damaged == ()
        assert compacted[0].records == 5
        assert dict(index.states()) == STATES
        index.refresh(ledger)
        assert list(index.records(statuses=["ok", "nodata"])) == list(ledger.records(statuses=["ok", "nodata"]))


def test_the_index_answers_questions(ledger):
    fill(ledger)
    with open_index(ledger) as index:
        seen = []
        assert index.refresh(ledger, progress=lambda done, of: seen.append((done, of))).new == 7
        assert seen == [(1, 3), (2, 3), (3, 3)]
        assert index.refresh(ledger) == type(index.refresh(ledger))(new=0, gone=0, damaged=())
        assert index.counts() == {"failed": 1, "nodata": 1, "ok": 1, "quarantined": 1}
        assert index.counts("cell") == {"32TPS": 2, "33UXP": 2}
        assert index.counts("reason", statuses=["failed"]) == {"ReadError: 500": 1}
        assert index.counts("day", statuses=["failed"]) == {"2024-06-02": 1}
        stages = index.seconds()
        assert (stages["read"].tasks, stages["read"].total, stages["read"].mean, stages["read"].longest) == (
            2,
            3,
            1.5,
            2,
        )
        assert index.seconds(cells=["33UXP"]) == {}
        assert index.fractions() == {"32TPS": {"clear": 0.375, "nodata": 0.625}}
        assert list(index.records(statuses=["ok", "nodata"])) == list(ledger.records(statuses=["ok", "nodata"]))
        assert [record.key for record in index.records(cells=["33UXP"])] == ["01aa", "ffff"]
        with pytest.raises(ArgumentError, match="by='shape' is unknown"):
            index.counts("shape")
        ledger.compact()
        assert (index.refresh(ledger).gone, index.counts("cell")) == (5, {"32TPS": 2, "33UXP": 2})
        ledger.forget(["01aa"])
        ledger.forget(["ffff"], statuses=STATUSES)
        index.refresh(ledger)
        assert dict(index.states()) == {"00aa": "ok", "00ab": "nodata"}


def test_fractions_are_of_pixels(tmp_path):
    from xcloudmask.run.task import Region

    ledger = open_ledger(tmp_path)
    ledger.put(record_of("00aa", region=Region(y=(0, 10), x=(0, 30)), fractions={"clear": 1.0}))
    ledger.put(record_of("00ab", region=Region(y=(0, 10), x=(0, 10)), fractions={"clear": 0.0}))
    with open_index(ledger) as index:
        index.refresh(ledger)
        assert index.fractions() == {"32TPS": {"clear": 0.75}}


def test_tasks_without_a_final_record(tmp_path):
    ledger = open_ledger(tmp_path)
    fill(ledger)
    tasks = sqlite3.connect(":memory:")
    tasks.execute("CREATE TABLE tasks (key TEXT PRIMARY KEY)")
    tasks.executemany("INSERT INTO tasks VALUES (?)", [(key,) for key in KEYS])
    tasks.commit()
    query = "SELECT key FROM tasks WHERE NOT EXISTS (SELECT 1 FROM ledger.final AS d WHERE d.key = tasks.key)"
    with open_index(ledger) as index:
        index.refresh(ledger, contents=False)
        index.attach(tasks)
        assert tasks.execute(query).fetchall() == [("00ac",), ("01aa",)]
        ledger.put(record_of("00ac"))
        index.refresh(ledger)
        assert tasks.execute(query).fetchall() == [("01aa",)]
        with pytest.raises(ArgumentError, match="no name of a schema"):
            index.attach(tasks, name="x; DROP TABLE tasks")
    tasks.close()


@pytest.mark.parametrize("harm", ["gone", "garbage", "cut", "other ledger", "other version"])
def test_a_lost_index_is_made_again(tmp_path, harm):
    ledger = open_ledger(tmp_path)
    fill(ledger)
    with open_index(ledger) as index:
        index.refresh(ledger)
        path = index.path
    assert path == tmp_path / "ledger" / "index.sqlite"
    if harm == "gone":
        path.unlink()
    elif harm == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif harm == "cut":
        data = path.read_bytes()
        path.write_bytes(data[:4096] + bytes(4096) + data[8192:-4096])
    else:
        with sqlite3.connect(path) as database:
            database.execute(
                "UPDATE about SET value = 'elsewhere'" if harm == "other ledger" else "PRAGMA user_version = 99"
            )
        database.close()
    with open_index(ledger) as index:
        assert index.refresh(ledger).new == 7
        assert dict(index.states()) == STATES


def test_an_index_that_cannot_be_written(tmp_path):
    ledger = open_ledger(tmp_path)
    fill(ledger)
    with open_index(ledger) as index:
        index.refresh(ledger)
        index._connection.execute("PRAGMA query_only = ON")
        ledger.put(record_of("00ac"))
        with pytest.raises(WriteError, match="It is an index and can be deleted"):
            index.refresh(ledger)


def test_an_index_that_another_process_is_at(tmp_path, monkeypatch):
    monkeypatch.setattr("xcloudmask.run._index_file._WAIT_S", 0.1)
    ledger = open_ledger(tmp_path)
    fill(ledger)
    with open_index(ledger) as index:
        index._connection.execute("BEGIN EXCLUSIVE")
        with open_index(ledger) as other:
            assert other.path != index.path
            other.refresh(ledger)
            assert dict(other.states()) == STATES
        assert not other.path.exists()


def test_remote_indexes_are_temporary():
    ledger = open_ledger(memory_url())
    with open_index(ledger) as index:
        assert index.path.exists()
    assert not index.path.exists()


def test_unknown_objects_are_left_alone(tmp_path):
    objects = open_objects(tmp_path)
    strange = ["ledger/records/00/a.txt", "ledger/records/00/01aa.ok.json", "ledger/segments/00-x.jsonl.gz"]
    for name in strange:
        objects.put(name, b"?")
    ledger = open_ledger(objects)
    ledger.compact()
    assert names(ledger) == sorted(strange)
    assert dict(ledger.states()) == {}


def test_statuses_that_count_as_done():
    assert [status for status in STATUSES if is_final(status)] == ["ok", "nodata", "quarantined"]
