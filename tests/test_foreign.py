"""Foreign models give the masks of the same network as a model of the package, wherever they run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import foreign_nets as nets
import numpy as np
import pytest
import torch
import xarray as xr
from cubes import odc_dataset

import xcloudmask
from xcloudmask import ModelSpec, errors
from xcloudmask.models.cache import get_runner
from xcloudmask.models.ensemble import combine
from xcloudmask.models.loading import load_network
from xcloudmask.models.registry import get_spec

FORMATS = ("torchscript", "pt2", "onnx", "factory")


def needs(architecture: str) -> None:
    """Skip where a package is missing that writes or runs the format."""
    if architecture == "onnx":
        for package in ("onnxruntime", "onnx", "onnxscript"):
            pytest.importorskip(
                package, reason=f"{package} is not installed: pip install 'xcloudmask[onnx]' onnxscript"
            )


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The network in a format; saved when first asked for."""
    folder = tmp_path_factory.mktemp("foreign")
    paths: dict[str, Path] = {}

    def path_of(architecture: str) -> Path:
        needs(architecture)
        if architecture not in paths:
            net = nets.Bands(nets.unet())
            save, suffix = {
                "torchscript": (nets.save_torchscript, "pt"),
                "pt2": (nets.save_exported, "pt2"),
                "onnx": (nets.save_onnx, "onnx"),
                "factory": (nets.save_weights, "safetensors"),
            }[architecture]
            paths[architecture] = save(net, folder / f"net.{suffix}")
        return paths[architecture]

    return path_of


@pytest.fixture(scope="session")
def spec_of(saved: Callable[[str], Path]) -> Callable[..., ModelSpec]:
    def make(architecture: str, **given: Any) -> ModelSpec:
        if architecture == "factory":
            given = {"factory": "foreign_nets:build", "config": {"width": 8}} | given
        table = nets.fields(architecture, saved(architecture), **given)
        return xcloudmask.register_model(table)

    return make


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    path = nets.save_weights(nets.unet(), tmp_path_factory.mktemp("native") / "net.safetensors")
    return ModelSpec(
        name="native", architecture="unet", config=tuple(nets.CONFIG.items()), weights=str(path),
        sha256=nets.sha256(path), **nets.GEOMETRY,
    )  # fmt: skip


def cube(**given: Any) -> xr.Dataset:
    return odc_dataset(**({"shape": (200, 152), "times": 2, "chunks": {"time": 1, "y": 64, "x": 80}} | given))


def masked(data: xr.Dataset, spec: ModelSpec, **given: Any) -> xr.DataArray:
    return xcloudmask.predict(data, model=spec, device="cpu", precision="fp32", **given)


def same_labels(a: xr.DataArray, b: xr.DataArray) -> bool:
    """All but a few pixels: libraries add up in another order, and a tie of two classes goes either way."""
    return float((a.values != b.values).mean()) <= 1e-3


@pytest.mark.parametrize("architecture", FORMATS)
@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
def test_the_mask_is_that_of_the_same_network(architecture, normalize, spec_of, native):
    data = cube(nodata_fraction=0.02, nodata=0)
    expected = masked(data, native, normalize=normalize).compute(scheduler="threads")
    found = masked(data, spec_of(architecture), normalize=normalize).compute(scheduler="threads")
    assert same_labels(found, expected)
    assert len(np.unique(expected)) >= 4  # three classes or more, and nodata
    if architecture == "factory":
        assert found.values.tobytes() == expected.values.tobytes()


@pytest.mark.parametrize("architecture", FORMATS)
def test_probabilities_and_windows_are_those_of_the_same_network(architecture, spec_of, native):
    data = cube(times=1, shape=(100, 90), chunks=None)
    for given in ({}, {"stride": 32}, {"normalize": "lattice"}):
        both = [
            xcloudmask.predict_proba(data, model=spec, precision="fp32", **given)
            for spec in (spec_of(architecture), native)
        ]
        np.testing.assert_allclose(both[0], both[1], atol=2e-5)


