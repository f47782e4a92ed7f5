"""Masks to items, a collection and a catalogue; and back."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import dask
import numpy as np
import odc.geo.xr  # registers .odc
import odc.stac
import pystac
import pystac_client
import pytest
import rasterio
import xarray as xr
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.eo import EOExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import DataType, RasterExtension
from pystac.extensions.view import ViewExtension
from pystac.extensions.xarray_assets import XarrayAssetsExtension
from s3_server import use_s3
from stac_masks import TIMES, files_in, items_in, make_mask, make_percent, read, validate
from stac_schemas import VARIABLE, official_schemas
from stac_server import serve_api, serve_rustac

import xcloudmask
from xcloudmask.classes import NODATA, get_style
from xcloudmask.errors import ArgumentError, ArgumentTypeError, InputError, NotACubeError, ReadError, WriteError
from xcloudmask.io import to_cog, to_zarr
from xcloudmask.models.registry import get_spec, list_models
from xcloudmask.stac import HrefPolicy, load, read_items
from xcloudmask.stac.out import item_of, to_stac
from xcloudmask.stac.out._disk import write_document

NAMES = ["cloud_mask_20240514T105031", "cloud_mask_20240524T105031"]


def all_items(catalogue):
    return sorted(catalogue.get_items(recursive=True), key=lambda item: item.id)


# --- what an item says ---


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    coords = {
        "item_id": np.array(["S2A_T31UFU_20240514", "S2B_T31UFU_20240524"], object),
        "platform": np.array(["sentinel-2a", "sentinel-2b"], object),
        "sun_elevation": [58.5, 60.0],
        "sun_azimuth": [158.0, np.nan],
    }
    mask = make_mask(coords=coords, nodata_px=20)
    return folder, mask, to_stac(mask, folder)


def test_properties(written):
    folder, mask, _ = written
    items = items_in(folder)
    assert list(items) == ["S2A_T31UFU_20240514_cloud_mask", "S2B_T31UFU_20240524_cloud_mask"]
    told = items["S2A_T31UFU_20240514_cloud_mask"]["properties"]
    codes = mask.values[0]
    valid = codes != NODATA
    percent = {
        name: 100 * (codes == code).sum() / valid.sum() for code, name in enumerate(get_style("4-class").meanings)
    }
    assert told["datetime"] == "2024-05-14T10:50:31Z"
    assert told["platform"] == "sentinel-2a"
    assert told["gsd"] == 10
    assert told["view:sun_elevation"] == 58.5
    assert told["view:sun_azimuth"] == 158
    assert told["eo:cloud_cover"] == pytest.approx(percent["thick_cloud"] + percent["thin_cloud"], abs=0.002)
    assert told["xcloudmask:class_percent"] == pytest.approx(percent, abs=0.001)
    assert told["xcloudmask:source"] == "S2A_T31UFU_20240514"
    assert told["xcloudmask:settings"] == {"bands": "red green nir", "factor": 1, "halo_px": 40}
    assert told["xcloudmask:model_sha256"] == "0" * 64
    assert told["processing:software"] == {"xcloudmask": "0.1.0"}
    assert told["processing:level"] == "L2"
    assert "'tiny'" in told["processing:lineage"]
    assert "S2A_T31UFU_20240514" in told["processing:lineage"]
    assert "view:sun_azimuth" not in items["S2B_T31UFU_20240524_cloud_mask"]["properties"], "NaN"


def test_through_the_extension_classes_of_pystac(written):
    _, mask, catalogue = written
    for step, item in enumerate(all_items(catalogue)):
        asset = item.assets["mask"]
        projection = ProjectionExtension.ext(item)
        assert (projection.code, projection.shape) == ("EPSG:32631", [60, 80])
        assert projection.transform == [10, 0, 600_000, 0, -10, 5_400_000]
        assert projection.bbox == [600_000, 5_399_400, 600_800, 5_400_000]
        (band,) = RasterExtension.ext(asset).bands
        assert (band.data_type, band.nodata, band.spatial_resolution) == (DataType.UINT8, 255, 10)
        assert band.statistics.valid_percent == 75
        assert EOExtension.ext(item).cloud_cover == item.properties["eo:cloud_cover"]
        assert ViewExtension.ext(item).sun_elevation == mask["sun_elevation"].values[step]
        found = {entry.value: entry for entry in ClassificationExtension.ext(asset).classes}
        counts = np.bincount(mask.values[step].ravel(), minlength=256)
        assert {value: entry.count for value, entry in found.items()} == {
            code: counts[code] for code in (0, 1, 2, 3, 255)
        }
        assert [found[code].name for code in range(4)] == list(get_style("4-class").meanings)
        assert [found[code].color_hint for code in range(4)] == [
            colour[1:].upper() for colour in get_style("4-class").colours
        ]
        assert [entry.nodata for entry in found.values()] == [False] * 4 + [True]
        assert sum(entry.percentage for entry in found.values()) == pytest.approx(100, abs=0.01)
        assert all(entry.description for entry in found.values())


def test_bands_of_stac_1_1(written):
    (band,) = next(iter(items_in(written[0]).values()))["assets"]["mask"]["bands"]
    assert band["data_type"] == "uint8"
    assert band["nodata"] == 255
    assert band["statistics"] == {"valid_percent": 75.0}


def test_everything_is_valid(written):
    _, _, catalogue = written
    for document in [read(path) for path in sorted(written[0].rglob("*.json")) if not path.name.startswith("model-")]:
        checked = validate(document)
        if official_schemas() is not None and document["type"] != "Catalog":
            assert checked == document["stac_extensions"], "a schema is missing"
    assert len(all_items(catalogue)) == 2


def test_stac_pydantic_takes_it(written):
    """A second reading of the specification."""
    import stac_pydantic

    models = {"Feature": "Item", "Collection": "Collection", "Catalog": "Catalog"}
    for path in sorted(written[0].rglob("*.json")):
        document = read(path)
        if "stac_version" in document:
            getattr(stac_pydantic, models[document["type"]]).model_validate(document)


def test_the_official_schemas_find_faults(written):
    if official_schemas() is None:
        pytest.skip(f"no schemas: type python tests/stac_schemas.py FOLDER and set {VARIABLE}=FOLDER")
    from jsonschema import ValidationError

    item = next(iter(items_in(written[0]).values()))
    del item["assets"]["mask"]["classification:classes"][0]["name"]
    with pytest.raises(ValidationError):
        validate(item)


def test_hrefs_are_relative_and_lead_somewhere(written, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(written[0], moved)
    catalogue = pystac.Catalog.from_file(str(moved / "catalog.json"))
    for found, _, items in catalogue.walk():
        assert [link.href for link in found.get_links("parent")] in ([], ["../catalog.json"])
        for item in items:
            assert item.get_parent().id == item.collection_id == "cloud-masks"
            assert item.get_root().id == catalogue.id
            assert all(not asset.href.startswith("/") for asset in item.assets.values())
            assert rasterio.open(item.assets["mask"].get_absolute_href()).colormap(1)
            assert item.assets["thumbnail"].get_absolute_href().startswith(str(moved))
    assert str(written[0]) not in b"".join(files_in(moved).values()).decode("latin-1")


def test_the_collection(written):
    document = read(written[0] / "cloud-masks" / "collection.json")
    assert document["license"] == "other"
    assert document["extent"]["temporal"]["interval"] == [["2024-05-14T10:50:31Z", "2024-05-24T10:50:31Z"]]
    assert document["summaries"]["platform"] == ["sentinel-2a", "sentinel-2b"]
    assert document["summaries"]["proj:code"] == ["EPSG:32631"]
    covers = [item["properties"]["eo:cloud_cover"] for item in items_in(written[0]).values()]
    assert document["summaries"]["eo:cloud_cover"] == {"minimum": min(covers), "maximum": max(covers)}
    definition = document["item_assets"]["mask"]
    assert "href" not in definition
    assert [entry["value"] for entry in definition["classification:classes"]] == [0, 1, 2, 3, 255]
    assert not {"count", "percentage"} & set(definition["classification:classes"][0])
    (box,) = document["extent"]["spatial"]["bbox"]
    assert box == next(iter(items_in(written[0]).values()))["bbox"]


def test_thumbnail(written):
    from PIL import Image

    folder, mask, _ = written
    with Image.open(sorted(folder.glob("*/*/*.png"))[0]) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    colours = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in get_style("4-class").colours]
    assert pixels.shape == (60, 80, 4)
    for code, colour in enumerate(colours):
        assert (pixels[mask.values[0] == code] == (*colour, 255)).all()
    assert (pixels[mask.values[0] == NODATA][:, 3] == 0).all()


# --- loading it again ---


@pytest.mark.parametrize("chunks", [None, {}])
def test_odc_stac_loads_the_same_mask(written, chunks):
    _, mask, catalogue = written
    cube = odc.stac.load(all_items(catalogue), bands=["mask"], chunks=chunks)
    assert cube["mask"].dtype == np.uint8
    assert cube["mask"].attrs["nodata"] == 255
    assert cube.odc.geobox == mask.odc.geobox
    assert cube["time"].values.astype("M8[s]").tolist() == mask["time"].values.astype("M8[s]").tolist()
    np.testing.assert_array_equal(cube["mask"], mask)


def test_our_own_readers(written):
    folder, mask, _ = written
    items = read_items(folder / "catalog.json")
    assert [item.collection_id for item in items] == ["cloud-masks"] * 2
    for cube in (load(items, bands=["mask"]), xcloudmask.open(items, bands=["mask"])):
        assert cube["mask"].dtype == np.uint8
        np.testing.assert_array_equal(cube["mask"], mask)
        assert cube["platform"].values.tolist() == ["sentinel-2a", "sentinel-2b"]
    again = load(items, bands=["mask"])["mask"].assign_attrs(output_style="4-class")
    np.testing.assert_allclose(again.cloudmask.clear_fraction(), mask.cloudmask.clear_fraction())


def test_servers_serve_it(written, tmp_path):
    folder, mask, catalogue = written
    paths = sorted((folder / "cloud-masks").glob("*/*.json"))
    flat = tmp_path / "api"
    flat.mkdir()
    for item in all_items(catalogue):
        # What goes into an API: absolute addresses of files, and no links, which are the API's own.
        document = item.make_asset_hrefs_absolute().to_dict(include_self_link=False, transform_hrefs=False)
        write_document(flat / f"{item.id}.json", document | {"links": []})
    with serve_api(flat) as root:
        client = pystac_client.Client.open(root)
        found = list(client.search(collections=["cloud-masks"], query={"eo:cloud_cover": {"lt": 100}}).items())
        cube = odc.stac.load(found, bands=["mask"])
        np.testing.assert_array_equal(cube["mask"], mask)
        assert not list(client.search(bbox=(20, 20, 21, 21)).items())
    with serve_rustac(*paths) as root:
        found = list(pystac_client.Client.open(root).search(collections=["cloud-masks"]).items())
    assert sorted(item.id for item in found) == [path.stem for path in paths]


# --- a second call ---


def test_new_dates_are_added(tmp_path):
    first, second = make_mask(), make_mask(("2024-06-03T10:50:31",), seed=1)
    to_stac(first, tmp_path)
    kept = files_in(tmp_path)
    catalogue = to_stac(second, tmp_path, title="More")
    assert [item.id for item in all_items(catalogue)] == [*NAMES, "cloud_mask_20240603T105031"]
    now = files_in(tmp_path)
    changed = {name for name in kept if now[name] != kept[name]}
    assert changed == {"catalog.json", "cloud-masks/collection.json"}, "items that are not written stay as they are"
    document = read(tmp_path / "cloud-masks" / "collection.json")
    assert document["title"] == "More"
    assert document["extent"]["temporal"]["interval"] == [["2024-05-14T10:50:31Z", "2024-06-03T10:50:31Z"]]
    assert validate(document) is not None


def test_the_same_again_changes_no_byte(tmp_path):
    mask = make_mask()
    to_stac(mask, tmp_path)
    before = files_in(tmp_path)
    to_stac(mask, tmp_path)
    assert files_in(tmp_path) == before


def test_in_parts_or_at_once(tmp_path):
    mask = make_mask()
    to_stac(mask, tmp_path / "a" / "masks")
    to_stac(mask.isel(time=[1]), tmp_path / "b" / "masks")
    to_stac(mask.isel(time=[0]), tmp_path / "b" / "masks")
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


def test_a_date_replaces_itself(tmp_path):
    mask = make_mask()
    to_stac(mask, tmp_path)
    changed = mask.copy(data=np.where(mask == 1, 0, mask.values))
    catalogue = to_stac(changed.isel(time=[0]), tmp_path)
    first, second = all_items(catalogue)
    assert first.properties["xcloudmask:class_percent"]["thick_cloud"] == 0
    assert second.properties["xcloudmask:class_percent"]["thick_cloud"] > 0
    cube = odc.stac.load([first, second], bands=["mask"])
    np.testing.assert_array_equal(cube["mask"], np.stack([changed.values[0], mask.values[1]]))


def test_what_the_owner_added_stays(tmp_path):
    to_stac(make_mask(), tmp_path, licence="CC-BY-4.0", title="Mine")
    path = tmp_path / "cloud-masks" / "collection.json"
    document = read(path)
    document["keywords"] = ["mine"]
    document["providers"] = [{"name": "Me", "roles": ["producer"]}]
    document["links"].append({"rel": "license", "href": "https://example.org/licence"})
    write_document(path, document)
    to_stac(make_mask(("2024-06-03T10:50:31",)), tmp_path)
    now = read(path)
    assert (now["keywords"], now["title"], now["license"]) == (["mine"], "Mine", "CC-BY-4.0")
    assert now["providers"] == document["providers"]
    assert [link["href"] for link in now["links"] if link["rel"] == "license"] == ["https://example.org/licence"]
    assert len([link for link in now["links"] if link["rel"] == "item"]) == 3


def test_two_collections_in_one_catalogue(tmp_path):
    mask = make_mask()
    to_stac(mask, tmp_path)
    catalogue = to_stac(mask, tmp_path, collection_id="valid", style="valid-invalid")
    assert sorted(child.id for child in catalogue.get_children()) == ["cloud-masks", "valid"]
    assert len(all_items(catalogue)) == 4
    document = next(iter(items_in(tmp_path, "valid").values()))
    assert "eo:cloud_cover" not in document["properties"], "invalid is cloud or shadow"
    assert not any("/eo/" in name for name in document["stac_extensions"])
    for path in tmp_path.rglob("*.json"):
        validate(read(path))


# --- other input ---


def test_percentages(tmp_path):
    percent = make_percent(nodata_px=20)
    catalogue = to_stac(percent, tmp_path)
    item = all_items(catalogue)[0]
    assert item.id.startswith("cloud_percent_")
    asset = item.assets["percent"]
    assert [band["name"] for band in asset.to_dict()["bands"]] == list(get_style("4-class").meanings)
    assert "classification:classes" not in asset.extra_fields
    shares = percent.isel(time=0).values[:, :, 20:].mean(axis=(1, 2))
    assert item.properties["eo:cloud_cover"] == pytest.approx(shares[1] + shares[2], abs=0.002)
    cube = odc.stac.load([item], bands=["percent.3"])
    np.testing.assert_array_equal(cube["percent.3"].values[0], percent.values[0, 2])
    for document in items_in(tmp_path).values():
        validate(document)
    with pytest.raises(WriteError, match="percent_of"):
        to_stac(make_mask(("2025-01-01",)), tmp_path)


def test_a_store(tmp_path):
    mask = make_mask(nodata_px=10, chunks={"time": 1, "y": 25})
    to_zarr(mask, tmp_path / "masks.zarr")
    catalogue = to_stac(tmp_path / "masks.zarr", tmp_path / "stac")
    assert not list((tmp_path / "stac").rglob("*.tif"))
    for step, item in enumerate(all_items(catalogue)):
        asset = item.assets["zarr"]
        assert asset.media_type == "application/vnd.zarr; version=3"
        assert asset.to_dict()["bands"][0]["name"] == "cloud_mask"
        options = XarrayAssetsExtension.ext(asset).open_kwargs
        cube = xr.open_dataset(asset.get_absolute_href(), **options)
        assert cube["cloud_mask"].dtype == np.uint8
        codes = cube["cloud_mask"].sel(time=item.datetime.replace(tzinfo=None))
        np.testing.assert_array_equal(codes, mask.values[step])
        assert asset.extra_fields["zarr:consolidated"] == options["consolidated"]
        assert item.get_single_link("store") is not None
        validate(item.to_dict(include_self_link=False))
    (collection,) = catalogue.get_children()
    assert collection.assets["zarr"].get_absolute_href() == str(tmp_path / "masks.zarr")
    validate(collection.to_dict(include_self_link=False))


def test_a_store_in_a_bucket(tmp_path, s3_endpoint, monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    use_s3(s3_endpoint, monkeypatch)
    s3fs.S3FileSystem().mkdir("masks-of-stac-out")
    mask, url = make_mask(chunks={"time": 1}), "s3://masks-of-stac-out/masks.zarr"
    to_zarr(mask, url)
    item = all_items(to_stac(url, tmp_path))[1]
    assert item.assets["zarr"].href == url
    cube = xr.open_dataset(url, **XarrayAssetsExtension.ext(item.assets["zarr"]).open_kwargs)
    np.testing.assert_array_equal(cube["cloud_mask"].values, mask)
    told = item.properties["xcloudmask:class_percent"]["clear"]
    assert told == pytest.approx(100 * (mask.values[1] == 0).mean(), abs=0.001)


def test_some_dates_of_a_store(tmp_path):
    to_zarr(make_mask(chunks={"time": 1}), tmp_path / "masks.zarr")
    opened = xcloudmask.open_mask(tmp_path / "masks.zarr").isel(time=[1])
    catalogue = to_stac(opened, tmp_path / "stac", store=tmp_path / "masks.zarr")
    (item,) = catalogue.get_items(recursive=True)
    assert item.id == NAMES[1]
    assert item.assets["zarr"].get_absolute_href() == str(tmp_path / "masks.zarr")
    assert not list((tmp_path / "stac").rglob("*.tif"))
    whole = to_stac(tmp_path / "masks.zarr", tmp_path / "whole")
    (same,) = (one for one in whole.get_items(recursive=True) if one.id == item.id)
    assert item.properties == same.properties
    for wrong in ({"masks": tmp_path / "masks.zarr"}, {"masks": opened, "style": "cloud-noncloud"}):
        with pytest.raises(ArgumentError, match="opened from it"):
            to_stac(folder=tmp_path / "no", store=tmp_path / "masks.zarr", **wrong)


def test_a_store_and_cogs_say_the_same(tmp_path):
    mask = make_mask(nodata_px=10, chunks={"y": 17})
    to_zarr(mask, tmp_path / "masks.zarr")
    to_stac(tmp_path / "masks.zarr", tmp_path / "a")
    to_stac(mask, tmp_path / "b")
    for one, other in zip(items_in(tmp_path / "a").values(), items_in(tmp_path / "b").values(), strict=True):
        assert one["properties"] == other["properties"]
        assert (one["geometry"], one["bbox"]) == (other["geometry"], other["bbox"])


def test_files_that_are_there(tmp_path):
    mask = make_mask(nodata_px=10)
    paths = to_cog(mask, tmp_path / "masks")
    catalogue = to_stac(tmp_path / "masks", tmp_path / "stac")
    assert [item.id for item in all_items(catalogue)] == [path.stem for path in paths]
    assert not list((tmp_path / "stac").rglob("*.tif"))
    cube = odc.stac.load(all_items(catalogue), bands=["mask"])
    np.testing.assert_array_equal(cube["mask"], mask)
    to_stac(mask, tmp_path / "b")
    for one, other in zip(items_in(tmp_path / "stac").values(), items_in(tmp_path / "b").values(), strict=True):
        assert one["geometry"] == other["geometry"]
        assert one["properties"] == other["properties"]


def test_item_of(tmp_path):
    (path,) = to_cog(make_mask(TIMES[:1]), tmp_path / "one.tif")
    item = item_of(path)
    assert item.id == "one"
    assert item.collection_id is None
    assert item.assets["mask"].href == str(path)
    validate(item.to_dict())
    np.testing.assert_array_equal(odc.stac.load([item], bands=["mask"])["mask"].values[0], make_mask().values[0])
    assert item_of(path, name="other").id == "other"


def test_no_mask(tmp_path):
    from stac_items import write_tif
    from stac_shelf import grid_cube

    write_tif(tmp_path / "image.tif", {"B04": np.zeros((160, 160), np.uint8)}, grid_cube(), nodata=0)
    with pytest.raises(ReadError, match="no mask of xcloudmask"):
        item_of(tmp_path / "image.tif")
    with pytest.raises(ReadError, match="does not exist"):
        to_stac(tmp_path / "nothing.tif", tmp_path / "stac")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="has no GeoTIFF"):
        to_stac(tmp_path / "empty", tmp_path / "stac")
    with pytest.raises(NotACubeError, match="float32"):
        to_stac(make_percent().astype(np.float32), tmp_path / "stac")
    with pytest.raises(NotACubeError, match="Dataset"):
        to_stac(make_mask().to_dataset(), tmp_path / "stac")
    with pytest.raises(ArgumentTypeError, match="no mask"):
        to_stac([3], tmp_path / "stac")
    assert not (tmp_path / "stac").exists()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 1025)])
def test_shapes(shape, tmp_path):
    mask = make_mask(TIMES[:1], shape=shape)
    (item,) = all_items(to_stac(mask, tmp_path))
    validate(item.to_dict(include_self_link=False))
    np.testing.assert_array_equal(odc.stac.load([item], bands=["mask"])["mask"], mask)
    from PIL import Image

    with Image.open(item.assets["thumbnail"].get_absolute_href()) as picture:
        assert max(picture.size) <= 512


def test_a_dimension_too_many(tmp_path):
    with pytest.raises(NotACubeError, match="'run'"):
        to_stac(make_mask().expand_dims("run"), tmp_path / "stac")
    assert not (tmp_path / "stac").exists()


def test_no_dates(tmp_path):
    with pytest.raises(ArgumentError, match="no mask"):
        to_stac(make_mask().isel(time=[]), tmp_path / "stac")


def test_nothing_below_knows_of_it():
    """Items are made of masks, files and models, and not the other way round."""
    root = Path(xcloudmask.__file__).parent
    above = ("cli", "webreport", "run/export.py", "stac/out", "__init__.py", "_accessor.py")
    for path in root.rglob("*.py"):
        place = path.relative_to(root).as_posix()
        if not place.startswith(above):
            assert "stac.out" not in path.read_text(), place


def test_other_names_and_order_of_dimensions(tmp_path):
    mask = make_mask()
    other = mask.rename(time="t", y="latitude", x="longitude").transpose("latitude", "longitude", "t")
    to_stac(mask, tmp_path / "a" / "masks")
    to_stac(other, tmp_path / "b" / "masks")
    assert items_in(tmp_path / "a" / "masks") == items_in(tmp_path / "b" / "masks")


def test_rows_from_south_to_north(tmp_path):
    mask = make_mask(TIMES[:1], nodata_px=20)
    to_stac(mask, tmp_path / "a" / "masks")
    turned = mask.isel(y=slice(None, None, -1))
    to_stac(turned, tmp_path / "b" / "masks")
    assert items_in(tmp_path / "a" / "masks") == items_in(tmp_path / "b" / "masks")
    to_stac(turned, tmp_path / "a" / "masks")  # the same grid


def test_lazy_masks_and_dask(tmp_path):
    mask = make_mask(nodata_px=3)
    with dask.config.set(scheduler="threads"):
        to_stac(mask.chunk(time=1, y=17, x=80), tmp_path / "a" / "masks")
    to_stac(mask, tmp_path / "b" / "masks")
    assert items_in(tmp_path / "a" / "masks") == items_in(tmp_path / "b" / "masks")


def test_a_mask_of_nodata(tmp_path):
    mask = make_mask(TIMES[:1], nodata_px=80)
    to_stac(mask, tmp_path)
    (item,) = items_in(tmp_path).values()
    assert item["properties"]["xcloudmask:class_percent"] == {}
    assert "eo:cloud_cover" not in item["properties"]
    assert item["geometry"]["type"] == "Polygon", "where the raster lies"
    validate(item)
    validate(read(tmp_path / "cloud-masks" / "collection.json"))


def test_without_georeference(tmp_path):
    mask = make_mask(TIMES[:1]).drop_vars(["x", "y", "spatial_ref"])
    to_stac(mask, tmp_path)
    (item,) = items_in(tmp_path).values()
    assert item["geometry"] is None
    assert "bbox" not in item
    assert "proj:code" not in item["properties"]
    validate(item)
    validate(read(tmp_path / "cloud-masks" / "collection.json"))


def test_a_crs_without_code(tmp_path):
    laea = "+proj=laea +lat_0=12 +lon_0=34 +datum=WGS84 +units=m +no_defs"
    mask = make_mask(TIMES[:1], crs=laea, origin=(0.0, 0.0))
    catalogue = to_stac(mask, tmp_path)
    (item,) = all_items(catalogue)
    assert item.properties["proj:code"] is None
    assert item.properties["proj:wkt2"].startswith("PROJCRS")
    validate(item.to_dict(include_self_link=False))
    cube = odc.stac.load([item], bands=["mask"])
    assert cube.odc.geobox.crs == mask.odc.geobox.crs
    np.testing.assert_array_equal(cube["mask"], mask)


@pytest.mark.parametrize(
    ("crs", "origin", "pixel", "kind", "bbox"),
    [
        ("EPSG:3031", (-4_000.0, 3_000.0), 100.0, "Polygon", (-180, -90, 180, -89.9)),
        ("EPSG:3995", (-4_000.0, 3_000.0), 100.0, "Polygon", (-180, 89.9, 180, 90)),
        ("EPSG:32701", (140_000.0, 8_100_000.0), 1000.0, "MultiPolygon", (179.6, -17.8, -179.6, -17.1)),
        ("EPSG:4326", (179.6, 10.0), 0.01, "MultiPolygon", (179.6, 9.4, -179.6, 10)),
    ],
)
def test_where_degrees_end(crs, origin, pixel, kind, bbox, tmp_path):
    mask = make_mask(TIMES[:1], crs=crs, origin=origin, pixel=pixel)
    (item,) = all_items(to_stac(mask, tmp_path))
    document = item.to_dict(include_self_link=False)
    validate(document)
    assert document["geometry"]["type"] == kind
    assert document["bbox"] == pytest.approx(bbox, abs=0.1)
    collection = read(tmp_path / "cloud-masks" / "collection.json")
    assert collection["extent"]["spatial"]["bbox"] == [document["bbox"]]
    validate(collection)
    np.testing.assert_array_equal(odc.stac.load([item], bands=["mask"])["mask"], mask)


# --- time ---


def test_masks_without_time(tmp_path):
    mask = make_mask().isel(time=0, drop=True)
    with pytest.raises(ArgumentError, match="datetime='2024-06-01T10:50:31Z'"):
        to_stac(mask, tmp_path)
    assert not list(tmp_path.iterdir()), "nothing was written"
    to_stac(mask, tmp_path, datetime="2024-06-01T10:50:31Z")
    catalogue = to_stac(mask, tmp_path, datetime="2024-06-01/2024-06-30")
    span, instant = (item.properties for item in all_items(catalogue))
    assert instant["datetime"] == "2024-06-01T10:50:31Z"
    assert span["datetime"] is None
    assert (span["start_datetime"], span["end_datetime"]) == ("2024-06-01T00:00:00Z", "2024-06-30T23:59:59.999999Z")
    (document,) = [read(tmp_path / "cloud-masks" / "collection.json")]
    assert document["extent"]["temporal"]["interval"] == [["2024-06-01T00:00:00Z", "2024-06-30T23:59:59.999999Z"]]
    for item in items_in(tmp_path).values():
        validate(item)


def test_a_scalar_time(tmp_path):
    to_stac(make_mask().isel(time=1), tmp_path)
    (item,) = items_in(tmp_path).values()
    assert item["id"] == NAMES[1]


@pytest.mark.parametrize("when", ["yesterday", "2024-06-01/..", "2024-07-01/2024-06-01"])
def test_wrong_times(tmp_path, when):
    with pytest.raises(ArgumentError, match="datetime="):
        to_stac(make_mask().isel(time=0, drop=True), tmp_path, datetime=when)


def test_times_that_do_not_fit(tmp_path):
    with pytest.raises(ArgumentError, match="without time"):
        to_stac(make_mask(), tmp_path, datetime="2024-06-01")
    with pytest.raises(ArgumentTypeError, match="datetime=3"):
        to_stac(make_mask().isel(time=0, drop=True), tmp_path, datetime=3)
    with pytest.raises(InputError, match="NaT"):
        to_stac(make_mask((TIMES[0], "NaT")), tmp_path)
    with pytest.raises(InputError, match="int64"):
        to_stac(make_mask().assign_coords(time=[1, 2]), tmp_path)
    assert not list(tmp_path.iterdir())


# --- sources, model ---


def source(name, href):
    item = pystac.Item(name, None, None, dt.datetime(2024, 5, 14, tzinfo=dt.UTC), {})
    if href is not None:
        item.set_self_href(href)
    return item


def derived(folder):
    return {
        name: [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
        for name, item in items_in(folder).items()
    }


def test_links_to_the_sources(tmp_path):
    coords = {"item_id": np.array(["a", "b c"], object)}
    items = [
        source("c", None),
        source("b", "https://user:word@example.org/b?sig=secret#part"),
        source("a", str(tmp_path / "items" / "a.json")),
    ]
    to_stac(make_mask(coords=coords), tmp_path / "stac", source_items=items)
    found = list(derived(tmp_path / "stac").values())
    assert found == [["../../../items/a.json"], ["https://example.org/b"]], "no user, no signature, no absolute path"
    told = [item["properties"]["xcloudmask:source"] for item in items_in(tmp_path / "stac").values()]
    assert told == ["a", "b c"]
    with pytest.raises(ArgumentError, match="None of source_items"):
        to_stac(make_mask(coords=coords), tmp_path / "stac", source_items=[source("z", None)])


def test_sources_by_order(tmp_path):
    items = [source("a", "https://example.org/a"), source("b", "https://example.org/b").to_dict()]
    to_stac(make_mask(), tmp_path, source_items=items)
    assert list(derived(tmp_path).values()) == [["https://example.org/a"], ["https://example.org/b"]]
    with pytest.raises(ArgumentError, match="1 items for 2 masks"):
        to_stac(make_mask(), tmp_path, source_items=items[:1])
    with pytest.raises(ArgumentTypeError, match="pystac Items"):
        to_stac(make_mask(), tmp_path, source_items=[3])


def test_the_model_card(tmp_path):
    spec = get_spec("default")
    mask = make_mask(attrs={"model": "default", "model_sha256": spec.sha256})
    to_stac(mask, tmp_path)
    card = read(tmp_path / "cloud-masks" / "model-default.json")
    assert (card["name"], card["sha256"], card["licence"]) == ("default", spec.sha256, spec.licence)
    for item in items_in(tmp_path).values():
        (link,) = [link for link in item["links"] if link["rel"] == "describedby"]
        assert link["href"] == "../model-default.json"
        validate(item)
    document = read(tmp_path / "cloud-masks" / "collection.json")
    assert [link["href"] for link in document["links"] if link["rel"] == "describedby"] == ["./model-default.json"]


def test_no_card_of_other_weights(tmp_path):
    to_stac(make_mask(attrs={"model": "default"}), tmp_path)
    assert not list(tmp_path.rglob("model-*.json"))


def test_the_card_of_a_registered_model_names_no_folder(tmp_path, tiny_model, monkeypatch):
    from xcloudmask.models import registry

    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    registry.register_model(tiny_model)
    assert "tiny" in list_models()
    to_stac(make_mask(attrs={"model_sha256": tiny_model.sha256}), tmp_path)
    card = read(tmp_path / "cloud-masks" / "model-tiny.json")
    assert card["weights"] == "tiny.safetensors"


# --- end to end ---


def test_from_items_to_items(tmp_path, tiny_model):
    from stac_shelf import Shelf

    (tmp_path / "in").mkdir()
    shelf = Shelf(tmp_path / "in")
    shelf.scene("a", time="2024-05-14T10:50:31Z")
    shelf.scene("b", time="2024-05-24T10:50:31Z", seed=1)
    items = shelf.items("a", "b")
    mask = load(items, policy=HrefPolicy(allow_private=True)).cloudmask.predict(model=tiny_model)
    catalogue = mask.cloudmask.to_stac(tmp_path / "out", source_items=items, thumbnail=False)
    found = all_items(catalogue)
    assert [item.id for item in found] == sorted(f"{item.id}_cloud_mask" for item in items)
    for item in found:
        link = item.get_single_link("derived_from")
        assert pystac.Item.from_file(link.get_absolute_href()).id == item.properties["xcloudmask:source"]
        assert item.properties["platform"] == "sentinel-2a"
        assert item.properties["view:sun_elevation"] == 50
        assert list(item.assets) == ["mask"]
        validate(item.to_dict(include_self_link=False))
    np.testing.assert_array_equal(odc.stac.load(found, bands=["mask"])["mask"], mask)
