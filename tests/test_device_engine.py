"""The device engine, run on the processor: labels of the numpy path, batches that fit, turns, transfers.

No accelerator is needed: the same code runs there. What only an accelerator can show (streams, page-locked memory) is
tested up to the calls.
"""

import shutil
import threading
import time
from dataclasses import replace

import dask
import numpy as np
import pytest
import torch
from cubes import BANDS, odc_dataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from xcloudmask import errors
from xcloudmask.models import cache, device_batches, device_engine, device_rule, devices, runner
from xcloudmask.models.batch_ladder import LADDER, BatchLadder, rung
from xcloudmask.models.cache import get_runner
from xcloudmask.models.device_math import Numbers, statistics, valid_pixels
from xcloudmask.models.device_rule import compile_mode, uses_device_engine
from xcloudmask.models.registry import get_spec
from xcloudmask.models.transfer import Uploader
from xcloudmask.normalize import statistics as numpy_statistics
from xcloudmask.settings import EngineSettings
from xcloudmask.tiles import valid_pixels as numpy_valid_pixels

DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@pytest.fixture
def engine(monkeypatch):
    """Predict with the numpy path and with the device engine; the second is checked to have been used."""
    used = []
    original = device_engine.predict_on_device

    def spy(*arguments, **options):
        used.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(device_engine, "predict_on_device", spy)

    def both(predict, *, expected=True):
        results = []
        for how in ("never", "always"):
            used.clear()
            with dask.config.set({"xcloudmask.device_engine": how, "scheduler": "synchronous"}):
                results.append(predict().compute().values)
            assert bool(used) == (expected and how == "always")
        return results

    return both


def ragged(**options):
    return odc_dataset(shape=(104, 130), times=3, **options).chunk(time=2, y=72, x=56)


@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
@pytest.mark.parametrize(
    ("dtype", "precision"), [*((dtype, "fp32") for dtype in DTYPES), ("uint16", "bf16"), ("float32", "bf16")]
)
def test_labels_are_those_of_the_numpy_path(tiny_model, engine, dtype, normalize, precision):
    cube = ragged(dtype=dtype, nodata=0, nodata_fraction=0.2)
    scale = 1e-4 if np.dtype(dtype).kind in "iu" else 1.0
    given = {"model": tiny_model, "normalize": normalize, "device": "cpu", "precision": precision, "scale": scale}
    here, there = engine(lambda: cube.cloudmask.predict(**given))
    assert len(np.unique(here)) == 5
    np.testing.assert_array_equal(there == 255, here == 255)
    # Measured: no difference. Sums of floats are taken in another order, which may move a pixel on the edge of a class.
    assert (there != here).mean() < 1e-4


@pytest.mark.parametrize("normalize", ["chunk", "lattice"])
@pytest.mark.parametrize("stride", [None, 32])
@pytest.mark.parametrize("style", ["4-class", "cloud-noncloud"])
def test_percent_and_probabilities_are_those_of_the_numpy_path(tiny_model, engine, style, stride, normalize):
    cube = ragged(nodata_fraction=0.1)
    given = {"model": tiny_model, "normalize": normalize, "device": "cpu", "precision": "fp32", "stride": stride}
    for make in (
        lambda: cube.cloudmask.predict(output_style=style, **given),
        lambda: cube.cloudmask.predict(output_style=style, categorise=False, **given),
        lambda: cube.cloudmask.predict_proba(output_style=style, **given),
    ):
        here, there = engine(make)
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
def test_scales_that_differ_in_time_and_are_unknown_at_times(tiny_model, engine, normalize):
    cube = ragged(nodata_fraction=0.1)
    given = {"model": tiny_model, "normalize": normalize, "device": "cpu", "precision": "fp32"}
    unknown = engine(lambda: cube.cloudmask.predict(**given))
    scaled = cube.assign_coords(scale_factor=("time", [1e-4, np.nan, 3e-4]), add_offset=("time", [-0.1, 0.0, 0.0]))
    known = engine(lambda: scaled.cloudmask.predict(**given))
    for here, there in (unknown, known):
        np.testing.assert_array_equal(there, here)
    changed = [(one != other).any() for one, other in zip(unknown[1], known[1], strict=True)]
    assert changed == [True, False, True]


