import pytest
import xarray as xr
from cubes import odc_dataset

import xcloudmask
from xcloudmask.errors import ArgumentError
from xcloudmask.geometry import plan_geometry, resolution_factor, upsample_factor
from xcloudmask.models.registry import get_spec


def big(chunk, side=8192, **coords):
    import dask.array as da

    return xr.Dataset(
        {b: (("y", "x"), da.zeros((side, side), chunks=chunk, dtype="u2")) for b in ("red", "green", "nir")}, coords
    )


def test_chunks_of_2048_meet_the_budget():
    plan = big(2048).cloudmask.plan(resolution_m=10)
    assert plan.pixel_ratio <= 1.15
    assert plan.rechunk == ""
    assert plan.tile_px == (2192, 2192)
    assert plan.warnings == ()


def test_a_wide_context_leaves_a_usual_chunk_whole():
    plan = big(2048).cloudmask.plan(resolution_m=10, model="default-ensemble")
    assert plan.tile_px == (2048 + 2 * 248, 2048 + 2 * 248)
    assert plan.pixel_ratio <= 1.55


def test_a_whole_scene_in_one_chunk_is_cut_into_tiles():
    plan = big(-1, side=10980).cloudmask.plan(resolution_m=10)
    assert max(plan.tile_px) <= 2320
    assert plan.pixel_ratio < 1.25


def test_off_phase_chunks_are_explained():
    plan = big(1001).cloudmask.plan(resolution_m=10)
    assert "multiples of 8 px" in plan.rechunk
    assert "9 of" in plan.rechunk
    assert all(sum(c[:i]) % 8 == 0 for c in plan.chunks[1:] for i in range(len(c)))


def test_lattice_needs_aligned_chunks():
    plan = big(2048).cloudmask.plan(normalize="lattice", resolution_m=10)
    assert plan.rechunk == ""
    assert "multiples of 1024 px" in big(1000).cloudmask.plan(normalize="lattice").rechunk


def test_warnings_name_the_number():
    assert any("coarser than the 50 m" in w for w in big(2048).cloudmask.plan(resolution_m=100).warnings)
    assert any("pixel size is unknown" in w for w in big(2048).cloudmask.plan().warnings)
    assert any("Small chunks" in w for w in big(256).cloudmask.plan(resolution_m=10).warnings)
    assert any("smaller than the receptive radius" in w for w in big(2048).cloudmask.plan(halo_px=8).warnings)


def test_halo_is_rounded_up_to_the_stride():
    assert big(2048).cloudmask.plan(halo_px=97).halo_px == 104


def test_factor():
    spec = get_spec("default")
    assert [resolution_factor((r, r), spec) for r in (0.5, 3, 4.77, 5, 9.99, 10, 30)] == [20, 4, 3, 2, 1, 1, 1]
    assert resolution_factor(None, spec) == 1


def test_halo_of_fine_grids_has_room_for_the_interpolation():
    spec = get_spec("default")
    plan = plan_geometry(((4096, 4096),) * 2, spec, factor=4, normalize="chunk", halo_px=None, step_px=None)
    assert plan.halo_cells >= spec.radius_px + 1


def test_plan_reads_well():
    plan = odc_dataset(chunks={"y": 32}).cloudmask.plan()
    text = str(plan)
    for word in ("model", "band red", "nodata", "halo", "chunks", "memory", "rechunk"):
        assert word in text
    assert repr(plan).startswith("<Plan default: 2 x 64 x 96")
    assert "<table>" in plan._repr_html_()
    assert isinstance(plan, xcloudmask.Plan)


def test_accessor_shows_the_arguments():
    import inspect

    cube = odc_dataset()
    names = list(inspect.signature(cube.cloudmask.predict).parameters)
    expected = "model bands sensor normalize halo_px output_style categorise stride resolution_m upsample nodata scale"
    assert names == [*expected.split(), "device", "backend", "precision", "batch_size"]
    assert cube.cloudmask.predict.__doc__ == xcloudmask.predict.__doc__
    for name in ("predict", "predict_proba", "plan", "apply", "to_reflectance", "clear_fraction", "to_zarr", "plot"):
        assert hasattr(cube.cloudmask, name)


def test_coarse_pixels_are_warned_of_and_say_what_to_type():
    coarse = big(512, side=1024)
    (warning,) = coarse.cloudmask.plan(resolution_m=500, normalize="lattice").warnings
    assert "Pixels of 500 m are coarser than the 50 m" in warning
    assert "Type upsample=True to interpolate them by 3 to 166.7 m (9 times the work)." in warning
    plan = coarse.cloudmask.plan(resolution_m=500, upsample=10)
    assert plan.warnings == ()
    assert "interpolated by 10 to 50 m, mask on the cube's own grid" in str(plan)
    assert plan.upsample == 10
    assert plan.pixel_ratio >= 100
    assert coarse.cloudmask.plan(resolution_m=100, upsample=True).warnings == ()
    (still,) = coarse.cloudmask.plan(resolution_m=500, upsample=True).warnings
    assert "Type" not in still
    assert "interpolated by 3 to 166.7 m, are coarser" in still


def test_fine_pixels_are_averaged_into_the_range_and_warned_of_where_they_leave_it():
    from dataclasses import replace

    plan = big(2048).cloudmask.plan(resolution_m=3)
    assert "averaged by 4 to 12 m" in str(plan)
    assert not any("coarser" in w or "finer" in w for w in plan.warnings)
    narrow = replace(get_spec("default"), resolution_m=(10.0, 11.0))
    plan = big(2048).cloudmask.plan(model=narrow, resolution_m=9)
    assert any("Pixels of 9 m, averaged by 2 to 18 m, are coarser than the 11 m" in w for w in plan.warnings)


def test_upsample_factor():
    spec = get_spec("default")
    found = [upsample_factor((m, m), spec, asked=True) for m in (10, 50, 52, 60, 250, 300, 500)]
    assert found == [1, 1, 1, 2, 3, 3, 3]
    assert upsample_factor((60.0, 60.0), spec, asked=False) == 1
    assert upsample_factor((500.0, 500.0), spec, asked=10) == 10
    assert upsample_factor(None, spec, asked=4) == 4
    with pytest.raises(ArgumentError, match="Type resolution_m"):
        upsample_factor(None, spec, asked=True)
    with pytest.raises(ArgumentError, match="upsample=2 makes pixels of 5 m out of 10 m"):
        upsample_factor((10.0, 10.0), spec, asked=2)


@pytest.mark.parametrize("upsample", [2, 3, 5, 7, 10, 50])
@pytest.mark.parametrize("normalize", ["chunk", "lattice"])
def test_tiles_of_coarse_pixels_lie_on_the_stride(upsample, normalize):
    spec = get_spec("default")
    chunks = ((300, 300, 200), (500, 300))
    plan = plan_geometry(chunks, spec, factor=1, normalize=normalize, halo_px=None, step_px=None, upsample=upsample)
    for cells in (*plan.tile_cells, plan.halo_cells, *plan.fed_px):
        assert cells * upsample % spec.stride_px == 0
    assert plan.halo_cells * upsample >= spec.radius_px
    assert all(depth == plan.halo_cells + 1 for depth in plan.depth)
    assert max(plan.fed_px) <= 2320 + spec.stride_px * upsample
    borders = [sum(sizes[:i]) for sizes in plan.chunks for i in range(len(sizes))]
    assert all(border * upsample % spec.stride_px == 0 for border in borders)
