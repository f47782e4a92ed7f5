"""Specs and files of foreign models that are wrong, broken or hostile: each is refused, with what to do about it."""

from __future__ import annotations

import io
import json
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_nets as nets
import numpy as np
import pytest
import torch
from cubes import odc_dataset
from hypothesis import given
from hypothesis import strategies as st

import xcloudmask
from xcloudmask import errors
from xcloudmask.models.foreign import archive
from xcloudmask.models.foreign.answer import to_logits
from xcloudmask.models.foreign.exported import safe_archive
from xcloudmask.models.foreign.factory import find_factory
from xcloudmask.models.foreign.graphtext import safe_graph
from xcloudmask.models.foreign.measure import measure_radius
from xcloudmask.models.foreign.shapes import check_fixed
from xcloudmask.models.loading import load_network
from xcloudmask.models.registry import get_spec


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.save_torchscript(nets.Bands(nets.unet()), tmp_path_factory.mktemp("script") / "net.pt")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2, stride=2), torch.nn.Upsample(scale_factor=2.0)).eval()
    return nets.save_exported(net, tmp_path_factory.mktemp("program") / "net.pt2")


def spec_for(path: Path, architecture: str = "torchscript", **given: Any) -> xcloudmask.ModelSpec:
    return xcloudmask.register_model(nets.fields(architecture, path, name="mine", **given))


def refused(path: Path, match: str, architecture: str = "torchscript", **given: Any) -> None:
    spec = spec_for(path, architecture, **given)
    with pytest.raises(errors.WeightsError, match=match):
        load_network(spec)


def unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive_file:
        return {item.filename.partition("/")[2]: archive_file.read(item) for item in archive_file.infolist()}