@pytest.mark.parametrize("architecture", FORMATS)
def test_chunks_leave_no_trace(architecture, spec_of):
    spec = spec_of(architecture)
    whole, cut = (
        masked(cube(chunks=chunks), spec, normalize="lattice").compute(scheduler="threads")
        for chunks in ({"time": 1, "y": -1, "x": -1}, {"time": 1, "y": 64, "x": 64})
    )
    assert whole.values.tobytes() == cut.values.tobytes()
    scene = [
        masked(cube(chunks=chunks), spec, normalize="scene").compute(scheduler="threads")
        for chunks in ({"time": 1, "y": -1, "x": -1}, {"time": 1, "y": 64, "x": 64})
    ]
    assert scene[0].values.tobytes() == scene[1].values.tobytes()


def test_the_halo_is_exact(spec_of):
    """With the same statistics, tiles that are cut give the logits of the whole."""
    spec = spec_of("torchscript")
    net = load_network(spec)
    image = nets.tiles(1, 256)
    with torch.inference_mode():
        whole = net(image, None)
        start, stop, halo = 96, 160, spec.halo_px
        part = net(image[:, :, start - halo : stop + halo, start - halo : stop + halo], None)
    inner = part[:, :, halo:-halo, halo:-halo]
    torch.testing.assert_close(inner, whole[:, :, start:stop, start:stop], rtol=1e-4, atol=1e-4)


def available_formats() -> list[str]:
    return [name for name in FORMATS if name != "onnx" or _has("onnxruntime", "onnx", "onnxscript")]


