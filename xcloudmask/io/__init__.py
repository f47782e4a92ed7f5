"""Files in and out: cubes are read by `open_cube` and `open_any`, masks are written by `to_zarr` and `to_cog`."""

from xcloudmask.io.cog import to_cog
from xcloudmask.io.products import open_any
from xcloudmask.io.read import open_cube
from xcloudmask.io.zarr import open_mask, to_zarr

__all__ = ["open_any", "open_cube", "open_mask", "to_cog", "to_zarr"]
