"""Reading what items name: addresses, signing, files that cannot be read, other processes."""

from __future__ import annotations

import json
import warnings

import dask
import numpy as np
import odc.geo.xr  # noqa: F401 - registers .odc
import pytest
import stac_items as cat
import xarray as xr
from http_server import Fault, serve
from stac_shelf import LOCAL, Shelf, grid_cube, of

import xcloudmask
from xcloudmask.errors import (
    HrefError,
    InputError,
    MissingPackageError,
    ReadError,
)
from xcloudmask.stac import HrefPolicy, load


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


@pytest.fixture
def web(tmp_path):
    with serve(tmp_path) as server:
        shelf = Shelf(tmp_path, server.url)
        shelf.server = server
        yield shelf


# --- addresses and signing ---


def test_files_only_for_items_of_files(shelf):
    item = of(shelf.scene("a"))
    with pytest.raises(HrefError, match="is a file of this machine"):
        load([item])
    # What an item says of itself does not make it one that was read here.
    for self_link in (str(shelf.folder / "a.json"), f"file://{shelf.folder}/a.json"):
        document = item.to_dict(include_self_link=False, transform_hrefs=False)
        document["links"] = [{"rel": "self", "href": self_link}]
        document["_xcloudmask_from_file"] = True
        with pytest.raises(HrefError, match="is a file of this machine"):
            load([of(document)])
    assert load([item], policy=HrefPolicy(allow_files=True)).sizes["time"] == 1
    assert load(shelf.items("a")).sizes["time"] == 1


def test_private_hosts_only_when_allowed(web):
    item = of(web.scene("a"))
    with pytest.raises(HrefError, match="private address"):
        load([item])
    np.testing.assert_array_equal(load([item], policy=LOCAL)["red"].values[0], web.pixels["a", "red"])


def test_signed_before_each_read(web):
    """A token that is good for three requests only."""
    item, counts = of(web.scene("a", grid=grid_cube(shape=(256, 256)))), []

    def sign(href):
        counts.append(href)
        return f"{href}?token={len(counts)}"

    cube = load([item], policy=LOCAL, sign=sign, chunks=128)
    assert counts == [], "nothing is signed before it is read"
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(cube["red"].values[0], web.pixels["a", "red"])
    assert len(counts) == 4, "once per chunk"
    assert not any("token" in href for href in counts), "the address of the item, not one signed before"
    asked = [path for path in web.server.paths() if path.startswith("a-B04")]
    assert all("?token=" in path for path in asked)
    assert {path.rpartition("=")[2] for path in asked} == {"1", "2", "3", "4"}
    assert not [key for key in cube["red"].data.dask if "token" in str(key)]


def test_headers_are_read_with_signed_addresses(web):
    bands = {"red": "B04", "green": "B03", "nir": "B05"}
    item = of(web.scene("a", lambda shot, baseline: cat.hls(shot, product="L30"), bands=bands))
    load([item], policy=LOCAL, sign=lambda href: f"{href}?token=1")
    assert all("token=1" in path for path in web.server.paths())
    assert web.server.paths()


def test_what_a_hook_returns_is_checked(web):
    item = of(web.scene("a"))
    cube = load([item], policy=LOCAL, sign=lambda href: "/vsicurl/http://example.org/a.tif")
    with pytest.raises(HrefError, match="virtual file system"):
        cube["red"].compute()


def test_planetary_computer_signs_its_own_hosts_alone(web):
    planetary_computer = pytest.importorskip("planetary_computer")
    assert planetary_computer.__name__
    item = of(web.scene("a"))
    cube = load([item], policy=LOCAL, sign="planetary-computer")
    np.testing.assert_array_equal(cube["red"].values[0], web.pixels["a", "red"])
    assert not any("?" in path for path in web.server.paths())


