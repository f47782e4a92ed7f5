"""Backends give the labels of torch, refuse what they cannot do, and say what to install."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from cubes import odc_dataset

import xcloudmask
from xcloudmask import errors
from xcloudmask._optional import available
from xcloudmask.models.backends.choice import PRECISIONS, check_engine, resolve_engine
from xcloudmask.models.cache import get_runner
from xcloudmask.models.devices import cpu_has_bf16
from xcloudmask.models.ensemble import combine

needs_openvino = pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
needs_onnxruntime = pytest.mark.skipif(not available("onnxruntime"), reason="onnxruntime is not installed")

OTHERS = [
    pytest.param("openvino", "fp32", marks=needs_openvino),
    pytest.param("openvino", "bf16", marks=needs_openvino),
    pytest.param("onnxruntime", "fp32", marks=needs_onnxruntime),
]
WHOLE = (slice(0, 96), slice(0, 64))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    tiles = rng.standard_normal((3, 3, 96, 64), np.float32)
    level = rng.standard_normal((3, 7), np.float32)
    level[:, 0] = 1
    return tiles, level


@pytest.fixture(scope="module")
def pair(tiny_model):
    return combine([tiny_model, tiny_model], name="pair", voting="probabilities")


@pytest.mark.parametrize(("backend", "precision"), OTHERS)
def test_labels_and_probabilities_are_those_of_torch(tiny_model, batch, backend, precision):
    exact = get_runner(tiny_model, device="cpu", precision="fp32", backend="torch")
    other = get_runner(tiny_model, device="cpu", precision=precision, backend=backend)
    assert (other.device, other.precision) == ("cpu", precision)
    crop = (slice(8, 88), slice(16, 48))
    reference, given = exact.probabilities(*batch, crop), other.probabilities(*batch, crop)
    assert given.shape == reference.shape == (3, 4, 80, 32)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, reference, atol=1e-4 if precision == "fp32" else 0.15)
    labels = other.labels(*batch, crop)
    assert len(np.unique(labels)) == 4
    assert (labels == exact.labels(*batch, crop)).mean() > (0.999 if precision == "fp32" else 0.97)
    np.testing.assert_array_equal(labels, given.argmax(axis=1))


@pytest.mark.parametrize(("backend", "precision"), OTHERS)
def test_the_level_is_passed_on(tiny_model, batch, backend, precision):
    tiles, level = batch
    runner = get_runner(tiny_model, device="cpu", precision=precision, backend=backend)
    assert (runner.labels(tiles, level, WHOLE) != runner.labels(tiles, np.zeros_like(level), WHOLE)).any()


@pytest.mark.parametrize(("backend", "precision"), OTHERS)
def test_an_ensemble_runs_as_one_network(pair, batch, backend, precision):
    exact = get_runner(pair, device="cpu", precision="fp32").probabilities(*batch, WHOLE)
    given = get_runner(pair, device="cpu", precision=precision, backend=backend).probabilities(*batch, WHOLE)
    np.testing.assert_allclose(given, exact, atol=1e-4 if precision == "fp32" else 0.15)


@pytest.mark.parametrize(("backend", "precision"), OTHERS)
def test_threads_that_share_a_model_get_their_own_results(tiny_model, batch, backend, precision):
    runner = get_runner(tiny_model, device="cpu", precision=precision, backend=backend)
    tiles, level = batch
    inputs = [(np.roll(tiles, shift, axis=3), level) for shift in range(8)]
    alone = [runner.labels(*each, WHOLE) for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: runner.labels(*each, WHOLE), inputs * 4))
    for index, labels in enumerate(together):
        np.testing.assert_array_equal(labels, alone[index % 8])


@pytest.mark.parametrize(("backend", "precision"), OTHERS)
def test_predict_with_a_backend(tiny_model, backend, precision):
    cube = odc_dataset(shape=(150, 170), times=2).chunk(time=1, y=96, x=96)
    given = {"model": tiny_model, "normalize": "lattice", "device": "cpu"}
    exact = cube.cloudmask.predict(**given, precision="fp32")
    mask = cube.cloudmask.predict(**given, backend=backend, precision=precision)
    assert mask.data.name != exact.data.name
    assert f'"backend":"{backend}"' in mask.attrs["settings"]
    assert (mask == exact).mean() > (0.999 if precision == "fp32" else 0.97)
    proba = cube.cloudmask.predict_proba(**given, backend=backend, precision=precision)
    np.testing.assert_allclose(proba.sum("cloud_class", skipna=False), 1.0, atol=1e-5)


def test_a_model_without_level(tiny_model, batch, tmp_path):
    import hashlib

    import torch
    from safetensors.torch import save_file

    from xcloudmask.models.unet import CloudUNet

    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(1)
    path = tmp_path / "plain.safetensors"
    save_file(
        {key: value.contiguous() for key, value in CloudUNet(width=8, blocks=1, level=0).state_dict().items()}, path
    )
    config = (*tiny_model.config[:-1], ("level", 0))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    spec = replace(tiny_model, name="plain", level=False, config=config, weights=str(path), sha256=digest)
    exact = get_runner(spec, device="cpu", precision="fp32").probabilities(*batch, WHOLE)
    for backend in ("openvino", "onnxruntime"):
        runner = get_runner(spec, backend=backend, precision="fp32")
        np.testing.assert_allclose(runner.probabilities(*batch, WHOLE), exact, atol=1e-4)


def test_runners_are_kept_per_backend(tiny_model):
    kept = get_runner(tiny_model, device="cpu", precision="fp32")
    assert get_runner(tiny_model, device="cpu", precision="fp32", backend="torch") is kept
    if available("onnxruntime"):
        other = get_runner(tiny_model, backend="onnxruntime")
        assert other is not kept
        assert get_runner(tiny_model, device="cpu", precision="fp32", backend="onnxruntime") is other


def test_auto_is_torch_but_for_int8():
    assert resolve_engine(device="cpu", precision="fp32").backend == "torch"
    assert resolve_engine(precision="int8").backend == "openvino"
    fast = "bf16" if cpu_has_bf16() else "fp32"
    assert resolve_engine(device="cpu").precision == fast
    assert str(resolve_engine(backend="openvino")) == f"openvino on cpu in {fast}"
    assert resolve_engine(backend="onnxruntime").precision == "fp32"
    assert resolve_engine(device="cpu", architecture="onnx").precision == "fp32"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backend": "tvm"}, "backend='tvm'.*'openvino'"),
        ({"backend": 3}, "backend=3"),
        ({"backend": "torch", "precision": "int8"}, "int8.*backend='openvino'"),
        ({"backend": "openvino", "precision": "fp16"}, "fp16.*backend='torch'"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "bf16.*backend='torch' or backend='openvino'"),
        ({"backend": "openvino", "device": "cuda"}, "device='cuda'.*device='cpu'"),
        ({"precision": "int8", "device": "cuda:1"}, "device='cuda:1'.*openvino runs on the processor"),
        ({"backend": "openvino", "normalize": "ocm"}, "normalize='ocm'.*backend='auto'"),
        ({"precision": "int8", "normalize": "ocm"}, "normalize='ocm'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_built(given, words, no_compute):
    with pytest.raises((errors.ArgumentError, errors.ArgumentTypeError), match=words):
        odc_dataset().cloudmask.predict(**given)


def test_every_precision_of_every_backend_may_be_asked_for():
    for backend, precisions in PRECISIONS.items():
        for precision in (*precisions, "auto"):
            check_engine(backend=backend, device="cpu", precision=precision)


@pytest.mark.parametrize(("backend", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
def test_a_missing_package_names_the_pip_line(tiny_model, monkeypatch, backend, extra):
    monkeypatch.setitem(sys.modules, backend, None)
    spec = replace(tiny_model, name=f"without {backend}")
    with pytest.raises(errors.MissingPackageError, match=rf"pip install 'xcloudmask\[{extra}\]'"):
        get_runner(spec, backend=backend)
    given = {"device": "cpu", "precision": "fp32"}
    cube = odc_dataset(shape=(64, 64))
    xr.testing.assert_equal(
        cube.cloudmask.predict(model=spec, **given), cube.cloudmask.predict(model=tiny_model, **given)
    )


def test_without_nncf_int8_names_the_pip_line(tiny_model, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(errors.MissingPackageError, match=r"'xcloudmask\[int8\]'"):
        get_runner(replace(tiny_model, name="without nncf"), precision="int8")


def test_a_network_that_cannot_be_converted_says_so(tiny_model, monkeypatch):
    import torch

    pytest.importorskip("onnxruntime")

    class Odd(torch.nn.Module):
        def forward(self, x, level=None):
            return torch.linalg.matrix_exp(x)

    monkeypatch.setattr("xcloudmask.models.backends.onnxruntime_runner.load_network", lambda spec: Odd())
    with pytest.raises(errors.ModelError, match=r"cannot be converted to ONNX.*backend='torch'"):
        get_runner(replace(tiny_model, name="odd"), backend="onnxruntime")


def test_plan_tells_what_this_machine_would_use(tiny_model):
    plan = odc_dataset().cloudmask.plan(model=tiny_model, device="cpu", backend="openvino", precision="fp32")
    assert str(plan.engine()) == "openvino on cpu in fp32"
    text = " ".join(str(plan).split())
    assert "device cpu, backend openvino, precision fp32: openvino on cpu in fp32 on this machine" in text
    assert "each worker resolves auto for itself" in text
    automatic = odc_dataset().cloudmask.plan(model=tiny_model, device="cpu")
    assert (automatic.backend, automatic.precision) == ("auto", "auto")
    assert automatic.engine().backend == "torch"
    away = replace(automatic, device="cuda:99")
    assert "no such device on this machine" in str(away)


def test_the_default_result_is_torchs(tiny_model):
    cube = odc_dataset(shape=(100, 90))
    plain = cube.cloudmask.predict(model=tiny_model)
    xr.testing.assert_identical(
        plain.drop_attrs(), cube.cloudmask.predict(model=tiny_model, backend="torch").drop_attrs()
    )
    assert "backend" not in plain.attrs["settings"]


def test_the_command_line_takes_a_backend(tmp_path):
    from typer.testing import CliRunner

    from xcloudmask.cli.app import app

    path = tmp_path / "cube.zarr"
    odc_dataset(shape=(64, 64)).drop_encoding().to_zarr(path, consolidated=False)
    done = CliRunner().invoke(app, ["plan", str(path), "--backend", "onnxruntime", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "onnxruntime on cpu in fp32" in " ".join(done.output.split())
    done = CliRunner().invoke(app, ["plan", str(path), "--backend", "tvm"])
    assert done.exit_code == 2
    assert "tvm" in done.output


@needs_openvino
def test_openvino_reports_nothing_over_the_network():
    code = (
        "import sys\n"
        "from xcloudmask.models.backends.openvino_runner import import_openvino\n"
        "import_openvino()\n"
        "from openvino.tools import ovc\n"
        "assert 'stub' in type(ovc.telemetry).__module__, type(ovc.telemetry)\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_imports_no_backend():
    code = (
        "import sys, xcloudmask; print([m for m in ('openvino', 'onnxruntime', 'nncf', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert xcloudmask.__version__
