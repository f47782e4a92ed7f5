"""Names of COGs: templates, styles, and texts of catalogues that cannot leave the folder."""

from pathlib import PurePosixPath

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import example, given
from hypothesis import strategies as st

from xcloudmask import to_style
from xcloudmask.classes import CLASS_DIM, STYLES, mask_attrs
from xcloudmask.errors import ArgumentError, InputError, WriteError
from xcloudmask.io import to_cog
from xcloudmask.io._cognames import file_names
from xcloudmask.io.cog import cog_paths

ALL = list(STYLES)


def make_mask(ids=("S2A/a", "S2B/b"), **coords):
    times = np.array(["2024-01-01T10:20:30.500", "2024-02-06"], "M8[ns]")[: len(ids)]
    codes = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), (len(ids), 40, 50))
    coords |= {
        "time": times,
        "item_id": ("time", np.array(ids, object)),
        "eo:cloud_cover": ("time", [7.25, np.nan][: len(ids)]),
    }
    attrs = mask_attrs(STYLES["4-class"]) | {"model": "default", "model_sha256": "abc", "settings": '{"halo_px":72}'}
    return xr.DataArray(codes, dims=("time", "y", "x"), coords=coords, name="clouds", attrs=attrs)


def names(mask, template, **options):
    return [
        path.relative_to("masks").as_posix() for path in cog_paths(mask, "masks", name_template=template, **options)
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{name}_{time:%Y%m%dT%H%M%S}_{style}.tif", "clouds_20240101T102030_4-class.tif"),
        ("{time:%Y}/{time:%m/%d}/{item_id}.tif", "2024/01/01/S2A-a.tif"),
        ("{index:03d}", "000.tif"),
        ("{time}.TIFF", "20240101T102030.TIFF"),
        ("{eo:cloud_cover}_{index}", "7.25_0.tif"),
        ("{eo:cloud_cover:.0f}%_{index}", "7%_0.tif"),
        ("{platform}-{time:%j}.5", "sentinel-2a-001.5.tif"),
    ],
)
def test_templates(template, expected):
    assert names(make_mask(platform="sentinel-2a"), template)[0] == expected


def test_what_is_missing_has_a_name():
    mask = make_mask(("", None)).assign_coords(time=[np.datetime64("NaT"), np.datetime64("2024-01-01")])
    assert names(mask, "{item_id}_{index}") == ["unknown_0.tif", "unknown_1.tif"]
    assert names(mask, "{time}_{eo:cloud_cover}") == ["unknown_7.25.tif", "20240101T000000_unknown.tif"]


def test_a_mask_without_time():
    mask = make_mask().isel(time=0)
    assert names(mask, "{item_id}_{time:%Y}_{index}") == ["S2A-a_2024_0.tif"]
    with pytest.raises(
        ArgumentError, match=r"field 'time' is unknown here. Expected one of .*index, item_id, name, style"
    ):
        names(mask.drop_vars("time"), "{time}")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{day}", r"field 'day' is unknown here. Expected one of eo:cloud_cover, index, item_id, name, style, time"),
        ("{time.__class__}", "'time.__class__' is unknown"),
        ("{item_id[0]}", "unknown"),
        ("{}", "unknown"),
        ("{item_id", "without its partner"),
        ("{index:%Y}", r"'%Y' is no format for index = 0"),
        ("../{index}", "inside the target folder"),
        ("/etc/{index}", "inside the target folder"),
        ("a//{index}", "inside the target folder"),
        (".{index}", "inside the target folder"),
        ("{name}/../{index}", "inside the target folder"),
        ("x" * 300 + "{index}", "300|305"),
        ("{name}", r"to date 0 \(4-class\) and to date 1 .*Add {index}, {item_id}"),
    ],
)
def test_wrong_templates(tmp_path, template, message):
    with pytest.raises(ArgumentError, match=message):
        to_cog(make_mask(), tmp_path, name_template=template)
    assert list(tmp_path.iterdir()) == []


def test_names_that_differ_by_case_only():
    with pytest.raises(ArgumentError, match="Add"):
        names(make_mask(("a", "A")), "{item_id}")


@given(st.text(max_size=50), st.text(max_size=20))
@example("", "{")
def test_texts_of_catalogues_stay_in_the_folder(item_id, other):
    mask = make_mask((item_id,), platform=other)
    (name,) = names(mask, "{platform}/a{item_id}.tif")
    parts = PurePosixPath(name).parts
    assert len(parts) == 2
    assert not any(part.startswith(".") for part in parts)
    assert "\0" not in name
    assert "\\" not in name