def test_planetary_computer_tokens_are_renewed(monkeypatch):
    """The package asks its endpoint for a token, keeps it, and asks again when it is about to expire."""
    import datetime as dt

    sas = pytest.importorskip("planetary_computer.sas")
    from xcloudmask.stac.catalogues import sign_planetary_computer

    asked = []

    def token(account, container, *args, **kwargs):
        asked.append((account, container))
        life = dt.timedelta(seconds=30 if len(asked) == 1 else 3600)
        return sas.SASToken(**{"msft:expiry": dt.datetime.now(dt.UTC) + life, "token": f"sig={len(asked)}"})

    class Answer:
        def __init__(self):
            found = token("x", "y")
            self.status_code, self._json = 200, {"msft:expiry": found.expiry.isoformat(), "token": found.token}

        def raise_for_status(self):
            pass

        def json(self):
            return self._json

    monkeypatch.setattr("requests.Session.get", lambda self, *a, **k: Answer())
    sas.TOKEN_CACHE.clear()
    href = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/a/B04.tif"
    assert [sign_planetary_computer(href).rpartition("?")[2] for _ in range(3)] == ["sig=1", "sig=2", "sig=2"]
    sas.TOKEN_CACHE.clear()


def test_without_the_package_that_signs(shelf, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "planetary_computer", None)
    shelf.scene("a")
    with pytest.raises(MissingPackageError):
        load(shelf.items("a"), sign="planetary-computer")


# --- files that cannot be read ---


def test_missing_files_are_errors_when_read(web):
    good, bad = of(web.scene("a")), of(web.scene("b", time="2024-05-24T10:50:31Z"))
    (web.folder / "b-B03.tif").unlink()
    cube = load([good, bad], policy=LOCAL)
    np.testing.assert_array_equal(cube["green"].isel(time=0), web.pixels["a", "green"])
    with pytest.raises(ReadError, match=rf"Item '{bad.id}', asset 'B03'"):
        cube["green"].compute()


def notes(function):
    """What the package warns of while a function runs, and the result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function()
    return result, [str(note.message) for note in caught if note.category is UserWarning]


def test_skipped_items_are_dropped_and_reported(web):
    good, bad = of(web.scene("a")), of(web.scene("b", time="2024-05-24T10:50:31Z"))
    web.server.faults["b-B03.tif"] = Fault(kind="status", status=404)
    cube, (note,) = notes(lambda: load([good, bad], policy=LOCAL, on_error="skip"))
    assert note.startswith("1 of 2 items are left out")
    assert bad.id in note
    assert cube["item_id"].values.tolist() == [good.id]
    (told,) = cube.attrs["skipped_items"]
    assert told.startswith(f"{bad.id}: ")
    assert "404" in told
    whole, nothing = notes(lambda: load([good], policy=LOCAL, on_error="skip"))
    assert nothing == []
    assert "skipped_items" not in whole.attrs
    with pytest.raises(ReadError, match=r"None of the 1 items"):
        load([bad], policy=LOCAL, on_error="skip")


def test_what_fails_after_the_headers_is_an_error(web):
    item = of(web.scene("a", grid=grid_cube(shape=(256, 256))))
    cube = load([item], policy=LOCAL, on_error="skip")
    web.server.faults["a-B04.tif"] = Fault(kind="status", status=403, from_byte=1000)
    with pytest.raises(ReadError, match="asset 'B04'"):
        cube["red"].compute()


def test_refused_addresses_are_no_gaps(shelf):
    item = shelf.scene("a")
    item["assets"]["B04"]["href"] = "/vsizip/vsicurl/http://example.org/a.zip"
    with pytest.raises(HrefError, match="asset 'B04'"):
        load([of(item)], on_error="skip", policy=HrefPolicy(allow_files=True))


def test_different_nodata_does_not_fit_into_one_variable(shelf):
    shelf.scene("a")
    other = shelf.scene("b", time="2024-05-24T10:50:31Z")
    other["assets"]["B04"]["raster:bands"] = [{"nodata": 65535}]
    (shelf.folder / "b.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match=r"different nodata values for 'red': 0\.0.*65535"):
        load(shelf.items("a", "b"))


def test_cubes_go_to_other_processes(web, tiny_model):
    item = of(web.scene("a"))
    cube = load([item], policy=LOCAL)
    here = cube["red"].compute(scheduler="threads")
    with dask.config.set({"multiprocessing.context": "spawn"}):
        there = cube["red"].compute(scheduler="processes", num_workers=1)
    xr.testing.assert_identical(here, there)


def test_masks_of_cubes_keep_the_items(shelf, tiny_model):
    shelf.scene("a")
    mask = xcloudmask.predict(load(shelf.items("a")), model=tiny_model)
    assert "item_id" in mask.coords
    assert mask.attrs["nodata"] == 255
    assert ((mask == 255) == (load(shelf.items("a"))["red"] == 0)).all()
