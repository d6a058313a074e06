"""The folder that the preprocessing fills: what lies there, whose it is, and what has to go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pipeline import prepare_worker, record
from pipeline.errors import PipelineError

STAGE = "preprocess"
LABEL_FILE = "val_label.txt"
_UNFINISHED_LABELS = f".{LABEL_FILE}.partial"


def refuse_nested(source: Path, target: Path) -> None:
    """Raise PipelineError where the output folder lies in the image folder, or is it."""
    inner, outer = target.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise PipelineError(
            f"the output folder {target} lies in the image folder {source}",
            "name one outside of it",
        )


def stale_files(target: Path, planned: Sequence[str]) -> list[str]:
    """Return what an earlier run left in `target` and this one does not make again.

    Raises PipelineError where `target` holds files of others that would pass for outputs.
    """
    if not target.exists():
        return []
    if not target.is_dir():
        raise PipelineError(f"{target} is no folder", "name another one for the outputs")
    known = record.load(target)
    ours: set[str] = set()
    if known is not None and known["stage"] == STAGE:
        files = known["details"].get("files")
        ours = {str(name) for name in files} if isinstance(files, list) else set()
    names = {entry.name for entry in os.scandir(target)}
    kept = {name for name in names if name.endswith(".bin") or name == LABEL_FILE}
    foreign = kept - ours - {name for name in planned if name != LABEL_FILE}
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise PipelineError(
            f"{target} holds {min(foreign)}{others}, which this program did not make",
            "choose another folder, or remove them",
        )
    return sorted((kept & ours) - set(planned))


def clear(target: Path, stale: Sequence[str]) -> None:
    """Remove what earlier runs have left and this one does not make, temporary files included."""
    _remove(target, [*prepare_worker.leftovers(target), _UNFINISHED_LABELS, *stale])
    if (target / LABEL_FILE).is_symlink():
        _remove(target, [LABEL_FILE])  # what it leads to was not made here


@contextlib.contextmanager
def clearing(target: Path) -> Iterator[None]:
    """Remove the temporary files in `target` when the block has ended, in whatever way."""
    try:
        yield
    finally:
        # Another error may be on its way, and is the one to tell.
        with contextlib.suppress(OSError):
            _remove(target, prepare_worker.leftovers(target))


def check_all_there(target: Path, planned: Sequence[str], refused: Collection[str]) -> None:
    """Raise PipelineError where an output that was made is gone; `refused` have none."""
    with os.scandir(target) as entries:
        names = {entry.name for entry in entries}
    if gone := sorted(set(planned).difference(refused, names)):
        others = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise PipelineError(
            f"{gone[0]}{others} vanished from {target} while it was filled",
            "run the same command again",
        )


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
