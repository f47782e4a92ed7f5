"""Lazy cloud and cloud shadow masks for xarray cubes of satellite images.

Importing the package registers the ``.cloudmask`` accessor on DataArray and Dataset. It loads no torch, rasterio or
distributed: these come in when they are needed.
"""

from xcloudmask import errors
from xcloudmask._accessor import CloudMaskAccessor
from xcloudmask._version import __version__
from xcloudmask.classes import NODATA, CloudClass
from xcloudmask.clean import clean
from xcloudmask.composite import composite
from xcloudmask.distance import cloud_distance
from xcloudmask.errors import XCloudMaskError
from xcloudmask.fractions import class_fractions, clear_fraction
from xcloudmask.io import open_any as open  # noqa: A004  # users type xcloudmask.open
from xcloudmask.io import open_cube, open_icechunk, open_mask, to_cog, to_icechunk, to_zarr
from xcloudmask.masks import apply, dilate, to_style
from xcloudmask.models.registry import list_models, register_model
from xcloudmask.models.spec import ModelSpec
from xcloudmask.plan import plan
from xcloudmask.predict import predict, predict_proba
from xcloudmask.recode import from_codes, to_codes
from xcloudmask.report import Plan
from xcloudmask.sensors import SENSORS, register_sensor
from xcloudmask.stac.out import to_stac
from xcloudmask.times import filter_times
from xcloudmask.viz import animate, explore, plot
from xcloudmask.webreport import write_report

__all__ = [
    "NODATA",
    "SENSORS",
    "CloudClass",
    "CloudMaskAccessor",
    "ModelSpec",
    "Plan",
    "XCloudMaskError",
    "__version__",
    "animate",
    "apply",
    "class_fractions",
    "clean",
    "clear_fraction",
    "cloud_distance",
    "composite",
    "dilate",
    "errors",
    "explore",
    "filter_times",
    "from_codes",
    "list_models",
    "open",
    "open_cube",
    "open_icechunk",
    "open_mask",
    "plan",
    "plot",
    "predict",
    "predict_proba",
    "register_model",
    "register_sensor",
    "to_codes",
    "to_cog",
    "to_icechunk",
    "to_stac",
    "to_style",
    "to_zarr",
    "write_report",
]
