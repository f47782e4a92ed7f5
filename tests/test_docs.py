"""The site builds without a warning; its pages run their code."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import xcloudmask

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

needs_sphinx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("sphinx", "myst_nb", "numpydoc", "pydata_sphinx_theme", "matplotlib")),
    reason="not installed: pip install 'xcloudmask[docs,viz]'",
)


@needs_sphinx
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_builds_without_warnings(tmp_path):
    # Stubs of names that are gone would be pages without a parent.
    shutil.rmtree(DOCS / "generated", ignore_errors=True)
    html = tmp_path / "html"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-E", "-b", "html", "-d", tmp_path / "trees", DOCS, html],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    quickstart = (html / "quickstart.html").read_text()
    assert "cloud_shadow" in quickstart
    assert "_images/" in quickstart  # the plot


def test_every_public_name_is_in_the_api():
    listed = set(re.findall(r"^   ([\w.]+)$", (DOCS / "api.md").read_text(), flags=re.MULTILINE))
    listed = {name.rsplit(".", maxsplit=1)[-1] for name in listed}
    elsewhere = {"__version__", "errors", "XCloudMaskError"}  # the errors are listed as a module
    assert set(xcloudmask.__all__) - elsewhere <= listed


def test_the_changelog_and_the_citation_name_the_version():
    assert f"## [{xcloudmask.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {xcloudmask.__version__}\n" in (ROOT / "CITATION.cff").read_text()
