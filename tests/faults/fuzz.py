#!/usr/bin/env python3
"""Feed every parser of files from outside with inputs that nobody vouches for.

An input is a valid file with a few changes, or words in a row. It may be taken or refused, in one
line and within a second of processor time and 64 MiB; whatever else comes of it is a finding: its
bytes and what was raised go to the folder --save, and the exit code is 1. The same --seed and
--inputs give the same inputs. A parser that kills its process, or never ends, costs one input.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom

from cli import door
from pipeline import progress, table
from tests.faults import fuzz_bytes, fuzz_models
from tests.faults.fuzz_parsers import PARSERS, Parser, Wrong

MOST_S, MOST_KIB = 1.0, 64 << 10
_ENDLESS_S = 10.0
_ROOM = 4 << 30  # of address space beyond what is in use, before MemoryError
_SAMPLES_LAST = 2000  # inputs, until others are drawn
_KEPT = 5  # findings of one kind that are saved
HEADINGS = ("parser", "inputs", "accepted", "refused", "uncaught", "slowest")
ALL: Sequence[Parser] = (*PARSERS, *fuzz_models.PARSERS)


@dataclass
class Finding:
    """An input that was neither taken nor refused, and what came of it."""

    parser: str
    seed: int
    index: int
    kind: str  # equal for what is likely one mistake
    story: str
    data: bytes


@dataclass
class Row:
    """What the inputs of one parser came to; `slowest_s` is processor time."""

    parser: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        counts = (self.inputs, self.accepted, self.refused, len(self.findings))
        return (self.parser, *(f"{n:,}" for n in counts), f"{self.slowest_s * 1000:.1f} ms")


def inputs_of(parser: Parser, seed: int, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the inputs from `start` to `stop`, each with its number; all depend on `seed` alone."""
    samples: list[bytes] = []
    for index in range(start, stop):
        if not samples or index % _SAMPLES_LAST == 0:
            samples = parser.samples(Random(f"{seed} {parser.name} {index // _SAMPLES_LAST}"))
        random = Random(f"{seed} {parser.name} {index}")
        choice = random.random()
        if choice < 0.04:
            yield index, random.choice(samples)
        elif choice < 0.10:
            yield index, fuzz_bytes.noise(random)
        else:
            yield index, fuzz_bytes.mutate(random, samples)


def run(parser: Parser, inputs: int, seed: int) -> Row:
    """Try `inputs` inputs, in processes of their own; one that dies is followed by another."""
    row = Row(parser.name)
    with (
        tempfile.TemporaryDirectory(prefix="fuzz.", dir=_memory()) as folder,
        mmap.mmap(-1, 16 + fuzz_bytes.MOST_BYTES) as current,
    ):
        while row.inputs < inputs:
            died = _in_child(parser, row, inputs, seed, Path(folder), current)
            if died:
                index = int.from_bytes(current[:8], "little")
                size = int.from_bytes(current[8:16], "little")
                kind = signal.Signals(died).name if died > 0 else f"exit {-died}"
                if died == signal.SIGPROF:
                    kind = f"no end within {_ENDLESS_S:g} s"
                data = bytes(current[16 : 16 + size])
                row.findings.append(Finding(parser.name, seed, index, kind, kind, data))
                row.inputs = index + 1
    row.refused = row.inputs - row.accepted - len(row.findings)
    return row


def _in_child(
    parser: Parser, row: Row, inputs: int, seed: int, folder: Path, current: mmap.mmap
) -> int:
    """Let a child go on from `row.inputs` and add to `row`; return how it died, 0 for well."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            with os.fdopen(writer, "w") as out:
                _work(parser, row.inputs, inputs, seed, folder, current, out)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as lines:
        for line in lines:
            told = json.loads(line)
            if finding := told.pop("finding", None):
                finding["data"] = bytes.fromhex(finding["data"])
                row.findings.append(Finding(parser.name, seed, **finding))
            else:
                row.inputs, accepted, slowest = told["inputs"], told["accepted"], told["slowest"]
                row.accepted += accepted
                row.slowest_s = max(row.slowest_s, slowest)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def _memory() -> str | None:
    """Return a folder in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _work(
    parser: Parser,
    start: int,
    stop: int,
    seed: int,
    folder: Path,
    current: mmap.mmap,
    out: object,
) -> None:
    """Try the inputs from `start` to `stop`, and tell `out` of them line by line."""
    progress.silence()
    for sample in parser.samples(Random(seed)):  # what is imported late is no parser's burden
        with contextlib.suppress(Exception):
            parser.check(sample, folder)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, used + _ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told, accepted, slowest = start, 0, 0.0

    def tell(**what: object) -> None:
        print(json.dumps(what), file=out, flush=True)  # type: ignore[call-overload]

    for index, data in inputs_of(parser, seed, start, stop):
        current[:16] = index.to_bytes(8, "little") + len(data).to_bytes(8, "little")
        current[16 : 16 + len(data)] = data
        taken, seconds, wrong = _try(parser, data, folder)
        slowest = max(slowest, seconds)
        accepted += taken
        if wrong:
            tell(finding={"index": index, "data": data.hex(), "kind": wrong[0], "story": wrong[1]})
        if index + 1 - told >= 500 or index + 1 == stop:
            tell(inputs=index + 1, accepted=accepted, slowest=slowest)
            told, accepted = index + 1, 0