class TestSpecs:
    def check(self, match: str, script: Path, **given: Any) -> None:
        table = {key: value for key, value in (nets.fields("torchscript", script) | given).items() if value is not None}
        with pytest.raises(errors.ModelError, match=match) as caught:
            xcloudmask.register_model(table)
        assert isinstance(caught.value, errors.XCloudMaskError)

    @pytest.mark.parametrize(
        ("given", "match"),
        [
            ({"strid_px": 3}, "the key 'strid_px', which no model has. Did you mean 'stride_px'"),
            ({"members": []}, "the key 'members'"),
            ({"stride_px": "8"}, "stride_px = '8'. Expected a whole number of pixels"),
            ({"radius_px": True}, "radius_px = True. Expected a whole number of pixels, or 'measure'"),
            ({"exact_halo": 1}, "exact_halo = 1. Expected true or false"),
            ({"bands": "red"}, "bands = 'red'. Expected a list of texts"),
            ({"mean": ["a"]}, "Expected a list of numbers"),
            ({"resolution_m": 10}, r"resolution_m = 10. Expected the finest and the coarsest pixel"),
            ({"config": 3}, "config = 3. Expected a table"),
            ({"name": 3}, "name = 3. Expected text"),
            ({"architecture": None}, "lacks architecture"),
            ({"stride_px": None}, "lacks stride_px"),
            ({"classes": None}, "lacks classes"),
            ({"bands": None}, "lacks bands"),
            ({"weights": None}, "lacks weights"),
            ({"architecture": "ensemble"}, "is an ensemble. Type: xcloudmask.models.ensemble.combine"),
            ({"classes": ["clear"]}, "does not say what its channels mean"),
            ({"classes": ["clear", "thin cloud"]}, "no class is called 'thin cloud'. Did you mean 'thin_cloud'"),
            ({"classes": ["ignore", "ignore"]}, "all classes are ignored"),
            ({"classes": ["clear", "ignore"], "output": "codes"}, "a code cannot be ignored"),
            ({"output": "logit"}, "output = 'logit'. Type one of 'logits'"),
            ({"normalization": "minmax"}, "normalization = 'minmax'. Type 'zscore', or one of 'fixed'"),
            ({"mean": [1.0] * 3, "std": [1.0] * 3}, "Type normalization = 'fixed'"),
            (
                {"mean": [1.0], "std": [1.0], "normalization": "none"},
                "1 numbers in mean and 1 numbers in std for 3 bands",
            ),
            ({"mean": [1.0] * 3, "std": [0.0] * 3, "normalization": "none"}, "Type positive numbers"),
            ({"factory": "a:b"}, "Type architecture = 'factory'"),
            ({"architecture": "factory"}, "with factory = ''"),
            ({"architecture": "factory", "factory": "os.system"}, "is no importable name"),
            ({"architecture": "factory", "factory": "a:b.c"}, "is no importable name"),
            ({"architecture": "factory", "factory": "__main__:build"}, "lives in the script that runs"),
            ({"config": {"width": 3}}, "is for factories"),
            ({"input_px": 144}, "Type tile_px = 64 and window_px = 144|do not fit"),
            ({"input_px": 80}, "leaves no pixel whose context fits"),
            ({"input_px": 145, "tile_px": None, "window_px": None}, "input_px = 145"),
            ({"stride_px": 0, "input_px": 80}, "must be positive"),
            ({"radius_px": "measure", "architecture": "onnx"}, "works for networks of torch"),
            ({"architecture": "unet"}, "which only foreign models take"),
        ],
    )
    def test_what_is_wrong_is_said(self, script, given, match):
        if given == {"input_px": 144}:
            given = {"input_px": 144, "tile_px": 72}
        self.check(match, script, **given)

    def test_a_missing_checksum_is_told(self, script):
        self.check(f"type: sha256 = '{nets.sha256(script)}'", script, sha256=None)
        self.check("as sha256sum /nowhere/net.pt prints it", script, sha256=None, weights="/nowhere/net.pt")

    def test_files(self, tmp_path):
        with pytest.raises(errors.ModelError, match=r"none.toml cannot be read"):
            get_spec(tmp_path / "none.toml")
        bad = tmp_path / "bad.toml"
        bad.write_text("architecture = ")
        with pytest.raises(errors.ModelError, match="is no TOML file"):
            get_spec(str(bad))
        bad.write_bytes(b"\xff\xfe")
        with pytest.raises(errors.ModelError, match="is no TOML file"):
            get_spec(bad)
        bad.write_text("#" * 1_000_001)
        with pytest.raises(errors.ModelError, match="larger than 1000000 bytes"):
            get_spec(bad)
        with pytest.raises(errors.ArgumentTypeError, match=r"path of a .toml file"):
            xcloudmask.register_model("mine")
        with pytest.raises(errors.ArgumentTypeError, match="not 3"):
            xcloudmask.register_model(3)

    @given(
        table=st.dictionaries(
            st.sampled_from(["stride_px", "classes", "config", "mean", "input_px", "sha256", "radius_px"]),
            st.none() | st.integers(-9, 999) | st.text(max_size=5) | st.lists(st.text(max_size=3)) | st.booleans(),
        )
    )
    def test_any_table_is_a_spec_or_a_clear_error(self, script, table):
        try:
            spec = xcloudmask.register_model(nets.fields("torchscript", script) | table)
        except errors.XCloudMaskError:
            return
        assert get_spec(spec.name) == spec


