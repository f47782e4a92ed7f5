"""The main job on real imagery: every scene, through files, accessor, Zarr and a cluster."""

import warnings

import numpy as np
import pytest
import xarray as xr

import xcloudmask

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenes(data_dir):
    return data_dir / "scenes"


def open_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # auxiliary rasters left out, no georeference
        return xcloudmask.open_cube(path, chunks=512)


def scene_paths(scenes):
    yield scenes / "sentinel2_l1c_10m", {}
    yield scenes / "sentinel2_wgs84_20190522", {}
    yield from ((path, {}) for path in sorted((scenes / "sentinel2_20m_series").glob("*.tif")))
    yield from ((path, {"resolution_m": 30}) for path in sorted((scenes / "landsat").iterdir()))


def test_every_scene_gets_a_mask(scenes):
    for path, arguments in scene_paths(scenes):
        cube = open_quietly(path)
        mask = cube.cloudmask.predict(**arguments).compute()
        assert mask.dtype == np.uint8, path
        assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}, path
        assert float((mask != 255).mean()) > 0, path
        for dim in mask.dims:
            if dim in cube.coords:
                xr.testing.assert_identical(mask[dim], cube[dim])


def test_clouds_are_where_the_product_mask_has_them(scenes):
    import rioxarray

    folder = scenes / "sentinel2_wgs84_20190522"
    mask = open_quietly(folder).cloudmask.predict().squeeze().compute()
    scl = rioxarray.open_rasterio(folder / "SCL.tif").squeeze()
    scl = scl.rio.reproject_match(mask.rio.write_crs("EPSG:4326"), resampling=0)
    cloud = np.isin(scl.values, (8, 9))
    ours = np.isin(mask.values, (1, 2))
    known = (mask.values != 255) & (scl.values != 0)
    assert (cloud == ours)[known].mean() > 0.85
    assert ours[cloud & known].mean() > 0.7


def test_a_cluster_gives_the_bytes_of_threads_in_zarr(scenes, tmp_path):
    distributed = pytest.importorskip("distributed")
    mask = open_quietly(scenes / "sentinel2_l1c_10m").cloudmask.predict()
    mask.cloudmask.to_zarr(tmp_path / "threads.zarr")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        mask.cloudmask.to_zarr(tmp_path / "cluster.zarr")
    chunks = [path for path in (tmp_path / "threads.zarr").rglob("c/*") if path.is_file()]
    assert chunks
    for path in chunks:
        other = tmp_path / "cluster.zarr" / path.relative_to(tmp_path / "threads.zarr")
        assert path.read_bytes() == other.read_bytes()
    xr.testing.assert_identical(
        xcloudmask.open_mask(tmp_path / "threads.zarr").compute(),
        xcloudmask.open_mask(tmp_path / "cluster.zarr").compute(),
    )