@pytest.mark.slow
def test_processes_give_the_bytes_of_threads(spec_of):
    """But for .pt2, whose import alone takes some seconds per process: see the cluster."""
    data = cube(times=1, chunks={"time": 1, "y": 104, "x": -1})
    masks = [masked(data, spec_of(name)) for name in available_formats() if name != "pt2"]
    with dask.config.set({"multiprocessing.context": "spawn"}):
        found = dask.compute(*masks, scheduler="processes", num_workers=2)
    for mask, one in zip(masks, found, strict=True):
        xr.testing.assert_identical(one, mask.compute(scheduler="threads"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_gives_the_bytes_of_threads_and_tells_what_is_wrong(spec_of):
    distributed = pytest.importorskip(
        "distributed", reason="needs a local cluster: pip install 'xcloudmask[distributed]'"
    )
    data = cube(times=1, chunks={"time": 1, "y": 104, "x": -1})
    masks = {name: masked(data, spec_of(name), normalize="lattice") for name in available_formats()}
    threaded = {name: mask.compute(scheduler="threads") for name, mask in masks.items()}
    gone = masked(data, replace(spec_of("torchscript"), weights="/nowhere/net.pt", name="gone"))
    wrong = masked(data, replace(spec_of("torchscript"), classes=nets.CLASSES[:3], name="wrong"))
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        for name, mask in masks.items():
            assert mask.compute().values.tobytes() == threaded[name].values.tobytes(), name
        with pytest.raises(errors.WeightsError, match="Every worker needs the file"):
            gone.compute()
        with pytest.raises(errors.ModelError, match="Model 'wrong' returned 4 channels"):
            wrong.compute()


def _has(*packages: str) -> bool:
    from xcloudmask._optional import available

    return all(map(available, packages))


def test_a_spec_is_small_and_travels(spec_of):
    spec = spec_of("factory")
    again = pickle.loads(pickle.dumps(spec))  # noqa: S301
    assert again == spec
    assert hash(again) == hash(spec)
    assert len(pickle.dumps(spec)) < 1500
    graph = masked(cube(), spec).__dask_graph__()
    assert not any("torch" in type(value).__module__ for value in dict(graph).values())
    assert ModelSpec(**{**spec.to_dict(), "members": ()}) == spec


def test_a_graph_has_the_same_keys_each_time(spec_of, native):
    spec = spec_of("torchscript")
    first, second = (masked(cube(), spec) for _ in range(2))
    assert first.__dask_keys__() == second.__dask_keys__()
    other = masked(cube(), replace(spec, classes=nets.CLASSES[::-1]))
    assert other.__dask_keys__() != first.__dask_keys__()


class TestAnswers:
    def predict(self, folder, net, **given):
        path = nets.save_torchscript(net, folder / "net.pt")
        spec = xcloudmask.register_model(nets.fields("torchscript", path, **given))
        data = cube(times=1, shape=(72, 80), chunks=None)
        return (
            masked(data, spec),
            xcloudmask.predict_proba(data, model=spec, precision="fp32"),
            xcloudmask.predict_proba(
                data, model=replace(spec, name="plain", output="logits", classes=nets.CLASSES), precision="fp32"
            ),
        )

    def test_codes(self, tmp_path, native):
        mask, shares, _ = self.predict_codes(tmp_path)
        expected = masked(cube(times=1, shape=(72, 80), chunks=None), native)
        assert mask.values.tobytes() == expected.values.tobytes()
        assert set(np.unique(shares)) == {0.0, 1.0}
        assert (shares.values.argmax(1) == mask.values).all()

    def predict_codes(self, folder):
        path = nets.save_torchscript(nets.Codes(nets.unet()), folder / "codes.pt")
        spec = xcloudmask.register_model(nets.fields("torchscript", path, output="codes"))
        data = cube(times=1, shape=(72, 80), chunks=None)
        return masked(data, spec), xcloudmask.predict_proba(data, model=spec, precision="fp32"), spec

    def test_codes_in_another_order(self, tmp_path):
        mask, _, spec = self.predict_codes(tmp_path)
        order = ("cloud_shadow", "clear", "thick_cloud", "thick_cloud")
        turned = masked(cube(times=1, shape=(72, 80), chunks=None), replace(spec, classes=order, name="turned"))
        table = np.array([3, 0, 1, 1], np.uint8)
        assert (turned.values == table[mask.values]).all()

    def test_codes_through_moving_windows_are_votes(self, tmp_path):
        _, _, spec = self.predict_codes(tmp_path)
        data = cube(times=1, shape=(128, 128), chunks=None)
        shares = xcloudmask.predict_proba(data, model=spec, precision="fp32", stride=32)
        np.testing.assert_allclose(shares.sum("cloud_class"), 1, atol=1e-6)
        assert len(np.unique(shares)) > 2

    def test_probabilities_of_one_class_add_up(self, tmp_path):
        classes = ["clear", "thick_cloud", "thick_cloud", "clear"]
        _, shares, _ = self.predict(tmp_path, nets.Softmax(nets.unet()), output="probabilities", classes=classes)
        path = nets.save_torchscript(nets.Bands(nets.unet()), tmp_path / "plain.pt")
        plain = xcloudmask.register_model(nets.fields("torchscript", path))
        whole = xcloudmask.predict_proba(
            cube(times=1, shape=(72, 80), chunks=None), model=plain, precision="fp32"
        ).values
        np.testing.assert_allclose(shares[:, 0], whole[:, 0] + whole[:, 3], atol=1e-5)
        np.testing.assert_allclose(shares[:, 1], whole[:, 1] + whole[:, 2], atol=1e-5)
        assert float(shares[:, 2:].max()) < 1e-20

    def test_logits_of_one_class_add_up_as_probabilities(self, tmp_path):
        classes = ["clear", "thick_cloud", "thick_cloud", "clear"]
        _, shares, whole = self.predict(tmp_path, nets.Bands(nets.unet()), classes=classes)
        np.testing.assert_allclose(shares[:, 1], whole[:, 1] + whole[:, 2], atol=1e-5)
        assert float(shares[:, 2:].max()) == 0

    def test_a_channel_is_left_out(self, tmp_path):
        classes = ["ignore", "thick_cloud", "thin_cloud", "cloud_shadow"]
        mask, shares, whole = self.predict(tmp_path, nets.Bands(nets.unet()), classes=classes)
        rest = whole[:, 1:] / whole[:, 1:].sum("cloud_class")
        np.testing.assert_allclose(shares[:, 1:], rest, atol=1e-4)
        assert 0 not in np.unique(mask)

    @pytest.mark.parametrize(
        ("output", "end"), [("logits", torch.nn.Identity()), ("probabilities", torch.nn.Sigmoid())]
    )
    def test_one_channel_is_the_second_of_two_classes(self, tmp_path, output, end):
        torch.manual_seed(2)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), end).eval()
        path = nets.save_torchscript(net, tmp_path / "net.pt")
        spec = xcloudmask.register_model(
            nets.fields("torchscript", path, output=output, classes=["clear", "thick_cloud"], stride_px=1, radius_px=0)
        )
        tiles = nets.tiles()
        runner = get_runner(spec, device="cpu", precision="fp32")
        whole = (slice(None), slice(None))
        level = np.zeros((2, 7), np.float32)
        shares = runner.probabilities(tiles.numpy(), level, whole)
        expected = torch.sigmoid(net[0](tiles)).detach().numpy()[:, 0]
        np.testing.assert_allclose(shares[:, 1], expected, atol=1e-6)
        assert (runner.labels(tiles.numpy(), level, whole) == (expected > 0.5)).all()

    def test_two_classes_make_a_mask_of_two(self, tmp_path):
        torch.manual_seed(2)
        path = nets.save_torchscript(torch.nn.Conv2d(3, 2, 3, padding=1).eval(), tmp_path / "net.pt")
        spec = xcloudmask.register_model(
            nets.fields("torchscript", path, classes=["thick_cloud", "clear"], stride_px=1, radius_px=1)
        )
        mask = masked(cube(times=1, shape=(72, 80), chunks=None), spec)
        assert set(np.unique(mask)) == {0, 1}


