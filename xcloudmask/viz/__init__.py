"""Look at masks: pictures, animations, and a web map. matplotlib, Pillow and folium are loaded when they are used."""

from xcloudmask.viz._animate import Animation, animate
from xcloudmask.viz._explore import explore
from xcloudmask.viz._plot import COLUMNS_MAX, plot, save_picture

__all__ = ["COLUMNS_MAX", "Animation", "animate", "explore", "plot", "save_picture"]
