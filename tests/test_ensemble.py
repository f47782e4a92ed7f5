import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import dask
import numpy as np
import pytest
import torch
from cubes import odc_dataset
from dask.base import tokenize
from safetensors.torch import save_file
from typer.testing import CliRunner

import xcloudmask
from xcloudmask import errors
from xcloudmask.cli.app import app
from xcloudmask.models import registry
from xcloudmask.models.cache import get_runner
from xcloudmask.models.deeplab import CloudDeepLab
from xcloudmask.models.ensemble import combine
from xcloudmask.models.loading import load_network
from xcloudmask.models.registry import weights_path
from xcloudmask.models.spec import ModelSpec
from xcloudmask.training import ensemble_card

CONFIG = {"bands": 3, "classes": 4, "width": 16, "blocks": 1, "rate": 1, "level": 0}
WHOLE = (slice(None), slice(None))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """A small random DeepLab that takes no level."""
    torch.manual_seed(5)
    net = CloudDeepLab(**CONFIG)
    with torch.no_grad():
        net.head.weight.mul_(6)
    path = tmp_path_factory.mktemp("members") / "other.safetensors"
    save_file(net.state_dict(), path)
    return ModelSpec(
        name="other",
        architecture="deeplab",
        config=CONFIG,
        stride_px=8,
        radius_px=73,
        resolution_m=(3, 30),
        tile_px=128,
        window_px=128,
        weights=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        licence="CC0-1.0",
        sources=("noise: CC0",),
        metrics={"oa": 0.5},
    )


@pytest.fixture(scope="module")
def pair(tiny_model, other_model):
    return combine([tiny_model, other_model], name="pair")


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    tiles = rng.standard_normal((2, 3, 64, 96)).astype(np.float32)
    return tiles, rng.standard_normal((2, 7)).astype(np.float32)


def logits_of(spec, batch):
    tiles, level = map(torch.from_numpy, batch)
    with torch.inference_mode():
        return load_network(spec)(tiles, level).numpy()


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_ensemble_is_the_mean_of_its_members_logits(pair, batch):
    mean = (logits_of(pair.members[0], batch) + logits_of(pair.members[1], batch)) / 2
    runner = get_runner(pair, device="cpu", precision="fp32")
    np.testing.assert_allclose(runner.probabilities(*batch, WHOLE), softmax(mean), atol=1e-5)
    labels = runner.labels(*batch, WHOLE)
    np.testing.assert_array_equal(labels, mean.argmax(axis=1))
    for member in pair.members:
        alone = get_runner(member, device="cpu", precision="fp32").labels(*batch, WHOLE)
        assert (alone != labels).any()


def test_soft_voting_is_the_mean_of_the_probabilities(pair, batch):
    soft = replace(pair, voting="probabilities")
    mean = (softmax(logits_of(pair.members[0], batch)) + softmax(logits_of(pair.members[1], batch))) / 2
    runner = get_runner(soft, device="cpu", precision="fp32")
    np.testing.assert_allclose(runner.probabilities(*batch, WHOLE), mean, atol=1e-5)
    np.testing.assert_array_equal(runner.labels(*batch, WHOLE), mean.argmax(axis=1))
    hard = get_runner(pair, device="cpu", precision="fp32").probabilities(*batch, WHOLE)
    assert np.abs(hard - mean).max() > 0.01


@pytest.mark.parametrize("voting", ["logits", "probabilities"])
def test_votes_weigh_the_members(pair, batch, voting):
    even, uneven = replace(pair, voting=voting), replace(pair, voting=voting, votes=(2, 1))
    first, second = (logits_of(member, batch) for member in pair.members)
    want = softmax((2 * first + second) / 3) if voting == "logits" else (2 * softmax(first) + softmax(second)) / 3
    np.testing.assert_allclose(softmax(logits_of(uneven, batch)), want, atol=1e-5)
    np.testing.assert_allclose(logits_of(replace(even, votes=(3, 3)), batch), logits_of(even, batch), atol=1e-5)
    sure = logits_of(replace(even, votes=(1, 1e-9)), batch)
    np.testing.assert_allclose(softmax(sure), softmax(first), atol=1e-5)


