"""The map of `explore`: layers, a slider, the opacity of the mask, a legend."""

from __future__ import annotations

from typing import Any

from xcloudmask._optional import require
from xcloudmask.viz._encode import json_text

__all__ = ["build_map"]

Bounds = tuple[tuple[float, float], tuple[float, float]]

# One picture for each layer, whose address is changed: that stays light with any number of dates, and the switches of
# the layers stay two.
_CONTROL = """
{% macro header(this, kwargs) %}
<style>
.cloudmask-panel { background: rgba(255,255,255,.92); padding: 8px 10px; border-radius: 4px; font: 12px/1.5 sans-serif;
  box-shadow: 0 1px 5px rgba(0,0,0,.4); width: 230px; color: #222; }
.cloudmask-panel input[type=range] { width: 100%; margin: 2px 0; }
.cloudmask-panel .swatch { display: inline-block; width: 14px; height: 11px; border: 1px solid #555;
  margin-right: 6px; }
.cloudmask-panel .entry { margin-right: 12px; white-space: nowrap; }
</style>
{% endmacro %}
{% macro script(this, kwargs) %}
(function () {
  "use strict";
  const dates = {{ this.dates }}, legend = {{ this.legend }};
  const mask = {{ this.mask }}, image = {{ this.image }};
  const control = L.control({position: "bottomleft"});
  control.onAdd = function () {
    const panel = L.DomUtil.create("div", "cloudmask-panel");
    L.DomEvent.disableClickPropagation(panel);
    L.DomEvent.disableScrollPropagation(panel);
    const date = L.DomUtil.create("div", "cloudmask-date", panel);
    function show(index) {
      const chosen = dates[index];
      const place = dates.length > 1 ? (index + 1) + " of " + dates.length : "";
      date.textContent = [chosen.title, place].filter(Boolean).join(", ");
      mask.setUrl(chosen.mask);
      if (image) { image.setUrl(chosen.image); }
    }
    if (dates.length > 1) {
      const slider = L.DomUtil.create("input", "cloudmask-slider", panel);
      slider.type = "range"; slider.min = 0; slider.max = dates.length - 1; slider.step = 1; slider.value = 0;
      slider.setAttribute("aria-label", "date");
      slider.addEventListener("input", () => show(Number(slider.value)));
    }
    const label = L.DomUtil.create("label", "", panel);
    label.textContent = "opacity of the mask";
    const opacity = L.DomUtil.create("input", "cloudmask-opacity", label);
    opacity.type = "range"; opacity.min = 0; opacity.max = 1; opacity.step = 0.05;
    opacity.value = {{ this.opacity }};
    opacity.addEventListener("input", () => mask.setOpacity(Number(opacity.value)));
    legend.forEach(([name, colour]) => {
      const entry = L.DomUtil.create("span", "entry", panel);
      L.DomUtil.create("span", "swatch", entry).style.background = colour;
      entry.append(name);
    });
    show(0);
    return panel;
  };
  control.addTo({{ this.map }});
})();
{% endmacro %}
"""


def build_map(
    dates: list[dict[str, str]], *, bounds: Bounds, legend: list[tuple[str, str]], opacity: float, tiles: str | None
) -> Any:
    """Return a map with the layers of the first date, and what changes them.

    Parameters
    ----------
    dates
        For each the ``title``, and the addresses of ``mask`` and, if there is one, ``image``.
    bounds
        (south, west), (north, east) in degrees.
    legend
        Names and colours.
    opacity
        Of the mask.
    tiles
        As folium names them; None for none.

    Returns
    -------
    folium.Map
    """
    folium = require("folium", extra="viz")
    place = [list(corner) for corner in bounds]
    web_map = folium.Map(tiles=tiles, control_scale=True)
    image = None
    if "image" in dates[0]:
        image = _overlay(folium, dates[0]["image"], place, name="image", opacity=1.0)
        image.add_to(web_map)
    mask = _overlay(folium, dates[0]["mask"], place, name="cloud mask", opacity=opacity)
    mask.add_to(web_map)
    folium.LayerControl(collapsed=False).add_to(web_map)
    control = folium.MacroElement()
    control._template = require("jinja2").Template(_CONTROL)  # folium's way to make an element
    control.dates, control.legend, control.opacity = json_text(dates), json_text(legend), json_text(opacity)
    control.mask, control.map = mask.get_name(), web_map.get_name()
    control.image = "null" if image is None else image.get_name()
    control.add_to(web_map)
    web_map.fit_bounds(place)
    return web_map


def _overlay(folium: Any, url: str, place: list[list[float]], *, name: str, opacity: float) -> Any:
    return folium.raster_layers.ImageOverlay(
        image=url, bounds=place, name=name, opacity=opacity, pixelated=True, interactive=False
    )
