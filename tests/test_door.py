"""The frame around every front door: one-line errors, closest words, exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from cli import door
from pipeline.errors import PipelineError
from tests.conftest import PROJECT


def parser() -> door.Parser:
    made = door.Parser("Do a thing.", "python3 thing.py a b")
    made.prog = "thing.py"
    made.add_argument("source")
    made.add_argument("--engine", type=door.choice("auto", "onnxruntime", "openvino"))
    made.add_argument("--limit", type=door.whole_number(1, 50))
    return made


def enter(argv: list[str], outcome: door.Verdict | BaseException) -> int:
    def call(args: argparse.Namespace) -> door.Verdict:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return door.enter(parser(), call, argv)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "required: source"),
        (["a", "--limt", "3"], "unknown argument: --limt (did you mean --limit?)"),
        (["a", "--engine", "openvin"], "did you mean openvino?"),
        (["a", "--engine", "x"], "'x' is not one of auto, onnxruntime, openvino"),
        (["a", "--limit", "0"], "0 is not a whole number from 1 to 50"),
        (["a", "--limit", "many"], "'many' is not a whole number"),
        (["a", "b"], "unknown argument: b"),
        (["a", "--lim", "3"], "unknown argument: --lim"),
    ],
)
def test_wrong_command_line_is_one_line_and_exit_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        enter(argv, door.Verdict("never"))
    assert left.value.code == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.startswith("thing.py: error: ")
    assert message.count("\n") == 1


def test_verdict_is_the_last_line_of_stdout_and_sets_the_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert enter(["a"], door.Verdict("3 of 3 -> x")) == 0
    assert capsys.readouterr().out == "OK: 3 of 3 -> x\n"
    assert enter(["a"], door.Verdict("2 of 3 -> x", good=False)) == 1
    assert capsys.readouterr().out == "FAILED: 2 of 3 -> x\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PipelineError("a.bin: too short", "make it again"), 1, "a.bin: too short; make it again"),
        (PipelineError("no\nnewline"), 1, "no\\nnewline"),
        (KeyboardInterrupt(), 130, "error: interrupted; what is done is kept"),
        (KeyboardInterrupt("3 of 5 done"), 130, "interrupted; 3 of 5 done; what is done is kept"),
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), 1, "x.bin; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "d"), 1, "d; check the permissions"),
        (ModuleNotFoundError("No module", name="torch"), 1, "'torch' is not installed"),
        (OSError("odd\nthing"), 1, "unexpected OSError: odd thing; run again with -v"),
        (OSError(errno.EBADF, "Bad file descriptor", 7), 1, "Bad file descriptor: 7; run again"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "memory; close other programs"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "Broken pipe; run again with -v"),
        (MemoryError(), 1, "out of memory"),
        (RuntimeError("can't start new thread"), 1, "error: out of memory; use a smaller batch"),
        (ImportError("a.so: failed to map segment from it"), 1, "error: out of memory; use"),
        (RecursionError("too deep"), 1, "unexpected RecursionError: too deep; run again with -v"),
        (ValueError("odd\nvalue"), 1, "unexpected ValueError: odd value; run again with -v"),
    ],
)
def test_error_is_one_line_without_traceback(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enter(["a"], error) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_verbose_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert enter(["a", "-v"], PipelineError("broken")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_help_shows_docstring_example_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    made = parser()
    made.add_argument("--workers", type=int, default=7, help="processes")
    with pytest.raises(SystemExit) as left:
        made.parse(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "Do a thing." in text
    assert "python3 thing.py a b" in text
    assert "processes (default: 7)" in text


def test_pipeline_error_survives_pickling() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(PipelineError("what", "hint")))
    assert (error.what, error.hint) == ("what", "hint")


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "the name is empty"), ("~", "write $HOME"), ("~/a b", "write $HOME/a b")],
)
def test_a_path_that_never_means_a_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(said)):
        door.path(text)
    assert door.path("./~/a") == Path("~/a")
    assert door.path_text("./a/") == "./a/"


NAME = os.fsdecode(b"caf\xe9 \xe7\x8c\xab\n")  # no UTF-8, then a character of it, then a line break


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "ascii:strict", "gb18030"])
def test_a_name_of_any_bytes_can_be_told_on_any_stream(encoding: str) -> None:
    for end in (f"door.Verdict({NAME!r})", f"fail(PipelineError({NAME!r}))", f"open({NAME!r})"):
        done = front_door(f"note({NAME!r}), {end}", env={"PYTHONIOENCODING": encoding})
        told = [line for line in (done.stdout + done.stderr).splitlines() if b"caf\\udce9" in line]
        assert len(told) == 2, done
        assert all(line.endswith((b"\\n", b"check the path")) for line in told)
        assert done.returncode == ("fail" in end or "open" in end)


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1), (0, 1, 2)])
def test_closed_streams_do_not_fail_the_work_nor_take_its_files(
    closed: tuple[int, ...], tmp_path: Path
) -> None:
    target = tmp_path / "made"
    # Whatever a library prints must not go into a file that was opened meanwhile.
    work = f"work({str(target)!r}), note('on the way'), door.Verdict('made')"
    done = front_door(work, closed=closed)
    assert done.returncode == 0, done
    assert target.read_bytes() == b"content"
    assert done.stdout == (b"" if 1 in closed else b"a library\nOK: made\n")
    assert done.stderr == (b"" if 2 in closed else b"on the way\n")


def test_output_that_cannot_be_written_is_one_line_and_exit_1() -> None:
    with Path("/dev/full").open("wb") as full:
        done = front_door("door.Verdict('made')", stdout=full)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device: the output; " in done.stderr


def test_a_reader_that_left_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = front_door("door.Verdict('made')", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_wrong_command_line_has_its_code_though_nobody_can_be_told() -> None:
    with Path("/dev/full").open("wb") as full:
        done = front_door("parser.error('no')", stderr=full)
    assert done.returncode == 2


# Signals

ON = "what is done is kept, the same command goes on from here"
CLEANS_UP = """
def work(number, *more, clean_up=lambda: None):
    try:
        ask(number)
        time.sleep(30)
    finally:
        pathlib.Path(target).unlink()
        for again in more:
            ask(again)
        clean_up()