@pytest.mark.parametrize("scale", [None, 1e-4])
def test_a_band_that_was_given_up(tiny_model, engine, scale):
    cube = ragged(nodata_fraction=0.1).drop_vars("nir")
    given = {"model": tiny_model, "bands": {"nir": None}, "device": "cpu", "precision": "fp32"}
    here, there = engine(lambda: cube.cloudmask.predict(**given, **({} if scale is None else {"scale": scale})))
    np.testing.assert_array_equal(there, here)


def test_steps_sent_in_several_groups(tiny_model, engine, monkeypatch):
    cube = odc_dataset(shape=(80, 90), times=5, nodata_fraction=0.1).chunk(time=-1)
    one_step = sum(cube[band][0].nbytes for band in BANDS)
    monkeypatch.setattr(device_engine, "_GROUP_BYTES", 2 * one_step)
    here, there = engine(lambda: cube.cloudmask.predict(model=tiny_model, device="cpu", precision="fp32"))
    np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize("options", [{"resolution": 3.0}, {"resolution": 30.0}])
def test_cells_that_are_no_pixels_stay_with_numpy(engine, options):
    cube = odc_dataset(shape=(96, 96), times=1, **options).chunk()
    arguments = {} if options["resolution"] < 10 else {"upsample": 3}
    here, there = engine(lambda: cube.cloudmask.predict(device="cpu", precision="fp32", **arguments), expected=False)
    np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize("output", ["labels", "percent", "probability"])
@pytest.mark.parametrize("fill", [np.nan, np.inf, 7.0])
def test_without_a_valid_pixel_the_model_is_not_even_loaded(tiny_model, engine, monkeypatch, output, fill):
    monkeypatch.setattr(device_engine, "get_runner", lambda *_, **__: pytest.fail("the model was loaded"))
    cube = odc_dataset(shape=(64, 64), dtype="float32", nodata=7.0).chunk() * 0 + fill
    for variable in cube.values():
        variable.attrs["nodata"] = 7.0
    given = {"model": tiny_model, "device": "cpu"}
    if output == "probability":
        here, there = engine(lambda: cube.cloudmask.predict_proba(**given))
        assert np.isnan(there).all()
    else:
        here, there = engine(lambda: cube.cloudmask.predict(categorise=output == "labels", **given))
        assert (there == 255).all()
    assert (here.shape, here.dtype) == (there.shape, there.dtype)


def test_a_network_that_takes_reflectance_wants_a_scale(tiny_model, engine):
    plain = replace(tiny_model, name="plain", normalization="none")
    cube = ragged(nodata_fraction=0.1)
    here, there = engine(lambda: cube.cloudmask.predict(model=plain, device="cpu", precision="fp32", scale=1e-4))
    np.testing.assert_array_equal(there, here)
    scaled = cube.assign_coords(scale_factor=("time", da_of([1e-4, np.nan, 1e-4])), add_offset=("time", [0.0] * 3))
    with (
        dask.config.set({"xcloudmask.device_engine": "always", "scheduler": "synchronous"}),
        pytest.raises(errors.InputError, match="scale of a time step is not known"),
    ):
        scaled.cloudmask.predict(model=plain, device="cpu", precision="fp32").compute()


def da_of(values):
    return dask.array.from_array(np.array(values), chunks=1)


# Memory


class Small(torch.nn.Module):
    """A network on a device that has memory for so many tiles."""

    def __init__(self, net, most):
        super().__init__()
        self.net, self.most, self.seen = net, most, []

    def forward(self, batch, levels):
        self.seen.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.net(batch, levels)


@pytest.fixture
def small(tiny_model, monkeypatch):
    """Makes the model run out of memory beyond so many tiles, with a ladder that knows nothing yet."""

    def make(most):
        found = get_runner(tiny_model, device="cpu", precision="fp32")
        net = Small(found.net, most)
        monkeypatch.setattr(found, "net", net)
        monkeypatch.setattr(found, "ladder", BatchLadder("cpu"))
        return net

    return make


