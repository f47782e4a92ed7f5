"""Hrefs of items are untrusted: what is refused, and in which words."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.errors import ArgumentError, HrefError, InputError, XCloudMaskError
from xcloudmask.stac import addresses
from xcloudmask.stac.guard import guard_items
from xcloudmask.stac.hrefs import HrefPolicy, allowed_host, check_href, redact
from xcloudmask.stac.redirects import hosts_of

POLICY = HrefPolicy()


def check(href, *, base=None, **allowed):
    links = [{"rel": "self", "href": base}] if base else []
    return check_href(href, item={"id": "SCENE", "links": links}, asset="red", policy=HrefPolicy(**allowed))


def refuse(href, *, base=None, **allowed):
    with pytest.raises(HrefError) as caught:
        check(href, base=base, **allowed)
    assert "Item 'SCENE', asset 'red'" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "href",
    [
        "https://example.org/a.tif",
        "HTTPS://Example.org/a.tif",
        "https://8.8.8.8/a.tif",
        "https://[2001:4860:4860::8888]:8443/a.tif",
        "https://account.blob.core.windows.net/c/a.tif?st=2024&sig=a%2Fb%3D",
        "https://example.org/with%20space/a.jp2",
        "s3://sentinel-cogs/a/B04.tif",
        "gs://gcp-public-data-landsat/a.TIF",
        "az://container/a.tif",
    ],
)
def test_plain_addresses_pass(href):
    assert check(href).lower() == href.lower()


@pytest.mark.parametrize(
    ("href", "why"),
    [
        ("/vsicurl/https://example.org/a.tif", "/vsi"),
        ("/vsicurl?url=https%3A%2F%2Fexample.org/a.tif", "/vsi"),
        ("https://example.org/%2Fvsizip%2Fa.zip/a.tif", "/vsi"),
        ("https://example.org/%252Fvsimem%252Fa.tif", "/vsi"),
        ("https://example.org/x?url=/vsis3/bucket/a.tif", "/vsi"),
        ("/VSIMEM/a.tif", "/vsi"),
        ("vrt://https://example.org/a.tif?bands=1", "vrt:"),
        ("zip+https://example.org/a.zip!a.tif", "zip+https:"),
        ("https+zip://example.org/a.tif", "https+zip:"),
        ("GTIFF_DIR:1:https://example.org/a.tif", "GTIFF_DIR:"),
        ("NETCDF:https://example.org/a.nc:red", "NETCDF:"),
        ("HDF5:https://example.org/a.h5://red", "HDF5:"),
        ("WMS:https://example.org", "WMS:"),
        ("ftp://example.org/a.tif", "ftp:"),
        ("javascript:alert(1)", "javascript:"),
        ("data:image/tiff;base64,SUkq", "data:"),
        ("https:example.org/a.tif", "begins with"),
        ("https://example.org/a.vrt", "VRT"),
        ("https://example.org/a.VRT?x=1", "VRT"),
        ("https://example.org/a%2Evrt", "VRT"),
        ("s3://bucket/a.vrt.gz", "VRT"),
        ("<VRTDataset rasterXSize='1'/>", "relative"),
        ("https://example.org/<VRTDataset>", "has '<'"),
        ("https://user:word@example.org/a.tif", "user or password"),
        ("https://example.org%40evil.net/a.tif", "user or password"),
        ("https://example.org\\@evil.net/a.tif", "has '\\\\'"),
        ("https://example.org#@evil.net/a.tif", "has '#'"),
        ("https://example.org/a.tif\nHost: evil", "control"),
        ("https://example.org/a%0d%0aHost:%20evil", "control"),
        ("https://example.org/a b.tif", "%20"),
        ("https://example.org:99999/a.tif", "no URL"),
        ("https:///a.tif", "no plain host"),
        ("https://ex%61mple.org/a.tif", "no plain host"),
        ("https://[fe80::1%25eth0]/a.tif", "no plain host"),
        ("https://①②⑦.0.0.1/a.tif", ""),
        ("https://127。0。0。1/a.tif", ""),
        ("https://1.2.3.4.5/a.tif", "no IPv4 address"),
        ("https://[::gggg]/a.tif", ""),
        ("http://example.org/a.tif", "scheme 'http'"),
        ("s3://user@bucket/a.tif", "user or password"),
        ("s3://Bucket_/a.tif", "bucket"),
        ("s3:///a.tif", "bucket"),
        ("/etc/passwd", "allow_files=True"),
        ("file:///etc/passwd", "allow_files=True"),
        ("file://server/share/a.tif", "file:"),
        ("C:\\a.tif", "allow_files=True"),
        ("a.tif", "no self link"),
        ("", "0 characters"),
        ("https://example.org/" + "a" * 9000, "characters"),
        (None, "NoneType"),
    ],
)
def test_tricks_are_refused(href, why):
    assert why in refuse(href)


LOCAL = [
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "metadata.google.internal",
    "printer.local",
    "intranet",
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fc00::1]",
    "[ff02::1]",
]


@pytest.mark.parametrize("host", LOCAL)
def test_private_hosts_are_refused_in_every_spelling(host):
    assert "allow_private=True" in refuse(f"https://{host}/a.tif")
    assert check(f"https://{host}/a.tif", allow_private=True)
    assert check(f"http://{host}/a.tif", allow_private=True)  # plain http too, where it stays in the house


def spellings(address):
    """Ways in which curl reads an IPv4 address."""
    a, b, c, d = address.packed
    return [
        str(address),
        str(int(address)),
        hex(int(address)),
        f"{a}.{b}.{c * 256 + d}",
        f"{a}.{b * 65536 + c * 256 + d}",
        f"0{a:o}.{b}.0x{c:x}.{d}",
        f"[::ffff:{address}]",
        f"[64:ff9b::{a * 256 + b:x}:{c * 256 + d:x}]",
        f"[2002:{a * 256 + b:x}:{c * 256 + d:x}::1]",
    ]


@given(address=st.ip_addresses(v=4))
def test_all_spellings_of_an_address_are_judged_alike(address):
    public = address.is_global and not address.is_multicast
    for host in spellings(address):
        if public:
            check(f"https://{host}/a.tif")
        else:
            refuse(f"https://{host}/a.tif")


@given(address=st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_no_spelling_of_a_private_address_passes(address):
    for host in spellings(address):
        refuse(f"https://{host}/a.tif")


PARTS = st.sampled_from(
    [
        "https:",
        "http:",
        "s3:",
        "vrt:",
        "file:",
        "//",
        "/",
        "\\",
        "@",
        "#",
        "?",
        "%2f",
        "%00",
        "/vsicurl/",
        "vsimem",
        "..",
        "example.org",
        "127.0.0.1",
        "[::1]",
        "localhost",
        ".tif",
        ".vrt",
        ":80",
        "url=",
        "<",
        "ß",
        " ",
        "\n",
        "https://example.org/",
    ]
)


@given(href=st.lists(PARTS, max_size=8).map("".join) | st.text(max_size=40))
def test_whatever_passes_is_a_public_address_and_stays_one(href):
    base = "https://example.org/items/a.json"
    try:
        found = check(href, base=base)
    except HrefError:
        refuse(href, base=base)
        return
    assert found.startswith(("https://", "s3://"))
    assert not re.search(r"/vsi(curl|mem)(/|\?|$)", unquote(found).lower())
    assert not set(found) & set("\\# \n<")
    assert "@" not in found.split("/")[2].partition("?")[0]  # in a path it is a letter like any other
    assert check(found) == found
    if found.startswith("https://"):
        assert not addresses.private_host(found.split("/")[2].partition("?")[0].partition(":")[0])


@pytest.mark.parametrize(
    ("base", "href", "found"),
    [
        ("https://example.org/c/i/a.json", "./B04.tif", "https://example.org/c/i/B04.tif"),
        ("https://example.org/c/i/a.json", "../B04.tif?x=1", "https://example.org/c/B04.tif?x=1"),
        ("https://example.org/c/i/a.json", "/B04.tif", "https://example.org/B04.tif"),
        ("https://example.org/c/i/a.json", "//other.org/B04.tif", "https://other.org/B04.tif"),
        ("s3://bucket/c/i/a.json", "B04.tif", "s3://bucket/c/i/B04.tif"),
        ("s3://bucket/c/i/a.json", "../../../../B04.tif", "s3://bucket/B04.tif"),
        ("s3://bucket/c/i/a.json", "/B04.tif", "s3://bucket/B04.tif"),
    ],
)
def test_relative_hrefs_follow_the_self_link(base, href, found):
    assert check(href, base=base) == found


def test_a_self_link_does_not_lend_trust():
    assert "private address" in refuse("a.tif", base="https://169.254.169.254/latest/item.json")
    assert "file of this machine" in refuse("a.tif", base="/data/item.json")
    assert "scheme that is not allowed" in refuse("a.tif", base="vrt://x/item.json")
    assert "no scheme" in refuse("//host/a.tif", base="s3://bucket/item.json")
    assert refuse("//127.0.0.1/a.tif", base="https://example.org/item.json")


def test_files_where_they_are_asked_for(tmp_path):
    path = str(tmp_path / "über b.tif")
    assert check(path, allow_files=True) == path
    assert check((tmp_path / "über b.tif").as_uri(), allow_files=True) == path
    assert check("a.tif", base=str(tmp_path / "item.json"), allow_files=True) == str(tmp_path / "a.tif")
    assert "VRT" in refuse(str(tmp_path / "a.vrt"), allow_files=True)
    assert "/vsi" in refuse("file:///vsizip/a.zip/a.tif", allow_files=True)


def test_hosts_and_buckets_on_a_list():
    listed = {"hosts": ("example.org", "*.windows.net", "s3://open-data")}
    for href in ("https://EXAMPLE.org./a.tif", "https://a.b.windows.net/a.tif", "s3://open-data/a.tif"):
        assert check(href, **listed)
    for href in (
        "https://example.org.evil.net/a.tif",
        "https://windows.net/a.tif",
        "https://evilwindows.net/a.tif",
        "s3://other/a.tif",
        "gs://open-data/a.tif",
        "https://open-data/a.tif",
    ):
        assert refuse(href, **listed)
    assert not allowed_host("example.org", ())


def test_messages_keep_secrets():
    href = "https://user:word@example.org/a.tif?sig=secret#x"
    assert "word" not in refuse(href)
    assert "secret" not in refuse(href)
    assert redact("s3://bucket/key") == "s3://bucket/key"


def test_a_policy_is_checked():
    with pytest.raises(ArgumentError, match="allow_files=True"):
        HrefPolicy(schemes=("https", "file"))
    with pytest.raises(ArgumentError, match="is no tuple"):
        HrefPolicy(hosts="example.org")
    with pytest.raises(ArgumentError, match="at least 1"):
        HrefPolicy(max_pixels=0)
    assert {InputError, XCloudMaskError, ValueError} <= set(HrefError.__mro__)


def test_items_are_checked_without_a_network(monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assets = {"red": {"href": "https://example.org/a.tif"}, "thumb": {"href": "http://127.0.0.1/a.png"}}
    items = [{"id": "one", "assets": assets}, {"id": "two", "assets": {}}]
    guard_items(items, ["red", "nir"], policy=POLICY)
    with pytest.raises(HrefError, match=r"Item 'one', asset 'thumb'.*private address"):
        guard_items(items, ["red", "thumb"], policy=POLICY)


def test_pystac_items_and_the_sizes_that_they_declare():
    pystac = pytest.importorskip("pystac")
    import datetime as dt

    item = pystac.Item("one", None, None, dt.datetime(2024, 1, 1), {"proj:shape": [100_000, 100_000]})
    item.set_self_href("https://example.org/c/one.json")
    item.add_asset("red", pystac.Asset("red.tif", extra_fields={"proj:shape": [10_000, 10_000]}))
    guard_items([item], ["red"], policy=POLICY)
    item.add_asset("nir", pystac.Asset("nir.tif"))
    with pytest.raises(HrefError, match=r"Item 'one', asset 'nir': .* 10,000,000,000 pixels.*max_pixels=10000000000"):
        guard_items([item], ["nir"], policy=POLICY)


def test_names_that_resolve_to_private_addresses(monkeypatch):
    def resolve(host, *args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, 0)) for found in ("93.184.215.14", "10.0.0.7")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("xcloudmask.stac.redirects.getproxies", dict)
    with pytest.raises(HrefError, match=r"Item 'one', asset 'red'.*resolves to the private address 10\.0\.0\.7"):
        hosts_of("https://rebound.example.org/a.tif", item="one", asset="red", policy=POLICY)


def test_addresses():
    assert addresses.address_of("::1") == ipaddress.IPv6Address("::1")
    assert addresses.address_of("a1.example") is None
    with pytest.raises(ValueError, match="no IPv4"):
        addresses.address_of("1.2.3.999")
    assert not addresses.is_public(ipaddress.ip_address("2001:0:4136:e378:8000:63bf:80ff:fffe"))  # Teredo