def _try(parser: Parser, data: bytes, folder: Path) -> tuple[bool, float, tuple[str, str] | None]:
    """Return whether `data` was taken, in how many seconds, and kind and story of a finding."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, _ENDLESS_S)  # ends the process, wherever it is
    started = time.thread_time()
    taken, wrong = False, None
    try:
        taken = parser.check(data, folder)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        what = str(error)[:80] if isinstance(error, Wrong) else ""
        kind = f"{type(error).__name__} {what} at {frames[-1].filename}:{frames[-1].lineno}"
        wrong = kind, "".join(traceback.format_exception(error, limit=-20))[-8000:]
    seconds = time.thread_time() - started
    signal.setitimer(signal.ITIMER_PROF, 0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if wrong is None and seconds > MOST_S:
        wrong = "too slow", f"{seconds:.3f} s"
    elif wrong is None and grown > MOST_KIB:
        wrong = "too much memory", f"{grown} KiB"
    return taken and wrong is None, seconds, wrong


def save(findings: Sequence[Finding], folder: Path) -> list[Path]:
    """Write the first few findings of each kind to `folder`; return their files."""
    saved: dict[str, list[Path]] = {}
    for finding in findings:
        files = saved.setdefault(finding.kind, [])
        if len(files) < _KEPT:
            folder.mkdir(parents=True, exist_ok=True)
            word = "".join(c if c.isalnum() else "-" for c in finding.parser)
            path = folder / f"{word}_{finding.seed}_{finding.index}.bin"
            path.write_bytes(finding.data)
            path.with_suffix(".txt").write_text(f"{finding.kind}\n\n{finding.story}")
            files.append(path)
    return [path for files in saved.values() for path in files]


def build_parser() -> door.Parser:
    """Describe the arguments."""
    example = "python3 -m tests.faults.fuzz --inputs 100000 --only perf"
    parser = door.Parser(__doc__ or "", example)
    parser.prog = "python3 -m tests.faults.fuzz"
    parser.add_argument("--inputs", type=door.whole_number(1), default=1_000_000, metavar="N",
                        help="inputs, over all parsers")  # fmt: skip
    parser.add_argument("--seed", type=door.whole_number(0), metavar="S",
                        help="what the inputs are drawn from (default: chance)")  # fmt: skip
    parser.add_argument("--only", type=door.choice(*(p.name for p in ALL)), metavar="PARSER",
                        help=f"of {', '.join(p.name for p in ALL)} (default: all)")  # fmt: skip
    parser.add_argument("--save", type=door.path, default=Path("fuzz-findings"), metavar="FOLDER",
                        help="where findings go")  # fmt: skip
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Run what was asked for, print the table and say what was found."""
    started = time.perf_counter()
    seed = SystemRandom().randrange(10**6) if args.seed is None else args.seed
    door.say(f"seed {seed}")
    chosen = [parser for parser in ALL if args.only in (None, parser.name)]
    whole = sum(parser.share for parser in chosen)
    rows: list[Row] = []
    with progress.track("fuzz", args.inputs, "inputs") as update:
        for place, parser in enumerate(chosen):
            inputs = max(1, int(args.inputs * parser.share / whole))
            if place == len(chosen) - 1:
                inputs = max(1, args.inputs - sum(row.inputs for row in rows))
            rows.append(run(parser, inputs, seed))
            update(sum(row.inputs for row in rows))
    findings = [finding for row in rows for finding in row.findings]
    totals = Row(
        "all", *(sum(getattr(r, n) for r in rows) for n in ("inputs", "accepted", "refused"))
    )
    totals.slowest_s = max(row.slowest_s for row in rows)
    totals.findings = findings
    table.show(HEADINGS, [row.cells() for row in (*rows, totals)], left="parser")
    for path in save(findings, args.save):
        kind = path.with_suffix(".txt").read_text().splitlines()[0]
        door.say(f"{path}: {kind}")
    text = f"{totals.inputs:,} inputs, {len(findings)} findings, seed {seed}"
    return door.Verdict(f"{text}, {time.perf_counter() - started:.1f} s", good=not findings)


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