@pytest.mark.parametrize("how", ["never", "always"])
@pytest.mark.parametrize("categorise", [True, False])
def test_batches_halve_until_they_fit_and_that_is_remembered(tiny_model, small, how, categorise):
    cube = odc_dataset(shape=(64, 64), times=18, nodata_fraction=0.05).chunk(time=-1)
    given = {"model": tiny_model, "device": "cpu", "precision": "fp32", "batch_size": 18, "categorise": categorise}
    whole = cube.cloudmask.predict(**given).compute(scheduler="synchronous")
    net = small(3)
    with dask.config.set({"xcloudmask.device_engine": how, "scheduler": "synchronous"}):
        first = cube.cloudmask.predict(**given).values
        assert net.seen[:5] == [18, 16, 8, 4, 2]
        assert set(net.seen[4:]) == {2}
        net.seen.clear()
        again = cube.cloudmask.predict(**given).values
        assert set(net.seen) == {2}
    # Batches of another size give other last bits.
    assert (first != whole.values).mean() < 1e-3
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize("how", ["never", "always"])
def test_one_tile_that_does_not_fit_says_what_to_type(tiny_model, small, how):
    small(0)
    cube = odc_dataset(shape=(64, 64), times=1).chunk()
    with (
        dask.config.set({"xcloudmask.device_engine": how, "scheduler": "synchronous"}),
        pytest.raises(
            errors.ModelError, match=r"single tile of \d+ x \d+ px does not fit.*cube\.chunk\(y=512, x=512\)"
        ),
    ):
        cube.cloudmask.predict(model=tiny_model, device="cpu", precision="fp32").compute()


def test_a_block_that_does_not_fit_says_what_to_type(tiny_model, monkeypatch):
    def upload(self, array):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Uploader, "upload", upload)
    cube = odc_dataset(shape=(64, 64), times=2).chunk(time=-1)
    with (
        dask.config.set({"xcloudmask.device_engine": "always", "scheduler": "synchronous"}),
        pytest.raises(errors.ModelError, match=r"2 x 3 x 64 x 64 .* does not fit.*cube\.chunk\(time=1"),
    ):
        cube.cloudmask.predict(model=tiny_model, device="cpu").compute()


@given(wanted=st.integers(1, 200), most=st.integers(1, 200))
def test_the_ladder_ends_at_what_fits(wanted, most):
    ladder, shape = BatchLadder("cuda"), (512, 512)
    tried = []
    while (size := ladder.size(shape, wanted)) > most:
        tried.append(size)
        ladder.lower(shape, size)
    assert ladder.size(shape, wanted) <= most
    assert tried == sorted(set(tried), reverse=True)
    assert len(tried) <= len(LADDER) + 1
    assert ladder.size((256, 256), wanted) == wanted
    assert wanted <= most or ladder.size(shape, wanted) == rung(ladder.size(shape, wanted))


def test_sizes_that_are_automatic(tiny_model):
    settings = EngineSettings(spec=tiny_model, halo_px=(72, 72), tile_px=(1024, 1024))
    there = type("There", (), {"device": "cuda"})()
    assert device_batches._wanted(settings, there, fixed=False) == 8
    assert device_batches._wanted(settings, there, fixed=True) == 2
    assert device_batches._wanted(replace(settings, batch_size=5), there, fixed=True) == 5
    assert device_batches._wanted(replace(settings, tile_px=(8192, 8192)), there, fixed=True) == 1
    here = type("Here", (), {"device": "cpu"})()
    assert device_batches._wanted(replace(settings, normalize="lattice", batch_size=5), here, fixed=True) == 1


# Turns


class Alone(torch.nn.Module):
    """A network that notices when another one is called while it runs."""

    def __init__(self, net, running):
        super().__init__()
        self.net, self.running = net, running

    def forward(self, batch, levels):
        self.running["now"] += 1
        self.running["most"] = max(self.running["most"], self.running["now"])
        time.sleep(0.005)
        logits = self.net(batch, levels)
        self.running["now"] -= 1
        return logits


@pytest.mark.parametrize("how", ["never", "always"])
def test_two_models_on_one_device_take_turns(tiny_model, monkeypatch, how):
    lock, running = threading.Lock(), {"now": 0, "most": 0}
    for module in (runner, device_batches, device_engine):
        monkeypatch.setattr(module, "turn_on", lambda device: lock)
    models = [tiny_model, replace(tiny_model, name="another")]
    for model in models:
        found = get_runner(model, device="cpu", precision="fp32")
        monkeypatch.setattr(found, "net", Alone(found.net, running))
    cube = odc_dataset(shape=(128, 128), times=2).chunk(time=1, y=64, x=64)
    masks = [cube.cloudmask.predict(model=model, device="cpu", precision="fp32") for model in models]
    with dask.config.set({"xcloudmask.device_engine": how, "scheduler": "threads", "num_workers": 4}):
        dask.compute(*masks)
    assert running == {"now": 0, "most": 1}
    assert not lock.locked()


