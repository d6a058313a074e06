"""The frame around every front door: parse, make one call, print a verdict, leave with a code.

Exit codes: 0 good, 1 the work failed or its result is bad, 2 the command line is wrong,
130 interrupted by Ctrl-C. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline.errors import PipelineError

EXIT_GOOD = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Verdict:
    """The last line of a stage: counts, time and path of the result in `text`.

    It goes to stdout, or to stderr where `aside` says that stdout is for a program to read.
    """

    text: str
    good: bool = True
    aside: bool = False


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and name the closest right word.

    `description` is the docstring of the script; `example` stands at the end of `--help`.
    """

    def __init__(self, description: str, example: str) -> None:
        super().__init__(
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument(
            "-v", "--verbose", action="store_true", help="show the traceback of an error"
        )
        self.add_argument(
            "-q", "--quiet", action="store_true", help="no progress, only the result and errors"
        )

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse `argv` (default: the process's own); an unknown option is refused, not guessed."""
        args, unknown = self.parse_known_args(argv)
        if unknown:
            self.error(f"unknown argument: {unknown[0]}{self._closest(unknown[0])}")
        return args

    def error(self, message: str) -> NoReturn:
        """Leave with the usage code after one line."""
        self.exit(EXIT_USAGE, f"{self.prog}: error: {message}; see {self.prog} --help\n")

    def _closest(self, word: str) -> str:
        options = [name for action in self._actions for name in action.option_strings]
        return did_you_mean(word.split("=", 1)[0], options)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the docstring's line breaks and show each default that says something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if text and action.option_strings and action.default not in (None, False, "==SUPPRESS=="):
            text += f" (default: {action.default})"
        return text


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """Return `` (did you mean X?)`` for the closest of `words`, or an empty string."""
    close = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def choice(*words: str) -> Callable[[str], str]:
    """Return an argparse type that takes one of `words`, in any case, and else lists them."""

    def parse(text: str) -> str:
        if text.lower() in words:
            return text.lower()
        raise argparse.ArgumentTypeError(
            f"{text!r} is not one of {', '.join(words)}{did_you_mean(text, words)}"
        )

    return parse


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return an argparse type that takes a whole number from `least` to `most`, both included."""

    def parse(text: str) -> int:
        span = f"from {least} to {most}" if most is not None else f"of at least {least}"
        if not text.isascii() or not text.isdigit():
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {span}")
        number = int(text)
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{text} is not a whole number {span}")
        return number

    return parse


def enter(
    parser: Parser,
    call: Callable[[argparse.Namespace], Verdict],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the arguments, make the one call, print its verdict; return the exit code."""
    args = parser.parse(argv)
    if args.quiet:
        from pipeline import progress

        progress.silence()
    try:
        verdict = call(args)
        stream = sys.stderr if verdict.aside else sys.stdout
        word = "OK" if verdict.good else "FAILED"
        print(f"{word}: {verdict.text}", file=stream, flush=True)
        return EXIT_GOOD if verdict.good else EXIT_FAILED
    except KeyboardInterrupt:
        _say(parser.prog, "interrupted; what was complete is kept, the same command starts again")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our stdout left (`| head`). Point stdout at nothing, so that the
        # interpreter's own flush at exit does not complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        if args.verbose:
            traceback.print_exc()
        _say(parser.prog, _one_line(error))
        return EXIT_FAILED


def _one_line(error: Exception) -> str:
    """Say in one line what went wrong, where, and what to do next."""
    if isinstance(error, PipelineError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        env = Path(__file__).resolve().parent.parent / "env.sh"
        return f"the Python package {error.name!r} is not installed; first run: source {env}"
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        hint = {
            errno.ENOSPC: "; free some space or choose another folder",
            errno.EDQUOT: "; free some space or choose another folder",
            errno.EACCES: "; check the permissions",
            errno.EROFS: "; choose a folder that can be written",
        }.get(error.errno or 0, "")
        return f"{error.strerror}{where}{hint}"
    if isinstance(error, MemoryError):
        return "out of memory; use a smaller batch or fewer workers"
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {text[:300]}; run again with -v for the traceback"


def _say(prog: str, message: str) -> None:
    print(f"{prog}: error: {message}", file=sys.stderr, flush=True)  # noqa: T201