def test_mean_and_std_are_taken_from_reflectance(tmp_path):
    data = cube(times=1, shape=(72, 80), chunks=None)
    inside = nets.save_torchscript(nets.Standardised(nets.unet()), tmp_path / "inside.pt")
    outside = nets.save_torchscript(nets.Bands(nets.unet()), tmp_path / "outside.pt")
    plain = xcloudmask.register_model(nets.fields("torchscript", inside, normalization="none"))
    scaled = xcloudmask.register_model(
        nets.fields("torchscript", outside, normalization="none", mean=[0.1, 0.2, 0.3], std=[0.25] * 3)
    )
    both = [xcloudmask.predict_proba(data, model=spec, precision="fp32", scale=1e-4) for spec in (plain, scaled)]
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)
    with pytest.raises(errors.InputError, match="scale is not known"):
        xcloudmask.predict(data, model=plain)


def test_a_foreign_model_votes_in_an_ensemble(spec_of, native):
    spec = combine([spec_of("torchscript"), native], name="both")
    data = cube(times=1, shape=(72, 80), chunks=None)
    np.testing.assert_allclose(
        xcloudmask.predict_proba(data, model=spec, precision="fp32"),
        xcloudmask.predict_proba(data, model=native, precision="fp32"),
        atol=1e-5,
    )


def test_a_mask_tells_what_was_made_of_the_file(spec_of, native):
    data = cube(times=1, shape=(72, 80), chunks=None)
    spec = spec_of("factory")
    turned = replace(spec, classes=nets.CLASSES[::-1], normalization="none", mean=(0.1,) * 3, std=(0.2,) * 3)
    texts = [xcloudmask.predict(data, model=one, scale=1e-4).attrs["settings"] for one in (spec, turned, native)]
    assert len(set(texts)) == 3
    assert '"classes":"clear thick_cloud thin_cloud cloud_shadow"' in texts[0]
    assert '"mean":"0.1 0.1 0.1"' in texts[1]
    assert "classes" not in texts[2]


