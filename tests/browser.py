"""Pages in headless Chromium: what they look like and what stands in them after their scripts ran.

    from browser import needs_chromium, page_after

No page reaches the network.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=4000",
)


def page_after(page: str, folder: Path, script: str) -> dict[str, str]:
    """Run a script in a page, some time after it was loaded; what it puts into `out` comes back as texts.

    An error of the page itself comes back as ``error``.
    """
    watch = "<script>window.found = {}; window.onerror = (text) => { window.found.error = String(text); };</script>"
    tail = f"""<script>setTimeout(() => {{
      const out = window.found;
      try {{ {script} }} catch (problem) {{ out.error = String(problem); }}
      const coded = (value) => btoa(unescape(encodeURIComponent(String(value))));
      const parts = Object.entries(out).map(([name, value]) => `<pre title="${{name}}">${{coded(value)}}</pre>`);
      document.documentElement.innerHTML = "<body>" + parts.join("") + "</body>";
    }}, 1500);</script>"""
    file = folder / "page.html"
    head = page.index("<head>") + len("<head>")
    file.write_text(page[:head] + watch + page[head:] + tail, encoding="utf-8")
    return _results(_run("--dump-dom", file))


def _run(action: str, file: Path) -> str:
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [str(CHROMIUM), *_OPTIONS, f"--user-data-dir={profile}", action, file.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    return done.stdout


def _results(dom: str) -> dict[str, str]:
    pairs = re.findall(r'<pre title="([^"]*)">([^<]*)</pre>', dom)
    return {name: base64.b64decode(text).decode() for name, text in pairs}
