"""Where the masks of a campaign go: Zarr, COG or Icechunk, on disks and in object stores."""

from xcloudmask.run.stores.base import Sink, class_shares, digest_of, mask_attributes, open_sink

__all__ = ["Sink", "class_shares", "digest_of", "mask_attributes", "open_sink"]
