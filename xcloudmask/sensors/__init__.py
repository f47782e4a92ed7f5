"""Tables of sensors: band names in every catalogue spelling, wavelengths, scale, offset, nodata and thermal constants.

Pure data: nothing but the standard library is imported. One module per family; a new sensor is a new row in one of
them, or a dictionary or TOML file for `register_sensor`. `Sensor.source` and `Band.source` say where figures are from.
"""

from xcloudmask._sensor import Band, Constants, Quantity, Sensor
from xcloudmask.sensors.registry import SENSORS, get_sensor, register_sensor
from xcloudmask.sensors.spec import load_sensor

__all__ = [
    "SENSORS",
    "Band",
    "Constants",
    "Quantity",
    "Sensor",
    "get_sensor",
    "load_sensor",
    "register_sensor",
]
