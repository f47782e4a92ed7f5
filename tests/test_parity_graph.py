"""``normalize="ocm"``: lazy, with nodata, styles, plan and errors of its own."""

import subprocess
import sys
from dataclasses import replace

import dask
import numpy as np
import pytest
from cubes import odc_dataset

import xcloudmask
from xcloudmask import errors
from xcloudmask.classes import STYLES, style_lookup
from xcloudmask.models.registry import get_spec
from xcloudmask.parity.geometry import ocm_geometry
from xcloudmask.parity.layout import Layout
from xcloudmask.parity.windows import PatchSize, fitted_size, ramp, reach, shrunk_size, slide

SMALL = {"normalize": "ocm", "stride": 40, "halo_px": 24, "device": "cpu"}


@pytest.fixture
def cube():
    return odc_dataset(shape=(120, 136), times=2, chunks={"time": 2, "y": 50, "x": 70}, nodata_fraction=0.01)


@pytest.fixture
def model(tiny_model):
    return replace(tiny_model, name="tiny-ocm")


def test_nothing_is_computed_before_it_is_asked_for(cube, model, no_compute):
    mask = xcloudmask.predict(cube, model=model, **SMALL)
    assert mask.dtype == np.uint8
    assert mask.chunks == ((1, 1), (50, 50, 20), (70, 66))
    shares = xcloudmask.predict_proba(cube, model=model, **SMALL)
    assert shares.dtype == np.float32
    assert shares.chunks == ((1, 1), (4,), (50, 50, 20), (70, 66))
    xcloudmask.plan(cube, model=model, **SMALL)


def test_keys_are_the_same_in_another_call_and_differ_with_the_settings(cube, model):
    first, again, other = (
        xcloudmask.predict(cube, model=model, **{**SMALL, "halo_px": overlap}).data.name for overlap in (24, 24, 16)
    )
    assert first == again != other


def test_time_steps_are_masked_by_themselves(cube, model):
    together = xcloudmask.predict(cube, model=model, **SMALL).compute()
    for index in range(2):
        alone = xcloudmask.predict(cube.isel(time=index), model=model, **SMALL)
        assert alone.dims == ("y", "x")
        np.testing.assert_array_equal(alone.values, together[index].values)


def test_numpy_cubes_are_masked_at_once(cube, model):
    now = xcloudmask.predict(cube.compute(), model=model, **SMALL)
    assert isinstance(now.data, np.ndarray)
    np.testing.assert_array_equal(now.values, xcloudmask.predict(cube, model=model, **SMALL).values)


def test_a_part_of_the_mask_is_the_mask_of_the_whole(cube, model):
    mask = xcloudmask.predict(cube, model=model, **SMALL)
    np.testing.assert_array_equal(mask[1, 60:90, 10:40].values, mask.values[1, 60:90, 10:40])


def test_styles_and_percent_follow_labels_and_shares(cube, model):
    labels = xcloudmask.predict(cube, model=model, **SMALL).values
    shares = xcloudmask.predict_proba(cube, model=model, **SMALL).values
    for style in ("cloud-noncloud", "valid-invalid"):
        merged = xcloudmask.predict(cube, model=model, output_style=style, **SMALL).values
        np.testing.assert_array_equal(merged, style_lookup(STYLES[style])[labels])
        assert xcloudmask.predict_proba(cube, model=model, output_style=style, **SMALL).shape[1] == 2
    percent = xcloudmask.predict(cube, model=model, categorise=False, **SMALL).values
    valid = np.broadcast_to((labels != 255)[:, None], percent.shape)
    assert (percent[~valid] == 255).all()
    # 0.001 is added to each share, and the largest is cut.
    assert np.abs(percent[valid] - 100 * shares[valid]).max() <= 0.5 + 0.11
    assert np.isnan(shares[~valid]).all()
    assert shares[valid].min() >= 0.001
    assert shares[valid].max() <= np.float32(0.999)


def test_an_infinite_pixel_costs_itself_only(model):
    cube = odc_dataset(shape=(96, 96), times=None, dtype="float32", nodata=None).compute()
    before = xcloudmask.predict(cube, model=model, **SMALL).values
    cube["red"][20, 20] = np.inf
    after = xcloudmask.predict(cube, model=model, **SMALL).values
    assert after[20, 20] == 255
    assert (after == 255).sum() == 1
    assert (after != before).mean() < 0.1


