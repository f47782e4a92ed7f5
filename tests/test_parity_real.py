"""``normalize="ocm"`` against omnicloudmask itself on real scenes."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from ocm import Plain, predict_from_array

import xcloudmask
from xcloudmask.models.registry import get_spec
from xcloudmask.options import Options
from xcloudmask.prepare import prepare_cube

pytestmark = pytest.mark.slow

SCENES = (
    "sentinel2_l1c_10m",
    "sentinel2_wgs84_20190522",
    "sentinel2_20m_series/exe_2024-06-17_12-21-21_UTM.tif",
    "sentinel2_20m_series/exe_2024-06-02_12-21-19_EPSG27700.tif",
    "landsat/LC08_L2SP_218074_20190114_20200829_02_T1-cropped",
    "landsat/LC08_L1TP_227074_20190809_20200827_02_T1-cropped",
)


@pytest.mark.parametrize("name", SCENES)
def test_classes_and_confidence_of_a_scene(data_dir, name):
    theirs = predict_from_array()
    spec = replace(get_spec("default"), name="plain", level=False)
    arguments = {"model": spec, "normalize": "ocm", "stride": 176, "halo_px": 80, "device": "cpu", "resolution_m": 20}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # auxiliary rasters left out, no georeference
        cube = xcloudmask.open_cube(data_dir / "scenes" / name, chunks=300)
    # Part of it: as large as a test can afford.
    cube = cube.isel({dim: slice(0, 480) for dim in cube.dims if dim not in {"time", "band"}})
    prepared = prepare_cube(cube, Options(**arguments), output="labels")
    array, nodata = prepared.stack[0].compute(), prepared.settings.nodata[0]
    assert set(prepared.settings.nodata) == {nodata}
    settings = {"patch_size": 256, "patch_overlap": 80, "inference_device": "cpu", "no_data_value": nodata}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = theirs(array, custom_models=Plain(spec), **settings)[0]
        confidence = theirs(array, custom_models=Plain(spec), export_confidence=True, **settings)
    labels = xcloudmask.predict(cube, **arguments).values.reshape(expected.shape)
    shares = xcloudmask.predict_proba(cube, **arguments).values.reshape(confidence.shape)
    valid = labels != 255
    assert valid.mean() > 0.2
    np.testing.assert_array_equal(labels[valid], expected[valid])
    assert np.abs(shares[:, valid] - confidence[:, valid]).max() <= 1e-6
    missing = np.isnan(array) if nodata is None else np.isnan(array) | (array == nodata)
    np.testing.assert_array_equal(valid, ~missing.any(axis=0))
