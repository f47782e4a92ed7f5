"""The configuration of a campaign: what is understood, what is refused, and what each refusal says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.errors import ArgumentError, XCloudMaskError
from xcloudmask.models.registry import get_spec
from xcloudmask.run.config import CampaignConfig
from xcloudmask.stac import HrefPolicy

STAC = {
    "kind": "stac",
    "url": "earth-search",
    "collections": "sentinel-2-c1-l2a",
    "bbox": [9, 47, 9.5, 47.5],
    "datetime": "2024-06",
}
FULL = """
[source]
kind = "stac"
url = "https://example.org/stac"
collections = ["a", "b"]
geometry = "area.geojson"
datetime = "2024-06-01/2024-08-31"
query = { "eo:cloud_cover" = { lt = 60 } }
limit = 500
header_env = { Authorization = "CATALOGUE_TOKEN" }

[model]
name = "default"
normalize = "lattice"
halo_px = 64
bands = { red = "B04", green = "B03", nir = "B8A" }

[store]
path = "masks"
kind = "zarr"
layout = "utm"
chunk_px = 512
shard_px = 2048
resolution_m = 20

[run]
workers = 4
threads = 2
memory_limit = "4 GiB"
timeout_s = 600
"""


def config(source=STAC, **tables):
    return CampaignConfig.from_dict({"source": source, "store": {"path": "masks"}, **tables})


def test_a_file_with_everything(tmp_path):
    (tmp_path / "c.toml").write_text(FULL)
    found = CampaignConfig.from_toml(tmp_path / "c.toml")
    assert found.source.collections == ("a", "b")
    assert found.source.geometry == str(tmp_path / "area.geojson")
    assert found.source.query == {"eo:cloud_cover": {"lt": 60}}
    assert found.model.options == {
        "normalize": "lattice", "halo_px": 64, "bands": {"red": "B04", "green": "B03", "nir": "B8A"},
    }  # fmt: skip
    assert found.store.path == str(tmp_path / "masks")
    assert found.store.resolution_m == 20.0
    assert (found.run.workers, found.run.threads, found.run.timeout_s) == (4, 2, 600.0)
    job = found.job()
    assert job.model_sha256 == get_spec("default").sha256
    assert job.options["normalize"] == "lattice"
    assert (job.chunk_px, job.shard_px, job.block_px, found.region_px) == (512, 2048, 2048, 6144)


def test_tables_read_back_are_the_same(tmp_path):
    (tmp_path / "c.toml").write_text(FULL)
    for found in (CampaignConfig.from_toml(tmp_path / "c.toml"), config(), cube()):
        again = CampaignConfig.from_dict(json.loads(json.dumps(found.tables())), folder=tmp_path / "elsewhere")
        assert again == found
        assert again.digest() == found.digest()
        assert again.job() == found.job()


def cube(**source):
    return config({"kind": "cube", "paths": ["a.zarr"], **source})


def test_the_digest_follows_what_decides_on_masks_alone():
    first = config()
    assert config(run={"workers": 7}).digest() == first.digest()
    assert config(model={"normalize": "lattice"}).digest() != first.digest()
    assert config({**STAC, "datetime": "2024-07"}).digest() != first.digest()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sauce": {}}, r"'sauce' is unknown. Did you mean 'source'"),
        ({"store": {"path": "m", "chunks_px": 3}}, r"\[store\]: 'chunks_px' is unknown. Did you mean 'chunk_px'"),
        ({"store": {"path": "m", "chunk_px": "512"}}, r"\[store\] chunk_px = '512' \(text\). Expected a whole number"),
        ({"store": {"path": "m", "kind": "tif"}}, r"kind = 'tif'.* Expected one of 'zarr', 'cog', 'icechunk'"),
        ({"store": {}}, r"\[store\] lacks 'path'. Type: path = "),
        ({"store": []}, r"\[store\] is \[\] \(a list\). Expected a table"),
        ({"store": {"path": "m", "chunk_px": True}}, "Expected a whole number"),
        ({"store": {"path": "m", "chunk_px": 0}}, "chunk_px = 0. Expected a positive number"),
        ({"store": {"path": "m", "shard_px": 700}}, "is no multiple of chunk_px = 512. Type: shard_px = 1024"),
        ({"store": {"path": "m", "region_px": 5000}}, "region_px = 5000 is no multiple"),
        ({"store": {"path": "m", "block_px": 700}}, "is no multiple"),
        ({"store": {"path": "m", "kind": "cog", "shard_px": 1024}}, "shard_px is for kind = 'zarr'"),
        ({"store": {"path": "m", "kind": "cog", "layout": "utm"}}, "one file for a whole zone"),
        ({"store": {"path": "m", "resolution_m": 10}}, "for layout = 'utm'"),
        ({"store": {"path": "s3://b", "storage_options": {"secret": "x"}}}, "in the environment of each worker"),
        ({"model": {"normalise": "lattice"}}, r"\[model\]: 'normalise' is unknown. Did you mean 'normalize'"),
        ({"model": {"normalize": "grid"}}, r"\[model\]: normalize='grid' is unknown. Expected one of"),
        ({"model": {"halo_px": "8"}}, r"\[model\]: halo_px='8' is a str"),
        ({"model": {"categorise": False}}, "'categorise' is unknown"),
        ({"model": {"normalize": "scene"}, "store": {"path": "m", "layout": "utm"}}, "a whole zone at once"),
        ({"run": {"threads": 0}}, r"\[run\] threads = 0. Expected a positive number"),
        ({"run": {"memory_limit": "much"}}, "Expected such as '4 GiB'"),
        ({"run": {"workers": 1.5}}, "Expected a whole number"),
        ({"source": {"kind": "stack"}}, "Expected one of 'stac', 'items', 'cube'"),
        ({"source": {"kind": "cube", "url": "x"}}, r"of kind 'cube': 'url' is unknown"),
        ({"source": {"kind": "cube"}}, "lacks paths"),
        ({"source": {"kind": "stac", "bbox": [1, 2, 3, 4]}}, "lacks url or collections"),
        ({"source": {k: v for k, v in STAC.items() if k != "bbox"}}, "the whole Earth"),
        ({"source": STAC | {"geometry": "a.json"}}, "bbox and geometry"),
        ({"source": STAC | {"bbox": [9.5, 47, 9, 47.5]}}, "west < east"),
        ({"source": STAC | {"bbox": [9, 47, "east", 47.5]}}, "bbox = 'east' .text.. Expected a number"),
        ({"source": STAC | {"datetime": "June"}}, "is not understood"),
        ({"source": STAC | {"limit": 0}}, "1 or more"),
        ({"source": STAC | {"schemes": ["ftp"]}}, "schemes has 'ftp'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_table_and_key(change, told):
    with pytest.raises(XCloudMaskError, match=told) as caught:
        CampaignConfig.from_dict({"source": STAC, "store": {"path": "m"}, **change}, place="alps.toml")
    own = ("west <", "not understood", "schemes has")
    assert "alps.toml" in str(caught.value) or any(text in str(caught.value) for text in own)


@pytest.mark.parametrize("data", [b"[source", b"\xff\xfe", b"x" * 1_000_001])
def test_a_file_that_is_none_is_said_so(tmp_path, data):
    (tmp_path / "c.toml").write_bytes(data)
    with pytest.raises(ArgumentError, match=r"c\.toml"):
        CampaignConfig.from_toml(tmp_path / "c.toml")
    with pytest.raises(ArgumentError, match="cannot be read"):
        CampaignConfig.from_toml(tmp_path / "missing.toml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5000) | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from([("source", key) for key in ("kind", "url", "bbox", "query", "limit", "schemes", "hosts")]
                    + [("store", key) for key in ("path", "kind", "chunk_px", "region_px", "storage_options")]
                    + [("model", key) for key in ("name", "normalize", "scale", "bands", "stride", "resolution_m")]
                    + [("run", key) for key in ("workers", "memory_limit", "timeout_s", "scheduler")]),
)  # fmt: skip
def test_whatever_is_typed_is_taken_or_refused_with_a_reason(value, where):
    table, key = where
    tables = {"source": dict(STAC), "store": {"path": "m"}, "model": {}, "run": {}}
    tables[table][key] = value
    try:
        found = CampaignConfig.from_dict(tables)
    except XCloudMaskError:
        return
    assert CampaignConfig.from_dict(found.tables()).digest() == found.digest()


def test_sides_that_are_left_out_fit_into_one_another():
    for chunk in (64, 256, 500, 512, 1000, 1024, 3000, 7000):
        for region in (None, chunk, 3 * chunk):
            found = config(store={"path": "m", "chunk_px": chunk, "region_px": region} if region else
                           {"path": "m", "chunk_px": chunk})  # fmt: skip
            assert found.region_px % found.block_px == found.block_px % chunk == 0
            assert found.block_px <= max(2048, chunk)


@pytest.mark.parametrize(
    ("store", "model", "whole"), [({"kind": "cog"}, {}, True), ({}, {"normalize": "scene"}, True),
                                  ({}, {"normalize": "ocm"}, True), ({}, {"normalize": "lattice"}, False)],
)  # fmt: skip
def test_formats_and_models_that_want_whole_grids(store, model, whole):
    assert config(store={"path": "m", **store}, model=model).whole is whole


def test_files_of_this_machine_only_where_the_user_named_some(tmp_path):
    def policy(source):
        plain = config(source).job().policy
        return HrefPolicy(**{key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()})

    assert not policy(STAC).allow_files
    assert not policy({"kind": "items", "paths": "https://example.org/items.json"}).allow_files
    assert policy({"kind": "items", "paths": str(tmp_path / "items.json")}).allow_files
    assert policy(STAC | {"allow_private": True, "hosts": ["a.org"]}) == HrefPolicy(
        allow_private=True, hosts=("a.org",)
    )


def test_another_model_under_the_same_name_is_refused():
    right = get_spec("default").sha256
    assert config(model={"name": "default", "sha256": right}).job().model_sha256 == right
    with pytest.raises(ArgumentError, match="the configuration wants abc"):
        config(model={"sha256": "abc"}).job()
    with pytest.raises(XCloudMaskError, match="No model is called"):
        config(model={"name": "defalt"}).job()


def test_the_job_says_how_to_read():
    assert config(STAC | {"sensor": "sentinel-2-l2a", "sign": "planetary-computer"}).job().reading == {
        "resampling": "nearest", "sensor": "sentinel-2-l2a", "sign": "planetary-computer",
    }  # fmt: skip
    found = cube(sensor="sentinel-2-l2a", bands=["B04", "B03", "B08"]).job()
    assert found.reading == {"bands": ["B04", "B03", "B08"]}
    assert found.options == {"sensor": "sentinel-2-l2a"}
    assert config(run={"attempts": 2}).job().attempts == 2
