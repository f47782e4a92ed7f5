"""One scene, several items."""

from __future__ import annotations

import itertools

import pytest
import stac_items as cat
from hypothesis import given
from hypothesis import strategies as st
from test_stac_items import HLS_L, L2, S2, of, shot

from xcloudmask.errors import ArgumentTypeError
from xcloudmask.stac import dedupe, duplicates


def ids(items):
    return [item.id for item in items]


def kept_of(*items):
    """What is kept, the same in any order."""
    results = {tuple(sorted(map(id, dedupe(order)))) for order in itertools.permutations(items)}
    assert len(results) == 1
    return [item for item in items if id(item) in next(iter(results))]


def test_a_higher_baseline_wins():
    old = of(cat.planetary_computer_s2(S2, baseline="02.14", made="20240514T143000"))
    new = of(cat.planetary_computer_s2(S2, baseline="05.00", made="20240901T000000"))
    assert kept_of(old, new) == [new]
    (found,) = duplicates([old, new])
    assert (found.dropped, found.kept) == (old, new)
    assert found.why == "processing baseline 02.14, kept 05.00"
    assert str(found).startswith(old.id)


def test_the_newest_product_of_one_baseline_wins():
    old = of(cat.cdse(S2, baseline="05.10", made="20240514T143000"))
    new = of(cat.cdse(S2, baseline="05.10", made="20240514T150000"))
    assert kept_of(old, new) == [new]
    assert duplicates([old, new])[0].why == "made 20240514T143000, kept 20240514T150000"


def test_the_same_scene_of_two_collections_and_catalogues():
    old = of(cat.earth_search_v1(S2, baseline="02.14", applied=False))
    new = of(cat.earth_search_v1(S2, baseline="05.00", applied=False, collection="sentinel-2-c1-l2a"))
    other = of(cat.planetary_computer_s2(S2, baseline="03.01"))
    assert kept_of(old, new, other) == [new]


def test_levels_tiles_satellites_and_dates_are_different_scenes():
    items = [
        of(cat.cdse(S2, baseline="05.10")),
        of(cat.cdse(S2, baseline="05.10", level="L1C")),
        of(cat.cdse(shot("B04", time="2024-05-24T10:50:31Z"), baseline="05.10")),
        of(cat.earth_search_v1(S2, baseline="05.10", applied=True, tile="31UEQ")),
        of(cat.usgs(L2)),
        of(cat.hls(HLS_L, product="L30")),
        of(cat.hls(HLS_L, product="S30")),
    ]
    assert dedupe(items) == items
    assert duplicates(items) == []


def test_two_datastrips_of_one_datatake_are_both_kept():
    first, second, again = (
        of(cat.earth_search_v1(S2, baseline=baseline, applied=True, strip=strip, sequence=number))
        for baseline, strip, number in (
            ("05.00", "20240514T105031", 0),
            ("05.00", "20240514T105512", 1),
            ("05.10", "20240514T105514", 2),
        )
    )
    assert kept_of(first, second, again) == [first, again], "a strip that begins 2 s later was processed again"
    unknown = of(cat.earth_search_v1(S2, baseline="05.10", applied=True))
    assert len(dedupe([first, second, unknown])) == 3, "which strip it replaces cannot be told"
    assert kept_of(first, unknown) == [unknown]


def test_landsat_tiers_and_processing():
    rt = of(cat.usgs(L2, category="RT", made="20240515"))
    tier1 = of(cat.usgs(L2, category="T1", made="20240520"))
    again = of(cat.usgs(L2, category="T1", made="20240801"))
    late_rt = of(cat.usgs(L2, category="RT", made="20240901"))
    assert kept_of(rt, tier1, late_rt) == [tier1], "RT is replaced, whenever it was made"
    assert kept_of(rt, tier1, again) == [again]
    assert duplicates([rt, tier1])[0].why == "processing real-time, kept final"
    assert duplicates([tier1, again])[0].why == "processed 20240520, kept 20240801"


def test_surface_temperature_is_no_copy_of_surface_reflectance():
    sr = cat.usgs(L2)
    st_ = {**sr, "id": sr["id"].replace("_SR", "_ST"), "collection": "landsat-c2l2-st"}
    assert len(dedupe([of(sr), of(st_)])) == 2


def test_other_items_by_instant_and_box():
    old, new = cat.planet(shot("file")), cat.planet(shot("file"))
    old |= {"collection": "x", "id": "a"}
    new |= {"collection": "x", "id": "b"}
    old["properties"]["created"], new["properties"]["updated"] = "2024-05-01T00:00:00Z", "2024-06-01T00:00:00+00:00"
    old, new = of(old), of(new)
    assert kept_of(old, new) == [new]
    assert dedupe([new, of(cat.planet(shot("file"), bands=8))])[1].id.endswith("24bc")


def test_the_first_of_two_equal_ones_is_kept():
    one, two = of(cat.cdse(S2, baseline="05.10")), of(cat.cdse(S2, baseline="05.10"))
    assert dedupe([one, two])[0] is one
    assert duplicates([one, two])[0].why == "the same processing twice"


def test_only_items():
    with pytest.raises(ArgumentTypeError, match="Expected pystac Items"):
        dedupe([{"type": "Feature"}])


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["02.14", "04.00", "05.10"]), st.integers(0, 3)), max_size=8)
)
def test_what_is_kept_is_kept_again_in_any_order(rows):
    """Each scene once, nothing lost, and the same whatever the order."""
    items = [
        of(cat.cdse(shot("B04", time=f"2024-05-{day + 1:02d}T10:50:31Z"), baseline=text, made=f"2024070{n}T000000"))
        for day, text, n in rows
    ]
    kept = dedupe(items)
    assert len(kept) == len({row[0] for row in rows})
    assert len(kept) + len(duplicates(items)) == len(items)
    assert dedupe(kept) == kept
    assert sorted(ids(dedupe(items[::-1]))) == sorted(ids(kept))