def test_a_lock_per_device_and_none_for_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert devices.turn_on("cuda") is devices.turn_on("cuda:1")
    assert devices.turn_on("cuda:0") is not devices.turn_on("cuda:1")
    with devices.turn_on("cpu"), devices.turn_on("cpu"):
        pass


def test_two_names_of_one_device_share_a_model(tiny_model, monkeypatch):
    loads = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(
        cache,
        "resolve_engine",
        lambda *, backend, device, precision, architecture: cache.Engine(
            backend="torch", device=device, precision="fp32"
        ),
    )
    monkeypatch.setattr(cache, "_load", lambda spec, engine: loads.append(engine.device) or object())
    monkeypatch.setattr(cache, "_runners", {})
    assert get_runner(tiny_model, device="cuda") is get_runner(tiny_model, device="cuda:0")
    assert get_runner(tiny_model, device="cuda:1") is not get_runner(tiny_model, device="cuda:0")
    assert loads == ["cuda", "cuda:1"]


# Transfers


class Event:
    def __init__(self, log):
        self.log = log

    def synchronize(self):
        self.log.append(self)


def test_two_buffers_take_turns_and_wait_for_their_copies(monkeypatch):
    uploader, waited, events = Uploader("cpu"), [], []

    def event():
        events.append(Event(waited))
        return events[-1]

    monkeypatch.setattr(uploader, "event", event)
    arrays = [np.full((3, 4), number, np.int16) for number in range(5)]
    sent, addresses = [], []
    for array in arrays:
        sent.append(uploader.upload(array)[0])
        addresses.append(uploader._buffers[uploader._turn].data_ptr())
    # Before the third array is written, the copy of the first has ended; and so on.
    assert waited == events[:3]
    assert addresses[0] == addresses[2] == addresses[4] != addresses[1] == addresses[3]
    for array, tensor in zip(arrays, sent, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_a_buffer_grows_and_holds_any_layout():
    uploader = Uploader("cpu")
    rng = np.random.default_rng(0)
    for shape in ((2, 3), (4, 50, 60), (1, 2), (4, 50, 60)):
        array = rng.integers(0, 1000, shape).astype(np.int32)
        for laid_out in (array, array[..., ::-1], array.T):
            np.testing.assert_array_equal(uploader.upload(laid_out)[0].numpy(), laid_out)


# Arithmetic


@given(
    dtype=st.sampled_from([*DTYPES, "bool", "int8", "int64", "uint64", "float16", ">u2", ">f4"]),
    shape=npst.array_shapes(min_dims=3, max_dims=3, max_side=6),
    data=st.data(),
)
def test_validity_is_that_of_the_numpy_path(dtype, shape, data):
    numbers = Numbers(np.dtype(dtype))
    bands = data.draw(npst.arrays(dtype, shape))
    chosen = st.one_of(st.none(), st.just(np.nan), st.sampled_from([0.0, -1.0, 0.5, 65535.0, -1.8e308, 3.4e38, 1e300]))
    nodata = [data.draw(chosen) for _ in bands]
    nodata = [float(bands.flat[0]) if value is None and data.draw(st.booleans()) else value for value in nodata]
    with np.errstate(over="ignore"):
        expected = numpy_valid_pixels(bands, nodata)
    sent = torch.from_numpy(np.ascontiguousarray(numbers.for_device(bands)))
    found = valid_pixels(sent, numbers, nodata)
    everywhere = np.ones(shape[1:], bool)
    np.testing.assert_array_equal(
        everywhere if found is None else found.numpy(), everywhere if expected is None else expected
    )


@given(dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.5, 0.95]))
def test_statistics_are_those_of_the_numpy_path(dtype, seed, share):
    rng = np.random.default_rng(seed)
    top = 255 if dtype == "uint8" else 30000
    bands = rng.integers(0, top, (2, 3, 20, 30)).astype(dtype)
    bands[:, 1] = 7  # a constant band has a spread of 0
    valid = rng.random((2, 20, 30)) >= share
    numbers = Numbers(np.dtype(dtype))
    sent = torch.from_numpy(numbers.for_device(bands))
    found = statistics(sent, torch.from_numpy(valid), numbers)
    for index in range(2):
        expected = numpy_statistics(bands[index], valid[index])
        assert int(found.count[index]) == expected.count
        # All whole numbers: every sum is exact, in whatever order.
        np.testing.assert_array_equal(found.mean[index].numpy(), expected.mean)
        # A root may be rounded the other way.
        np.testing.assert_allclose(found.std[index].numpy(), expected.std, rtol=1e-15, atol=0)
    assert not found.std[:, 1].any()


