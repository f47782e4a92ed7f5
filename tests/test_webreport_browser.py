"""The report page in a browser: nothing is loaded, nothing runs, nothing sticks out, on wide and narrow screens."""

import html
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from test_webreport import hostile_mask, make_dates, make_mask

from xcloudmask.classes import get_style
from xcloudmask.webreport import write_report
from xcloudmask.webreport._chart import class_chart

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: it shows the page")

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]
MEASURE = """<script>
const root = document.documentElement, wide = [];
for (const one of document.querySelectorAll("body *")) {
  const box = one.getBoundingClientRect();
  const hidden = one.closest(".scroll, pre, .plot svg, .defs");
  const outside = box.width && (box.right > innerWidth + 1 || box.left < -1);
  if (outside && !hidden) wide.push(one.tagName + "." + one.className);
}
const measures = [innerWidth, root.scrollWidth, getComputedStyle(document.body).backgroundColor, wide.join(" ")];
const note = document.createElement("samp");
note.textContent = measures.join("|");
document.body.append(note);
</script>"""


def browse(tmp_path, page, *arguments):
    """Return what is printed, and what the console says."""
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *QUIET, profile, *arguments, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def measured(tmp_path, page, *arguments, width=1000):
    """Return width of frame and page, the colour behind it, and elements that stick out."""
    # The page itself lets no script run: a copy does. In a frame, as windows are at least 500 px wide.
    text = page.read_text(encoding="utf-8")
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    inner = html.escape(free.replace("</body>", f"{MEASURE}</body>"))
    show = "onload=\"document.body.append(this.contentDocument.querySelector('samp').textContent + '|end')\""
    outer = tmp_path / "frame.html"
    frame = f'<iframe width="{width}" height="900" frameborder="0" {show} srcdoc="{inner}"></iframe>'
    outer.write_text(f'<!doctype html><meta charset="utf-8"><body>{frame}</body>', encoding="utf-8")
    printed, console = browse(tmp_path, outer, "--dump-dom", "--window-size=1400,1000", *arguments)
    assert not console
    window, whole, colour, wide = re.search(r"(\d+\|\d+\|rgb[^|]*\|[^|]*)\|end", printed)[1].split("|")
    return int(window), int(whole), colour, wide


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    mask = make_mask(24, chunks={"time": 1, "y": 20, "x": 20})
    mask = mask.assign_coords(item_id=("time", [f"S2A_31UDQ_{n}_0_L2A" for n in range(24)]))
    return write_report(mask, tmp_path_factory.mktemp("page") / "report.html")


def test_nothing_is_loaded_and_nothing_complains(tmp_path, page):
    printed, console = browse(tmp_path, page, "--dump-dom", f"--log-net-log={tmp_path / 'net.json'}")
    assert not console
    assert "Clouds over time" in printed
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?\s*(https?:)?//", page.read_text(encoding="utf-8"))
    asked = set(re.findall(r'"url":"([^"]+)"', (tmp_path / "net.json").read_text(errors="replace")))
    assert not {url for url in asked if "report" in url and not url.startswith("file:")}


def test_hostile_text_does_not_run(tmp_path):
    page = write_report(hostile_mask(), tmp_path / "hostile.html", title="<script>document.title='run'</script>")
    printed, console = browse(tmp_path, page, "--dump-dom")
    assert not console
    assert "<title>&lt;script&gt;document.title='run'" in printed
    assert "onerror=alert(1)&gt;" in printed
    assert "<script" not in printed


def test_the_policy_would_stop_what_was_not_escaped(tmp_path, page):
    text = page.read_text(encoding="utf-8")
    attack = "<script>document.title='run'</script><img src=http://127.0.0.1:9/a.png><b style='color:red'>b</b>"
    bad = tmp_path / "bad.html"
    bad.write_text(text.replace("<main>", f"<main>{attack}"), encoding="utf-8")
    printed, console = browse(tmp_path, bad, "--dump-dom")
    assert "<title>run</title>" not in printed
    assert len([line for line in console if "Content Security Policy" in line]) >= 3


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dates", [1, 24])
def test_nothing_sticks_out(tmp_path, page, width, dates):
    if dates == 1:
        page = write_report(make_mask(1), tmp_path / "one.html", title="A" * 200)
    window, whole, colour, wide = measured(tmp_path, page, width=width)
    assert (window, whole, wide) == (width, width, "")
    assert colour == "rgb(255, 255, 255)"


def test_dark_mode(tmp_path, page):
    _, _, colour, _ = measured(tmp_path, page, "--blink-settings=preferredColorScheme=0")
    assert colour == "rgb(20, 24, 28)"


def test_it_prints(tmp_path, page):
    pdf = tmp_path / "report.pdf"
    browse(tmp_path, page, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", "--blink-settings=preferredColorScheme=0")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type /Page\b", pdf.read_bytes())) <= 8


def test_bars_have_the_colours_of_the_classes_at_their_heights(tmp_path, page):
    """A drawing of one bar, alone in the middle of a page."""
    style = get_style("4-class")
    text = page.read_text(encoding="utf-8")
    chart = class_chart(make_dates(2, counts=(40, 30, 20, 10), days=400), style)
    alone = tmp_path / "chart.html"
    alone.write_text(
        re.sub(r"<main>.*</main>", lambda _: f"<main>{chart}</main>", text, flags=re.DOTALL), encoding="utf-8"
    )
    browse(tmp_path, alone, f"--screenshot={tmp_path / 'shot.png'}", "--window-size=1000,400")
    pixels = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB")).astype(int)
    column = pixels[:, 20 + 46 + 12]
    runs = {}
    for name, colour in zip(style.meanings, style.colours, strict=True):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        runs[name] = np.flatnonzero((abs(column - rgb) <= 2).all(axis=1))
    # From the bottom: clear, shadow, thin, thick.
    assert runs["clear"].min() > runs["cloud_shadow"].max() > runs["thin_cloud"].max()
    for name, share in (("clear", 0.4), ("cloud_shadow", 0.1), ("thin_cloud", 0.2)):
        assert len(runs[name]) == pytest.approx(240 * share, abs=4)
