"""Tables for Jupyter: what people ask for is there, and no text of a card or a cube becomes markup."""

import html
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from cubes import odc_dataset
from hypothesis import given
from hypothesis import strategies as st

import xcloudmask
from xcloudmask._tables import html_table
from xcloudmask.models.registry import get_spec

HOSTILE = "</td></table><script>alert('x')</script><img src=x onerror=alert(1)>\"'&amp;"


class Elements(HTMLParser):
    """Collects elements, attributes and texts as a browser would see them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts = set(), set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.texts.append(data)


def check_harmless(text):
    seen = Elements(text)
    assert seen.tags == {"table", "caption", "tr", "th", "td"}
    assert seen.attributes <= {"style", "scope"}
    return seen


@given(st.text(), st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_any_text_stays_text(caption, rows):
    seen = check_harmless(html_table(caption, rows))
    # The parser drops what no document can hold, and cuts texts into pieces.
    wanted = "".join([caption, *(part for row in rows for part in row)])
    assert html.escape("".join(seen.texts)) == html.escape(wanted)


def test_a_plan_of_hostile_names():
    cube = odc_dataset().rename(red=HOSTILE)
    plan = xcloudmask.plan(cube, bands={"red": HOSTILE, "green": "green", "nir": "nir"})
    seen = check_harmless(plan._repr_html_())
    assert any(HOSTILE in text for text in seen.texts)


def test_a_plan_says_what_would_happen():
    plan = xcloudmask.plan(odc_dataset(shape=(256, 256), chunks=128))
    text = plan._repr_html_()
    for label in ("model", "band red", "reflectance", "halo", "chunks", "work", "memory", "warning"):
        assert f">{label}</th>" in text
    assert f"about {plan.tasks} tasks" in text
    assert "\n" not in repr(plan)
    assert len(repr(plan)) < 160


def test_a_spec_of_hostile_texts():
    spec = replace(
        get_spec("default"), name=HOSTILE, licence=HOSTILE, sources=(HOSTILE,), notes=HOSTILE, metrics=((HOSTILE, 1.0),)
    )
    seen = check_harmless(spec._repr_html_())
    assert sum(HOSTILE in text for text in seen.texts) == 5


@pytest.mark.parametrize("name", ["default", "default-ensemble"])
def test_a_spec_says_what_it_is(name):
    spec = get_spec(name)
    text = spec._repr_html_()
    assert spec.sha256 in text
    assert f"{spec.halo_px} px" in text
    assert all(member.name in text for member in spec.members)
    assert len(text) < 8000
    assert "\n" not in repr(spec)
