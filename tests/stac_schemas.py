"""The official schemas of STAC extensions, for tests that validate without the web.

    python tests/stac_schemas.py FOLDER

pystac's packages of extensions come with recordings of the schemas that their own tests fetched. This downloads their
sources with pip and takes the schemas out. Tests look for them where XCLOUDMASK_STAC_SCHEMAS says; nothing of them is
part of this repository.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGES = ("classification", "eo", "mlm", "projection", "raster", "view", "xarray-assets")
"""The recordings of mlm have the schema of processing."""
VARIABLE = "XCLOUDMASK_STAC_SCHEMAS"


def official_schemas() -> dict[str, Any] | None:
    """Return the schemas by address, or None where they were not downloaded."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    return {
        "https://" + path.name.replace("__", "/"): json.loads(path.read_text())
        for path in sorted(Path(folder).glob("*.json"))
    }


def download(folder: Path) -> None:
    """Fill a folder with schemas."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as sources:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", sources]
        subprocess.run([*command, *(f"pystac-ext-{name}" for name in PACKAGES)], check=True)
        for archive in sorted(Path(sources).glob("*.tar.gz")):
            with tarfile.open(archive) as files:
                for member in files.getmembers():
                    if "/cassettes/" in member.name and member.name.endswith(".yaml"):
                        content = files.extractfile(member)
                        if content is not None:
                            keep(content.read().decode(), folder)


def keep(recording: str, folder: Path) -> None:
    import yaml

    for exchange in yaml.safe_load(recording)["interactions"]:
        address, answer = exchange["request"]["uri"], exchange["response"]
        if address.endswith("schema.json") and answer["status"]["code"] == 200:
            # PROJJSON is recorded where its address redirects to.
            address = address.replace("proj.org/en/latest/schemas", "proj.org/schemas")
            name = address.removeprefix("https://").replace("/", "__")
            (folder / name).write_text(json.dumps(json.loads(answer["body"]["string"])))


if __name__ == "__main__":
    download(Path(sys.argv[1]))