class TestFiles:
    def test_missing_and_changed(self, script, tmp_path):
        spec = xcloudmask.register_model(nets.fields("torchscript", script, weights=str(tmp_path / "gone.pt")))
        with pytest.raises(errors.WeightsError, match=r"cannot be read from .*gone.pt"):
            load_network(spec)
        changed = tmp_path / "net.pt"
        changed.write_bytes(script.read_bytes() + b"\0")
        spec = xcloudmask.register_model(nets.fields("torchscript", changed, sha256="0" * 64))
        with pytest.raises(errors.WeightsError, match=r"has sha256 .* The file is not loaded"):
            load_network(spec)

    def test_a_file_whose_checksum_is_wrong_is_not_opened(self, script, tmp_path, monkeypatch):
        def opened(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("opened")

        monkeypatch.setattr(zipfile, "ZipFile", opened)
        spec = xcloudmask.register_model(nets.fields("torchscript", script, sha256="0" * 64))
        with pytest.raises(errors.WeightsError, match="has sha256"):
            load_network(spec)

    @pytest.mark.parametrize("architecture", ["torchscript", "pt2"])
    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b'{"error": "not found"}', "JSON"),
            (b"", "an empty file"),
            (b"\x80\x02}q\x00.", "a pickle of torch.save"),
            (b"PK\x03\x04 cut", "no archive"),
            (bytes(range(256)) * 9, "no archive"),
        ],
    )
    def test_no_archive(self, tmp_path, architecture, content, match):
        path = tmp_path / "net.bin"
        path.write_bytes(content)
        refused(path, match, architecture)

    @pytest.mark.parametrize("architecture", ["torchscript", "pt2"])
    def test_a_pickle_is_never_opened(self, tmp_path, architecture):
        path = tmp_path / "net.pt"
        torch.save(torch.nn.Conv2d(3, 4, 1), path)
        refused(path, "a pickle of torch.save, which can run any code", architecture)

    def test_one_format_for_another(self, script, program):
        refused(program, "Type: architecture = 'pt2'")
        refused(script, "Type: architecture = 'torchscript'", "pt2")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, script, program, tmp_path, share):
        for source, architecture in ((script, "torchscript"), (program, "pt2")):
            content = source.read_bytes()
            path = tmp_path / source.name
            path.write_bytes(content[: int(len(content) * share)])
            # A program holds a small archive of its own, which is found where the end of the large one is cut off.
            refused(path, "no archive that torch wrote|a pickle of torch.save", architecture)

    def test_a_flipped_byte(self, script, tmp_path):
        members = unpacked(script)
        content = bytearray(script.read_bytes())
        tensor = max((data for name, data in members.items() if name.startswith("data/")), key=len)
        content[bytes(content).index(tensor) + 3] ^= 0xFF
        path = tmp_path / "net.pt"
        path.write_bytes(content)
        refused(path, "Bad CRC-32")

    def test_a_bomb_is_not_unpacked(self, tmp_path, monkeypatch):
        path = tmp_path / "bomb.pt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
            for index in range(4):
                bomb.writestr(f"m/data/{index}", bytes(8_000_000))
        assert path.stat().st_size < 100_000
        monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 31_999_999)
        refused(path, "would unpack to 32000000 bytes in 4 files")
        monkeypatch.setattr(archive, "MEMBERS_MAX", 3)
        monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 10**9)
        refused(path, "in 4 files")

    def test_a_bomb_that_lies_about_its_size(self, tmp_path):
        """What the directory promises is the most that is unpacked."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bomb:
            bomb.writestr("m/data/0", bytes(50_000_000))
        content = buffer.getvalue().replace(struct.pack("<I", 50_000_000), struct.pack("<I", 5))
        path = tmp_path / "bomb.pt"
        path.write_bytes(content)
        refused(path, "no archive that torch wrote")

    def test_torchscript_that_writes_files(self, tmp_path):
        class Writer(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                torch.save(x, "/tmp/never-written")  # noqa: S108
                return x

        path = tmp_path / "net.pt"
        members = unpacked(nets.save_torchscript(nets.Bands(nets.unet()), tmp_path / "plain.pt"))
        code = next(name for name in members if name.endswith(".py"))
        members[code] += b"\n  def save(self, x: Tensor) -> None:\n    torch.save(x, 'file')\n"
        path.write_bytes(archive.pack(members))
        refused(path, r"calls 'torch.save' in code/")

    def test_torchscript_whose_members_are_garbage(self, script, tmp_path):
        members = unpacked(script)
        path = tmp_path / "net.pt"
        for broken in ("constants.pkl", "data.pkl"):
            path.write_bytes(archive.pack(members | {broken: members[broken][:-1] + b"X"}))
            refused(path, "cannot be loaded with torch")

    def test_torchscript_that_is_no_code(self, script, tmp_path):
        members = unpacked(script)
        for name in members:
            if name.endswith(".py"):
                members[name] = b"this is no program"
        path = tmp_path / "net.pt"
        path.write_bytes(archive.pack(members))
        refused(path, "cannot be loaded with torch")


class TestPrograms:
    """Archives of torch.export whose members would run code."""

    def rewritten(self, program: Path, change: Callable[[dict[str, bytes]], None]) -> bytes:
        members = unpacked(program)
        change(members)
        return archive.pack(members)

    def refused(self, program: Path, match: str, change: Callable[[dict[str, bytes]], None]) -> None:
        content = self.rewritten(program, change)
        with pytest.raises(errors.WeightsError, match=match):
            safe_archive(spec_for(program, "pt2"), content)

    def graph(self, program: Path, match: str, change: Callable[[Any], None]) -> None:
        def of_members(members: dict[str, bytes]) -> None:
            graph = json.loads(members["models/model.json"])
            change(graph)
            members["models/model.json"] = json.dumps(graph).encode()

        self.refused(program, match, of_members)

    def test_pickles_and_libraries_are_left_behind(self, program):
        def add(members: dict[str, bytes]) -> None:
            members["data/sample_inputs/model.pt"] = b"cos\nsystem\n(S'id'\ntR."
            members["data/aotinductor/model/evil.so"] = b"\x7fELF"
            members["extra/notes.txt"] = b"hello"
            members["data/weights/model.pt"] = b"cos\nsystem\n(S'id'\ntR."

        clean = safe_archive(spec_for(program, "pt2"), self.rewritten(program, add))
        with zipfile.ZipFile(io.BytesIO(clean)) as archive_file:
            names = {name.partition("/")[2]: archive_file.read(name) for name in archive_file.namelist()}
        assert names["data/sample_inputs/model.pt"] == b""
        assert not [name for name in names if "aot" in name or "extra" in name or name == "data/weights/model.pt"]
        assert b"stack_trace" not in names["models/model.json"]
        assert b"stack_trace" in unpacked(program)["models/model.json"]

    def test_it_still_computes(self, program, tmp_path):
        net = load_network(spec_for(program, "pt2", stride_px=2, radius_px=1))
        tiles = nets.tiles(3, 24)
        torch.manual_seed(0)
        plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2, stride=2), torch.nn.Upsample(scale_factor=2.0)).eval()
        with torch.inference_mode():
            torch.testing.assert_close(net(tiles, None), plain(tiles))

    @pytest.mark.parametrize(
        ("key", "value"),
        [("use_pickle", True), ("path_name", "opaque_obj_0"), ("path_name", "../weights/x"), ("path_name", "weight_9")],
    )
    def test_weights_as_objects(self, program, key, value):
        def change(members: dict[str, bytes]) -> None:
            path = "data/weights/model_weights_config.json"
            config = json.loads(members[path])
            next(iter(config["config"].values()))[key] = value
            members[path] = json.dumps(config).encode()

        self.refused(program, "kept as a pickle or an object", change)

    def test_weights_without_bytes(self, program):
        self.refused(program, "has the shape .* and no bytes", lambda m: m.update({"data/weights/weight_0": b""}))

    def test_lists_that_are_none(self, program):
        path = "data/weights/model_weights_config.json"
        self.refused(program, "list of tensors", lambda m: m.update({path: b'{"config": [1]}'}))
        self.refused(program, "is no JSON", lambda m: m.update({path: b"{"}))
        self.refused(program, "torch before 2.9 kept weights in pickles", lambda m: m.pop(path))
        self.refused(program, "its version is no number", lambda m: m.update({"archive_version": b"0; import os"}))

    @pytest.mark.parametrize(
        "target",
        [
            "torch.serialization.load",
            "torch.os.system",
            "torch.ops.aten.from_file.default",
            "torch.ops.aten.save.default",
            "torch.ops.mine.run.default",
            "torch.hub.load",
            "_operator.methodcaller",
            "math.os",
            "builtins.eval",
            "#inline_asm:x",
        ],
    )
    def test_operators_that_do_more_than_compute(self, program, target):
        def change(graph: Any) -> None:
            graph["graph_module"]["graph"]["nodes"][0]["target"] = target

        self.graph(program, "none of the operators", change)

    def test_sizes_that_are_python(self, program):
        def change(graph: Any) -> None:
            def walk(node: Any) -> None:
                if isinstance(node, dict):
                    if "expr_str" in node:
                        node["expr_str"] = "__import__('os').system('id')"
                    for item in node.values():
                        walk(item)
                elif isinstance(node, list):
                    for item in node:
                        walk(item)

            walk(graph)

        self.graph(program, "where the size of a side belongs", change)

    def test_names_that_are_python(self, program):
        def change(graph: Any) -> None:
            graph["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = ["x=print(1)"]

        self.graph(program, "where a name belongs", change)

    def test_arguments_of_other_types(self, program):
        def change(graph: Any) -> None:
            signature = graph["graph_module"]["module_call_graph"][0]["signature"]
            signature["in_spec"] = '[1, {"type": "collections.defaultdict", "context": "x", "children_spec": []}]'

        self.graph(program, "more than tensors, tuples, lists", change)

    def test_guards_are_dropped(self):
        assert safe_graph({"guards_code": ["__import__('os')"]}, ValueError) == {"guards_code": []}
        with pytest.raises(ValueError, match="nested too deeply"):
            safe_graph(nested(5000), ValueError)

    @pytest.mark.parametrize(
        "text",
        [
            "Pow(Integer(9), Integer(99999999))",
            "9**9",
            "s0.real",
            "lambda: 0",
            "Symbol('os')",
            "[s0]",
            "s0 if s0 else s1",
            "eval(s0)",
        ],
    )
    def test_expressions_that_are_refused(self, text):
        with pytest.raises(ValueError, match="the size of a side"):
            safe_graph({"expr_str": text}, ValueError)

    @pytest.mark.parametrize(
        "text",
        ["s0", "2*s0 + 1", "Mul(Integer(3), Symbol('s0', positive=True, integer=True))", "FloorDiv(s77, 2)", "1.5*s0"],
    )
    def test_expressions_that_pass(self, text):
        assert safe_graph({"expr_str": text}, ValueError) == {"expr_str": text}


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


class TestOnnx:
    @pytest.fixture(autouse=True)
    def _runtime(self):
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'xcloudmask[onnx]'")

    def model(self, folder: Path, *, channels: int = 3, kind: str = "FLOAT", inputs: int = 1) -> Path:
        onnx = pytest.importorskip("onnx", reason="onnx is not installed, which makes the files of this test")
        helper, types = onnx.helper, onnx.TensorProto
        shape = ["n", channels, "y", "x"]
        sides = [helper.make_tensor_value_info(f"in{i}", getattr(types, kind), shape) for i in range(inputs)]
        out = helper.make_tensor_value_info("out", getattr(types, kind), ["n", 4, "y", "x"])
        names = ["in0", "in0"] if channels == 2 else ["in0"]
        node = helper.make_node(
            "Concat" if channels == 2 else "Identity", names, ["out"], **({"axis": 1} if channels == 2 else {})
        )
        graph = helper.make_graph([node], "g", sides, [out])
        path = folder / "net.onnx"
        path.write_bytes(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
        )
        return path

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"<html>Sign in</html>", "a web page, .*expected an ONNX file"),
            (b"", "an empty file"),
            (b"\x00" * 100, "cannot be loaded with onnxruntime"),
            (bytes(range(1, 200)), "cannot be loaded with onnxruntime"),
            (b"\x80\x02}q\x00.", "a pickle of torch.save"),
            (b"\x0a\x08location\x12\x0b/etc/passwd", "external data"),
        ],
    )
    def test_broken(self, tmp_path, content, match):
        path = tmp_path / "net.onnx"
        path.write_bytes(content)
        refused(path, match, "onnx")

    def test_truncated(self, tmp_path):
        path = self.model(tmp_path)
        path.write_bytes(path.read_bytes()[:-20])
        refused(path, "cannot be loaded with onnxruntime", "onnx")

    def test_inputs_that_do_not_fit(self, tmp_path):
        refused(self.model(tmp_path, inputs=2), "expected one tensor of floats", "onnx")
        refused(self.model(tmp_path, kind="INT32"), "expected one tensor of floats", "onnx")
        spec = spec_for(self.model(tmp_path, channels=5), "onnx")
        with pytest.raises(
            errors.ModelError, match=r"takes tiles of shape .any, 5, any, any., and its spec names 3 bands"
        ):
            load_network(spec)

    def test_two_bands(self, tmp_path):
        spec = spec_for(self.model(tmp_path, channels=2), "onnx", bands=["red", "nir"], stride_px=1, radius_px=0)
        tiles = nets.tiles(2, 16)[:, :2]
        torch.testing.assert_close(load_network(spec)(tiles, None), torch.cat([tiles, tiles], dim=1))

    def test_a_missing_package_says_what_to_install(self, tmp_path, monkeypatch):
        path = self.model(tmp_path)
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(errors.MissingPackageError, match=r"pip install 'xcloudmask\[onnx\]'"):
            load_network(spec_for(path, "onnx"))


class TestFactories:
    @pytest.mark.parametrize(
        ("factory", "match"),
        [
            ("nowhere_at_all:build", "cannot be imported.*Every worker needs the module"),
            ("foreign_nets:nothing", "cannot be imported"),
            ("os:system", "does not say that it builds a network"),
            ("torch:load", "does not say that it builds a network"),
            ("torch.hub:load", "does not say that it builds a network"),
            ("foreign_nets:untold", "Type: def untold"),
            ("foreign_nets:CLASSES", "does not say that it builds a network"),
            ("pathlib:Path", "does not say that it builds a network"),
            ("__main__:build", "which workers cannot import"),
        ],
    )
    def test_what_is_no_factory_is_not_called(self, factory, match):
        with pytest.raises(errors.ModelError, match=match):
            find_factory(factory, "mine")

    def weights(self, folder: Path, net: torch.nn.Module | None = None) -> Path:
        return nets.save_weights(nets.Half() if net is None else net, folder / "net.safetensors")

    def test_a_factory_that_fails(self, tmp_path):
        path = self.weights(tmp_path)
        for factory, config, match in (
            ("foreign_nets:liar", {}, "returned a int, expected a torch.nn.Module"),
            ("foreign_nets:half", {"depth": 3}, "failed with {'depth': 3}: TypeError"),
        ):
            spec = spec_for(path, "factory", factory=factory, config=config)
            with pytest.raises(errors.ModelError, match=match):
                load_network(spec)

    def test_weights_that_do_not_fit(self, tmp_path):
        path = self.weights(tmp_path)
        refused(
            path,
            "do not fit what 'foreign_nets:half' builds",
            "factory",
            factory="foreign_nets:half",
            config={"channels": 2},
        )
        path.write_bytes(b"<html>")
        refused(path, "do not fit what", "factory", factory="foreign_nets:half")
        torch.save(nets.Half().state_dict(), path)
        refused(path, "do not fit what", "factory", factory="foreign_nets:half")


class TestTiles:
    """What only shows when a tile is predicted."""

    @pytest.mark.parametrize(
        ("function", "given", "match"),
        [
            ("Half", {}, "returned the shape .* expected .*Put the upsampling into the network"),
            ("Half", {"config": {"channels": 5}}, "returned 5 channels, and its spec names 4 classes"),
            ("Half", {"output": "codes"}, "expected .*one code per pixel"),
            ("Nan", {}, "returned NaN.*Check normalization"),
            ("Nan", {"config": {"channels": 2}, "classes": ["clear", "thick_cloud"]}, "returned NaN"),
            ("Failing", {}, "Model 'mine' failed on tiles of shape .*the network is out of order"),
            ("Listing", {}, "returned a str, expected a tensor"),
        ],
    )
    def test_the_message_names_the_model_and_what_to_type(self, tmp_path, function, given, match):
        net = getattr(nets, function)(**given.get("config", {}))
        path = nets.save_weights(net, tmp_path / "net.safetensors")
        spec = spec_for(path, "factory", factory=f"foreign_nets:{function}", **given)
        mask = xcloudmask.predict(odc_dataset(times=1, chunks=32), model=spec, precision="fp32")
        with pytest.raises(errors.ModelError, match=match) as caught:
            mask.compute(scheduler="threads")
        assert "'mine'" in str(caught.value)

    @pytest.mark.parametrize(
        ("answer", "given", "match"),
        [
            (torch.full((1, 4, 8, 8), 7.0), {"output": "probabilities"}, "values from 7 to 7.*Type output = 'logits'"),
            (torch.zeros(1, 4, 8, 8, dtype=torch.int64), {}, "returned torch.int64.*output = 'codes'"),
            (torch.zeros(1, 8, 8), {"output": "codes"}, "returned torch.float32.*expected whole numbers"),
            (torch.full((1, 8, 8), 4), {"output": "codes"}, "codes from 4 to 4, and its spec names 4"),
            (torch.full((1, 8, 8), -1), {"output": "codes"}, "codes from -1 to -1"),
            (torch.zeros(1, 4, 8, 7), {}, "one value per class and pixel"),
            (torch.zeros(2, 4, 8, 8), {}, "one value per class and pixel"),
            (torch.zeros(4), {}, "one value per class and pixel"),
            (None, {}, "returned a NoneType"),
        ],
    )
    def test_answers_that_are_none(self, script, answer, given, match):
        with pytest.raises(errors.ModelError, match=match):
            to_logits(answer, spec_for(script, **given), fed=(1, 3, 8, 8))

    def test_a_dictionary_of_outputs(self, script):
        from xcloudmask.models.foreign.network import ForeignNet

        class Several(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> Any:
                return {"aux": None, "out": (x[:, [0, 1, 2, 0]], x)}

        tiles = nets.tiles(1, 8)
        assert ForeignNet(Several(), spec_for(script))(tiles).equal(tiles[:, [0, 1, 2, 0]])

    @given(labels=st.lists(st.integers(0, 3), min_size=4, max_size=4))
    def test_codes_are_certain(self, script, labels):
        spec = spec_for(script, output="codes", classes=["clear", "clear", "cloud_shadow", "thin_cloud"])
        answer = torch.tensor(labels).reshape(1, 2, 2)
        shares = torch.softmax(to_logits(answer, spec, fed=(1, 3, 2, 2)), dim=1)
        wanted = np.array([0, 0, 3, 2])[labels]
        assert (shares.argmax(1).flatten().numpy() == wanted).all()
        assert set(shares.flatten().tolist()) == {0.0, 1.0}


class TestShapes:
    def test_squares_only(self, script):
        with pytest.raises(errors.ModelError, match=r"Expected a square, or any size"):
            check_fixed(spec_for(script), (1, 3, 64, 32))
        with pytest.raises(errors.ModelError, match=r"takes tiles of shape .any, 3., and"):
            check_fixed(spec_for(script), (None, 3))
        assert check_fixed(spec_for(script), (None, None, None, None)) is None

    def test_a_radius_that_cannot_be_measured(self, tmp_path):
        codes = nets.save_torchscript(nets.Codes(nets.unet()), tmp_path / "codes.pt")
        with pytest.raises(errors.ModelError, match="no gradient to measure a radius by"):
            measure_radius(spec_for(codes, output="codes"))
