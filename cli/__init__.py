"""What the commands of this project share as commands: arguments, messages, exit codes.

The rooms in `pipeline` know nothing of a command line; the scripts at the top level are
front doors, and this is their common door frame.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def _tell_an_interrupt(kind: type[BaseException], *rest: Any) -> None:
    """Tell a Ctrl-C that comes while modules load, before `door.enter`, in one line."""
    if not issubclass(kind, KeyboardInterrupt):
        _as_ever(kind, *rest)
        return
    try:
        name = os.fsencode(sys.argv[0]).rpartition(b"/")[2]
        how = b"what is done is kept, the same command goes on from here"  # as door.enter says
        os.write(2, name + b": error: interrupted; " + how + b"\n")
    finally:
        os._exit(130)


_as_ever = sys.excepthook
sys.excepthook = _tell_an_interrupt
