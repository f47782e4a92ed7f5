"""Configuration of the site: `sphinx-build -W -b html docs docs/_build/html`. It needs no network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The site is built from this checkout, installed or not; the kernels that run the pages' code inherit the path.
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
# Figures belong into the page, whatever backend the builder's shell names.
os.environ.pop("MPLBACKEND", None)
# Help texts of the command line look the same wherever the site is built.
os.environ |= {"COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}

from xcloudmask import __version__  # noqa: E402  # the path comes first

project = "xcloudmask"
author = "The xcloudmask developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "jupyter_execute", "README.md"]
exclude_patterns += ["_ablations.md", "_bands_speed.md", "_bandsets.md", "_speed.md"]  # tables that pages include

# `predict` in a docstring links to the function where there is one.
default_role = "py:obj"

autosummary_generate = True
# plan.html and Plan.html are one file on some disks.
autosummary_filename_map = {"xcloudmask.Plan": "xcloudmask.Plan_class"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
numpydoc_show_class_members = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "auto"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
# A warning in a page's code is an error of the build.
nb_output_stderr = "remove-warn"
nb_render_markdown_format = "myst"

html_theme = "pydata_sphinx_theme"
html_title = f"xcloudmask {release}"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
html_sidebars = {"**": ["sidebar-nav-bs"], "index": []}
