"""OmniCloudMask's model with random weights in its own files: what the two networks say themselves."""

import hashlib
import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hub_server import serve_hub
from ocm import predict_from_array
from typer.testing import CliRunner
from vision import need_smp

import xcloudmask
from xcloudmask import errors
from xcloudmask.cli.app import app
from xcloudmask.models import omnicloudmask, registry
from xcloudmask.models.architectures import build
from xcloudmask.models.hub import HubAddress
from xcloudmask.models.registry import CARDS_DIR, get_spec
from xcloudmask.models.spec import ENSEMBLE, ModelSpec

ENCODERS = ("tu-regnety_004", "tu-edgenext_small")
SHIPPED = ModelSpec.from_card(CARDS_DIR / "omnicloudmask-v4.json")


@pytest.fixture(scope="module")
def nets():
    """The two networks, not of this package."""
    import torch

    smp = need_smp()
    torch.manual_seed(5)
    made = [smp.Unet(name, encoder_weights=None, in_channels=3, classes=4).eval() for name in ENCODERS]
    with torch.no_grad():
        for net in made:
            net.segmentation_head[0].weight.mul_(20)  # so that labels vary
    return made


@pytest.fixture(scope="module")
def files(nets):
    """Their states, in files of the names that OmniCloudMask's have."""
    from safetensors.torch import save

    names = [HubAddress.parse(member.weights).name for member in SHIPPED.members]
    return {name: save(net.state_dict()) for name, net in zip(names, nets, strict=True)}


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("XCLOUDMASK_MODELS", str(tmp_path / "models"))
    for name in ("XCLOUDMASK_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "models"


@pytest.fixture
def registered(files, monkeypatch):
    """The shipped spec, but for the checksums, under the shipped name; models of other tests are not there."""
    monkeypatch.setattr(registry, "_registered", {})
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    members = [replace(m, sha256=digests[HubAddress.parse(m.weights).name]) for m in SHIPPED.members]
    spec = replace(SHIPPED, members=tuple(members))
    xcloudmask.register_model(spec)
    return spec


@pytest.fixture
def cube():
    rng = np.random.default_rng(2)
    values = rng.normal(2000, 300, (3, 96, 96)).cumsum(axis=2) / 20 + rng.normal(0, 40, (3, 96, 96))
    return xr.DataArray(values.astype("float32"), dims=("band", "y", "x"), coords={"band": ["red", "green", "nir"]})


def expected(nets, cube):
    """z-score, both networks, mean of the logits: written out once more."""
    import torch

    values = cube.values.astype("float64")
    scores = (values - values.mean((1, 2), keepdims=True)) / values.std((1, 2), keepdims=True)
    with torch.inference_mode():
        batch = torch.from_numpy(scores[None].astype("float32"))
        logits = sum(net(batch) for net in nets) / 2
    return torch.softmax(logits, 1)[0].numpy()


def test_the_mask_is_the_mean_of_two_networks_fetched_from_the_hub(nets, files, registered, models, monkeypatch, cube):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_HOME", str(models / "hf"))
    revision = HubAddress.parse(SHIPPED.members[0].weights).revision
    with serve_hub(files, revisions={revision}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        options = {"model": "omnicloudmask-v4", "device": "cpu", "precision": "fp32", "resolution_m": 10}
        lazy = cube.chunk().cloudmask.predict(**options)
        assert server.requests == []  # nothing is fetched for a graph
        mask = lazy.compute().values
        again = cube.cloudmask.predict(**options).values
    assert server.count("GET") == 2
    assert {path for verb, path, _ in server.requests if verb == "HEAD"} == {
        f"/NickWright/OmniCloudMask/resolve/{revision}/{name}" for name in files
    }
    probabilities = expected(nets, cube)
    first, second = np.sort(probabilities, axis=0)[[-1, -2]]
    sure = first - second > 1e-4
    assert sure.mean() > 0.98
    assert len(np.unique(mask)) > 1
    np.testing.assert_array_equal(mask[sure], probabilities.argmax(0)[sure])
    np.testing.assert_array_equal(mask, again)


def test_probabilities_from_a_local_folder(nets, files, registered, models, cube, monkeypatch):
    monkeypatch.setenv("XCLOUDMASK_OFFLINE", "1")
    models.mkdir()
    for name, content in files.items():
        (models / name).write_bytes(content)
    proba = cube.cloudmask.predict_proba(model="omnicloudmask-v4", device="cpu", precision="fp32", resolution_m=10)
    np.testing.assert_allclose(proba.values.reshape(4, 96, 96), expected(nets, cube), atol=2e-5)


def test_in_bf16_too(nets, files, registered, models, cube):
    models.mkdir()
    for name, content in files.items():
        (models / name).write_bytes(content)
    mask = cube.cloudmask.predict(model="omnicloudmask-v4", device="cpu", precision="bf16", resolution_m=10)
    probabilities = expected(nets, cube)
    first, second = np.sort(probabilities, axis=0)[[-1, -2]]
    sure = first - second > 0.2
    assert sure.mean() > 0.1
    assert (mask.values[sure] == probabilities.argmax(0)[sure]).mean() > 0.95


def test_other_weights_than_those_of_the_card_are_refused(files, models, cube):
    """Random weights have the names and sizes of the real ones, but not their sha256."""
    models.mkdir()
    for name, content in files.items():
        (models / name).write_bytes(content)
    with pytest.raises(errors.WeightsError, match=r"omnicloudmask-v4-regnety.*not those of its card"):
        cube.cloudmask.predict(model=SHIPPED, device="cpu", resolution_m=10)


def test_random_states_are_as_large_as_the_published_files(files):
    """Names, shapes and types of all tensors make up the size of a safetensors file; the card tells the published."""
    published = json.loads((CARDS_DIR / "omnicloudmask-v4.json").read_text())["checksums"]
    assert all(str(len(content)) in published for content in files.values())


def test_the_networks_are_those_of_smp(nets):
    import torch

    tiles = torch.randn(2, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    for architecture, net in zip(omnicloudmask.ENCODERS, nets, strict=True):
        ours = build(architecture, {"bands": 3, "classes": 4}).eval()
        ours.load_state_dict(net.state_dict())
        with torch.inference_mode():
            assert torch.equal(ours(tiles, None), net(tiles))


def test_the_card():
    spec = get_spec(SHIPPED.name)
    assert spec.sha256 == SHIPPED.sha256
    assert spec.architecture == ENSEMBLE
    assert spec.voting == "logits"
    assert (spec.bands, spec.level, spec.exact_halo, spec.stride_px) == (("red", "green", "nir"), False, False, 32)
    assert spec.resolution_m == (10, 50)
    assert {member.architecture for member in spec.members} == set(omnicloudmask.ENCODERS)
    for member in spec.members:
        address = HubAddress.parse(member.weights)
        assert address.repo == "NickWright/OmniCloudMask"
        assert len(address.revision) == 40
        assert len(member.sha256) == 64
    assert "MIT" in spec.licence


def test_plans_say_that_the_halo_is_not_exact(cube, models):
    text = str(cube.chunk().cloudmask.plan(model="omnicloudmask-v4", resolution_m=10))
    assert "not exact" in text
    assert not models.exists()


def test_a_torchvision_of_another_torch_is_named(monkeypatch):
    def broken(name, *, extra=None):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(omnicloudmask, "require", broken)
    with pytest.raises(
        errors.MissingPackageError, match=r"torchvision that was built for torch .*pip install torchvision"
    ):
        build("smp-unet-regnety-004", {})


def test_without_the_packages_the_message_is_what_to_type(tmp_path, monkeypatch):
    for name in ("torchvision", "timm", "segmentation_models_pytorch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(errors.MissingPackageError, match="torchvision"):
        build("smp-unet-edgenext-small", {})
    monkeypatch.setitem(sys.modules, "torchvision", json)
    with pytest.raises(errors.MissingPackageError, match=r"xcloudmask\[omnicloudmask\]"):
        build("smp-unet-edgenext-small", {})


def test_the_package_needs_none_of_it_to_list_the_model():
    code = (
        "import sys, xcloudmask; spec = xcloudmask.list_models()['omnicloudmask-v4']; repr(spec); "
        "print([m for m in ('torch', 'timm', 'huggingface_hub', 'filelock') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"


def run(*arguments):
    return CliRunner().invoke(app, ["models", *(str(argument) for argument in arguments)])


def test_the_command_line_from_a_folder(files, registered, models, tmp_path):
    names = list(files)
    paths = [str(models / name) for name in names]
    assert run("path").stdout.splitlines() == [str(models)]
    assert run("path", "omnicloudmask-v4").stdout.splitlines() == paths
    listed = {line.split()[0]: line for line in run("list").stdout.splitlines()}
    assert listed["omnicloudmask-v4"].rstrip().endswith("not fetched")
    assert listed["default"].rstrip().endswith("here")
    assert run().stdout == run("list").stdout
    verified = run("verify", "omnicloudmask-v4")
    assert verified.exit_code == 1
    assert verified.stdout.count("not fetched") == 2
    assert "xcloudmask models pull omnicloudmask-v4" in verified.stderr
    assert run("verify").exit_code == 0  # nobody asked for it

    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for name, content in files.items():
        (downloads / name).write_bytes(content)
    pulled = run("pull", "omnicloudmask-v4", "--from", downloads)
    assert pulled.exit_code == 0, pulled.output
    assert pulled.stdout.splitlines() == paths
    assert run("list").stdout.count("not fetched") == 0
    assert run("verify").stdout.count("as on its card") >= 4

    content = bytearray((models / names[0]).read_bytes())
    content[-1] ^= 1
    (models / names[0]).write_bytes(content)
    verified = run("verify")
    assert verified.exit_code == 1
    assert verified.stdout.count("WRONG") == 1
    again = run("pull", "omnicloudmask-v4", "--from", downloads)
    assert again.exit_code == 0
    assert "is here already" in again.stderr  # the other file
    assert run("verify").exit_code == 0


def test_the_command_line_pulls_from_the_hub(files, registered, models, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_HOME", str(models / "hf"))
    with serve_hub(files, revisions={HubAddress.parse(SHIPPED.members[0].weights).revision}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        pulled = run("pull", "omnicloudmask-v4")
        assert pulled.exit_code == 0, pulled.output
        assert run("pull", "omnicloudmask-v4").exit_code == 0
        assert server.count("GET") == 2
    assert [Path(line).read_bytes() for line in pulled.stdout.splitlines()] == list(files.values())


def test_the_command_line_says_what_is_wrong(models, monkeypatch):
    monkeypatch.setenv("XCLOUDMASK_OFFLINE", "1")
    offline = run("pull", "omnicloudmask-v4")
    assert offline.exit_code == 1
    assert SHIPPED.members[0].sha256 in offline.stderr
    unknown = run("pull", "omnicloudmask-v5")
    assert unknown.exit_code == 2
    assert "omnicloudmask-v4" in unknown.stderr
    assert run("pull", "default").exit_code == 0
    assert "smp-unet-regnety-004" in run("show", "omnicloudmask-v4").stdout


def test_normalize_ocm_is_the_package_omnicloudmask(nets, files, registered, models):
    """The same weights at the defaults of the package that they are of."""
    models.mkdir()
    for name, content in files.items():
        (models / name).write_bytes(content)
    rng = np.random.default_rng(4)
    values = rng.normal(2000, 300, (3, 230, 201)).cumsum(axis=2) / 20 + rng.normal(0, 40, (3, 230, 201))
    cube = xr.DataArray(values.astype("float32"), dims=("band", "y", "x"), coords={"band": ["red", "green", "nir"]})
    options = {"model": "omnicloudmask-v4", "device": "cpu", "precision": "fp32", "resolution_m": 10}
    ours = cube.chunk({"y": 115, "x": 100}).cloudmask.predict(normalize="ocm", **options).values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # patches made smaller
        theirs = predict_from_array()(cube.values, custom_models=nets, inference_device="cpu")
    assert len(np.unique(theirs)) > 1
    np.testing.assert_array_equal(ours, theirs[0])
