"""The frame around every front door: one-line errors, closest words, exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import re
import subprocess
import sys
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
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), 1, "x.bin; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "d"), 1, "d; check the permissions"),
        (ModuleNotFoundError("No module", name="torch"), 1, "'torch' is not installed"),
        (MemoryError(), 1, "out of memory"),
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


def front_door(
    call: str,
    *,
    env: dict[str, str] | None = None,
    closed: tuple[int, ...] = (),
    stdout: int | IO[bytes] = subprocess.PIPE,
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
        stderr=subprocess.PIPE,
        preexec_fn=close,
    )
