import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from xcloudmask import errors, list_models, register_model
from xcloudmask.models import loading
from xcloudmask.models.cache import get_runner
from xcloudmask.models.devices import resolve_device, resolve_precision
from xcloudmask.models.registry import WEIGHTS_DIR, get_spec, weights_path
from xcloudmask.models.spec import ModelSpec


def packaged():
    """Specs of the shipped cards, whatever other tests have registered."""
    return [ModelSpec.from_card(card) for card in sorted(WEIGHTS_DIR.glob("*.json"))]


@pytest.mark.parametrize("spec", packaged(), ids=lambda spec: spec.name)
def test_every_packaged_model_loads_and_its_radius_is_true(spec):
    from xcloudmask.models.architectures import measure_geometry

    assert get_runner(spec, device="cpu", precision="fp32").precision == "fp32"
    members = spec.members or (spec,)
    for member in members:
        assert weights_path(member).stat().st_size < 6.5e6
        assert measure_geometry(member.architecture, dict(member.config)) == (member.stride_px, member.radius_px)
    assert spec.radius_px == max(member.radius_px for member in members)


def test_packaged_models_are_listed_by_file_name():
    for spec in packaged():
        listed = list_models()[spec.name]
        for member, beside in zip(listed.members or (listed,), spec.members or (spec,), strict=True):
            assert member.weights == weights_path(beside).name
            assert weights_path(member) == weights_path(beside)


def test_halo_of_the_default_model_meets_the_budget():
    spec = get_spec("default")
    assert spec.halo_px % spec.stride_px == 0
    assert spec.radius_px <= spec.halo_px <= 72


def test_tampered_weights_are_refused(tiny_model, tmp_path):
    path = tmp_path / "tampered.safetensors"
    content = bytearray(weights_path(tiny_model).read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(errors.WeightsError, match="sha256"):
        get_runner(replace(tiny_model, weights=str(path)))


def test_missing_weights_name_the_file(tiny_model):
    with pytest.raises(errors.WeightsError, match="nowhere"):
        get_runner(replace(tiny_model, weights="/nowhere/x.safetensors"))


def test_weights_of_another_architecture(tiny_model):
    with pytest.raises(errors.WeightsError, match="do not fit"):
        get_runner(replace(tiny_model, config=(("width", 16),)))
    with pytest.raises(errors.WeightsError, match="Known: 'unet'"):
        get_runner(replace(tiny_model, architecture="os.system"))


def test_too_large_weights_are_not_read(tiny_model, monkeypatch):
    monkeypatch.setattr(loading, "WEIGHTS_BYTES_MAX", 10)
    with pytest.raises(errors.WeightsError, match="larger than"):
        get_runner(replace(tiny_model, name="too large"))  # no other test may have loaded it


def test_model_is_loaded_once_whoever_asks(tiny_model):
    with ThreadPoolExecutor(8) as pool:
        runners = set(pool.map(lambda _: get_runner(tiny_model, device="cpu", precision="fp32"), range(16)))
    assert len(runners) == 1


def test_unknown_model_lists_the_known():
    with pytest.raises(errors.UnknownModelError, match="Did you mean 'default'") as caught:
        get_spec("defualt")
    assert "\\n" not in str(caught.value)
    assert isinstance(caught.value, KeyError)
    with pytest.raises(errors.ArgumentTypeError):
        get_spec(3)
    with pytest.raises(errors.ArgumentTypeError):
        register_model("default")


def test_registered_model_is_found(tiny_model):
    register_model(tiny_model)
    assert get_spec("tiny") is tiny_model


def test_spec_survives_a_card(tiny_model, tmp_path):
    card = tmp_path / "card.json"
    card.write_text(json.dumps(tiny_model.to_dict() | {"comment": "only in the card"}))
    assert ModelSpec.from_card(str(card)) == tiny_model
    beside = {**tiny_model.to_dict(), "weights": "w.safetensors"}
    card.write_text(json.dumps(beside))
    assert weights_path(ModelSpec.from_card(card)) == tmp_path / "w.safetensors"
    card.write_text("{")
    with pytest.raises(errors.ModelError, match="no model card"):
        ModelSpec.from_card(card)
    card.write_text(json.dumps(tiny_model.to_dict() | {"stride_px": 0}))
    with pytest.raises(errors.ModelError, match="stride_px=0"):
        ModelSpec.from_card(card)
    with pytest.raises(errors.ModelError, match="cannot be read"):
        ModelSpec.from_card(tmp_path / "none.json")


def test_spec_of_lists_is_hashable(tiny_model):
    listed = replace(tiny_model, bands=list(tiny_model.bands), config=dict(tiny_model.config))
    assert listed == tiny_model
    assert hash(listed) == hash(tiny_model)


def test_spec_shows_itself(tiny_model):
    assert repr(tiny_model) == "<ModelSpec tiny: unet, red+green+nir, stride 8 px, halo 40 px, 10-50 m>"
    assert "<table>" in tiny_model._repr_html_()
    assert hash(tiny_model) == hash(replace(tiny_model))


def test_device_and_precision():
    assert resolve_device("auto") in {"cpu", "cuda"}
    assert resolve_precision("auto", "cpu") in {"bf16", "fp32"}
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(errors.ArgumentError, match="Found: cpu"):
            resolve_device("cuda")


def test_precisions_agree(tiny_model):
    tiles = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    level = np.zeros((1, 7), np.float32)
    crop = (slice(8, 56), slice(0, 64))
    exact, fast = (get_runner(tiny_model, device="cpu", precision=p) for p in ("fp32", "bf16"))
    p = exact.probabilities(tiles, level, crop)
    assert p.shape == (1, 4, 48, 64)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(p.argmax(axis=1), exact.labels(tiles, level, crop))
    assert (fast.labels(tiles, level, crop) == p.argmax(axis=1)).mean() > 0.95


def test_weights_dir_holds_safetensors_only():
    assert {path.suffix for path in WEIGHTS_DIR.iterdir()} <= {".safetensors", ".json"}