def test_a_pixel_that_one_band_lacks_is_nodata(model):
    cube = odc_dataset(shape=(96, 96), times=None).compute()
    cube["nir"][30, 40] = 0
    mask = xcloudmask.predict(cube, model=model, **SMALL).values
    assert mask[30, 40] == 255
    assert (mask == 255).sum() == 1


def test_the_level_is_fed_to_models_that_take_it(cube, model):
    without = xcloudmask.predict_proba(cube, model=model, **SMALL).values
    given = xcloudmask.predict_proba(cube, model=model, scale=1e-4, **SMALL).values
    assert np.nanmax(np.abs(given - without)) > 1e-3
    # The same scales, per time step: known as numbers, and known to dask only.
    steps = {"scale_factor": ("time", [1e-4, 1e-4]), "add_offset": ("time", [0.0, 0.0])}
    dated = cube.assign_coords(steps)
    np.testing.assert_array_equal(xcloudmask.predict_proba(dated, model=model, **SMALL).values, given)
    lazy = cube.assign_coords({name: (dim, dask.array.from_array(values)) for name, (dim, values) in steps.items()})
    np.testing.assert_array_equal(xcloudmask.predict_proba(lazy, model=model, **SMALL).values, given)


def test_a_network_without_level_takes_no_notice_of_the_scale(cube, model):
    spec = replace(get_spec("default"), name="levelless", level=False)
    labels = [xcloudmask.predict(cube, model=spec, scale=scale, **SMALL).values for scale in (None, 1e-4)]
    np.testing.assert_array_equal(*labels)


def test_the_plan_counts_the_tasks(cube, model):
    plan = xcloudmask.plan(cube, model=model, **SMALL)
    mask = xcloudmask.predict(cube, model=model, **SMALL)
    layers = mask.data.dask.layers
    assert plan.tasks == len(layers[mask.data.name])
    # 120 x 136 px: 3 x 3 patches of 64 px, or 3 x 4 of 60 where much has no data; 6 chunks; 2 dates.
    assert plan.tasks == 2 * (3 * 6 + 3 * 9 + 3 * 12 + 1)
    assert plan.chunks == mask.chunks
    assert "patches of 64 px that share 24" in str(plan)
    assert plan.pixel_ratio == pytest.approx(9 * 64 * 64 / (120 * 136))
    assert not [text for text in plan.warnings if "halo" in text.lower()]


def test_the_plan_tells_of_undeclared_nodata_and_of_the_engine(cube, model):
    plan = xcloudmask.plan(cube, model=model, nodata=0, **SMALL)
    assert (plan.backend, plan.precision) == ("torch", "fp32")
    assert not [text for text in plan.warnings if "nodata" in text]
    undeclared = odc_dataset(shape=(64, 64), nodata=None)
    assert any("nodata=0" in text for text in xcloudmask.plan(undeclared, model=model, **SMALL).warnings)


def test_attributes_say_how_the_mask_was_made(cube, model):
    attrs = xcloudmask.predict(cube, model=model, **SMALL).attrs
    assert attrs["normalize"] == "ocm"
    assert '"patch_px":64' in attrs["settings"]
    assert '"overlap_px":24' in attrs["settings"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"upsample": 2}, "upsample=2"),
        ({"batch_size": 4}, "batch_size=4"),
        ({"stride": 10, "halo_px": 10}, "patches of 20 px"),
        ({"stride": 1200}, "share -200"),
        ({"halo_px": 1000}, "share 1000"),
    ],
)
def test_what_has_no_meaning_is_refused(cube, model, arguments, message):
    with pytest.raises(errors.ArgumentError, match=message):
        xcloudmask.predict(cube, model=model, normalize="ocm", **arguments)


def test_a_network_of_reflectance_is_refused(cube, model):
    with pytest.raises(errors.ArgumentError, match="takes reflectance"):
        xcloudmask.predict(cube, model=replace(model, normalization="none"), normalize="ocm")


def test_a_scene_smaller_than_the_smallest_patch_is_refused(model):
    with pytest.raises(errors.InputError, match="31 x 96 pixels"):
        xcloudmask.predict(odc_dataset(shape=(31, 96)), model=model, normalize="ocm")


def test_a_network_that_changes_the_size_is_named(model):
    cube = odc_dataset(shape=(66, 66), times=None, chunks={"y": 66, "x": 66})
    with pytest.raises((errors.ModelError, RuntimeError)):
        xcloudmask.predict(cube, model=model, normalize="ocm", stride=46, halo_px=20, device="cpu").compute()


