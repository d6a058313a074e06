"""Ctrl-C, SIGTERM and SIGHUP: each one KeyboardInterrupt in the main thread, never a traceback."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AT_ONCE_S = 1.0  # signals that come so soon one after another are one
_AGAIN_S = 0.02


class Interrupts:
    """While the block works, a signal that asks the process to end raises KeyboardInterrupt in it.

    What holds files and processes then lets go of them on its way out, whichever signal it was. Two
    that come at once, as a closing terminal and timeout(1) send them, are one; one more after a
    second breaks off a clean-up that hangs. A signal that the process was started to ignore (as
    by nohup) stays ignored, and outside of the main thread nothing changes.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGINT  # the one that was heard last
        self._heard_s = -AT_ONCE_S
        self._leaving = False
        self.told = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}
        self._unraisable: Callable[[Any], Any] = sys.unraisablehook

    def __enter__(self) -> Interrupts:
        for number in NUMBERS:
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler):
                try:
                    signal.signal(number, self._hear)
                except ValueError:  # not the main thread
                    break
                self._before[number] = before
        if self._before:
            self._unraisable = sys.unraisablehook
            sys.unraisablehook = self._raise_again
        return self

    def __exit__(self, *rest: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._before:
            sys.unraisablehook = self._unraisable
            atexit.unregister(_let_go)  # once, however many blocks there were
            atexit.register(_let_go)

    @property
    def code(self) -> int:
        """The exit code that tells of the signal, as shells have it."""
        return 128 + self.number

    def __str__(self) -> str:
        if self.number == signal.SIGINT:
            return "interrupted"
        return f"ended by {signal.Signals(self.number).name}"

    def caused(self, error: BaseException | None) -> bool:
        """Say whether `error` is a KeyboardInterrupt, or comes of one.

        Extension modules make an ImportError of one that comes up while they are loaded, and the
        work that it breaks off may fail at once in its own way.
        """
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            if isinstance(error, KeyboardInterrupt):
                return True
            seen.add(id(error))
            error = error.__cause__ or error.__context__
        return time.monotonic() - self._heard_s < AT_ONCE_S

    def leave(self, told: bool = False) -> None:
        """Have every signal from here on end the process at once; all is done, or `told`."""
        self._leaving = True
        self.told = self.told or told

    def end(self) -> NoReturn:
        """End the process, all clean-up included, without taking the interpreter down.

        With torch loaded that alone takes a second, to no purpose.
        """
        atexit._run_exitfuncs()
        os._exit(self.code)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            os._exit(128 + number)  # a forked process, which its parent ends
        now = time.monotonic()
        if now - self._heard_s < AT_ONCE_S:
            return
        self.number, self._heard_s = number, now
        if self._leaving:
            os._exit(self.code)
        raise KeyboardInterrupt

    def _raise_again(self, unraisable: Any) -> None:
        """Bring back a KeyboardInterrupt that came up where none can be raised, as in `__del__`."""
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            self._unraisable(unraisable)
            return
        import threading

        self._heard_s -= AT_ONCE_S
        # A little later, when this function has ended: what it raises is not raised either.
        again = [threading.main_thread().ident, self.number]
        threading.Timer(_AGAIN_S, signal.pthread_kill, again).start()


def _let_go() -> None:
    """Let the interpreter shut down in peace: the work is done, and a handler would be in the way.

    SIGTERM still ends it, should that hang.
    """
    for number in NUMBERS:
        ends = number == signal.SIGTERM
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL if ends else signal.SIG_IGN)
