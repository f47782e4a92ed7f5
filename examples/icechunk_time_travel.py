"""Masks under version control: a series that grows, is masked anew, and can still be opened as it was."""

from __future__ import annotations

import argparse
from pathlib import Path

import icechunk

import xcloudmask
from xcloudmask.io.icechunk import history
from xcloudmask.simulate.scene import simulate_sentinel2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where masks.icechunk is written")
    parser.add_argument("--quick", action="store_true", help="a small cube")
    arguments = parser.parse_args()
    size_px = 256 if arguments.quick else 2048
    icechunk.set_logs_filter("error")  # Icechunk warns of folders; to_icechunk takes turns with a lock
    repo = arguments.folder / "masks.icechunk"

    # Two dates are masked, and later a third. Each write is a commit.
    cube = simulate_sentinel2(size_px=size_px, times=3, chunks=size_px // 2)
    first = cube.isel(time=slice(2)).cloudmask.predict()
    published = first.cloudmask.to_icechunk(repo, append_dim="time")
    cube.isel(time=[2]).cloudmask.predict().cloudmask.to_icechunk(repo, append_dim="time")

    # A tag is a name for a commit that stays.
    icechunk.Repository.open(icechunk.local_filesystem_storage(str(repo))).create_tag("paper", published)

    # Other settings may not be mixed in.
    careful = cube.cloudmask.predict(normalize="lattice")
    try:
        careful.cloudmask.to_icechunk(repo, append_dim="time")
    except xcloudmask.errors.WriteError as error:
        print(f"refused: {error}")

    # They can replace what is there: what was there before stays in the history.
    careful.cloudmask.to_icechunk(repo, mode="w", message="All dates, statistics on a lattice")

    for commit in history(repo):
        print(commit.snapshot, commit.write or "", commit.settings.get("normalize", ""), "|", commit.message)

    now = xcloudmask.open_icechunk(repo)
    then = xcloudmask.open_icechunk(repo, tag="paper")
    print(f"now {now.sizes['time']} dates, in the paper {then.sizes['time']}")
    changed = (now.isel(time=slice(2)) != then).mean().compute()
    print(f"{float(changed):.1%} of the pixels of the paper have another class now")


if __name__ == "__main__":
    main()
