"""Progress: what a terminal sees, what a pipe sees, and that a timed region is left alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import progress, progress_aside
from tests import models
from tests.conftest import PROJECT
from tests.test_benchmark import SIZE, write_data

BEGIN = """
import os, sys, threading, time
from pipeline import progress
def work(update, items=4, pause=0.15):
    for item in range(items):
        time.sleep(pause)
        update(item + 1)
"""
TRACK = "with progress.track('images', 4, 'images') as update: work(update)\n"
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _usual_level() -> Iterator[None]:
    progress.set_level()
    yield
    progress.set_level()


@contextlib.contextmanager
def started(
    code: str | list[str], folder: Path = PROJECT, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], bytes]]]:
    """Start Python code with a terminal for stderr; yield it, and a function for all it shows."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    usual = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, *(["-c", BEGIN + code] if isinstance(code, str) else code)],
        cwd=folder,
        env=usual | {"TERM": "xterm-256color", "PYTHONPATH": str(PROJECT)} | variables,
        stdout=subprocess.PIPE,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)

    def shown() -> bytes:
        """Return what has been shown until nobody has the terminal open any more."""
        seen = b""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if select.select([terminal], [], [], 1)[0]:
                    seen += os.read(terminal, 65536)
            except OSError:  # EIO: the last one has closed it
                return seen
        raise AssertionError(seen)

    try:
        yield process, shown
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def on_terminal(code: str | list[str], folder: Path = PROJECT, **variables: str) -> bytes:
    with started(code, folder, **variables) as (process, shown):
        seen = shown()
        assert process.wait(10) == 0, seen
    return seen


def last_screen(seen: bytes) -> str:
    """Return what is left to read of the terminal's lines: what was not erased again."""
    kept: list[str] = []
    for line in seen.decode().split("\n"):
        erased = re.search(r"\x1b\[2K", line)
        kept.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", "" if erased else line))
    return "".join(f"{line}\n" for line in kept if line.strip())


def test_terminal_shows_a_bar_with_rate_and_time_left_that_goes_away() -> None:
    seen = on_terminal(TRACK)
    text = COLOUR.sub(b"", seen).decode()
    assert re.search(r"images ━.* [1-4]/4 [0-9.]+ images/s 0:00:0\d left", text)
    assert last_screen(seen) == ""
    assert COLOUR.search(seen)


def test_no_color_is_honoured() -> None:
    codes = COLOUR.findall(on_terminal(TRACK, NO_COLOR="1"))
    assert not [code for code in codes if re.search(rb"\[(.*;)?(3|4|9|10)\d", code)]


def test_terminal_that_cannot_draw_is_written_to_as_a_pipe_is() -> None:
    code = "progress.HEARTBEAT_S = 0.2\n" + TRACK
    seen = on_terminal(code, TERM="dumb").decode()
    assert "\x1b" not in seen
    assert re.match(r"images: [1-3] of 4 images, [0-9.]+/s, \d s left\r\n", seen)


@pytest.mark.parametrize("timed", [False, True])
def test_quiet_shows_nothing(timed: bool) -> None:
    code = TRACK.replace("track(", "track_timed(").replace("s')", "s', 60)") if timed else TRACK
    assert on_terminal(f"progress.silence(); progress.note('a')\n{code}") == b""


def test_results_on_stdout_are_whole_while_a_bar_is_drawn() -> None:
    code = TRACK.replace("work(update)", "work(update); print('a result')")
    with started(code) as (process, shown):
        seen = shown()
        assert process.communicate()[0] == b"a result\n"
    assert b"a result" not in seen


STEPS = """
@progress.steps("read it", "write it")
def both():
    progress.next_step()
    progress.next_step()  # one too many is none
both()
"""


def test_terminal_shows_numbered_steps() -> None:
    assert on_terminal(STEPS) == b"[1/2] read it\r\n[2/2] write it\r\n"


def test_short_steps_are_silent_elsewhere_and_told_with_verbose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def both() -> None:
        with progress.steps("read it", "write it"):
            progress.next_step()

    both()
    assert capsys.readouterr().err == ""
    progress.set_level(verbose=True)
    both()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0::2] == ["[1/2] read it", "[2/2] write it"]
    assert all(re.fullmatch(r"  took 0\.\d\d s", line) for line in lines[1::2])


