"""Where results go, checked before the work that makes them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import PipelineError

_MOST_NAME = 255  # bytes, on nearly every file system
_BESIDE = "..record.json.partial"  # what is longest of what is put around a result's name


def check_file(target: Path, inputs: Iterable[Path] = (), *, make_parent: bool = False) -> None:
    """Raise PipelineError where a result could not or must not be written to `target`.

    That is where it is a folder or a device, where its folder is missing (unless the stage makes
    it), where its name leaves no room for that of its record, and where it is one of the `inputs`.
    """
    another = "give the result another name"
    if target.is_dir():
        raise PipelineError(f"{target} is a folder", another)
    if target.exists() and not target.is_file():
        raise PipelineError(f"{target} is no regular file", another)
    if not make_parent and not target.parent.is_dir():
        reason = "is no folder" if target.parent.exists() else "does not exist"
        raise PipelineError(f"the folder {target.parent} {reason}", "make it, or name another one")
    if len(os.fsencode(target.name)) + len(_BESIDE) > _MOST_NAME:
        # Else the result would be made, and its record not.
        raise PipelineError(f"{target}: the name is too long", "give a shorter name")
    for given in inputs:
        if target.exists() and given.exists() and target.samefile(given):
            raise PipelineError(f"{target} is the input {given} itself", another)


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it where they are missing.

    Raises PipelineError, naming it, where a file has one of their names.
    """
    for part in (folder, *folder.parents):
        # A link that leads nowhere does not exist, and yet takes the name.
        if part.is_symlink() and not part.exists():
            raise PipelineError(f"{part} is a link that leads nowhere", "remove it")
        if part.exists():
            if not part.is_dir():
                raise PipelineError(f"{part} is no folder", "move it, or name another folder")
            break
    folder.mkdir(parents=True, exist_ok=True)