def ask(number):
    os.kill(os.getpid(), number)
def fail(error):
    raise error
"""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("SIGINT", 130, "interrupted"),
        ("SIGTERM", 143, "ended by SIGTERM"),
        ("SIGHUP", 129, "ended by SIGHUP"),
    ],
)
def test_signal_that_asks_to_end_lets_the_work_clean_up_and_is_one_line(
    name: str, code: int, said: str, tmp_path: Path
) -> None:
    # Once more while it cleans up, as an impatient user and timeout(1) do.
    number = f"signal.{name}"
    for more in ("", f", {number}", f", {number}, signal.SIGTERM, signal.SIGINT"):
        done = asked_to_end(f"work({number}{more})", tmp_path)
        assert done.stderr == f"thing.py: error: {said}; {ON}\n".encode()
        assert (done.returncode, done.stdout) == (code, b"")
        assert not (tmp_path / "temporary").exists()


@pytest.mark.parametrize(
    "clean_up",
    [
        "lambda: fail(OSError(28, 'No space left on device', 'record'))",
        "lambda: fail(PipelineError('worse'))",
        "lambda: (time.sleep(1.1), ask(2), time.sleep(30))",  # hangs, until one asks again
    ],
)
def test_clean_up_that_goes_wrong_does_not_hide_the_interrupt(
    clean_up: str, tmp_path: Path
) -> None:
    done = asked_to_end(f"work(2, clean_up={clean_up})", tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (130, 1), done.stderr
    assert done.stderr.endswith(f"interrupted; {ON}\n".encode())


def test_interrupt_is_told_by_its_code_where_no_line_can_be_written(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        assert asked_to_end("work(2)", tmp_path, stderr=full).returncode == 130


def test_interrupt_while_a_package_loads_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("import os\nos.kill(os.getpid(), 2)\nimport time\n")
    # As extension modules do: what comes up in them becomes an ImportError.
    (tmp_path / "extension.py").write_text(
        "try:\n    import plain\n"
        "except BaseException as error:\n    raise ImportError('no') from error\n"
    )
    # And as some do that have no place for the cause.
    (tmp_path / "forgetful.py").write_text(
        "failed = False\ntry:\n    import plain\n"
        "except BaseException:\n    failed = True\nif failed:\n    raise SystemError('no')\n"
    )
    for name in ("plain", "extension", "forgetful"):
        done = asked_to_end(f"__import__({name!r})", tmp_path)
        assert done.stderr == f"thing.py: error: interrupted; {ON}\n".encode()
        assert done.returncode == 130


def test_interrupt_before_the_work_begins_is_one_line(tmp_path: Path) -> None:
    script = tmp_path / "early.py"
    script.write_text("import os\nfrom cli import door\nos.kill(os.getpid(), 2)\nimport time\n")
    done = subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True
    )
    said = f"early.py: error: interrupted; {ON}\n".encode()
    assert (done.returncode, done.stderr) == (130, said)


def test_interrupt_that_comes_where_none_can_be_raised_is_not_lost(tmp_path: Path) -> None:
    object_ = "type('T', (), {'__del__': lambda self: (ask(2), time.sleep(0.01))})()"
    done = asked_to_end(f"({object_} is None, time.sleep(30))", tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (130, 1), done.stderr


def test_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    done = asked_to_end("ask(1) or door.Verdict('made')", tmp_path, preexec_fn=ignore)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"OK: made\n", b"")


def test_error_long_after_an_interrupt_that_was_dealt_with_is_told_as_what_it_is(
    tmp_path: Path,
) -> None:
    call = "ignore(), time.sleep(1.1), fail(PipelineError('broken'))"
    ignore = "def ignore():\n try: ask(2); time.sleep(30)\n except KeyboardInterrupt: pass"
    done = asked_to_end(call, tmp_path, more=ignore)
    assert (done.returncode, done.stderr) == (1, b"thing.py: error: broken\n")


def test_processes_end_with_the_one_that_was_asked_to_end(tmp_path: Path) -> None:
    share = "lambda start, stop: [time.sleep(30)]"
    more = f"def shares():\n from pipeline import shares as s\n list(s.run({share}, [0, 1, 2]))"
    timer = "threading.Timer(0.3, ask, [15]).start()"
    done = asked_to_end(f"({timer}, shares())", tmp_path, more=more)
    assert (done.returncode, done.stderr.count(b"\n")) == (143, 1), done.stderr


def test_handlers_are_as_before_when_the_door_closes() -> None:
    before = [signal.getsignal(number) for number in (2, 15, 1)]
    assert enter(["a"], PipelineError("no")) == 1
    assert [signal.getsignal(number) for number in (2, 15, 1)] == before
    assert "PYTHONSAFEPATH" not in os.environ


def test_processes_that_start_take_no_module_from_the_current_folder(tmp_path: Path) -> None:
    for name in ("random", "pickle", "struct", "tempfile", "socket"):
        (tmp_path / f"{name}.py").write_text("open('pwned', 'w')\n")
    more = (
        "def length():\n from pipeline import workers as w\n"
        " with w.running(len, ['ab'], 1) as found:\n  return [*found]"
    )
    done = asked_to_end("door.Verdict(str(length()))", tmp_path, more=more, path=False)
    assert done.stdout == b"OK: [2]\n", done.stderr
    assert not (tmp_path / "pwned").exists()


def asked_to_end(
    call: str,
    folder: Path,
    more: str = "",
    path: bool = True,
    stderr: int | IO[bytes] = subprocess.PIPE,
    preexec_fn: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a front door, a script in `folder`, that has a temporary file there."""
    target = folder / "temporary"
    target.touch()
    script = folder / "bin" / "thing.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"""
import os, pathlib, signal, sys, threading, time
from cli import door
from pipeline.errors import PipelineError
target = {str(target)!r}
{CLEANS_UP}
{more}
if __name__ == "__main__":
    parser = door.Parser("Do a thing.", "thing.py")
    parser.prog = "thing.py"
    sys.exit(door.enter(parser, lambda args: ({call})))
""")
    paths = [str(PROJECT), *([str(folder)] if path else [])]
    return subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": ":".join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        preexec_fn=preexec_fn,
        timeout=20,
    )


def front_door(
    call: str,
    *,
    env: dict[str, str] | None = None,
    closed: tuple[int, ...] = (),
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.CompletedProcess[bytes]:
    """Run a front door of its own process whose call ends with the value of `call`."""
    code = f"""
import os, sys
from cli import door
from pipeline.errors import PipelineError
from pipeline.progress import note
def fail(error): raise error
def work(path):
    with open(path, "wb") as file:
        os.write(1, b"a library\\n")
        file.write(b"content")
parser = door.Parser("Do a thing.", "thing.py")
parser.prog = "thing.py"
sys.exit(door.enter(parser, lambda args: ({call},)[-1], []))
"""

    def close() -> None:
        for number in closed:
            os.close(number)

    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=close,
    )
