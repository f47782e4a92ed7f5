"""Cubes straight from STAC: search, load, and what keeps an untrusted catalogue in its place."""

from xcloudmask.stac.catalogues import CATALOGUES, Catalogue
from xcloudmask.stac.duplicates import Duplicate, dedupe, duplicates
from xcloudmask.stac.hrefs import HrefPolicy
from xcloudmask.stac.load import load
from xcloudmask.stac.read import read_items
from xcloudmask.stac.scenes import split_by_grid
from xcloudmask.stac.search import search

__all__ = [
    "CATALOGUES",
    "Catalogue",
    "Duplicate",
    "HrefPolicy",
    "dedupe",
    "duplicates",
    "load",
    "read_items",
    "search",
    "split_by_grid",
]
