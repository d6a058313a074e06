"""What of a work folder goes into a report: figures, records, logs, and a listing of the rest."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pipeline import record

_MOST_LOG = 128 << 10  # bytes of one log
_MOST_TEXT = 64 << 10  # bytes of a perf or result file
_MOST_RECORD = 64 << 20  # a record of all of ImageNet has fewer; what is taken of it is short
_MOST_ITEMS = 200  # of a list in a record
_MOST_LINES = 2000  # of the listing
_DEPTH = 4  # folders below the work folder in which figures and logs are looked for

# Lists of names of pictures, in records and in the summaries of ais_bench.
_NAMES = frozenset(("files", "refused", "missing", "classes", "filesinfo", "infiles", "outfiles"))
_PERF = re.compile(
    r"(perf_\w+_batchsize_\d+_devices?_[\d_]+|PureInfer_perf_of_.+_in_device_\d+)\.txt"
)
_AIPP = re.compile(r".*\.(cfg|config|aippconfig)")
_SHOWN = re.compile(
    r".*\.(onnx|om|info|json|log|cfg|config|aippconfig|xml|pth|ledger|lock|md)|\.[\w.]+|benchmark\.\w+"
)


def is_work_folder(folder: Path) -> bool:
    """Say whether a run has been in the folder: from any other nothing must be taken."""
    names = ("*" + record.SUFFIX, "*.om", "perf_*_batchsize_*.txt", "PureInfer_perf_of_*.txt")
    return any(
        next(place.glob(name), None) for place in (folder, folder / "result") for name in names
    )


def collected(work: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of all that is taken of the folder `work`; no link is followed."""
    files = sorted(_walk(str(work), ""))
    for name, status in files:
        if name.count("/") > _DEPTH or not stat.S_ISREG(status.st_mode):
            continue
        text = _taken(work / name, status.st_size)
        if text is not None:
            yield name, text
    yield "listing.txt", _listing(files)


def tail(file: Path, most: int) -> str:
    """Return the end of a text file, of at most `most` bytes, from the beginning of a line."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - most))
            data = stream.read(most)
    except OSError as error:
        return f"[cannot be read: {error.strerror}]\n"
    if b"\0" in data:
        return "[left out: no text]\n"
    left_out = size - len(data)
    if left_out:
        # A name that is cut in two would no longer be known by the mask.
        cut = data.find(b"\n") + 1 or len(data)
        left_out, data = left_out + cut, data[cut:]
        return f"[{left_out} bytes before this left out]\n" + data.decode(errors="replace")
    return data.decode(errors="replace")


def _taken(file: Path, size: int) -> str | None:
    """Return what is taken of a file, or None where it is none of those that are."""
    name = file.name
    if name.endswith(record.SUFFIX):
        return _pruned_file(file, size)
    if name.endswith(".log"):
        return tail(file, _MOST_LOG)
    if size > _MOST_TEXT and not name.endswith("summary.json"):
        return None
    if _PERF.fullmatch(name):
        return tail(file, _MOST_TEXT)
    if name.endswith(".json") and size <= _MOST_RECORD:
        return _figures(file)
    if _AIPP.fullmatch(name):
        text = tail(file, _MOST_TEXT)
        return text if "aipp_op" in text else None
    return None


def _figures(file: Path) -> str | None:
    """Return a JSON file where it is a result, a summary of ais_bench or atc's own check."""
    content = _read_json(file)
    kinds = ({"title", "value"}, {"throughput"}, {"NPU_compute_time"})
    known = isinstance(content, dict) and any(kind <= set(content) for kind in kinds)
    if known or (content is not None and file.name == "check_result.json"):
        return _to_text(_pruned(content))
    return None


def _pruned_file(file: Path, size: int) -> str:
    content = _read_json(file) if size <= _MOST_RECORD else None
    if content is None:
        return f"[{size} bytes that are no record]\n"
    return _to_text(_pruned(content))


def _pruned(content: object) -> object:
    """Return JSON without names of pictures and without the rest of long lists."""
    if isinstance(content, dict):
        return {
            key: f"[{len(value)} left out]"
            if key in _NAMES and isinstance(value, list | dict)
            else _pruned(value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        kept = [_pruned(value) for value in content[:_MOST_ITEMS]]
        more = len(content) - len(kept)
        return [*kept, f"[{more} more left out]"] if more else kept
    return content


def _read_json(file: Path) -> object | None:
    try:
        content: object = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content


def _to_text(content: object) -> str:
    # As they are and not escaped, or the mask would not know them.
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (relative name, status) of all that is no folder."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith("."):
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
        else:
            with contextlib.suppress(FileNotFoundError):  # a run may be going on
                yield prefix + entry.name, entry.stat(follow_symlinks=False)


def _listing(files: list[tuple[str, os.stat_result]]) -> str:
    """Return name and size of each file; of data, how many in a folder and how large."""
    lines, data = [], defaultdict(list)
    for name, status in files:
        folder, _, last = name.rpartition("/")
        if _SHOWN.fullmatch(last) or _PERF.fullmatch(last) or last == "val_label.txt":
            is_link = stat.S_ISLNK(status.st_mode)
            lines.append((name, "a link" if is_link else f"{status.st_size:,} bytes"))
        else:
            end = re.search(r"\.\w{1,5}$", last)
            data[f"{folder}/*{end[0] if end else ''}".lstrip("/")].append(status.st_size)
    for name, sizes in data.items():
        span = f"{min(sizes):,}" + (f" to {max(sizes):,}" if min(sizes) < max(sizes) else "")
        lines.append((name, f"{len(sizes):,} files of {span} bytes, {sum(sizes):,} together"))
    lines.sort()
    shown = [f"{name}: {what}\n" for name, what in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"[{len(lines) - _MOST_LINES} more left out]\n")
    return "".join(shown)
