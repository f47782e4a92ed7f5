"""Blocks padded by edges give what map_overlap gives."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from cubes import odc_dataset
from dask.array.overlap import overlap
from hypothesis import given, settings
from hypothesis import strategies as st

import xcloudmask
from xcloudmask.errors import ArgumentError
from xcloudmask.padding import map_padded, reaches

EDGES = {"xcloudmask.overlap": "edges"}
REACH = 80


def padded_itself(block, block_id):
    """Each block as it was padded, in the corner of a plane of a size that all share."""
    plane = np.zeros((*block.shape[:2], REACH, REACH), block.dtype)
    plane[..., : block.shape[2], : block.shape[3]] = block
    return plane


@st.composite
def cut(draw, depth):
    sizes = draw(st.lists(st.integers(max(depth, 1), 12), min_size=1, max_size=4))
    return tuple(sizes)


@given(data=st.data(), depth=st.tuples(st.integers(0, 6), st.integers(0, 6)))
@settings(deadline=None, max_examples=40)
def test_blocks_are_padded_as_dask_does(data, depth):
    rows, columns = data.draw(cut(depth[0])), data.draw(cut(depth[1]))
    depth = tuple(d if len(sizes) > 1 else 0 for d, sizes in zip(depth, (rows, columns), strict=True))
    pixels = np.arange(2 * 3 * sum(rows) * sum(columns)).reshape(2, 3, sum(rows), sum(columns))
    stack = da.from_array(pixels, chunks=((1, 1), (3,), rows, columns))
    chunks = ((1, 1), (3,), (REACH,) * len(rows), (REACH,) * len(columns))
    ours = map_padded(padded_itself, stack, depth=depth, chunks=chunks, axes=(0, None, 2, 3), dtype=int, name="ours")
    theirs = overlap(stack, depth={2: depth[0], 3: depth[1]}, boundary="none", allow_rechunk=False)
    for y in range(len(rows)):
        for x in range(len(columns)):
            expected = theirs.blocks[:, :, y, x].compute(scheduler="synchronous")
            block = ours.blocks[:, :, y, x].compute(scheduler="synchronous")
            np.testing.assert_array_equal(block[..., : expected.shape[2], : expected.shape[3]], expected)
            assert block.sum() == expected.sum()


@given(
    sizes=st.lists(st.integers(8, 20), min_size=1, max_size=6),
    shifts=st.lists(st.integers(-4, 4), min_size=6, max_size=6),
    depth=st.integers(0, 12),
)
def test_reaches_lead_from_the_blocks_to_what_the_work_needs(sizes, shifts, depth):
    length = sum(sizes)
    borders = [0, *np.cumsum(sizes)]
    moved = [0, *(border + shift for border, shift in zip(borders[1:-1], shifts, strict=False)), length]
    wanted = np.diff(moved).tolist()
    depth = depth if len(sizes) > 1 else 0
    found = reaches(sizes, wanted, depth)
    need = [
        (start - max(0, first - depth), min(length, last + depth) - stop)
        for start, stop, first, last in zip(borders, borders[1:], moved, moved[1:], strict=False)
    ]
    possible = all(0 <= side <= min(sizes) for sides in need for side in sides)
    assert found == (need if possible else None)


@pytest.mark.parametrize("shape", [(270, 350), (90, 410), (260, 90)])
@pytest.mark.parametrize("stacked", [True, False])
def test_chunks_off_the_stride_are_not_rechunked(tiny_model, shape, stacked):
    """Chunks of 90 px become work of 88 or 96: the blocks come as they are, with deeper edges."""
    cube = odc_dataset(shape=shape, times=2, chunks=90).astype("uint16")
    cube = cube.to_dataarray("band").chunk(band=-1) if stacked else cube
    usual = cube.cloudmask.predict(model=tiny_model)
    with dask.config.set(EDGES):
        lean = cube.cloudmask.predict(model=tiny_model)
    assert lean.chunks == usual.chunks
    loading = set(cube.__dask_graph__())
    assert not any("rechunk" in str(key) for key in set(lean.data.__dask_graph__()) - loading)
    np.testing.assert_array_equal(lean, usual)


def test_bands_are_not_stacked_first(tiny_model):
    cube = odc_dataset(shape=(128, 192), times=1, chunks=64)
    with dask.config.set(EDGES):
        mask = cube.cloudmask.predict(model=tiny_model)
    assert not any("cloudmask-stack" in str(key) for key in mask.data.__dask_graph__())


@pytest.mark.parametrize("normalize", ["chunk", "lattice", "scene"])
@pytest.mark.parametrize("times", [1, 3])
def test_masks_are_the_same_to_the_last_bit(tiny_model, normalize, times):
    cube = odc_dataset(shape=(150, 170), times=times, chunks=64)
    arguments = {"model": tiny_model, "normalize": normalize}
    usual = cube.cloudmask.predict(**arguments)
    with dask.config.set(EDGES):
        lean = cube.cloudmask.predict(**arguments)
    assert lean.data.name != usual.data.name
    assert lean.chunks == usual.chunks
    np.testing.assert_array_equal(lean, usual)


@pytest.mark.parametrize("categorise", [True, False])
@pytest.mark.parametrize("timeless", [True, False])
def test_shapes_of_all_outputs(tiny_model, categorise, timeless):
    cube = odc_dataset(shape=(150, 170), times=1, chunks=64)
    cube = cube.isel(time=0) if timeless else cube
    usual = cube.cloudmask.predict(model=tiny_model, categorise=categorise)
    with dask.config.set(EDGES):
        lean = cube.cloudmask.predict(model=tiny_model, categorise=categorise)
    assert (lean.dims, lean.dtype, lean.chunks) == (usual.dims, usual.dtype, usual.chunks)
    np.testing.assert_array_equal(lean, usual)


@pytest.mark.parametrize("workers", [1, 2])
def test_in_turn_a_row_and_some_blocks_are_in_memory(workers):
    """Of 12 rows of 4 blocks; and a part that is asked for takes no more than it needs without turns."""
    held, most, loaded = set(), [0], []

    def load(block_id):
        held.add(block_id)
        most[0] = max(most[0], len(held))
        loaded.append(block_id)
        return np.zeros((1, 1, 8, 8))

    def work(block, block_id):
        held.discard((block_id[0], 0, *block_id[1:]))
        return np.zeros((1, 8, 8))

    sizes = ((1,), (1,), (8,) * 12, (8,) * 4)
    stack = da.map_blocks(load, chunks=sizes, dtype=float, meta=np.empty((0,) * 4))
    how = {"depth": (2, 2), "chunks": ((1,), *sizes[2:]), "axes": (0, 2, 3), "dtype": float}
    with dask.config.set(num_workers=workers):
        ordered = map_padded(work, stack, **how, name="ordered", in_turn=True)
        assert not ordered.compute(scheduler="threads").any()
    assert most[0] <= 4 + 4 + 2 * workers
    loaded.clear()
    map_padded(work, stack, **how, name="free")[:, -8:, -8:].compute(scheduler="synchronous")
    assert len(loaded) == 4


def test_names_do_not_depend_on_the_process_but_on_the_input(tiny_model):
    with dask.config.set(EDGES):
        first, again, other = (
            odc_dataset(shape=(150, 170), times=times, chunks=64).cloudmask.predict(model=tiny_model).data.name
            for times in (1, 1, 2)
        )
    assert first == again
    assert first != other


def test_two_tasks_a_chunk(tiny_model):
    cube = odc_dataset(shape=(256, 256), times=1, chunks=64)
    with dask.config.set(EDGES):
        mask = cube.cloudmask.predict(model=tiny_model)
    graph = mask.data.__dask_graph__()
    own = [key for key in graph if str(key[0]).startswith(("cloudmask-edges", mask.data.name))]
    assert len(own) == 2 * mask.data.npartitions


def test_a_process_pool_gives_the_same(tiny_model):
    cube = odc_dataset(shape=(150, 170), times=1, chunks=64)
    with dask.config.set(EDGES):
        mask = cube.cloudmask.predict(model=tiny_model)
    np.testing.assert_array_equal(mask.compute(scheduler="processes", num_workers=2), mask.compute())


def test_an_unknown_kind_of_overlap(tiny_model):
    with (
        dask.config.set({"xcloudmask.overlap": "none"}),
        pytest.raises(ArgumentError, match=r"'none'\. Expected 'map_overlap' or 'edges'"),
    ):
        xcloudmask.predict(odc_dataset(shape=(64, 64), times=1), model=tiny_model)


def test_the_plan_counts_the_tasks(tiny_model):
    cube = odc_dataset(shape=(1024, 1024), times=1, chunks=64)
    usual = cube.cloudmask.plan(model=tiny_model).tasks
    with dask.config.set(EDGES):
        plan = cube.cloudmask.plan(model=tiny_model)
        graph = dask.optimize(cube.cloudmask.predict(model=tiny_model).data)[0].__dask_graph__()
    assert plan.tasks < usual
    loading = 3 * plan.blocks  # a task a band, which dask does not fuse for arrays in memory
    assert len(dict(graph)) - loading == pytest.approx(plan.tasks, rel=0.01)
