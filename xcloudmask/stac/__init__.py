"""Cubes straight from STAC: search, load, and what keeps an untrusted catalogue in its place."""