def test_statistics_of_slabs_are_those_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    for dtype in ("uint16", "float32"):
        numbers = Numbers(np.dtype(dtype))
        sent = torch.from_numpy(numbers.for_device(rng.integers(0, 60000, (2, 3, 40, 30)).astype(dtype)))
        valid = torch.from_numpy(rng.random((2, 40, 30)) > 0.3)
        whole = statistics(sent, valid, numbers)
        with monkeypatch.context() as patch:
            patch.setattr("xcloudmask.models.device_math._SLAB_PX", 200)
            slabs = statistics(sent, valid, numbers)
        for one, other in zip((whole.count, whole.mean, whole.std), (slabs.count, slabs.mean, slabs.std), strict=True):
            assert torch.equal(one, other)


# Which engine


def settings_of(**changes):
    return replace(EngineSettings(spec=get_spec("default"), halo_px=(72, 72), tile_px=(64, 64)), **changes)


@pytest.mark.parametrize(
    ("how", "device", "changes", "expected"),
    [
        ("auto", "cuda", {}, True),
        ("auto", "cpu", {}, False),
        ("always", "cpu", {}, True),
        ("never", "cuda", {}, False),
        ("auto", "mps", {}, False),
        ("always", "mps", {}, False),
        ("always", "cpu", {"backend": "openvino"}, False),
        ("always", "cpu", {"precision": "int8"}, False),
        ("always", "cuda", {"factor": 3}, False),
        ("always", "cuda", {"upsample": 3}, False),
        ("auto", "cuda", {"step_px": 32}, True),
    ],
)
def test_which_blocks_go_to_the_device(monkeypatch, how, device, changes, expected):
    monkeypatch.setattr(device_rule, "resolve_device", lambda name: device)
    with dask.config.set({"xcloudmask.device_engine": how}):
        assert uses_device_engine(settings_of(device="auto", **changes)) is expected


def test_unknown_words_in_the_configuration_are_refused():
    with dask.config.set({"xcloudmask.device_engine": "gpu"}), pytest.raises(errors.ArgumentError, match="'always'"):
        uses_device_engine(settings_of())
    with dask.config.set({"xcloudmask.compile": "fast"}), pytest.raises(errors.ArgumentError, match="'max-autotune'"):
        compile_mode("unet")


# Compiling


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # inductor's imports warn of many things
def test_a_compiled_network_gives_the_labels_of_the_plain_one(tiny_model):
    model = replace(tiny_model, name="compiled")
    shapes = set()
    found = get_runner(model, device="cpu", precision="fp32")
    original = found.forward

    def forward(batch, levels, crop, *, compiled=""):
        shapes.add((tuple(batch.shape), compiled))
        return original(batch, levels, crop, compiled=compiled)

    found.forward = forward
    cube = odc_dataset(shape=(64, 200), times=2, nodata_fraction=0.1).chunk(time=-1, y=-1, x=72)
    given = {"model": model, "device": "cpu", "precision": "fp32", "batch_size": 2}
    plain = cube.cloudmask.predict(**given).compute(scheduler="synchronous")
    shapes.clear()
    with dask.config.set({"xcloudmask.device_engine": "always", "xcloudmask.compile": True}):
        compiled = cube.cloudmask.predict(**given).compute(scheduler="synchronous")
    assert len(np.unique(plain)) == 5
    assert (compiled != plain).mean() < 1e-3
    # Batches are filled up, so that each shape of tile is compiled once.
    assert {shape[0] for shape, _ in shapes} == {2}
    assert {mode for _, mode in shapes} == {"default"}


def test_a_network_that_cannot_be_compiled_says_what_to_type(tiny_model, monkeypatch):
    def failing(net, **_):
        def call(batch, levels):
            raise torch._dynamo.exc.TorchDynamoException("no working C++ compiler\nand more")

        return call

    import torch._dynamo

    monkeypatch.setattr(torch, "compile", failing)
    model = replace(tiny_model, name="failing")
    cube = odc_dataset(shape=(64, 64), times=1).chunk()
    with (
        dask.config.set({"xcloudmask.device_engine": "always", "xcloudmask.compile": "default"}),
        pytest.raises(errors.ModelError, match=r"no working C\+\+ compiler\. .*'xcloudmask.compile': False"),
    ):
        cube.cloudmask.predict(model=model, device="cpu", precision="fp32").compute(scheduler="synchronous")
