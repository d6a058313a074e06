"""Every parser of files from outside, and what may come of any bytes at all.

A check hands bytes to a parser and returns whether it took them. What the parser's docstring names
as its refusal is no finding; anything else that is raised is one, and so is `Wrong`: an answer that
another way of reading, or writing it again, does not confirm.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np

from pipeline import chain, ledger, record
from pipeline.errors import PipelineError
from pipeline.formats import blocks, dump, info, perf, result
from pipeline.imagenet import labels
from tests.faults import fuzz_samples

T = TypeVar("T")
_LONGEST = 2000  # characters of a refusal; a line that anybody reads has far fewer


class Wrong(Exception):
    """A parser's answer is not right, or its refusal is no line to show."""


@dataclass(frozen=True)
class Parser:
    """A parser: its share of the inputs, valid files for it, and the check of any bytes."""

    name: str
    share: float
    samples: Callable[[Random], list[bytes]]
    check: Callable[[bytes, Path], bool]


def put(path: Path, data: bytes) -> Path:
    """Write `data` to `path` the short way; return `path`."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)
    return path


def attempt(call: Callable[[], T], *refusals: type[Exception]) -> T | None:
    """Return what `call` gives, or None where it refuses in one line of a length to be read."""
    try:
        return call()
    except refusals as error:
        text = str(error)
        odd = [c for c in text if not c.isprintable()] if isinstance(error, PipelineError) else []
        if not text or odd or len(text) > _LONGEST:
            raise Wrong(f"a refusal of {len(text)} characters: {text[:200]!r}") from error
        return None


def expect(holds: object, what: str) -> None:
    """Raise Wrong unless it holds."""
    if not holds:
        raise Wrong(what)


def check_info(data: bytes, folder: Path) -> bool:
    """Read an info file; compare with a plain reading of each line, and write it again."""
    path = put(folder / "input.info", data)
    found = attempt(lambda: info.read_info(path), PipelineError)
    expect(found == _plain_info(data), "not what its words say")
    if found is None:
        return False
    info.write_info(folder / "again.info", found)
    expect(info.read_info(folder / "again.info") == found, "written again it reads otherwise")
    return True


def _plain_info(data: bytes) -> list[info.InfoLine] | None:
    lines = []
    for line in os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n"):
        words = list(re.finditer(r"\S+", line))
        if not words:
            continue
        numbers = [match[0] for match in (words[0], *words[-2:])]
        if len(words) < 4 or not all(re.fullmatch("[0-9]{1,9}", n) for n in numbers):
            return None
        index, width, height = map(int, numbers)
        path = line[words[1].start() : words[-3].end()]
        if not width or not height or "\0" in path:
            return None
        lines.append(info.InfoLine(index, path, width, height))
    return lines or None


def check_labels(data: bytes, folder: Path) -> bool:
    """Read a label file by the quick way and by the other, and write it again."""
    path = put(folder / "val_label.txt", data)
    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))
    quick = labels.read_plain(text)
    other = attempt(lambda: labels.read_any(path, text), PipelineError)
    found = attempt(lambda: labels.read_labels(path), PipelineError)
    expect(not quick or quick == other, "the quick way reads otherwise")
    expect(found == other, "read_labels reads otherwise")
    if found is None:
        return False
    written = attempt(lambda: labels.label_text(found.items()), PipelineError)
    if written is not None:
        put(path, os.fsencode(written))
        expect(labels.read_labels(path) == found, "written again it reads otherwise")
    return True


def check_dump(data: bytes, folder: Path) -> bool:
    """Read a dump in text form by every way there is."""
    found = attempt(lambda: dump.from_text(data), ValueError)
    plain = _plain_dump(data)
    if found is None:
        expect(plain is None, "refused, though all its words are numbers")
    else:
        expect(plain is not None and _same(found, plain), "not the nearest float32")
        values, counts = dump.from_texts([data, b"0.5 ", data])
        expect(counts == [found.size, 1, found.size], "other counts among others")
        expect(_same(values[found.size + 1 :], found), "other values among others")
        again = dump.from_text(dump.to_text(found))
        expect(np.array_equal(again, found, equal_nan=True), "written again it reads otherwise")
    path = put(folder / "x_1.txt", data)
    for size in {1, found.size if found is not None else len(data.split())}:
        rows = _text_rows(min(max(size, 1), 4096)).read([str(path)])
        if rows is not None:
            expect(found is not None and _same(rows[0], found), "the quick way reads otherwise")
    return found is not None


@functools.lru_cache(maxsize=64)
def _text_rows(outputs: int) -> blocks.TextRows:
    return blocks.TextRows(1, outputs)


def _plain_dump(data: bytes) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    try:
        words = [float(word.replace(b"_", b"no")) for word in data.split()]
    except ValueError:
        return None
    return np.array(words, np.float64) if words else None


def _same(one: Any, other: Any) -> bool:
    """Say whether values are the same float32, except where rounding twice may go wrong."""
    if one.shape != other.shape:
        return False
    with np.errstate(over="ignore", under="ignore"):
        narrow = other.astype(np.float32)
    equal = (one == narrow) | (np.isnan(one) & np.isnan(narrow))
    if other.dtype == np.float64 and not equal.all():
        equal |= dump.are_ties(other) & (np.abs(one.view("i4") - narrow.view("i4")) <= 1)
    return bool(equal.all())


def check_binary(data: bytes, folder: Path) -> bool:
    """Read a raw dump into rows of its own length and of another."""
    path = put(folder / "x_1.bin", data)
    taken = False
    for outputs in {5, max(1, len(data) // 4)}:
        rows = blocks.BinaryRows(2, outputs).read([str(path)])
        expect((rows is not None) == (len(data) == 4 * outputs), "another length than it has")
        if rows is not None:
            expect(rows.tobytes() == data, "other bytes than the file's")
            taken = True
    return taken


def check_perf(data: bytes, folder: Path) -> bool:
    """Read a perf file of either kind, and write it again."""
    for text in (data.decode("ascii", "backslashreplace"), data.decode("utf-8", "replace")):
        found = attempt(functools.partial(perf.from_text, text), ValueError)
    if found is None:
        return False
    expect(all(math.isfinite(v) and v >= 0 for v in vars(found).values()), "no rate or latency")
    text = perf.to_text(found)
    expect(perf.to_text(perf.from_text(text)) == text, "written again it reads otherwise")
    return True


def check_result(data: bytes, folder: Path) -> bool:
    """Read a result.json, and write it again."""
    text = data.decode("utf-8", "replace")
    found = attempt(lambda: result.from_text(text), ValueError)
    if found is None:
        return False
    expect(all(0 <= share <= 100 for share in found.percentages), "no percentage")
    shares = [percentage / 100 for percentage in found.percentages]
    again = result.from_text(result.to_text(found.images, found.classes, shares))
    expect((again.images, again.classes) == (found.images, found.classes), "other counts")
    gaps = (abs(a - b) for a, b in zip(again.percentages, found.percentages, strict=True))
    expect(max(gaps, default=0) <= 0.00501, "other percentages")
    return True


def check_record(data: bytes, folder: Path) -> bool:
    """Read a record, and let the next stage and `current` judge by it."""
    output, filled = put(folder / "output", b"it"), folder / "filled"
    filled.mkdir(exist_ok=True)
    for made in (output, filled):
        put(record.path_of(made), data)
    found = attempt(lambda: record.load(output), PipelineError)
    expect(isinstance(record.is_current(output, fuzz_samples.COMMAND), bool), "neither yes nor no")
    attempt(lambda: chain.file(output), PipelineError)
    standing = attempt(lambda: chain.folder(filled, chain.BENCHMARK), PipelineError)
    if standing is not None:
        json.dumps([standing.facts(), chain.after_run(standing)])
    return found is not None


def check_ledger(data: bytes, folder: Path) -> bool:
    """Read a ledger of a session; the lines are mended first, so that the rest is met as well."""
    taken = False
    for content in (data, _with_sums(data)):
        put(ledger.path_of(folder / "filled"), content)
        with ledger.Ledger(folder / "filled", fuzz_samples.SESSION) as book:
            expect(all(isinstance(facts, dict) for facts in book.done.values()), "no facts")
            expect(all(isinstance(key, str) for key in book.done), "a key that is no text")
            taken |= bool(book.done)
            done = dict(book.done)
            book.add("one more", size=1)
        with ledger.Ledger(folder / "filled", fuzz_samples.SESSION) as book:
            expect(book.done == done | {"one more": {"size": 1}}, "forgotten by the second run")
    return taken


def _with_sums(data: bytes) -> bytes:
    texts = [line[9:] for line in data.split(b"\n")]
    return b"".join(b"%08x %b\n" % (zlib.crc32(text), text) for text in texts)


def check_array(data: bytes, folder: Path) -> bool:
    """Open an array of dumps, and look at all of it."""
    path = put(folder / "results_1.npy", data)
    found = attempt(lambda: dump.open_array(path), ValueError)
    if found is None:
        return False
    expect(found.nbytes <= len(data), "larger than its file")
    expect(not found.dtype.hasobject, "holds Python objects")
    found.tobytes()
    return True


def check_name(data: bytes, folder: Path) -> bool:
    """Take the names of dumps and perf files apart, and put them together again."""
    name = os.fsdecode(data[:255])
    parts, figures = dump.split_name(name), perf.split_name(name)
    if parts is not None:
        again = dump.dump_name(*parts, binary=name.endswith(".bin"))
        expect(again == name, "the parts make another name")
    return parts is not None or figures is not None


PARSERS: Sequence[Parser] = (
    Parser("info", 14, fuzz_samples.infos, check_info),
    Parser("labels", 14, fuzz_samples.label_files, check_labels),
    Parser("dump-text", 18, fuzz_samples.dumps, check_dump),
    Parser("dump-raw", 4, fuzz_samples.raw_dumps, check_binary),
    Parser("dump-array", 8, fuzz_samples.arrays, check_array),
    Parser("perf", 14, fuzz_samples.perfs, check_perf),
    Parser("result", 8, fuzz_samples.results, check_result),
    Parser("record", 8, fuzz_samples.records, check_record),
    Parser("ledger", 6, fuzz_samples.ledgers, check_ledger),
    Parser("names", 4, fuzz_samples.names, check_name),
)
