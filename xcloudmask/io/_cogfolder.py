"""A folder that gets GeoTIFFs: files are made in a locked folder beside them, and get their names when complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xcloudmask.errors import WriteError
from xcloudmask.io._fsync import fsync
from xcloudmask.io._leftovers import make_locked_folder, missing, remove_empty, remove_leftovers

__all__ = ["SIDECAR", "Folder", "naming"]

SIDECAR = ".aux.xml"
"""What GDAL adds to the name of a file for the name of its sidecar."""
PREFIX = ".xcloudmask-"


class Folder:
    """A local folder as a target.

    Parameters
    ----------
    root
        The folder.

    Examples
    --------
    >>> Folder(Path("masks")).label("a.tif")
    'masks/a.tif'
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def label(self, name: str) -> str:
        """Return what a file is called in messages."""
        return str(self._root / name)

    def result(self, name: str) -> Path:
        """Return what the caller gets for a file."""
        return self._root / name

    def check(self, names: Iterable[str]) -> None:
        """Refuse names that folders have; `staging` finds out whether files can be written."""
        for name in names:
            if (self._root / name).is_dir():
                raise WriteError(f"{self._root / name} is a folder. Expected the name of a file.")

    def existing(self, names: Iterable[str]) -> set[str]:
        """Return those that are there."""
        return {name for name in names if os.path.lexists(self._root / name)}

    @contextmanager
    def header(self, name: str) -> Iterator[Path]:
        """Yield a file whose header can be read."""
        yield self._root / name

    def tidy(self) -> None:
        """Remove what killed runs left, where that can be done."""
        with suppress(OSError):
            remove_leftovers(self._root, PREFIX)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a folder on the same disk, and remove it in the end; what killed runs left there goes first."""
        lock = None
        created = missing(self._root)
        with naming(str(self._root)):
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                remove_leftovers(self._root, PREFIX)
                folder, lock = make_locked_folder(self._root, PREFIX)
            except OSError:
                remove_empty(created)
                raise
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)
            remove_empty(created)

    def publish(self, name: str, file: Path, sidecar: Path | None) -> None:
        """Give a complete file its name, and its sidecar beside it.

        A new file comes after its sidecar, so that it is complete once it is there. Where it replaces another one, the
        old sidecar goes first: at no time does a file have the counts of another.
        """
        final = self._root / name
        final_sidecar = final.with_name(final.name + SIDECAR)
        with naming(str(final)):
            final.parent.mkdir(parents=True, exist_ok=True)
            fsync(file)
            if sidecar is not None:
                fsync(sidecar)
            replaced = final.exists()
            if replaced:
                final_sidecar.unlink(missing_ok=True)
            elif sidecar is not None:
                sidecar.replace(final_sidecar)
            file.replace(final)
            if replaced and sidecar is not None:
                sidecar.replace(final_sidecar)
            fsync(final.parent)


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Turn the errors of disks and of GDAL into a WriteError that names the target.

    Parameters
    ----------
    label
        The target.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"{label} cannot be written: {error.strerror or error}.") from error
    except Exception as error:
        # What GDAL fails at arrives as all sorts of classes: RasterioError, others of rasterio, TypeError.
        raise WriteError(f"{label} cannot be written: {error.__cause__ or error}") from error
