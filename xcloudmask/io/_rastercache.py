"""How many decoded blocks GDAL keeps: for this process, not for a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["small_cache"]

CACHE_MB = 16
_lock = threading.Lock()
_users = 0
_before = 0


@contextmanager
def small_cache() -> Iterator[None]:
    """Keep 16 MB of blocks instead of 5 % of the machine's memory, which a copy from top to bottom has no use for.

    The size is set for the process: the last thread that leaves brings the old one back.
    """
    from rasterio.env import Env, get_gdal_config, set_gdal_config

    global _users, _before  # noqa: PLW0603  # what GDAL has one of, for all threads
    with Env():
        with _lock:
            if not _users:
                _before = get_gdal_config("GDAL_CACHEMAX")
                set_gdal_config("GDAL_CACHEMAX", min(CACHE_MB * 2**20, _before))
            _users += 1
        try:
            yield
        finally:
            with _lock:
                _users -= 1
                if not _users:
                    set_gdal_config("GDAL_CACHEMAX", _before)
