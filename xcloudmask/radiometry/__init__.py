"""From stored numbers (DN) to reflectance or kelvin: nodata, scale and offset, from what is declared."""

from xcloudmask.radiometry._bandscale import BandScale
from xcloudmask.radiometry._convert import is_layer, reflectance, to_reflectance, without_scales
from xcloudmask.radiometry._nodata import Nodata, declared_nodata, nodata_values
from xcloudmask.radiometry._scales import band_scales, constant_scale, declared_pair, known_scale, leads_to_quantity
from xcloudmask.radiometry._times import declare_scales, scale_rows
from xcloudmask.radiometry.level1 import brightness_temperature, radiance_to_reflectance, toa_reflectance_scale

__all__ = [
    "BandScale",
    "Nodata",
    "band_scales",
    "brightness_temperature",
    "constant_scale",
    "declare_scales",
    "declared_nodata",
    "declared_pair",
    "is_layer",
    "known_scale",
    "leads_to_quantity",
    "nodata_values",
    "radiance_to_reflectance",
    "reflectance",
    "scale_rows",
    "to_reflectance",
    "toa_reflectance_scale",
    "without_scales",
]
