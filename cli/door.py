"""The frame around every front door: parse, make one call, print a verdict, leave with a code.

Exit codes: 0 good, 1 the work failed or its result is bad, 2 the command line is wrong,
130 interrupted by Ctrl-C, 143 ended by SIGTERM, 129 by SIGHUP. Results go to stdout, everything
else to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cli import failures, interrupts, streams
from pipeline import progress
from pipeline.errors import one_line

EXIT_GOOD = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


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
            "-v",
            "--verbose",
            action="store_true",
            help="details on stderr: settings, versions, what was chosen and why, what each step "
            "took, and the traceback of an error",
        )
        self.add_argument(
            "-q",
            "--quiet",
            action="store_true",
            help="no progress and no remarks, only results and errors",
        )

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse `argv` (default: the process's own); an unknown option is refused, not guessed."""
        args, unknown = self.parse_known_args(argv)
        if unknown:
            self.error(f"unknown argument: {unknown[0]}{self._closest(unknown[0])}")
        if args.quiet and args.verbose:
            self.error("--quiet and --verbose exclude each other")
        return args

    def error(self, message: str) -> NoReturn:
        """Leave with the usage code after one line."""
        self.exit(EXIT_USAGE, one_line(f"{self.prog}: error: {message}; see {self.prog} --help"))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Leave with `status` after one line, if there is one to say."""
        if message:
            with contextlib.suppress(OSError):  # what cannot be said does not change the code
                streams.print_line(message, sys.stderr)
        sys.exit(status)

    def _closest(self, word: str) -> str:
        if not word.startswith("-"):
            return ""
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        names = [name for action in shown for name in action.option_strings]
        closest = did_you_mean(word.split("=", 1)[0], names)
        options = (max(a.option_strings, key=len) for a in shown if a.option_strings)
        return f"{closest}, the options are {', '.join(options)}"


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the docstring's line breaks, and show each option's default, or that it is required."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help, action.default
        if not text or not action.option_strings or action.nargs == 0 or "default:" in text:
            return text
        if action.required:
            return f"{text} (required)"
        if default in (None, "", argparse.SUPPRESS):
            return text
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        return f"{text} (default: {str(default).lower() if default in (True, False) else default})"


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """Return `` (did you mean X?)`` for the closest of `words`, or an empty string."""
    close = difflib.get_close_matches(word.lower(), words, n=1)
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


def path(text: str) -> Path:
    """Return `text` as a path: an argparse type that refuses what never means a file."""
    return Path(path_text(text))


def path_text(text: str) -> str:
    """Return `text` as it is, an argparse type as `path`, for who keeps a leading `./`."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    if text == "~" or text.startswith("~/"):
        # As in -om_path=~/x. Taken as it is, it would become a folder of that name.
        raise argparse.ArgumentTypeError(
            f"the shell has not expanded the ~ in {text!r}; write $HOME{text[1:]}"
        )
    return text


def mend_streams() -> None:
    """Make every stream one that takes whatever there is to say."""
    streams.mend()


def say(text: str) -> None:
    """Print one line of a stage's result to stdout."""
    streams.print_line(one_line(text), sys.stdout)


def complain(text: str) -> None:
    """Print one line of what went wrong to stderr; `--quiet` does not silence it."""
    streams.print_line(one_line(text), sys.stderr)


def enter(
    parser: Parser,
    call: Callable[[argparse.Namespace], Verdict],
    argv: Sequence[str] | None = None,
    *,
    last: bool = False,
) -> int:
    """Parse the arguments, make the one call, print its verdict; return the exit code.

    With the process's own arguments, or with `last`, nothing follows but the end of the process; an
    interrupt then ends it right here.
    """
    with interrupts.Interrupts() as asked_to_end, _own_modules_only():
        try:
            streams.mend()
            return _enter(parser, call, argv, asked_to_end)
        except OSError:
            return EXIT_FAILED  # the reader left (`| head`), or stderr is full: nobody to tell
        finally:
            asked_to_end.leave()
            streams.empty()
            if asked_to_end.told and (last or argv is None):
                asked_to_end.end()


def _enter(
    parser: Parser,
    call: Callable[[argparse.Namespace], Verdict],
    argv: Sequence[str] | None,
    asked_to_end: interrupts.Interrupts,
) -> int:
    verbose = False
    started = time.monotonic()
    try:
        args = parser.parse(argv)
        verbose = args.verbose
        progress.set_level(quiet=args.quiet, verbose=verbose)
        if verbose:
            _tell_settings(parser, args)
        verdict = call(args)
        code = EXIT_GOOD if verdict.good else EXIT_FAILED
        progress.detail(f"{time.monotonic() - started:.2f} s in all, exit code {code}")
        word = "OK" if verdict.good else "FAILED"
        line = one_line(f"{word}: {verdict.text}")
        streams.print_line(line, sys.stderr if verdict.aside else sys.stdout)
        return code
    except (KeyboardInterrupt, Exception) as error:
        if asked_to_end.caused(error):
            asked_to_end.leave(told=True)
            how = "what is done is kept, the same command goes on from here"
            if isinstance(error, KeyboardInterrupt) and str(error):
                how = f"{error}; {how}"  # how far it came, where the stage tells
            with contextlib.suppress(OSError):  # the terminal may be gone, and the code still tells
                complain(f"{parser.prog}: error: {asked_to_end}; {how}")
            return asked_to_end.code
        if isinstance(error, BrokenPipeError) and streams.a_reader_left():
            raise
        progress.detail(f"failed after {time.monotonic() - started:.2f} s")
        if verbose:
            traceback.print_exc()
        complain(f"{parser.prog}: error: {failures.sentence(error)}")
        return EXIT_FAILED


def _tell_settings(parser: Parser, args: argparse.Namespace) -> None:
    """Tell what is in force: of the process, and of its options."""
    import platform

    system = f"Python {platform.python_version()}, {platform.system()} {platform.release()}"
    progress.detail(f"{parser.prog}: {system}, in {Path.cwd()}")
    given = {
        key: value for key, value in vars(args).items() if value is not None and value is not False
    }
    progress.details("arguments", {k: _shown(v) for k, v in given.items() if k != "verbose"})


def _shown(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


@contextlib.contextmanager
def _own_modules_only() -> Iterator[None]:
    """Keep Python processes that start from here from importing what lies in the current folder.

    multiprocessing starts its own by `python -c`, which looks there first, for `random` as well.
    """
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
