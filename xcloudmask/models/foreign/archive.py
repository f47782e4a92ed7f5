"""Zip archives of models: opened with bounds, told apart, and written anew with what was checked and nothing else."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping

from xcloudmask.errors import WeightsError

__all__ = ["MEMBERS_MAX", "UNPACKED_BYTES_MAX", "looks_like", "open_archive", "pack"]

UNPACKED_BYTES_MAX = 1_024_000_000
"""An archive whose members are larger than this together is refused before any of them is unpacked."""
MEMBERS_MAX = 20_000
"""An archive of more files than this is refused."""

_NO_MODEL = (
    (b"<", "a web page, as a download link gives it that wants a login"),
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself with 'git lfs pull'"),
    (b"{", "JSON text"),
    (b"\x80\x02", "a pickle of torch.save, which can run any code when it is opened"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it"),
)


def open_archive(content: bytes, *, name: str, expected: str) -> dict[str, bytes]:
    """Unpack an archive of torch into memory.

    Parameters
    ----------
    content
        The file.
    name
        Name of the model, for messages.
    expected
        The architecture that the spec speaks of: ``"torchscript"`` or ``"pt2"``.

    Returns
    -------
    dict
        Path below the only folder at the top -> bytes.

    Raises
    ------
    WeightsError
        It is no archive, is broken or too large, or holds something else.

    Examples
    --------
    >>> packed = pack({"constants.pkl": b"", "code/m.py": b""})
    >>> sorted(open_archive(packed, name="mine", expected="torchscript"))
    ['code/m.py', 'constants.pkl']
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_sizes(archive.infolist(), name)
            members = {_below_top(item.filename): archive.read(item) for item in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(
            f"The weights of model {name!r} are no archive that torch wrote: {looks_like(content) or error}. Expected "
            f"{_HOW_TO_SAVE[expected]}"
        ) from error
    found = _kind(members)
    if found != expected:
        what = f"architecture = {found!r}" if found in _HOW_TO_SAVE else _HOW_TO_SAVE[expected]
        raise WeightsError(
            f"The weights of model {name!r} are {_KINDS[found]}, expected {_KINDS[expected]}. Type: {what}"
        )
    return members


_HOW_TO_SAVE = {
    "torchscript": "a file of torch.jit.save(torch.jit.trace(net.eval(), tiles), path).",
    "pt2": "a file of torch.export.save(torch.export.export(net.eval(), (tiles,), dynamic_shapes=...), path).",
}
_KINDS = {
    "torchscript": "TorchScript",
    "pt2": "a program of torch.export",
    "old pt2": "a program of torch.export from before torch 2.9, which keeps its weights in pickles",
    "pickle": "a pickle of torch.save, which can run any code when it is opened",
    "other": "an archive of something else",
}


def _kind(members: Mapping[str, bytes]) -> str:
    if "models/model.json" in members:
        return "pt2"
    if any(path.endswith("exported_program.json") for path in members):
        return "old pt2"
    if "constants.pkl" in members and any(path.startswith("code/") for path in members):
        return "torchscript"
    return "pickle" if "data.pkl" in members else "other"


def _check_sizes(items: list[zipfile.ZipInfo], name: str) -> None:
    total = sum(item.file_size for item in items)
    if total > UNPACKED_BYTES_MAX or len(items) > MEMBERS_MAX:
        raise WeightsError(
            f"The weights of model {name!r} would unpack to {total} bytes in {len(items)} files. At most "
            f"{UNPACKED_BYTES_MAX} bytes in {MEMBERS_MAX} files are read for a model. The file is not loaded."
        )


def _below_top(path: str) -> str:
    return path.partition("/")[2] or path


def pack(members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bytes:
    """Write an archive that torch reads, uncompressed.

    What torch opens is then what was looked at here: two readers of zip files need not agree on a crafted one.

    Parameters
    ----------
    members
        Path -> bytes.

    Returns
    -------
    bytes

    Examples
    --------
    >>> pack({"a": b"1"})[:2]
    b'PK'
    """
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in dict(members).items():
            # A fixed date: the same members are the same bytes.
            archive.writestr(zipfile.ZipInfo(f"model/{path}"), content)
    return target.getvalue()


def looks_like(content: bytes) -> str:
    """Say what a file is that is no model, as far as its first bytes tell; empty where they do not.

    Parameters
    ----------
    content
        The file.

    Returns
    -------
    str

    Examples
    --------
    >>> looks_like(b"<!DOCTYPE html>").partition(",")[0]
    'a web page'
    """
    start = content[:64].lstrip()
    return next((what for first, what in _NO_MODEL if start.startswith(first)), "" if start else "an empty file")