def test_files_run_in_the_program_they_were_made_for(spec_of):
    for given in ({"backend": "openvino"}, {"backend": "onnxruntime"}, {"precision": "int8"}):
        with pytest.raises(errors.ArgumentError, match="ONNX in onnxruntime anyway"):
            get_runner(spec_of("torchscript"), device="cpu", **given)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_network_of_a_function_runs_on_every_backend(spec_of, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    data = cube(times=1, shape=(72, 80), chunks=None)
    for answer in ("logits", "probabilities"):
        config = {"width": 8, "answer": answer}
        spec = spec_of("factory", name=f"on-{backend}-{answer}", config=config, output=answer)
        expected = masked(data, spec, backend="torch")
        assert len(np.unique(expected)) > 1
        assert same_labels(masked(data, spec, backend=backend), expected)


def test_files_keep_their_numbers_unless_asked(spec_of):
    assert get_runner(spec_of("torchscript"), device="cpu").precision == "fp32"
    assert get_runner(spec_of("torchscript"), device="cpu", precision="bf16").precision == "bf16"
    data = cube(times=1, shape=(72, 80), chunks=None)
    halves = xcloudmask.predict(data, model=spec_of("torchscript"), precision="bf16")
    assert float((halves != masked(data, spec_of("torchscript"))).mean()) < 0.05


@pytest.mark.parametrize("architecture", ["pt2", "onnx"])
class TestFixedShapes:
    def spec(self, architecture, folder, **given):
        needs(architecture)
        save = nets.save_exported if architecture == "pt2" else nets.save_onnx
        path = save(nets.Bands(nets.unet()), folder / "fixed", fixed=144)
        fixed = {"tile_px": None, "window_px": None, "input_px": 144, "name": f"fixed-{architecture}"}
        return nets.fields(architecture, path, **(fixed | given))

    def test_tiles_are_cut_to_the_shape(self, architecture, tmp_path, native):
        table = self.spec(architecture, tmp_path)
        spec = xcloudmask.register_model(table)
        assert (spec.tile_px, spec.window_px) == (64, 144)
        data = cube(times=2)
        for given in ({"normalize": "lattice"}, {"normalize": "chunk", "batch_size": 3}):
            assert same_labels(masked(data, spec, **given), masked(data, native, **given)), given
        # An axis of one tile: what the network sees beyond the cube is zeros, not the padding of its layers.
        assert masked(cube(times=1, shape=(40, 56), chunks=None), spec).shape == (1, 40, 56)
        with pytest.raises(errors.ModelError, match=r"takes 144 x 144 px and was fed .* Type tile_px = 64"):
            masked(data, spec, normalize="lattice", halo_px=80).compute(scheduler="synchronous")
        wrong = xcloudmask.register_model(table | {"input_px": 0, "name": "wrong"})
        with pytest.raises(errors.ModelError, match=r"takes tiles of 144 x 144 px only.* Type input_px = 144"):
            load_network(wrong)


class TestToml:
    def write(self, folder, saved, architecture="torchscript", **given):
        path = saved(architecture)
        (folder / path.name).write_bytes(path.read_bytes())
        table = nets.fields(architecture, path, name=None, **given)
        file = folder / "mine.toml"
        file.write_text(nets.as_toml(table | {"weights": path.name}))
        return file

    def test_a_file_is_a_model(self, tmp_path, saved, spec_of):
        file = self.write(tmp_path, saved)
        data = cube(times=1, shape=(72, 80), chunks=None)
        expected = masked(data, spec_of("torchscript")).values
        for model in (str(file), file):
            mask = xcloudmask.predict(data, model=model, precision="fp32")
            assert mask.attrs["model"] == "mine"
            assert (mask.values == expected).all()
        spec = xcloudmask.register_model(file)
        assert spec.weights == str(tmp_path.resolve() / "net.pt")
        assert get_spec("mine") == spec == ModelSpec.from_card(file) == get_spec(str(file))

    def test_paths_are_relative_to_the_file(self, tmp_path, saved, monkeypatch):
        file = self.write(tmp_path, saved)
        monkeypatch.chdir(tmp_path.parent)
        relative = f"{tmp_path.name}/{file.name}"
        assert get_spec(relative).weights == str(tmp_path.resolve() / "net.pt")
        load_network(get_spec(relative))

    def test_a_factory_with_arguments(self, tmp_path, saved):
        spec = get_spec(
            self.write(
                tmp_path,
                saved,
                "factory",
                factory="foreign_nets:build",
                config={"width": 8, "answer": "probabilities"},
                output="probabilities",
            )
        )
        assert dict(spec.config) == {"width": 8, "answer": "probabilities"}
        load_network(spec)

    @pytest.mark.parametrize("architecture", ["torchscript", "pt2", "factory"])
    def test_a_radius_is_measured(self, tmp_path, saved, architecture):
        given = {"factory": "foreign_nets:build"} if architecture == "factory" else {}
        file = self.write(tmp_path, saved, architecture, radius_px="measure", **given)
        assert 36 <= get_spec(file).radius_px <= 39

    def test_a_changed_file_is_read_again(self, tmp_path, saved):
        file = self.write(tmp_path, saved)
        assert get_spec(file).radius_px == 39
        file.write_text(file.read_text().replace("radius_px = 39", "radius_px = 100"))
        assert get_spec(file).radius_px == 100

    def test_the_command_line_takes_it(self, tmp_path, saved):
        from typer.testing import CliRunner

        from xcloudmask.cli.app import app

        file = self.write(tmp_path, saved)
        cube(times=1, shape=(72, 80), chunks=None).to_zarr(tmp_path / "cube.zarr", consolidated=False)
        arguments = ["predict", str(tmp_path / "cube.zarr"), str(tmp_path / "masks.zarr"), "--model", str(file)]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        with xcloudmask.open_mask(tmp_path / "masks.zarr") as mask:
            assert mask.attrs["model"] == "mine"
        arguments[2] = str(tmp_path / "others.zarr")
        done = CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "none.toml")])
        assert done.exit_code == 2
        assert "none.toml" in done.output
