"""The frame around every front door: one-line errors, closest words, exit codes."""

from __future__ import annotations

import argparse
import errno

import pytest

from cli import door
from pipeline.errors import PipelineError


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
