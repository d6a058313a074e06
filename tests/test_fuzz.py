"""The fuzzer: every parser stands some thousands of inputs, and what is planted is found."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.formats.info import read_info
from pipeline.imagenet.labels import read_labels
from tests.conftest import PROJECT
from tests.faults import fuzz
from tests.faults.fuzz_parsers import Parser, Wrong

SHORT = 20_000
COMMAND = [sys.executable, "-m", "tests.faults.fuzz"]


def numbers(random: Random) -> list[bytes]:
    return [b"1,2,3\n", b"4,5\n"]


def planted(check: Callable[[bytes], object]) -> fuzz.Row:
    def parse(data: bytes, folder: Path) -> bool:
        try:
            check(data)
        except ValueError as error:
            assert str(error)
            return False
        return True

    return fuzz.run(Parser("planted", 1, numbers, parse), 300, seed=1)


def third(data: bytes) -> int:
    return int(data.split(b",")[2])


def grow(data: bytes) -> None:
    if data.count(b",") > 4:
        np.ones(200 << 20, np.uint8)


def die(data: bytes) -> None:
    if data.count(b",") > 4:
        os.kill(os.getpid(), signal.SIGKILL)


def stay(data: bytes) -> None:
    while data.count(b",") > 4:
        pass


def spin(data: bytes) -> None:
    until = time.thread_time() + (0.05 if data.count(b",") > 4 else 0)
    while time.thread_time() < until:
        pass


def misread(data: bytes) -> None:
    if data.count(b",") > 4:
        raise Wrong("another way reads it otherwise")


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        (third, "IndexError"),
        (misread, "another way reads it otherwise"),
        (grow, "too much memory"),
        (die, "SIGKILL"),
    ],
)
def test_a_planted_mistake_is_found_and_kept(
    check: Callable[[bytes], object], kind: str, tmp_path: Path
) -> None:
    row = planted(check)
    assert row.inputs == 300
    assert row.accepted + row.refused + len(row.findings) == 300
    assert any(kind in finding.kind for finding in row.findings)
    saved = fuzz.save(row.findings, tmp_path / "findings")
    again = next(path for path in saved if kind in path.with_suffix(".txt").read_text())
    if check is third:
        with pytest.raises(IndexError):
            third(again.read_bytes())


def test_a_parser_that_dwells_or_never_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "MOST_S", 0.02)
    monkeypatch.setattr(fuzz, "_ENDLESS_S", 0.1)
    assert {finding.kind for finding in planted(stay).findings} == {"no end within 0.1 s"}
    monkeypatch.setattr(fuzz, "_ENDLESS_S", 30.0)
    assert {finding.kind for finding in planted(spin).findings} == {"too slow"}


def test_a_seed_gives_the_same_inputs_wherever_one_begins() -> None:
    parser = fuzz.ALL[0]
    whole = list(fuzz.inputs_of(parser, 7, 0, 60))
    assert [index for index, _ in whole] == list(range(60))
    assert list(fuzz.inputs_of(parser, 7, 40, 60)) == whole[40:]
    assert [data for _, data in fuzz.inputs_of(parser, 8, 0, 60)] != [data for _, data in whole]


def test_the_samples_of_each_parser_are_taken(tmp_path: Path) -> None:
    for parser in fuzz.ALL:
        taken = [parser.check(sample, tmp_path) for sample in parser.samples(Random(3))]
        # The small checkpoints have no network's keys.
        assert sum(taken) >= len(taken) / 6 or parser.name == "checkpoint", parser.name


HALF = b"1.000000059604644775390625"  # between two float32
DEEP = b"[" * 3000 + b"]" * 3000


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("info", b"0 a\0b.bin 224 224\n"),
        ("info", b"0 a.bin 224 " + b"9" * 10_000),
        ("info", b"\xef\xbb\xbf0 a.bin 224 224\n"),
        ("labels", b"\xef\xbb\xbf\xef\xbb\xbfa 1\n"),
        ("labels", b"a b" * 3000 + b" 1 1\n"),
        ("dump-text", HALF + b"0" * 5000 + b" " + HALF + b"0" * 5000 + b"1 "),
        ("dump-array", b"\x93NUMPY\x01\0\x02\0(("),
        ("perf", b"ave_throughputRate:" + b"9" * 5000 + b", ave_latency:" + b"x" * 5000),
        ("result", b'{"value":[{"key":"Number of images","value":Infinity}]}'),
        ("result", b'{"value":[{"key":"Number of images","value":"\xef\xbc\x93"}]}'),
        ("record", b'{"schema":1,"details":' + DEEP + b"}"),
        ("ledger", b'00000000 {"session":' + DEEP + b"}\n"),
        ("onnx", b"\x08\x08:\x12\x0a\x08\x22\x02\xff\xfe\x0a\0\x12\0b\x02\x0a\0B\x02\x10\x0b"),
        ("ir", b"<net>" * 3000),
    ],
)
def test_what_was_found_once_stays_mended(name: str, data: bytes, tmp_path: Path) -> None:
    (parser,) = (parser for parser in fuzz.ALL if parser.name == name)
    parser.check(data, tmp_path)


@pytest.mark.parametrize("read", [read_info, read_labels])
def test_a_text_file_that_never_ends_is_refused(read: Callable[[Path], object]) -> None:
    with pytest.raises(PipelineError, match="/dev/zero has more than 64 MiB"):
        read(Path("/dev/zero"))


def test_every_parser_takes_or_refuses_whatever_it_is_given(tmp_path: Path) -> None:
    seed = SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    ran = subprocess.run(
        [*COMMAND, "--inputs", str(SHORT), "--seed", str(seed), "--save", str(tmp_path / "found")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    print(ran.stdout, ran.stderr)
    assert ran.returncode == 0
    assert f"OK: {SHORT:,} inputs, 0 findings, seed {seed}" in ran.stdout
    for parser in fuzz.ALL:
        assert re.search(rf"^{re.escape(parser.name)} +[0-9]", ran.stdout, re.MULTILINE)
    assert not (tmp_path / "found").exists()


def test_a_wrong_parser_name_is_a_usage_error() -> None:
    ran = subprocess.run([*COMMAND, "--only", "per"], cwd=PROJECT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "did you mean perf?" in ran.stderr
