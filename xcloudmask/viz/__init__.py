"""Look at masks: pictures, animations, and a web map. matplotlib, Pillow and folium are loaded when they are used."""

from xcloudmask.viz._plot import COLUMNS_MAX, plot, save_picture

__all__ = ["COLUMNS_MAX", "plot", "save_picture"]
