"""Reading over HTTP and S3 from servers that are honest, broken and hostile."""

from __future__ import annotations

import datetime as dt
import logging
import re
from pathlib import Path

import dask
import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pystac = pytest.importorskip("pystac")
odc_stac = pytest.importorskip("odc.stac")

from http_server import Fault, Server, serve  # noqa: E402
from rasterio.shutil import copy  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402
from threads import let_dask_finish  # noqa: E402

from xcloudmask.errors import HrefError, ReadError  # noqa: E402
from xcloudmask.stac import guard  # noqa: E402
from xcloudmask.stac.driver import GuardedDriver  # noqa: E402
from xcloudmask.stac.guard import guard_items, open_guarded, probe_items, safe_env  # noqa: E402
from xcloudmask.stac.hrefs import HrefPolicy  # noqa: E402

SIDE = 512
LOCAL = HrefPolicy(allow_private=True)
PLACE = "Item 'SCENE', asset 'red'"
PROJECTION = "https://stac-extensions.github.io/projection/v1.1.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v1.1.0/schema.json"


def write_tif(path: Path, pixels: np.ndarray, *, driver: str = "COG", **options: object) -> None:
    grid = {"crs": "EPSG:32630", "transform": from_origin(500_000, 4_500_000, 10, 10), "nodata": 0}
    height, width = pixels.shape
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", dtype=pixels.dtype, count=1, height=height, width=width, **grid) as file:
            file.write(pixels, 1)
        copy(memory.name, path, driver=driver, **options)


@pytest.fixture(scope="module")
def pixels():
    # From 1 on: a zero would be nodata that nobody put there. Noise, so that blocks are larger than GDAL's first read.
    return np.random.default_rng(5).integers(1, 4000, (SIDE, SIDE), dtype=np.uint16)


@pytest.fixture(scope="module")
def cog(pixels, tmp_path_factory):
    path = tmp_path_factory.mktemp("cog") / "scene.tif"
    write_tif(path, pixels, blocksize=128, compress="deflate", overviews="none")
    return path


@pytest.fixture
def server(tmp_path):
    with serve(tmp_path) as found:
        yield found


@pytest.fixture
def put(server, cog):
    """Put the scene on the server under a name, with what goes wrong there. A query stands for a signature."""

    def put(name: str, **fault: object) -> str:
        (server.folder / name).write_bytes(cog.read_bytes())
        if fault:
            server.faults[name] = Fault(**fault)
        return server.url(name) + "?sig=SECRET"

    return put


def item_of(href: str, *, name: str = "SCENE") -> pystac.Item:
    fields = {
        "proj:epsg": 32630,
        "proj:shape": [SIDE, SIDE],
        "proj:transform": [10, 0, 500_000, 0, -10, 4_500_000],
    }
    ring = [[-3.0, 40.6], [-2.9, 40.6], [-2.9, 40.7], [-3.0, 40.7], [-3.0, 40.6]]
    item = pystac.Item(
        name,
        {"type": "Polygon", "coordinates": [ring]},
        [-3.0, 40.6, -2.9, 40.7],
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        fields,
        stac_extensions=[PROJECTION, RASTER],
    )
    bands = {"raster:bands": [{"data_type": "uint16", "nodata": 0}]}
    item.add_asset("red", pystac.Asset(href, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=bands))
    return item


def load(href: str, *, policy: HrefPolicy = LOCAL, scheduler: str = "threads", **options: object) -> np.ndarray:
    """Pixels as odc-stac gives them, lazily, in four chunks."""
    driver = GuardedDriver(policy=policy)
    cube = odc_stac.load([item_of(href)], bands=["red"], chunks={"x": 256, "y": 256}, driver=driver, **options)
    assert cube.red.data.npartitions >= 4
    with dask.config.set(scheduler=scheduler, num_workers=2):
        try:
            return cube.red.to_numpy()[0]
        finally:
            let_dask_finish()  # before a test changes the environment


def read(href: str, *, policy: HrefPolicy = LOCAL) -> np.ndarray:
    with open_guarded(href, item="SCENE", asset="red", policy=policy) as dataset:
        return dataset.read(1)


@pytest.fixture(params=["rasterio", "odc-stac"])
def reader(request):
    return {"rasterio": read, "odc-stac": load}[request.param]


# Honest servers


