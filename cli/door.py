"""The frame around every front door: parse, make one call, print a verdict, leave with a code.

Exit codes: 0 good, 1 the work failed or its result is bad, 2 the command line is wrong,
130 interrupted by Ctrl-C, 143 ended by SIGTERM, 129 by SIGHUP. Results go to stdout, everything
else to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import io
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TextIO

from cli import interrupts
from pipeline.errors import PipelineError, one_line

_SPACE = "free some space or choose another folder"
_TRACEBACK = "run again with -v for the traceback"
# What to do next after an error of the operating system.
_NEXT = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EROFS: "choose a folder that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "give a file, not a folder",
    errno.EEXIST: "move it, or give another name",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "mend the link, which leads back to itself",
    errno.ENOMEM: "close other programs, or use fewer workers",
    errno.EAGAIN: "use fewer workers, or raise the limit on processes (ulimit -u)",
    errno.ESTALE: "the folder on the server has changed: enter it anew",
    errno.EIO: "look into the system's log: the medium may be failing",
}
# What libraries say, each in its own words, where there is too little memory for them.
_NO_MEMORY = (
    "out of memory",
    "cannot allocate memory",
    "failed to allocate",
    "bad_alloc",
    "failed to map segment",  # a library that was to be loaded
    "can't start new thread",  # which needs a stack
)

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
        self.exit(EXIT_USAGE, one_line(f"{self.prog}: error: {message}; see {self.prog} --help"))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Leave with `status` after one line, if there is one to say."""
        if message:
            with contextlib.suppress(OSError):  # what cannot be said does not change the code
                _print(message, sys.stderr)
        sys.exit(status)

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


def say(text: str) -> None:
    """Print one line of a stage's result to stdout."""
    _print(one_line(text), sys.stdout)


def complain(text: str) -> None:
    """Print one line of what went wrong to stderr; `--quiet` does not silence it."""
    _print(one_line(text), sys.stderr)


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
            mend_streams()
            return _enter(parser, call, argv, asked_to_end)
        except OSError:
            return EXIT_FAILED  # the reader left (`| head`), or stderr is full: nobody to tell
        finally:
            asked_to_end.leave()
            _empty_streams()
            if asked_to_end.told and (last or argv is None):
                asked_to_end.end()


def _enter(
    parser: Parser,
    call: Callable[[argparse.Namespace], Verdict],
    argv: Sequence[str] | None,
    asked_to_end: interrupts.Interrupts,
) -> int:
    verbose = False
    try:
        args = parser.parse(argv)
        verbose = args.verbose
        if args.quiet:
            from pipeline import progress

            progress.silence()
        verdict = call(args)
        word = "OK" if verdict.good else "FAILED"
        _print(one_line(f"{word}: {verdict.text}"), sys.stderr if verdict.aside else sys.stdout)
        return EXIT_GOOD if verdict.good else EXIT_FAILED
    except (KeyboardInterrupt, Exception) as error:
        if asked_to_end.caused(error):
            asked_to_end.leave(told=True)
            how = "what is done is kept, the same command goes on from here"
            if isinstance(error, KeyboardInterrupt) and str(error):
                how = f"{error}; {how}"  # how far it came, where the stage tells
            with contextlib.suppress(OSError):  # the terminal may be gone, and the code still tells
                complain(f"{parser.prog}: error: {asked_to_end}; {how}")
            return asked_to_end.code
        if isinstance(error, BrokenPipeError) and _a_reader_left():
            raise
        if verbose:
            traceback.print_exc()
        complain(f"{parser.prog}: error: {_one_line(error)}")
        return EXIT_FAILED


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


def _one_line(error: BaseException) -> str:
    """Say in one line what went wrong, where, and what to do next."""
    if isinstance(error, PipelineError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        env = Path(__file__).resolve().parent.parent / "env.sh"
        return f"the Python package {error.name!r} is not installed; first run: source {env}"
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        where = f": {name if isinstance(name, int) else os.fsdecode(name)}" if name else ""
        return f"{error.strerror}{where}; {_NEXT.get(error.errno or 0, _TRACEBACK)}"
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(word in text.lower() for word in _NO_MEMORY):
        return "out of memory; use a smaller batch or fewer workers, or raise the limit (ulimit -v)"
    return f"unexpected {type(error).__name__}: {text[:300]}; {_TRACEBACK}"


def _print(line: str, stream: TextIO) -> None:
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        error.filename = "the output" if stream is sys.stdout else "the messages"
        raise


def _a_reader_left() -> bool:
    """Say whether what broke is stdout or stderr, and not some pipe between processes."""
    watched = select.poll()
    for number in (1, 2):
        watched.register(number, 0)
    return any(state & select.POLLERR for _, state in watched.poll(0))


def mend_streams() -> None:
    """Make every stream one that takes whatever there is to say.

    A closed one (`>&-`) is replaced by the null device: else the next file that is opened would
    get its number, and whatever a library prints would go into that file. What a stream cannot
    encode it shows escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given out first, and this is the lowest.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _empty_streams() -> None:
    """Point a stream that takes no more at nothing, or the interpreter complains of it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
