"""The browser that looks at the report: Debian's `chromium`, or what VOVNET_CHROMIUM names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

PROGRAM = os.environ.get("VOVNET_CHROMIUM") or shutil.which("chromium")
MISSING = "no chromium on PATH (Debian: apt install chromium)"

# No sandbox, because root has none in a container; nothing that would ask the network.
_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--no-first-run"),
]


@contextmanager
def running() -> Iterator[Browser]:
    """Yield a browser without a window; only where there is a PROGRAM."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=PROGRAM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