def test_votes_are_part_of_the_model(pair, tmp_path):
    uneven = combine(pair.members, name="pair", votes=[2, 1])
    assert uneven.votes == (2, 1)
    assert len({spec.sha256 for spec in (pair, uneven, replace(pair, votes=(1, 2)))}) == 3
    assert replace(pair, votes=(2.0, 1.0)).sha256 == uneven.sha256
    card = tmp_path / "card.json"
    card.write_text(json.dumps(uneven.to_dict()))
    assert ModelSpec.from_card(card) == uneven
    assert "votes" not in pair.to_dict()
    assert "mean of logits, votes 2 : 1" in uneven._repr_html_()


def test_members_that_take_no_level_get_none(pair, batch):
    tiles, level = batch
    runner = get_runner(pair, device="cpu", precision="fp32")
    known, unknown = (runner.probabilities(tiles, values, WHOLE) for values in (level, np.zeros_like(level)))
    assert np.abs(known - unknown).max() > 0.01
    assert pair.level
    assert not replace(pair.members[1]).level


def test_precisions_of_an_ensemble_agree(pair, batch):
    exact, fast = (get_runner(pair, device="cpu", precision=p).labels(*batch, WHOLE) for p in ("fp32", "bf16"))
    assert (exact == fast).mean() > 0.95


def test_one_member_at_a_time_is_the_same_network(tiny_model, batch):
    twice = combine([tiny_model, tiny_model], name="twice")
    np.testing.assert_array_equal(logits_of(twice, batch), logits_of(tiny_model, batch))


def test_geometry_and_card_come_from_the_members(pair, tiny_model, other_model):
    assert (pair.stride_px, pair.radius_px, pair.halo_px) == (8, 73, 80)
    assert (pair.tile_px, pair.window_px) == (128, 128)
    assert pair.resolution_m == (10, 30)
    assert pair.optional_bands == ()
    assert pair.sources == ("noise: CC0",)
    assert pair.licence == "unknown; CC0-1.0"
    assert pair.metrics == pair.members[1].metrics == ()
    coarse = replace(tiny_model, stride_px=12, tile_px=120, window_px=120)
    assert combine([coarse, other_model], name="x").stride_px == 24
    assert combine([coarse, other_model], name="x").tile_px == 144
    assert not combine([replace(tiny_model, exact_halo=False), other_model], name="x").exact_halo


def test_checksum_is_of_members_and_voting(pair, tiny_model):
    soft = replace(pair, voting="probabilities")
    changed = replace(pair, members=(pair.members[0], replace(pair.members[1], sha256="0" * 64)))
    assert len({pair.sha256, soft.sha256, changed.sha256}) == 3
    assert len({tokenize(spec) for spec in (pair, soft, changed)}) == 3
    again = combine([tiny_model, pair.members[1]], name="pair", voting="probabilities")
    assert again.sha256 == soft.sha256
    assert hash(replace(soft, sources=pair.sources)) == hash(soft)
    assert replace(pair, sha256="nonsense") == pair