def test_http_gives_the_pixels_of_the_disk(reader, put, cog, pixels):
    np.testing.assert_array_equal(reader(put("a.tif")), pixels)
    np.testing.assert_array_equal(reader(str(cog), policy=HrefPolicy(allow_files=True)), pixels)


def test_nothing_beside_the_file_is_asked_for(reader, put, server):
    reader(put("a.tif"))
    assert set(server.paths()) == {"a.tif?sig=SECRET"}
    assert {headers["User-Agent"] for _, _, headers in server.requests} == {"xcloudmask"}


@pytest.mark.slow
def test_other_processes_read_and_refuse_too(put, pixels):
    np.testing.assert_array_equal(load(put("a.tif"), scheduler="processes"), pixels)
    with pytest.raises(HrefError, match=f"{PLACE}.*private address"):
        load(put("a.tif"), scheduler="processes", policy=HrefPolicy())


def test_building_the_cube_asks_for_nothing(put, server, no_compute):
    odc_stac.load([item_of(put("a.tif"))], bands=["red"], chunks={}, driver=GuardedDriver(policy=LOCAL))
    assert not server.requests


def test_keys_of_the_graph_are_the_same_each_time(put):
    item = item_of(put("a.tif"))
    first, second = (
        odc_stac.load([item], bands=["red"], chunks={}, driver=GuardedDriver(policy=LOCAL)).red.data for _ in range(2)
    )
    assert first.name == second.name


