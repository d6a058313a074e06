"""An exception as the one line that a front door says of it: what, where, what to do next."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pipeline.errors import PipelineError

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


def sentence(error: BaseException) -> str:
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
