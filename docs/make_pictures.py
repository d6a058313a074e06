"""Make the pictures of the READMEs: the top of a real run's report, in light and in dark.

They are report-light.png and report-dark.png. It takes what the tests take
(tests/requirements.txt) and Debian's chromium.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cli import door

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect

PICTURES = Path(__file__).resolve().parent / "pictures"
WIDTH = 1120  # CSS pixels
MARGIN = 28  # CSS pixels below the verdicts
SCALE = 2
COLOURS = 128  # of a palette: a page has few, and the file has a fifth of the bytes
MOST_BYTES = 300_000


def main(argv: list[str] | None = None) -> int:
    """Make both pictures of the report of a work folder."""
    parser = door.Parser(str(__doc__), "python3 docs/make_pictures.py work")
    parser.add_argument(
        "work",
        type=door.path,
        nargs="?",
        metavar="WORK_DIR",
        help="the folder of the run; that of run_all.sh unless given",
    )
    parser.add_argument(
        "--out",
        type=door.path,
        default=PICTURES,
        metavar="FOLDER",
        help="where they go (default: docs/pictures of this project)",
    )
    return door.enter(parser, _call, argv)


def _call(args: argparse.Namespace) -> door.Verdict:
    from pipeline import identity, places, report
    from pipeline.errors import PipelineError
    from pipeline.report.gather import Options
    from tests import browser

    started = time.perf_counter()
    if browser.PROGRAM is None:
        raise PipelineError(browser.MISSING, "install it, or name another with VOVNET_CHROMIUM")
    places.make_folder(args.out)
    with tempfile.TemporaryDirectory() as folder, browser.running() as found:
        page = Path(folder) / "report.html"
        report.make(args.work or identity.PROJECT / "work", page, Options())
        sizes = [_take(found, page, scheme, args.out) for scheme in ("light", "dark")]
    seconds = time.perf_counter() - started
    return door.Verdict(f"2 pictures, {sum(sizes):,} bytes in {seconds:.1f} s -> {args.out}")


def _take(found: Browser, page: Path, scheme: str, folder: Path) -> int:
    """Take the picture in one colour scheme; return its size in bytes."""
    from PIL import Image

    from pipeline import atomic
    from pipeline.errors import PipelineError

    context = found.new_context(
        viewport={"width": WIDTH, "height": WIDTH},
        device_scale_factor=SCALE,
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
    )
    view = context.new_page()
    view.goto(page.as_uri())
    bottom = view.locator("#verdicts").evaluate("part => part.getBoundingClientRect().bottom")
    clip: FloatRect = {"x": 0, "y": 0, "width": WIDTH, "height": round(bottom) + MARGIN}
    taken = Image.open(io.BytesIO(view.screenshot(clip=clip)))
    context.close()
    buffer = io.BytesIO()
    taken.convert("RGB").quantize(COLOURS).save(buffer, "PNG", optimize=True)
    target = folder / f"report-{scheme}.png"
    if buffer.tell() > MOST_BYTES:
        raise PipelineError(
            f"{target} would have {buffer.tell():,} bytes, and {MOST_BYTES:,} are the limit",
            "take fewer colours",
        )
    atomic.write_bytes(target, buffer.getvalue())
    return buffer.tell()


if __name__ == "__main__":
    sys.exit(main())