def test_jpeg_2000_is_read_and_other_formats_are_not(server, pixels):
    write_tif(server.folder / "a.jp2", pixels, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    np.testing.assert_array_equal(read(server.url("a.jp2")), pixels)
    (server.folder / "a.jp2").rename(server.folder / "jp2-without-a-name")
    np.testing.assert_array_equal(read(server.url("jp2-without-a-name")), pixels)
    write_tif(server.folder / "a.img", pixels, driver="HFA")
    with pytest.raises(ReadError, match=f"{PLACE}.*not recognized"):
        read(server.url("a.img"))


def test_a_virtual_raster_by_another_name_is_not_opened(reader, server, put, cog):
    copy(cog, server.folder / "a.vrt", driver="VRT")
    (server.folder / "a.vrt").rename(server.folder / "innocent.tif")
    with pytest.raises(ReadError, match=f"{PLACE}.*not recognized"):
        reader(server.url("innocent.tif"))


# Broken servers


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500])
def test_refusals_are_errors_that_name_the_file(reader, put, status, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with pytest.raises(ReadError, match=rf"{PLACE}: 'http://.*/a\.tif\?\.\.\.' cannot be read.*{status}") as caught:
        reader(put("a.tif", kind="status", status=status))
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_busy_servers_are_asked_again(reader, put, pixels, server, status, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    # Twice to the requests that look for redirects, twice to GDAL.
    href = put("a.tif", kind="status", status=status, times=4)
    np.testing.assert_array_equal(reader(href), pixels)
    assert server.hits["a.tif"] == 4


def test_busy_servers_in_the_middle_of_a_file(reader, put, pixels, server, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    href = put("a.tif", kind="status", status=503, times=2, from_byte=1)
    np.testing.assert_array_equal(reader(href), pixels)
    assert server.hits["a.tif"] == 2


def test_servers_that_stay_busy_are_given_up(reader, put, server, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "2")
    with pytest.raises(ReadError, match=f"{PLACE}.*503"):
        reader(put("a.tif", kind="status", status=503))
    assert server.hits["a.tif"] <= 2 * (2 + 3)


@pytest.mark.parametrize("kind", ["truncate", "reset"])
def test_answers_that_break_off_are_errors(reader, put, kind):
    with pytest.raises(ReadError, match=rf"{PLACE}: 'http://.*/a\.tif\?\.\.\.' cannot be read"):
        reader(put("a.tif", kind=kind, after=1000, from_byte=1))


def test_servers_that_go_silent_are_given_up(reader, put, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with pytest.raises(ReadError, match=f"{PLACE}.*cannot be read"):
        reader(put("a.tif", kind="stall", after=1000, from_byte=1))


@pytest.mark.parametrize("kind", ["truncate", "reset"])
def test_an_answer_that_breaks_off_once_is_read_again(put, pixels, server, kind):
    href = put("a.tif", kind=kind, after=1000, from_byte=1, times=1)
    np.testing.assert_array_equal(load(href), pixels)
    assert server.hits["a.tif"] == 1


@pytest.mark.parametrize("kind", ["truncate", "reset"])
def test_headers_that_break_off_are_errors(reader, put, kind, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with pytest.raises(ReadError, match=f"{PLACE}.*(cannot be read|does not answer)"):
        reader(put("a.tif", kind=kind, after=10, methods=("GET",)))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_an_error(reader, put, server, cog, part):
    size = cog.stat().st_size
    with pytest.raises(ReadError, match=PLACE):
        reader(put("a.tif", kind="short_file", after=int(part * size)))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_file_that_does_not_say_where_it_is_is_no_nodata(reader, server, pixels):
    profile = {"width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16"}
    with rasterio.open(server.folder / "a.tif", "w", driver="GTiff", **profile) as file:
        file.write(pixels, 1)
    with pytest.raises(ReadError, match=f"{PLACE}: the file has no coordinate system"):
        reader(server.url("a.tif"))


def test_a_truncated_file_is_an_error_when_warped(put, cog):
    href = put("a.tif", kind="short_file", after=cog.stat().st_size // 2)
    with pytest.raises(ReadError, match=f"{PLACE}.*warp"):
        load(href, crs="EPSG:32629", resolution=10)


def test_a_file_that_cannot_be_read_is_an_error_whatever_odc_is_told(put):
    with pytest.raises(ReadError, match=PLACE):
        load(put("a.tif", kind="status", status=404), fail_on_error=False)


def test_logs_keep_signatures(put, caplog):
    with caplog.at_level(logging.DEBUG, logger="odc"), pytest.raises(ReadError):
        load(put("a.tif", kind="truncate", after=1000, from_byte=1))
    assert "a.tif" in caplog.text
    assert "SECRET" not in caplog.text


def test_nobody_there(reader, put, server):
    gone = f"http://127.0.0.1:{server.port}/a.tif"
    with serve(server.folder) as other:
        gone = other.url("a.tif")
    with pytest.raises(ReadError, match=f"{PLACE}.*does not answer"):
        reader(gone)


def test_gaps_are_reported_with_their_reason(put):
    items = [item_of(put("a.tif"), name="good"), item_of(put("b.tif", kind="status", status=404), name="gone")]
    gaps = probe_items(items, ["red"], policy=LOCAL)
    assert set(gaps) == {"gone"}
    assert "404" in gaps["gone"]
    with pytest.raises(HrefError, match="Item 'good', asset 'red'"):
        probe_items(items, ["red"], policy=HrefPolicy())


# Hostile servers


@pytest.fixture
def other(tmp_path_factory, cog):
    """A server on another address: what an item must not lead to."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "a.tif").write_bytes(cog.read_bytes())
    with serve(folder, host="127.0.0.2") as found:
        yield found


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_to_hosts_off_the_list_are_refused(reader, put, other, status):
    policy = HrefPolicy(allow_private=True, hosts=("127.0.0.1",))
    href = put("a.tif", kind="redirect", status=status, target=other.url("a.tif"))
    with pytest.raises(HrefError, match=rf"{PLACE}: '.*a\.tif\?\.\.\.' redirects.*'127\.0\.0\.2'"):
        reader(href, policy=policy)
    assert not other.requests


@pytest.mark.parametrize("verb", ["HEAD", "GET"])
def test_redirects_of_one_kind_of_request_are_refused(reader, put, other, verb):
    policy = HrefPolicy(allow_private=True, hosts=("127.0.0.1",))
    href = put("a.tif", kind="redirect", status=302, target=other.url("a.tif"), methods=(verb,))
    with pytest.raises(HrefError, match=PLACE):
        reader(href, policy=policy)
    assert not other.requests


def test_more_redirects_than_anyone_needs(reader, put, server):
    for step in range(8):
        put(f"{step}.tif", kind="redirect", status=302, target=server.url(f"{step + 1}.tif"))
    with pytest.raises(HrefError, match=f"{PLACE}.*more than 5 times"):
        reader(server.url("0.tif"))
    put("8.tif")
    assert reader(server.url("4.tif")).shape == (SIDE, SIDE)


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:1/a.tif", "https://169.254.169.254/a.tif", "//10.0.0.1/a.tif", "https://0x7f.1/a.tif"]
)
def test_redirects_to_private_addresses_are_refused(server, target, monkeypatch):
    """A public name, which a proxy answers for: the test's server."""
    server.faults["a.tif"] = Fault(kind="redirect", status=302, target=target)
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(HrefError, match=f"{PLACE}.*redirects to what is refused.*private address"):
        read("http://data.example.org/a.tif", policy=HrefPolicy(schemes=("https", "http")))
    assert {headers["Range"] for _, _, headers in server.requests} == {"bytes=0-0"}  # GDAL was not asked


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/a.tif", "gopher://127.0.0.1/"])
def test_redirects_leave_the_web_nowhere(reader, put, target):
    policy = HrefPolicy(allow_private=True, allow_files=True)
    with pytest.raises(HrefError, match=f"{PLACE}.*Expected a web address"):
        reader(put("a.tif", kind="redirect", status=302, target=target), policy=policy)


def test_redirects_in_a_circle(reader, put, server):
    href = put("a.tif", kind="redirect", status=302, target=server.url("a.tif"))
    with pytest.raises(HrefError, match=f"{PLACE}.*redirects in a circle"):
        reader(href)


def test_a_redirect_to_an_allowed_host_is_followed(reader, put, other, pixels):
    href = put("a.tif", kind="redirect", status=302, target=other.url("a.tif"))
    np.testing.assert_array_equal(reader(href), pixels)


CREDENTIALS = {
    "GDAL_HTTP_HEADERS": "X-Key: SECRET",
    "GDAL_HTTP_BEARER": "SECRET",
    "GDAL_HTTP_AUTH": "BEARER",
    "GDAL_HTTP_COOKIE": "key=SECRET",
}
PASSWORD = {"GDAL_HTTP_USERPWD": "user:SECRET"}


def sent(server: Server) -> str:
    return "\n".join(f"{name}: {value}" for _, _, headers in server.requests for name, value in headers.items())


@pytest.mark.parametrize("settings", [CREDENTIALS, PASSWORD])
@pytest.mark.parametrize("way", ["environment", "rasterio"])
def test_credentials_go_to_no_host_that_is_not_listed(reader, put, server, settings, way, monkeypatch, tmp_path):
    (tmp_path / "headers.txt").write_text("X-File: SECRET\n")
    settings = settings | {"GDAL_HTTP_HEADER_FILE": str(tmp_path / "headers.txt")}
    listed = HrefPolicy(allow_private=True, credential_hosts=("127.0.0.1",))
    if way == "environment":
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        settings = {}
    with rasterio.Env(**settings):
        reader(put("a.tif"))
        assert not re.search("SECRET|X-File|Authorization", sent(server))
        reader(put("b.tif"), policy=listed)
        assert re.search("X-Key: SECRET|Authorization: Basic dXNlcjpTRUNSRVQ", sent(server))


def test_threads_of_gdal_get_no_credentials_either(server, pixels, monkeypatch):
    """The JPEG 2000 driver opens the file again in threads of its own."""
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "X-Key: SECRET")
    monkeypatch.setenv("GDAL_NUM_THREADS", "4")
    large = np.tile(pixels, (3, 3))
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 256, "BLOCKYSIZE": 256}
    write_tif(server.folder / "a.jp2", large, driver="JP2OpenJPEG", **options)
    np.testing.assert_array_equal(read(server.url("a.jp2")), large)
    assert len(server.requests) > 20  # one thread needs fewer
    assert "SECRET" not in sent(server)


def test_credentials_do_not_follow_a_redirect(reader, put, other, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "X-Key: SECRET")
    href = put("a.tif", kind="redirect", status=302, target=other.url("a.tif"))
    listed = HrefPolicy(allow_private=True, credential_hosts=("127.0.0.1",))
    with pytest.raises(HrefError, match=rf"{PLACE}.*redirects to '127\.0\.0\.2', which would get the credentials"):
        reader(href, policy=listed)
    assert "SECRET" not in sent(other)
    reader(href)  # from no listed host: nobody gets any
    assert other.requests
    assert "SECRET" not in sent(other)


def test_an_error_says_when_credentials_were_withheld(put, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_BEARER", "SECRET")
    with pytest.raises(ReadError, match=r"none of the credentials.*credential_hosts=\('127\.0\.0\.1',\)"):
        read(put("a.tif", kind="status", status=401))


# Sizes in headers


def sparse(path: Path, side: int, **options: object) -> None:
    """A file of some kilobytes whose header promises any number of pixels."""
    profile = {"width": side, "height": side, "count": 1, "dtype": "uint16", "tiled": True, "SPARSE_OK": True}
    profile |= {"transform": from_origin(500_000, 4_500_000, 10, 10), "crs": "EPSG:32630"}
    with rasterio.open(path, "w", driver="GTiff", **(profile | options)):
        pass


def test_sizes_are_refused_before_a_pixel_is_read(reader, server):
    sparse(server.folder / "huge.tif", 60_000, blockxsize=2048, blockysize=2048, compress="deflate")
    assert (server.folder / "huge.tif").stat().st_size < 100_000
    with pytest.raises(HrefError, match=rf"{PLACE}: the file has 3,600,000,000 pixels.*max_pixels=3600000000"):
        reader(server.url("huge.tif"))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_pixels": 512 * 512 - 1}, "262,144 pixels"),
        ({"max_bands": 3}, "4 bands"),
        ({"max_bytes": 512 * 512 * 8 - 1}, "2,097,152 bytes,"),
        ({"max_block_bytes": 256 * 256 * 8 - 1}, "524,288 bytes in a block"),
    ],
)
def test_each_limit(server, limits, words):
    sparse(server.folder / "a.tif", 512, count=4, blockxsize=256, blockysize=256, interleave="pixel")
    with pytest.raises(HrefError, match=f"{PLACE}: the file has {words}"):
        read(server.url("a.tif"), policy=HrefPolicy(allow_private=True, **limits))
    just_enough = {name: value + 1 for name, value in limits.items()}
    read(server.url("a.tif"), policy=HrefPolicy(allow_private=True, **just_enough))


def test_settings_for_safety_come_before_the_users(monkeypatch):
    found = safe_env({"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE", "GDAL_HTTP_MAX_RETRY": "1"})
    assert found["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
    assert found["GDAL_HTTP_MAX_RETRY"] == "1"
    monkeypatch.setenv("GDAL_HTTP_CONNECTTIMEOUT", "3")
    assert "GDAL_HTTP_CONNECTTIMEOUT" not in safe_env()
    assert set(guard.SAFETY) <= set(safe_env())


# S3


@pytest.fixture
def bucket(s3_endpoint, cog, monkeypatch):
    boto3 = pytest.importorskip("boto3")
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_S3_ENDPOINT": s3_endpoint,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=f"http://{s3_endpoint}")
    client.create_bucket(Bucket="scenes")
    content = cog.read_bytes()
    client.put_object(Bucket="scenes", Key="t/a.tif", Body=content)
    client.put_object(Bucket="scenes", Key="t/short.tif", Body=content[: len(content) // 2])
    return "s3://scenes"


def test_s3_gives_the_pixels_of_the_disk(reader, bucket, pixels):
    np.testing.assert_array_equal(reader(f"{bucket}/t/a.tif", policy=HrefPolicy()), pixels)


def test_s3_keys_that_are_not_there_and_buckets_off_the_list(reader, bucket):
    with pytest.raises(ReadError, match=rf"{PLACE}: 's3://scenes/t/none\.tif' cannot be read"):
        reader(f"{bucket}/t/none.tif", policy=HrefPolicy())
    with pytest.raises(HrefError, match=r"'s3://scenes' .* is not on the list"):
        reader(f"{bucket}/t/a.tif", policy=HrefPolicy(hosts=("s3://others",)))


def test_a_truncated_file_on_s3_is_an_error(reader, bucket):
    with pytest.raises(ReadError, match=rf"{PLACE}: 's3://scenes/t/short\.tif' cannot be read"):
        reader(f"{bucket}/t/short.tif", policy=HrefPolicy())


def test_items_with_s3_hrefs_pass_the_guard():
    guard_items([item_of("s3://scenes/t/a.tif")], ["red"], policy=HrefPolicy())


# Bytes


@pytest.mark.slow
def test_bytes_read_against_bytes_needed():
    """With the halo, at a quarter of the default sizes: the same number of blocks and chunks."""
    from benchmarks.http_bytes import http_bytes

    found = {figure.name: figure.value for figure in http_bytes(quick=True)}
    crops = [name for name in found if name.startswith("http_bytes.over_needed_of_a_crop")]
    assert len(crops) == 2
    for name in ("http_bytes.over_needed", *crops):
        assert 1 <= found[name] <= 1.35, name
