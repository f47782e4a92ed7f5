"""``normalize="ocm"`` against omnicloudmask 1.8.1 itself."""

import hashlib
import warnings

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import example, given
from hypothesis import strategies as st
from ocm import Plain, Squeeze, predict_from_array
from safetensors.torch import save_file
from vision import need_smp

import xcloudmask
from xcloudmask.models import architectures
from xcloudmask.models.registry import get_spec
from xcloudmask.models.spec import ModelSpec
from xcloudmask.parity.network import PatchNet

BANDS = ("red", "green", "nir")


@pytest.fixture(scope="module")
def theirs():
    """predict_from_array with a network, on the CPU."""
    function = predict_from_array()

    def run(array, network, *, patch, overlap, nodata=0, confidence=False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # patches made smaller
            return function(
                array.copy(),
                patch_size=patch,
                patch_overlap=overlap,
                inference_device="cpu",
                no_data_value=nodata,
                custom_models=network,
                export_confidence=confidence,
            )

    return run


@pytest.fixture(scope="module")
def squeeze(tmp_path_factory):
    """A network with a global layer, which takes patches of any side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architectures, "ARCHITECTURES", {**architectures.ARCHITECTURES, "squeeze": Squeeze})
        torch.manual_seed(7)
        net = Squeeze()
        with torch.no_grad():
            net.excite.weight.mul_(20)
        path = tmp_path_factory.mktemp("squeeze") / "squeeze.safetensors"
        save_file(net.state_dict(), path)
        yield ModelSpec(
            name="squeeze",
            architecture="squeeze",
            stride_px=1,
            radius_px=2,
            exact_halo=False,
            optional_bands=("nir",),
            weights=str(path),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )


def scene(height, width, *, seed=0, dtype="uint16"):
    """(band, y, x) of noise over slopes, no value 0."""
    rng = np.random.default_rng(seed)
    slopes = np.linspace(0, 2000, height)[:, None] + np.linspace(0, 1500, width)
    values = np.clip(
        800 + slopes * rng.uniform(0.2, 1, (3, 1, 1)) + 400 * rng.standard_normal((3, height, width)), 1, None
    )
    return values.astype(dtype)


def wedge(array, angle, share, *, value=0):
    """Cut off a part by a straight line, as the edge of a swath does."""
    height, width = array.shape[1:]
    y, x = np.mgrid[:height, :width]
    along = np.cos(angle) * (y - height / 2) / height + np.sin(angle) * (x - width / 2) / width
    array[:, along < np.quantile(along, share)] = value
    return array


def cube_of(array, chunks=None):
    cube = xr.Dataset({name: (("y", "x"), band) for name, band in zip(BANDS, array, strict=True)})
    return cube if chunks is None else cube.chunk(dict(zip(("y", "x"), chunks, strict=True)))


def check(theirs, array, spec, *, patch, overlap, chunks=None, nodata=0):
    """Classes are identical, confidence within 1e-6, wherever all bands have data; elsewhere is nodata."""
    arguments = {
        "model": spec,
        "normalize": "ocm",
        "stride": patch - overlap,
        "halo_px": overlap,
        "nodata": nodata,
        "device": "cpu",
    }
    cube, network = cube_of(array, chunks), Plain(spec)
    valid = ~(np.isnan(array) | (array == nodata)).any(axis=0)
    expected = theirs(array, network, patch=patch, overlap=overlap, nodata=nodata)[0]
    calls = network.calls
    confidence = theirs(array, network, patch=patch, overlap=overlap, nodata=nodata, confidence=True)
    with pytest.MonkeyPatch.context() as counting, dask.config.set(scheduler="synchronous"):
        count = []
        logits = PatchNet.logits
        counting.setattr(PatchNet, "logits", lambda *a, **k: (count.append(1), logits(*a, **k))[1])
        labels = xcloudmask.predict(cube, **arguments).values
    with dask.config.set(scheduler="synchronous"):
        ours = xcloudmask.predict_proba(cube, **arguments).values
    np.testing.assert_array_equal(labels[valid], expected[valid])
    assert (labels[~valid] == 255).all()
    assert np.isnan(ours[:, ~valid]).all()
    assert not valid.any() or np.abs(ours[:, valid] - confidence[:, valid]).max() <= 1e-6
    assert len(count) == calls, "each patch is computed once, and no other"
    return labels


@pytest.mark.parametrize("chunks", [None, (64, 64), (208, 37)])
def test_all_layouts_of_chunks_give_its_classes(theirs, tiny_model, chunks):
    array = wedge(scene(208, 232), 0.6, 0.15)
    labels = check(theirs, array, tiny_model, patch=64, overlap=24, chunks=chunks)
    assert len(np.unique(labels)) >= 4


@pytest.mark.parametrize(
    ("shape", "patch", "overlap"),
    [
        ((128, 128), 64, 0),
        ((128, 136), 64, 32),
        ((150, 97), 64, 20),
        ((97, 110), 64, 44),  # overlap beyond half of the side
        ((72, 300), 64, 20),
        ((56, 200), 64, 20),  # smaller than a patch
        ((40, 48), 1000, 300),
        ((32, 32), 64, 20),
    ],
)
def test_sizes_of_scenes_and_patches(theirs, tiny_model, shape, patch, overlap):
    check(theirs, scene(*shape), tiny_model, patch=patch, overlap=overlap, chunks=(50, 61))


@pytest.mark.parametrize("share", [0.2, 0.55])
@pytest.mark.parametrize("angle", [0.0, np.pi / 2, np.pi, -np.pi / 2, 0.8, 3.9])
def test_swath_edges_on_all_sides(theirs, squeeze, angle, share):
    array = wedge(scene(120, 130, seed=1), angle, share)
    labels = check(theirs, array, squeeze, patch=64, overlap=20, chunks=(80, 60))
    assert len(np.unique(labels)) >= 4


@given(
    shape=st.tuples(st.integers(32, 150), st.integers(32, 150)),
    patch=st.integers(32, 90),
    overlap=st.floats(0, 0.8),
    angle=st.floats(0, 6.3),
    share=st.floats(0, 1),
    chunks=st.tuples(st.integers(20, 160), st.integers(20, 160)),
    holes=st.sampled_from(["none", "pixels", "bands", "block"]),
    dtype=st.sampled_from(["uint16", "int16", "float32", "float64"]),
    seed=st.integers(0, 99),
)
@example(
    shape=(90, 100), patch=70, overlap=0.3, angle=0.0, share=0.4, chunks=(45, 45), holes="block", dtype="uint16", seed=0
)
def test_any_scene(theirs, squeeze, shape, patch, overlap, angle, share, chunks, holes, dtype, seed):
    array = wedge(scene(*shape, seed=seed, dtype=dtype), angle, share)
    rng = np.random.default_rng(seed)
    if holes == "pixels":
        array[:, rng.random(shape) < 0.2] = 0
    elif holes == "bands":
        array[rng.random(array.shape) < 0.1] = 0
    elif holes == "block":
        top, left = (int(rng.integers(0, side)) for side in shape)
        array[:, top : top + 60, left : left + 60] = 0
    check(theirs, array, squeeze, patch=patch, overlap=int(overlap * patch), chunks=chunks)


def test_nan_is_nodata(theirs, squeeze):
    array = wedge(scene(120, 140, dtype="float32") * np.float32(1e-4), 1.0, 0.35, value=np.nan)
    check(theirs, array, squeeze, patch=64, overlap=20, chunks=(70, 70), nodata=-9999.0)


def test_a_constant_band(theirs, squeeze):
    array = scene(100, 100)
    array[1] = 700
    check(theirs, array, squeeze, patch=64, overlap=20)


def test_nothing_but_nodata(theirs, squeeze):
    array = np.zeros((3, 100, 100), "uint16")
    assert (check(theirs, array, squeeze, patch=64, overlap=20) == 255).all()


def test_a_band_given_up_is_a_band_of_nodata(theirs, squeeze):
    array = scene(120, 120)
    array[2] = 0
    network = Plain(squeeze)
    expected = theirs(array, network, patch=80, overlap=20)[0]
    cube = cube_of(array, (70, 70))[["red", "green"]]
    arguments = {"normalize": "ocm", "stride": 60, "halo_px": 20, "nodata": 0, "device": "cpu"}
    labels = xcloudmask.predict(cube, model=squeeze, bands={"nir": None}, **arguments).values
    np.testing.assert_array_equal(labels, expected)


def test_the_default_model_with_threads(theirs):
    spec = get_spec("default")
    array = wedge(scene(200, 240, seed=4), 0.7, 0.2)
    check(theirs, array, spec, patch=64, overlap=20, chunks=(90, 90))
    arguments = {"normalize": "ocm", "stride": 44, "halo_px": 20, "nodata": 0, "device": "cpu"}
    one = xcloudmask.predict(cube_of(array), **arguments).values
    with dask.config.set(scheduler="threads", num_workers=3):
        many = xcloudmask.predict(cube_of(array, (64, 99)), **arguments).values
    np.testing.assert_array_equal(one, many)


def test_an_ensemble_is_a_list_of_modules(theirs, squeeze, tiny_model):
    from xcloudmask.models.ensemble import combine

    both = combine([squeeze, tiny_model], name="both")
    array = wedge(scene(150, 130, seed=5), 2.0, 0.1)
    expected = theirs(array, [Plain(squeeze), Plain(tiny_model)], patch=64, overlap=20)[0]
    arguments = {"normalize": "ocm", "stride": 44, "halo_px": 20, "nodata": 0, "device": "cpu"}
    labels = xcloudmask.predict(cube_of(array, (80, 80)), model=both, **arguments).values
    valid = (array != 0).all(axis=0)
    np.testing.assert_array_equal(labels[valid], expected[valid])


def test_the_networks_of_omnicloudmask_4(theirs, tmp_path):
    smp = need_smp()
    torch.manual_seed(3)
    nets, members = [], []
    for name, encoder in (("smp-unet-regnety-004", "tu-regnety_004"), ("smp-unet-edgenext-small", "tu-edgenext_small")):
        net = smp.Unet(encoder, encoder_weights=None, in_channels=3, classes=4).eval()
        with torch.no_grad():
            net.segmentation_head[0].weight.mul_(20)  # so that labels vary
        path = tmp_path / f"{name}.safetensors"
        save_file(net.state_dict(), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        geometry = {"stride_px": 32, "radius_px": 224, "exact_halo": False, "bands": BANDS}
        members.append(ModelSpec(name=name, architecture=name, weights=str(path), sha256=digest, **geometry))
        nets.append(net)
    spec = ModelSpec(name="v4", architecture="ensemble", members=tuple(members), **geometry)
    array = wedge(scene(168, 200, seed=8), 0.8, 0.2)
    arguments = {"model": spec, "normalize": "ocm", "stride": 88, "halo_px": 40, "nodata": 0, "device": "cpu"}
    cube, valid = cube_of(array, (90, 200)), (array != 0).all(axis=0)
    expected = theirs(array, nets, patch=128, overlap=40)[0]
    labels = xcloudmask.predict(cube, **arguments).values
    np.testing.assert_array_equal(labels[valid], expected[valid])
    assert len(np.unique(labels)) >= 4
    confidence = theirs(array, nets, patch=128, overlap=40, confidence=True)
    shares = xcloudmask.predict_proba(cube, **arguments).values
    assert np.abs(shares[:, valid] - confidence[:, valid]).max() <= 1e-6


def test_its_own_patches(theirs, squeeze):
    array = wedge(scene(1100, 1300, seed=6), 0.9, 0.1)
    network = Plain(squeeze)
    expected = theirs(array, network, patch=1000, overlap=300)[0]
    mask = xcloudmask.predict(cube_of(array, (512, 700)), model=squeeze, normalize="ocm", nodata=0, device="cpu")
    valid = (array != 0).all(axis=0)
    np.testing.assert_array_equal(mask.values[valid], expected[valid])