def test_name_in_the_graph_is_the_same_in_another_process(pair, tmp_path):
    card = tmp_path / "pair.json"
    card.write_text(json.dumps(pair.to_dict()))
    code = (
        "import sys; from dask.base import tokenize; from xcloudmask.models.spec import ModelSpec;"
        f"print(tokenize(ModelSpec.from_card({str(card)!r})), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [tokenize(pair), "False"]


def test_ensemble_survives_a_card(pair, tmp_path):
    card = tmp_path / "card.json"
    card.write_text(json.dumps(pair.to_dict() | {"comment": "only in the card"}))
    assert ModelSpec.from_card(card) == pair
    beside = pair.located(lambda path: path.rsplit("/", maxsplit=1)[-1])
    card.write_text(json.dumps(beside.to_dict()))
    assert [weights_path(m) for m in ModelSpec.from_card(card).members] == [
        tmp_path / "tiny.safetensors",
        tmp_path / "other.safetensors",
    ]


def test_ensemble_shows_itself(pair):
    assert repr(pair) == "<ModelSpec pair: ensemble of tiny + other, red+green+nir, stride 8 px, halo 80 px, 10-30 m>"
    assert {"members", "voting", "sha256"} - set(pair.to_dict()) == {"sha256"}
    assert "members" not in pair.members[0].to_dict()


@pytest.mark.parametrize("normalize", ["lattice", "scene"])
def test_labels_are_the_same_for_every_layout_and_lazy_as_eager(pair, normalize):
    with dask.config.set(scheduler="synchronous"):
        masks = [
            odc_dataset(shape=(200, 300), times=1, chunks=chunks).cloudmask.predict(model=pair, normalize=normalize)
            for chunks in (None, 100, {"y": 200, "x": 150})
        ]
        eager, *lazy = (mask.to_numpy() for mask in masks)
    assert len(np.unique(eager)) > 1
    assert all(dask.is_dask_collection(mask) for mask in masks[1:])
    for labels in lazy:
        np.testing.assert_array_equal(labels, eager)


def test_ensemble_is_a_model_like_any_other(pair, no_compute):
    xcloudmask.register_model(pair)
    cube = odc_dataset(shape=(64, 96), chunks=64)
    plan = cube.cloudmask.plan(model="pair")
    assert plan.model is pair
    assert plan.halo_px == 80
    assert cube.cloudmask.predict(model="pair").attrs["model_sha256"] == pair.sha256
    soft = cube.cloudmask.predict(model=replace(pair, voting="probabilities"))
    assert soft.data.name != cube.cloudmask.predict(model="pair").data.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voting": "plurality"}, "Type one of 'logits', 'probabilities'"),
        ({"members": ()}, "members none. Give two or more"),
        ({"votes": (1,)}, r"votes=\(1,\). Expected a number above 0 for each of its 2 members, such as votes=\(2, 1\)"),
        ({"votes": (1, 0)}, "Expected a number above 0"),
        ({"votes": (1, float("nan"))}, "Expected a number above 0"),
        ({"votes": "21"}, "Expected a number above 0"),
        ({"bands": ("green", "red", "nir")}, "expected .'green', 'red', 'nir'.: all members are fed the same batch"),
        ({"radius_px": 8}, "do not suit its members.*combine"),
        ({"level": False}, "do not suit its members.*combine"),
        ({"optional_bands": ("nir",)}, "do not suit its members.*combine"),
        ({"weights": "x.safetensors"}, "belong to its members"),
        ({"architecture": "unet"}, "needs weights= and sha256="),
    ],
)
def test_wrong_ensembles_say_what_is_wrong(pair, change, message):
    with pytest.raises(errors.ModelError, match=message):
        replace(pair, **change)


def test_members_that_do_not_go_together(pair, tiny_model, other_model):
    with pytest.raises(errors.ModelError, match=r"member 'other' has bands=.*'blue'"):
        combine([tiny_model, replace(other_model, bands=("red", "green", "blue"))], name="x")
    with pytest.raises(errors.ModelError, match="normalization='none', expected 'zscore'"):
        combine([tiny_model, replace(other_model, normalization="none")], name="x")
    with pytest.raises(errors.ModelError, match=r"'pair' is an ensemble. Give its members instead"):
        combine([tiny_model, pair], name="x")
    with pytest.raises(errors.ModelError, match=r"members 'tiny'. Give two or more"):
        combine([tiny_model], name="x")
    with pytest.raises(errors.ArgumentError, match="no members"):
        combine([], name="x")
    with pytest.raises(errors.ArgumentError, match="tiny 10-50 m, other 100-200 m"):
        combine([tiny_model, replace(other_model, resolution_m=(100, 200))], name="x")
    with pytest.raises(errors.UnknownModelError, match="nobody"):
        combine(["nobody", tiny_model], name="x")


def test_weights_of_every_member_are_checked(pair, tiny_model, other_model):
    for broken, message in (
        (replace(other_model, weights="/nowhere/x.safetensors"), "member of ensemble 'bad'.*/nowhere/x.safetensors"),
        (replace(other_model, sha256="0" * 64), "member of ensemble 'bad'.*'other'.*expected 0000"),
        (replace(other_model, architecture="unet"), "member of ensemble 'bad'.*do not fit 'unet'"),
    ):
        with pytest.raises(errors.WeightsError, match=message):
            get_runner(combine([tiny_model, broken], name="bad"))


