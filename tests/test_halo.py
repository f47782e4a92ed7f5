from hypothesis import given
from hypothesis import strategies as st

from xcloudmask.halo import BlockPlace, core_tiles, round_up, snap_chunks, window_starts, window_tiles

sizes = st.lists(st.integers(1, 200), min_size=1, max_size=12)


@given(sizes, st.integers(1, 64), st.integers(1, 128))
def test_snapped_chunks_keep_length_phase_and_minimum(chunks, multiple, minimum):
    snapped = snap_chunks(chunks, multiple=multiple, minimum=minimum)
    assert sum(snapped) == sum(chunks)
    borders = [sum(snapped[: i + 1]) for i in range(len(snapped) - 1)]
    assert all(border % multiple == 0 for border in borders)
    assert len(snapped) == 1 or min(snapped) >= minimum


@given(st.integers(1, 10), st.integers(1, 10))
def test_chunks_that_fit_are_left_alone(count, last):
    chunks = (64,) * count + (last + 40,)
    assert snap_chunks(chunks, multiple=8, minimum=40) == chunks


@given(sizes, st.integers(1, 8), st.integers(0, 6), st.booleans())
def test_core_tiles_cover_each_block_once_and_on_phase(chunks, core, halo, lattice):
    stride = 4
    core, halo = core * stride, halo * stride
    chunks = snap_chunks(chunks, multiple=core if lattice else stride, minimum=1)
    length, start = sum(chunks), 0
    for size in chunks:
        place = BlockPlace(start=start, stop=start + size, depth=halo, length=length)
        tiles = list(core_tiles(place, core=core, halo=halo, anchor=0 if lattice else start))
        kept = [pixel for tile in tiles for pixel in range(tile.keep_start, tile.keep_stop)]
        assert kept == list(range(start, start + size))
        assert all(tile.start % stride == 0 and tile.size == core + 2 * halo for tile in tiles)
        assert all(0 <= tile.crop.start <= tile.crop.stop <= tile.size for tile in tiles)
        start += size


@given(st.integers(1, 500), st.integers(1, 8), st.integers(1, 8), st.integers(0, 400), st.integers(1, 200))
def test_windows_of_a_pixel_do_not_depend_on_the_block(length, window, step, start, size):
    step, window = step * 8, max(window, step) * 8
    start = min(start, length - 1)
    stop = min(start + size, length)
    whole = BlockPlace(start=0, stop=length, depth=window, length=length)
    part = BlockPlace(start=start, stop=stop, depth=window, length=length)

    def cover(place):
        return [
            (t.start, p)
            for t in window_tiles(place, window=window, step=step)
            for p in range(t.keep_start, t.keep_stop)
        ]

    assert cover(part) == [(s, p) for s, p in cover(whole) if start <= p < stop]
    assert {p for _, p in cover(whole)} == set(range(length))
    # what a window reads is inside what the block brings
    for tile in window_tiles(part, window=window, step=step):
        assert part.origin <= max(tile.start, 0)
        assert min(tile.start + tile.size, length) <= part.end


def test_window_starts_never_lie_before_the_cube():
    assert list(window_starts(100, window=512, step=64)) == [0]
    assert round_up(0, 8) == 0