@pytest.mark.parametrize(
    "item_id", ["../../etc/passwd", "/etc/passwd", "..", ".", "a/../../b", "..\\..\\b", "C:\\x", "a\0b"]
)
def test_path_traversal(tmp_path, item_id):
    (path,) = to_cog(make_mask((item_id,)), tmp_path / "masks", name_template="{item_id}")
    assert path.parent == tmp_path / "masks"
    assert path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["masks"]
    with rasterio.open(path) as file:
        assert file.tags()["item_id"].startswith(item_id.split("\0")[0])


def test_styles_are_computed_once(tmp_path):
    mask = make_mask()
    paths = to_cog(mask, tmp_path, style=ALL)
    assert [path.name for path in paths[:3]] == [f"clouds_20240101T102030_{style}.tif" for style in ALL]
    assert len(paths) == 6
    for date in range(2):
        for style, path in zip(ALL, paths[3 * date :], strict=False):
            with rasterio.open(path) as file:
                np.testing.assert_array_equal(file.read(1), to_style(mask, style)[date])
                tags = file.tags()
                assert (tags["output_style"], tags["flag_meanings"]) == (style, " ".join(STYLES[style].meanings))
                assert (tags["model"], tags["model_sha256"], tags["settings"]) == ("default", "abc", '{"halo_px":72}')
                assert tags["item_id"] == mask["item_id"].values[date]
    (alone,) = to_cog(to_style(mask[:1], "valid-invalid"), tmp_path / "alone")
    with rasterio.open(alone) as one, rasterio.open(paths[2]) as other:
        np.testing.assert_array_equal(one.read(), other.read())
    with pytest.raises(ArgumentError, match=r"Add {style}"):
        to_cog(mask, tmp_path, style=ALL, name_template="{index}")
    with pytest.raises(InputError, match="lost the classes"):
        to_cog(to_style(mask, "valid-invalid"), tmp_path, style="4-class")


def test_percentages_have_one_style(tmp_path):
    percent = xr.DataArray(
        np.full((1, 2, 40, 50), 50, np.uint8),
        dims=("time", CLASS_DIM, "y", "x"),
        coords={CLASS_DIM: ["not_cloud", "cloud"]},
        attrs={"output_style": "cloud-noncloud"},
    )
    (path,) = to_cog(percent, tmp_path, name_template="{style}")
    assert path.name == "cloud-noncloud-percent.tif"
    assert not (tmp_path / f"{path.name}.aux.xml").exists()
    assert to_cog(percent, tmp_path, name_template="{style}", resume=True) == [path]
    with pytest.raises(InputError, match=r"predict\(categorise=False, output_style='4-class'\)"):
        to_cog(percent, tmp_path, style="4-class")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.assign_attrs(model_sha256="other"), "model_sha256 is 'abc', and here it is 'other'"),
        (lambda m: m.assign_attrs(settings="{}"), "settings"),
        (lambda m: m.assign_attrs(processing="dilated"), "processing is None"),
        (lambda m: m.assign_coords(item_id=("time", ["S2A/a", "other"])), "item_id"),
        (lambda m: m.isel(x=slice(9)), "shape"),
        (lambda m: m.assign_coords(x=m.x + 20.0), "transform"),
        (lambda m: m.assign_coords(epsg=32632), "CRS"),
    ],
)
def test_files_of_another_mask_are_not_kept(tmp_path, change, message):
    grid = {"y": 5e6 - 10.0 * np.arange(40), "x": 5e5 + 10.0 * np.arange(50), "epsg": 32631}
    mask = make_mask(**grid)
    paths = to_cog(mask, tmp_path)
    paths[0].unlink()
    before = paths[1].read_bytes()
    with pytest.raises(WriteError, match=rf"20240206T000000\.tif was written from another mask: .*{message}"):
        to_cog(change(mask), tmp_path, resume=True)
    assert paths[1].read_bytes() == before
    assert not paths[0].exists()
    assert to_cog(mask.assign_attrs(xcloudmask_version="99"), tmp_path, resume=True) == paths
    assert paths[1].read_bytes() == before
    paths[1].write_bytes(b"no tiff")
    with pytest.raises(WriteError, match=r"no GeoTIFF that can be read.*overwrite=True"):
        to_cog(mask, tmp_path, resume=True)


def test_file_names_are_numbered_where_nothing_was_asked_for():
    mask = make_mask().expand_dims(CLASS_DIM, axis=1)
    mask = mask.assign_coords(time=mask["time"].values[[0, 0]])
    found = file_names(mask, name="m", styles=["4-class"], template=None)
    assert list(found.values()) == ["m_20240101T102030_1.tif", "m_20240101T102030_2.tif"]
