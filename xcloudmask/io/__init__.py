"""Files in and out: `open_cube` and `open_any` read cubes; `to_zarr`, `to_icechunk` and `to_cog` write masks."""

from xcloudmask.io.cog import to_cog
from xcloudmask.io.icechunk import open_icechunk, to_icechunk
from xcloudmask.io.products import open_any
from xcloudmask.io.read import open_cube
from xcloudmask.io.zarr import open_mask, to_zarr

__all__ = ["open_any", "open_cube", "open_icechunk", "open_mask", "to_cog", "to_icechunk", "to_zarr"]
