"""Facets as one page of HTML with a slider: no network, no other files."""

from __future__ import annotations

import html
from collections.abc import Iterable

from xcloudmask._pictures import share_table
from xcloudmask.viz._encode import data_url, encode_classes, encode_photo, json_text
from xcloudmask.viz._panels import Facet

__all__ = ["html_page"]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cloud masks</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 8px; color: #222; background: #fff; }
.controls { display: flex; gap: 10px; align-items: center; margin-bottom: 8px; flex-wrap: wrap; }
.controls input { flex: 1 1 160px; max-width: 480px; }
.controls output { font-variant-numeric: tabular-nums; min-width: 15em; }
.panels { display: flex; gap: 8px; flex-wrap: WRAPPING; }
figure { margin: 0; flex: 0 1 ANYpx; min-width: 0; }
figcaption { min-height: 1.4em; overflow-wrap: anywhere; }
figure img { display: block; width: 100%; aspect-ratio: RATIO; image-rendering: pixelated; border: 1px solid #555; }
.legend { display: flex; gap: 14px; flex-wrap: wrap; margin-top: 8px; align-items: center; }
.legend i { display: inline-block; width: 14px; height: 11px; border: 1px solid #555; margin-right: 5px; }
.legend i.ramp { width: 160px; }
</style>
</head>
<body>
<div class="controls">
<button type="button" id="play" aria-label="play or pause">&#9654;</button>
<input type="range" id="slider" min="0" max="LAST" value="0" step="1" aria-label="date">
<output id="date"></output>
</div>
<div class="panels" id="panels"></div>
<div class="legend">LEGEND</div>
<script>
"use strict";
const frames = FRAMES, wait = WAIT;
const slider = document.getElementById("slider"), play = document.getElementById("play");
const panels = document.getElementById("panels"), date = document.getElementById("date");
const figures = frames[0].panels.map(() => {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  const image = document.createElement("img");
  figure.append(caption, image);
  panels.append(figure);
  return {caption, image};
});
let timer = null;
function show(index) {
  const frame = frames[index];
  slider.value = index;
  date.textContent = (frame.title ? frame.title + ", " : "") + (index + 1) + " of " + frames.length;
  frame.panels.forEach((panel, place) => {
    figures[place].caption.textContent = panel.title;
    figures[place].image.src = panel.url;
    figures[place].image.alt = [frame.title, panel.title].filter(Boolean).join(", ");
  });
}
function stop() { clearInterval(timer); timer = null; play.textContent = "\\u25b6"; }
function start() {
  timer = setInterval(() => show((Number(slider.value) + 1) % frames.length), wait);
  play.textContent = "\\u23f8";
}
play.addEventListener("click", () => (timer === null ? start() : stop()));
slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
show(0);
</script>
</body>
</html>
"""
_SMALLEST_PX = 400
"""Width that a picture is shown with at least, where the window has room."""


def html_page(
    facets: Iterable[Facet], *, legend: list[tuple[str, str]], whole: float | None, aspect: float, fps: float
) -> tuple[str, int]:
    """Return a page that shows facets one after the other.

    Parameters
    ----------
    facets
        One for each date, all of one size; taken one at a time.
    legend
        Names and colours of the classes.
    whole
        What stands for the whole where shares are shown, which have a ramp for a legend.
    aspect
        Height of a pixel over its width.
    fps
        Dates in a second.

    Returns
    -------
    str
        HTML.
    int
        Dates in it.
    """
    frames = []
    rows = columns = 1
    for facet in facets:
        panels = []
        for panel in facet.panels:
            rows, columns = panel.picture.shape[:2]
            encoded = (encode_photo(panel.picture), "jpeg") if panel.photo else (encode_classes(panel.picture), "png")
            panels.append({"title": panel.title, "url": data_url(*encoded)})
        frames.append({"title": facet.title, "panels": panels})
    parts = {
        # Image and mask belong side by side, however narrow the window; five panels would become too small.
        "WRAPPING": "wrap" if frames and len(frames[0]["panels"]) > 3 else "nowrap",
        "ANY": str(max(columns, _SMALLEST_PX)),
        "RATIO": f"{columns} / {rows * aspect:.6g}",
        "LAST": str(len(frames) - 1),
        "LEGEND": _legend_html(legend) + ("" if whole is None else _ramp_html(whole)),
        "WAIT": str(round(1000 / fps)),
        # Last: what stands in the data is never taken for one of these names.
        "FRAMES": json_text(frames),
    }
    page = _PAGE
    for name, text in parts.items():
        page = page.replace(name, text, 1)
    return page, len(frames)


def _legend_html(legend: list[tuple[str, str]]) -> str:
    return "".join(
        f'<span><i style="background:{html.escape(colour)}"></i>{html.escape(name)}</span>' for name, colour in legend
    )


def _ramp_html(whole: float) -> str:
    stops = ",".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in share_table()[::51].tolist())
    unit = "percent" if whole > 1 else "probability"
    return f'<span>0 <i class="ramp" style="background:linear-gradient(to right,{stops})"></i>{whole:g} {unit}</span>'