def test_long_steps_are_told_elsewhere_and_stand_before_what_follows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    progress.note("begin")
    with progress.steps("read it", "look at it", "write it"):
        clock += 9
        progress.next_step()
        clock += 2
        progress.next_step()
        with progress.track("images", 10, "images") as update:
            clock += 20
            update(5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "begin",
        "[3/3] write it",
        "[3/3] images: 5 of 10 images, 0.2/s, 20 s left",
    ]


def test_details_are_told_with_verbose_alone(capsys: pytest.CaptureFixture[str]) -> None:
    progress.detail("one")
    assert capsys.readouterr().err == ""
    progress.set_level(verbose=True)
    progress.detail("one\ntwo")
    progress.details("settings", {"threads": 2, "batch": 16})
    progress.details("nothing", {})
    assert capsys.readouterr().err == "  one\\ntwo\n  settings: threads 2, batch 16\n"


# A timed region


def test_timed_region_is_drawn_by_another_process() -> None:
    code = """
with progress.track_timed('images', 4, 'images', 60) as update:
    terminal = os.dup(2)
    os.close(2)  # whatever this process drew or printed now would fail
    work(update, pause=1.1)
    assert threading.active_count() == 1
    assert 'rich' not in sys.modules
os.dup2(terminal, 2)
"""
    seen = on_terminal(code)
    assert re.search(r"images ━.* [1-4]/4 [0-9.]+ images/s", COLOUR.sub(b"", seen).decode())
    assert last_screen(seen) == ""


def test_timed_region_elsewhere_is_a_line_every_ten_seconds_of_another_process() -> None:
    code = f"""{BEGIN}
from pipeline import progress_aside
beats = "from pipeline import progress; progress.HEARTBEAT_S = 0.5; "
start = progress_aside.subprocess.Popen
def patched(words, **how):
    return start([*words[:3], beats + words[3], *words[4:]], **how)
progress_aside.subprocess.Popen = patched
with progress.track_timed('images', 4, 'images', 60) as update:
    work(update, pause=1.1)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    lines = done.stderr.splitlines()
    assert lines
    assert all(re.fullmatch(r"images: [1-3] of 4 images, .* s left", line) for line in lines)


def test_short_timed_region_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_aside, "_start", lambda *_: pytest.fail("a process was started"))
    with progress.track_timed("images", 4, "images", progress.HEARTBEAT_S - 0.1) as update:
        update(4)


def test_work_goes_on_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(progress_aside, "_start", fail)
    with progress.track_timed("images", 4, "images", 60) as update:
        update(4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_process_that_draws_ends_with_the_one_that_works(number: int) -> None:
    code = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
with progress.track_timed('images', 4, 'images', 60) as update:
    print('ready', flush=True)
    work(update, pause=30)
"""
    with started(code) as (process, shown):
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, number)
        seen = shown().decode()  # ends when nobody has the terminal open any more
        assert process.wait(10) in (-number, 1)
    assert seen.count("Traceback") == (number == signal.SIGINT)  # the worker's own


def test_runner_draws_aside(tmp_path: Path) -> None:
    models.save_classifier(tmp_path / "m.onnx", size=SIZE)
    write_data(tmp_path, 40)
    code = """
import benchmark
from cli import door
progress.LEAST_SHOWN_S = 0
progress.bar = None  # of this process
flags = ['-om_path=m.onnx', '-input_text_path=data.info', '-v']
assert door.enter(benchmark.build_parser(), benchmark.call, flags) == 0
"""
    text = COLOUR.sub(b"", on_terminal(code, tmp_path)).decode()
    assert re.search(r"\[3/4\] benchmark ━.* 0/40 ", text)
    assert re.findall(r"\[\d/4\] [a-z ]+", text)[0] == "[1/4] look at the inputs"
    said = ("settings: mode dataset", "engine ", "versions: ", "seconds: total ", "unverified (")
    for words in said:
        assert words in text