def test_member_without_weights_is_refused(pair, tmp_path):
    plain = pair.to_dict()
    del plain["members"][1]["sha256"]
    card = tmp_path / "card.json"
    card.write_text(json.dumps(plain))
    with pytest.raises(errors.ModelError, match=r"'other'.* needs weights= and sha256="):
        ModelSpec.from_card(card)


@pytest.fixture
def exported(tiny_model, other_model, tmp_path):
    """A folder with two models, card and weights each."""
    for spec in (tiny_model, other_model):
        weights = tmp_path / f"{spec.name}.safetensors"
        weights.write_bytes(weights_path(spec).read_bytes())
        card = {**spec.to_dict(), "weights": weights.name, "attribution": "Contains noise."}
        (tmp_path / f"{spec.name}.json").write_text(json.dumps(card))
    return tmp_path


def test_export_writes_a_card_that_is_a_model(exported, pair, batch):
    (exported / "figures.json").write_text('{"all_cloud_oa": 0.5}')
    members = [f"--member={exported / name}.json" for name in ("tiny", "other")]
    options = ["--voting=probabilities", "--votes", "2", "1", "--notes=random weights"]
    ensemble_card.main([*members, f"--out={exported}", *options, f"--metrics={exported / 'figures.json'}"])
    spec = ModelSpec.from_card(exported / "default-ensemble.json")
    assert (spec.name, spec.voting, spec.notes) == ("default-ensemble", "probabilities", "random weights")
    assert dict(spec.metrics) == {"all_cloud_oa": 0.5}
    assert spec.sha256 == replace(pair, voting="probabilities", votes=(2, 1)).sha256
    np.testing.assert_array_equal(logits_of(replace(spec, voting="logits", votes=()), batch), logits_of(pair, batch))
    card = json.loads((exported / "default-ensemble.json").read_text())
    assert card["attribution"] == "Contains noise."
    assert [member["weights"] for member in card["members"]] == ["tiny.safetensors", "other.safetensors"]


def test_packaged_ensemble_is_found_by_name(exported, monkeypatch):
    ensemble_card.export_ensemble([exported / "tiny.json", exported / "other.json"], exported, name="default-ensemble")
    monkeypatch.setattr(registry, "WEIGHTS_DIR", exported)
    registry._packaged.cache_clear()
    try:
        spec = registry.get_spec("default-ensemble")
        assert [member.weights for member in spec.members] == ["tiny.safetensors", "other.safetensors"]
        assert get_runner(spec, device="cpu").device == "cpu"
        output = CliRunner().invoke(app, ["models", "show", "default-ensemble"]).stdout
        assert "tiny (unet), other (deeplab)" in output
        assert "default-ensemble" in CliRunner().invoke(app, ["models"]).stdout
    finally:
        registry._packaged.cache_clear()


def test_member_trained_again_does_not_slip_in(exported):
    cards = [exported / "tiny.json", exported / "other.json"]
    spec = ModelSpec.from_card(ensemble_card.export_ensemble(cards, exported, name="e"))
    content = bytearray((exported / "other.safetensors").read_bytes())
    content[-1] ^= 1
    (exported / "other.safetensors").write_bytes(content)
    with pytest.raises(errors.WeightsError, match=r"member of ensemble 'e'.*sha256"):
        load_network(spec)
    with pytest.raises(errors.WeightsError, match=r"member of ensemble 'e'.*sha256"):
        ensemble_card.export_ensemble(cards, exported, name="e")


def test_export_refuses_members_elsewhere_and_bad_figures(exported, tmp_path_factory):
    cards = [exported / "tiny.json", exported / "other.json"]
    with pytest.raises(errors.ArgumentError, match="copy the model"):
        ensemble_card.export_ensemble(cards, tmp_path_factory.mktemp("elsewhere"), name="e")
    arguments = [*(f"--member={card}" for card in cards), f"--out={exported}", f"--metrics={exported / 'f.json'}"]
    with pytest.raises(errors.ArgumentError, match="cannot be read"):
        ensemble_card.main(arguments)
    (exported / "f.json").write_text('{"oa": "good"}')
    with pytest.raises(errors.ArgumentError, match="no figures"):
        ensemble_card.main(arguments)
