"""Weights from the hub: fetched once, checked, whole or not at all, and clear words when it does not work."""

import hashlib
import io
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hub_server import serve_hub

from xcloudmask import errors
from xcloudmask.models import _hubfile, _hubhttp, hub
from xcloudmask.models.cache import get_runner
from xcloudmask.models.registry import weights_path
from xcloudmask.models.spec import ModelSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "w.safetensors"
ADDRESS = f"hf://owner/some-model@{COMMIT}/deep/{NAME}"
CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """A folder of its own: no test sees the user's."""
    monkeypatch.setenv("XCLOUDMASK_MODELS", str(tmp_path / "models"))
    for name in ("XCLOUDMASK_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "models"


@pytest.fixture
def server(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(_hubhttp, "_WAITS_S", (0.01, 0.01))
    with serve_hub({NAME: CONTENT}, revisions={COMMIT}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def fetch(**options):
    return hub.fetch(ADDRESS, sha256=SHA256, **options)


def left(folder):
    """What lies in the models folder, but for the lock."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.exists() else []


def test_a_file_is_fetched_once_whole_and_readable_by_others(server, models):
    before = os.umask(0o022)
    try:
        path = fetch()
    finally:
        os.umask(before)
    assert path == models / NAME == hub.local_path(ADDRESS)
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o644
    assert left(models) == [NAME]
    assert (server.count("HEAD"), server.count("GET")) == (1, 1)
    asked = [path for verb, path, _ in server.requests if verb == "HEAD"]
    assert asked == [f"/owner/some-model/resolve/{COMMIT}/deep/{NAME}"]
    assert fetch() == path
    assert len(server.requests) == 2
    assert fetch(again=True) == path
    assert server.count("GET") == 2


def test_a_token_stays_with_the_hub(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch()
    tokens = {verb: "authorization" in {key.lower() for key in headers} for verb, _, headers in server.requests}
    assert tokens == {"HEAD": True, "GET": False}


def _fetch_in_process(_):
    return hub.fetch(ADDRESS, sha256=SHA256).read_bytes() == CONTENT


def test_four_processes_at_once_fetch_it_once(server):
    server.slow_s = 1.0
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=spawn) as pool:
        assert list(pool.map(_fetch_in_process, range(4))) == [True] * 4
    assert (server.count("GET"), server.bodies[NAME]) == (1, len(CONTENT))


def test_one_process_waits_for_another_and_gives_up_in_time(server, models, monkeypatch):
    import filelock

    monkeypatch.setattr(hub, "LOCK_TIMEOUT_S", 0.2)
    models.mkdir()
    with (
        filelock.FileLock(models / f".{NAME}.lock"),
        pytest.raises(errors.WeightsError, match=r"Another process .*\.lock"),
    ):
        fetch()
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize("statuses", [[503], [429, 502], [0, 503, 504]])
def test_a_server_that_is_busy_is_asked_again(server, statuses):
    server.statuses = statuses
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize("statuses", [[503] * 9, [0, *[500] * 9]])
def test_a_server_that_stays_busy_is_given_up(server, models, statuses):
    server.statuses = statuses
    with pytest.raises(errors.WeightsError, match=rf"answers 50\d.*To place it by hand: .*{SHA256}"):
        fetch()
    assert left(models) == []
    assert len(server.requests) <= 4


@pytest.mark.parametrize("ranges", [True, False])
def test_a_body_that_breaks_off_is_resumed(server, ranges):
    server.cuts, server.ranges = [100_000, 1], ranges
    assert fetch().read_bytes() == CONTENT
    assert server.bodies[NAME] == (len(CONTENT) if ranges else len(CONTENT) + 100_001)


def test_a_body_that_always_breaks_off_is_given_up(server, models):
    server.cuts = [1000] + [0] * 9
    with pytest.raises(errors.WeightsError, match="1000 bytes in all"):
        fetch()
    assert left(models) == []


def test_a_body_that_stalls_is_given_up_in_seconds(server, models, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    server.stall, server.cuts = True, [1000] + [0] * 9
    start = time.monotonic()
    with pytest.raises(errors.WeightsError, match="1000 bytes in all"):
        fetch()
    assert time.monotonic() - start < 10
    assert left(models) == []


@pytest.mark.parametrize("etag", [True, False])
def test_another_file_is_refused(server, models, etag):
    server.etag = etag
    server.files[NAME] = CONTENT[:-1] + b"x"
    with pytest.raises(errors.WeightsError, match=rf"expected {SHA256}: it is not the file of"):
        fetch()
    assert left(models) == []
    assert server.count("GET") == (0 if etag else 1)  # an ETag that is a sha256 tells before anything is fetched


@pytest.mark.parametrize("size", [0, 100, 400_000])
def test_a_wrong_size_is_refused(server, models, size):
    server.sizes[NAME] = size
    if size <= len(CONTENT):
        assert fetch().read_bytes() == CONTENT  # the sha256 decides; the size says only when to stop asking
        return
    with pytest.raises(errors.WeightsError, match="of 400000 bytes came, 300000 bytes in all"):
        fetch()
    assert left(models) == []


def test_a_large_file_is_refused_before_and_while_it_comes(server, models, monkeypatch):
    monkeypatch.setattr(_hubhttp, "FILE_BYTES_MAX", 299_999)
    with pytest.raises(errors.WeightsError, match="300000 bytes; no more than 299999"):
        fetch()
    assert server.count("GET") == 0
    monkeypatch.setattr(_hubfile, "FILE_BYTES_MAX", 5_000_000)
    server.endless, server.sizes[NAME] = True, 1
    with pytest.raises(errors.WeightsError, match="larger than 5000000 bytes"):
        fetch()
    assert left(models) == []


def test_what_the_hub_does_not_have(server, models):
    with pytest.raises(errors.WeightsError, match=r"other\.safetensors cannot be fetched from owner/x"):
        hub.fetch("hf://owner/x@main/other.safetensors", sha256=SHA256)
    with pytest.raises(errors.WeightsError, match="has no revision v9"):
        hub.fetch(f"hf://owner/x@v9/{NAME}", sha256=SHA256)
    assert left(models) == []


def test_a_commit_that_is_gone_is_looked_for_in_main(server):
    server.revisions = {"main"}
    assert fetch().read_bytes() == CONTENT


def test_nobody_listens(monkeypatch, models):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    start = time.monotonic()
    with pytest.raises(errors.WeightsError, match=r"cannot be fetched from owner/some-model: .*by hand"):
        fetch()
    assert time.monotonic() - start < 10
    assert left(models) == []


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("file:///etc/passwd", "expected https|cannot be fetched"),
        ("ftp://example.org/w", "expected https|cannot be fetched"),
        ("http://127.0.0.1:9/{name}", "cannot be fetched"),
        ("{url}/loop/{name}", "redirects more than 5 times|cannot be fetched"),
        ("https://[bad/", "cannot be fetched"),
    ],
)
def test_hostile_redirects(server, models, location, message):
    server.location = location.format(url=f"http://localhost:{server.port}", name=NAME)
    start = time.monotonic()
    with pytest.raises(errors.WeightsError, match=message):
        fetch()
    assert time.monotonic() - start < 10
    assert left(models) == []


def test_a_hub_over_https_may_not_send_elsewhere_without(monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    opened = _hubhttp._request("http://elsewhere.example.org/w?signature=secret", start=0)
    with pytest.raises(errors.WeightsError, match=r"http://elsewhere\.example\.org/w: expected https"), opened:
        pass


@pytest.mark.parametrize("name", ["XCLOUDMASK_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_what_goes_where(server, models, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(errors.WeightsError) as caught:
        fetch()
    for part in (
        NAME,
        SHA256,
        str(models / NAME),
        f"https://huggingface.co/owner/some-model/resolve/{COMMIT}/deep/{NAME}",
    ):
        assert part in str(caught.value)
    assert server.requests == []
    models.mkdir()
    (models / NAME).write_bytes(CONTENT)
    assert fetch() == models / NAME


def test_a_folder_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XCLOUDMASK_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(errors.WeightsError, match="Set XCLOUDMASK_MODELS to a folder"):
        fetch()


def test_a_full_disk_leaves_nothing_behind(server, models, monkeypatch):
    write, path = Path.open, models / NAME

    def full(self, *args, **options):
        file = write(self, *args, **options)
        if self.name.endswith(".partial"):
            file.close()
            return _Full(str(self), "rb")
        return file

    class _Full(io.FileIO):
        def write(self, piece):
            raise OSError(28, "No space left on device")

        def truncate(self, size=None):
            return 0

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(errors.WeightsError, match="No space left on device"):
        fetch()
    monkeypatch.undo()
    assert not path.exists()


def test_what_a_killed_process_left_behind_goes_after_a_day(server, models):
    models.mkdir()
    old, new = models / f".{NAME}.1-aa.partial", models / f".{NAME}.2-bb.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 100_000,) * 2)
    fetch()
    assert left(models) == [new.name, NAME]


@pytest.mark.parametrize(
    "text", ["hf://owner/name/w", "hf://owner/name@main", "hf://o/n@r/../w", "hf://o/n@r/.w", "w", "hf://a/b@c/d\n"]
)
def test_what_is_no_address(text):
    with pytest.raises(errors.ModelError, match="hf://owner/repository@revision/path"):
        hub.HubAddress.parse(text)


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XCLOUDMASK_MODELS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert hub.models_folder() == tmp_path / "cache" / "xcloudmask" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hub.models_folder() == tmp_path / ".cache" / "xcloudmask" / "models"
    monkeypatch.setattr("sys.platform", "darwin")
    assert hub.models_folder() == tmp_path / "Library" / "Caches" / "xcloudmask" / "models"


def test_a_copy_from_a_local_folder(tmp_path, models):
    folder = tmp_path / "downloads"
    folder.mkdir()
    with pytest.raises(errors.WeightsError, match="downloads"):
        hub.adopt(ADDRESS, sha256=SHA256, folder=folder)
    (folder / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(errors.WeightsError, match=rf"downloads.*expected {SHA256}"):
        hub.adopt(ADDRESS, sha256=SHA256, folder=folder)
    assert left(models) == []
    (folder / NAME).write_bytes(CONTENT)
    assert hub.adopt(ADDRESS, sha256=SHA256, folder=folder).read_bytes() == CONTENT
    assert left(models) == [NAME]


@pytest.fixture
def on_the_hub(tiny_model, server):
    """The tiny model, whose weights are on the hub."""
    server.files[NAME] = weights_path(tiny_model).read_bytes()
    return replace(tiny_model, name="far", weights=ADDRESS)


def test_a_model_is_fetched_when_it_is_loaded_and_checked_each_time(on_the_hub, models, server, tiny_model):
    assert weights_path(on_the_hub) == models / NAME
    assert server.requests == []
    tiles = np.random.default_rng(1).normal(size=(1, 3, 64, 64)).astype("float32")
    level, crop = np.zeros((1, 7), "float32"), (slice(None), slice(None))
    results = [
        get_runner(spec, device="cpu", precision="fp32").probabilities(tiles, level, crop)
        for spec in (on_the_hub, tiny_model)
    ]
    np.testing.assert_array_equal(*results)
    (models / NAME).write_bytes(CONTENT)
    with pytest.raises(errors.WeightsError, match="Remove it, and it is fetched again"):
        get_runner(replace(on_the_hub, name="again"), device="cpu", precision="fp32")


def test_a_card_may_name_the_hub(on_the_hub, tmp_path):
    card = tmp_path / "card.json"
    card.write_text(json.dumps(on_the_hub.to_dict()))
    assert ModelSpec.from_card(card) == on_the_hub
