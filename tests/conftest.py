"""What several rooms' tests share."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

# The user's own cache stays out of it; a test that wants one brings its own.
os.environ["VOVNET39_CACHE"] = "off"


# A job that a script starts in the background is deaf to Ctrl-C, and so are its children. The tests
# of Ctrl-C hold there as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that needs the sample, so that `-m "not sample"` leaves it unmade."""
    for item in items:
        if "sample_folder" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.sample)


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as the command makes it: images/, val_label.txt and vovnet39_sample.pth.

    All processes of a session share one, which takes half a minute to make; no test writes to it.
    """
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    folder = session / "the sample" / "sample"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "made").open("a+") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if not made.tell():  # it is opened at its end
            done = subprocess.run(
                [sys.executable, "-m", "pipeline", "sample", str(folder)],
                cwd=PROJECT,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            made.write("whole")
    return folder