def test_patches_default_to_those_of_omnicloudmask():
    from xcloudmask.options import Options

    def size(**asked):
        plan = ocm_geometry(((2048, 2048), (5000,)), Options(normalize="ocm", **asked), get_spec("default"))
        return plan.tile_cells[0], plan.step_cells

    assert size() == (1000, 700)
    assert size(halo_px=50) == (1000, 950)
    assert size(stride=500) == (1000, 500)
    assert size(stride=400, halo_px=112) == (512, 400)


def test_a_patch_stays_within_its_reach_and_keeps_its_data():
    rng = np.random.default_rng(1)
    for _ in range(300):
        length, side = int(rng.integers(32, 90)), 32
        start = int(rng.integers(0, length - side + 1))
        lines = rng.random(length) < rng.choice([0.03, 0.1, 0.5])
        if not lines[start : start + side].any():
            continue
        around = reach(start, side, length)
        moved = slide(lines[around], start, side, first=around.start, length=length)
        assert around.start <= moved <= around.stop - side
        assert lines[start : start + side].sum() <= lines[moved : moved + side].sum()


def test_the_graph_knows_all_that_a_patch_can_touch():
    layout = Layout.of(((40, 60, 30), (100, 15)), PatchSize(40, 12))
    for window in layout.windows:
        rows, columns = layout.reach(window)
        touched = {(y, x) for y, x in np.ndindex(3, 2) if _meet(layout.chunk(y, x), (rows, columns))}
        down, along = layout.chunks((rows, columns))
        assert {(y, x) for y in down for x in along} == touched
        assert {(y, x) for y, x in np.ndindex(3, 2) if window in set(layout.visitors(y, x))} == touched
    everyone = list(layout.windows)
    assert all(
        list(layout.rivals(w)) == [r for r in everyone[:k] if r[0] == w[0] and _near(layout, r, w)]
        for k, w in enumerate(everyone)
    )


def _meet(one, other):
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _near(layout, one, other):
    most = 2 * (layout.sizes[one[0]].side - 1)
    return all(abs(a - b) <= most for a, b in zip(layout.corner(one), layout.corner(other), strict=True))


@pytest.mark.parametrize(("side", "overlap"), [(10, 0), (10, 3), (10, 5), (11, 5), (11, 9)])
def test_weights_rise_and_fall(side, overlap):
    weights = ramp(PatchSize(side, overlap))
    used = min(overlap, side // 2)
    np.testing.assert_array_equal(weights, weights[::-1])
    assert (weights == 1).sum() == side - 2 * max(used - 1, 0)
    if used:
        np.testing.assert_allclose(weights[:used], np.arange(1, used + 1) / used)


def test_sizes_follow_the_scene():
    assert fitted_size(PatchSize(1000, 300), (5000, 400)) == PatchSize(400, 200)
    assert shrunk_size(PatchSize(400, 200), (5000, 400)) == PatchSize(200, 100)
    assert shrunk_size(PatchSize(32, 10), (40, 40)) == PatchSize(32, 10)


def test_another_process_gives_the_same_mask_and_the_same_names(tmp_path):
    path = tmp_path / "job.py"
    path.write_text(JOB)
    done = subprocess.run([sys.executable, str(path), str(tmp_path)], capture_output=True, text=True, check=True)
    scope = {"__name__": "job"}
    exec(JOB, scope)  # noqa: S102 - the same lines as above
    mask = scope["mask"]
    assert done.stdout.strip() == mask.data.name
    ours = mask.data.compute(scheduler="synchronous")
    np.testing.assert_array_equal(np.load(tmp_path / "mask.npy"), ours)
    assert 255 in ours
    assert len(np.unique(ours)) > 1


JOB = """
import sys
import dask, numpy as np, xarray as xr, xcloudmask
values = np.random.default_rng(0).integers(1, 3000, (3, 150, 140)).astype("uint16")
values[:, :40, :60] = 0
cube = xr.Dataset({b: (("y", "x"), v) for b, v in zip(("red", "green", "nir"), values)}).chunk(y=64, x=64)
mask = xcloudmask.predict(cube, normalize="ocm", stride=44, halo_px=20, nodata=0, device="cpu")
if __name__ == "__main__":
    print(mask.data.name)
    with dask.config.set({"multiprocessing.context": "spawn"}):
        np.save(sys.argv[1] + "/mask.npy", mask.data.compute(scheduler="processes", num_workers=1))
"""
