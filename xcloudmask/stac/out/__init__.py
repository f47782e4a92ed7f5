"""Masks as STAC: items with classes, projection, cloud cover and lineage, in a static catalogue."""

from xcloudmask.stac.out.write import item_of, to_stac

__all__ = ["item_of", "to_stac"]
