"""Valid files of every kind, small, drawn anew for each seed by the project's own writers."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from random import Random

import numpy as np

from pipeline import identity, ledger, record
from pipeline.formats import dump, perf, result

COMMAND = ("/usr/bin/stage", "input")
SESSION = {"settings": {"binary": True}, "versions": {"numpy": "2"}}


def infos(random: Random) -> list[bytes]:
    """Return info files: as get_info.py writes them, with odd paths, with restarting indices."""
    files = []
    for _ in range(12):
        lines = []
        for index in range(random.randrange(1, 6)):
            word = random.choice(("a", "val_00000001", "two words", "猫", "x  y", "t 1 2", "."))
            sizes = random.choice(("224 224", "256 256", "1 999999999"))
            lines.append(f"{index % random.choice((2, 99))} ./prep/{word}.bin {sizes}\n")
        files.append("".join(lines).encode())
    return [*files, b"0 \xff\xfe.bin 1 1\n", b"\xef\xbb\xbf0 a 1 1\r\n\r\n1\tb\t1\t1"]


def label_files(random: Random) -> list[bytes]:
    """Return label files: the guide's form, with spaces in names, with a name twice."""
    files = []
    for _ in range(12):
        names = random.choice(
            (("ILSVRC2012_val_0000000{}.JPEG",), ("a {}.b.png", "{} x"), ("é{}",))
        )
        rows = [
            f"{random.choice(names).format(i)} {random.choice((0, 1, 65, 999, 10**9 - 1))}\n"
            for i in range(random.randrange(1, 7))
        ]
        files.append("".join(rows).encode())
    return [*files, b"a.jpg 1\na.png 1\n", b"\xef\xbb\xbfa 1\r\nb 2", b"7 7\n8 8\n", b"\xff 1\n"]


def dumps(random: Random) -> list[bytes]:
    """Return dumps as text: this project's, other tools', numbers of every size and form."""
    numbers = np.random.default_rng(random.getrandbits(32))
    bits = numbers.integers(0, 2**32, 40, np.uint64).astype(np.uint32).view(np.float32)
    files = [dump.to_text(bits[: random.randrange(1, 40)]) for _ in range(4)]
    files += [dump.to_text(numbers.standard_normal(n).astype(np.float32)) for n in (1, 3, 20)]
    files += [dump.to_text(numbers.integers(-5, 10**6, 5)), dump.to_text(np.arange(3) > 0)]
    files += [b"1.5 2 -3e-05\n4 5 6\n", b" 1.\t+2\r\n nan -inf ", b"-0 0 -0.0 1e-320 ", b"7"]
    # Halfway between two float32, and next to it, in more digits than a float64 has.
    half = b"1.000000059604644775390625"
    files += [b"%b %b1 %b%b1 \n" % (half, half, half, b"0" * random.randrange(5000))]
    files += [b"16777217 16777219 9007199254740993 18446744073709551615 18446744073709551616 "]
    return files


def raw_dumps(random: Random) -> list[bytes]:
    """Return raw float32."""
    return [random.randbytes(4 * n) for n in (1, 5, 5, 12)]


def arrays(random: Random) -> list[bytes]:
    """Return `.npy` files of several shapes, dtypes and versions of the format."""
    made = []
    for dtype in ("<f4", "<f8", ">f2", "i8", "?", "U3", "c8", "datetime64[s]", "O", "i4,f4"):
        for shape in ((3, 2), (1,), (), (0, 4), (2, 1, 2)):
            file = io.BytesIO()
            version = random.choice(((1, 0), (2, 0), (3, 0)))
            np.lib.format.write_array(file, np.zeros(shape, dtype), version)
            made.append(file.getvalue())
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return [*random.sample(made, 20), file.getvalue()]


def perfs(random: Random) -> list[bytes]:
    """Return perf files of both kinds, in the spelling of either age."""
    files = []
    for _ in range(6):
        figures = [random.choice((0, 1e-3, 7.25, 1234.5, 9e9, 1e300)) for _ in range(11)]
        text = perf.to_text(perf.DatasetPerf(*figures))
        newer = text.replace("[infer]", "[inference]").replace("[post]", "[postprocess]")
        files += [text.encode(), newer.encode()]
        files.append(perf.to_text(perf.PurePerf(*figures[:2])).encode())
    return [*files, b"ave_throughputRate:1samples/s, ave_latency : 2 ms\r\n"]


def results(random: Random) -> list[bytes]:
    """Return result files."""
    files = []
    for classes in (0, 1, 3, 5, 1000, 1001):
        shares = sorted(random.random() for _ in range(5))
        files.append(result.to_text(random.randrange(50001), classes, shares).encode())
    return [*files, b'{"value": [{"key": "Number of images", "value": Infinity}]}']


def records(random: Random) -> list[bytes]:
    """Return records of every status, of a file and of a folder, as stages leave them."""
    entry = {"path": "output", "bytes": 2, "sha256": "0" * 64}
    listing = {"path": "filled", "files": 0, "bytes": 0, "listing_sha256": "e3b0" + "0" * 60}
    files = []
    for status in ("running", "complete", "failed"):
        for outputs in ([entry], [listing], [entry, listing]):
            content = {
                "schema": record.SCHEMA,
                "stage": random.choice(("benchmark", "preprocess", "")),
                "status": status,
                "good": True,
                "command": list(COMMAND),
                "folder": str(Path.cwd()),
                "started_unix_s": 1.5,
                "settings": {"binary": True, "size": 224},
                "code_sha256": identity.code_digest(),
                "versions": {"python": "3.11.0", "numpy": "2"},
                "inputs": [entry],
                "outputs": outputs,
                "counts": {"given": 3, "done": 2, "refused": 1, "dumped": 2},
                "timings_s": {"total": 1.25},
                "details": {
                    "output_dtypes": ["float32"],
                    "chain": {"verified": True, "doubts": [], "folders": [{"counts": {}}]},
                },
                "verdict": "it worked",
            }
            files.append(json.dumps(content, indent=random.choice((None, 1))).encode())
    return files


def ledgers(random: Random) -> list[bytes]:
    """Return ledgers: of this session and another, of this boot and another, durable and not."""
    files = []
    for _ in range(8):
        lines = []
        for _ in range(random.randrange(1, 4)):
            session = SESSION if random.random() < 0.8 else {"settings": {}}
            boot = random.choice((ledger.boot_id(), "another", "", None, 5))
            entries = [{"session": session, "boot": boot}]
            entries += [{"item": f"{n}.bin", "size": n, "mtime_ns": 5} for n in range(3)]
            entries.append({"durable": random.choice((0, 1, 3, 4, -1, 10**30))})
            lines += [json.dumps(e).encode() for e in random.sample(entries, len(entries))]
            random.shuffle(lines) if random.random() < 0.2 else None
        files.append(b"".join(b"%08x %b\n" % (zlib.crc32(line), line) for line in lines))
    return files


def names(random: Random) -> list[bytes]:
    """Return file names of dumps and perf files."""
    made = [dump.dump_name(f"val_{random.randrange(99)}", n, binary) for n in (0, 1, 12)
            for binary in (True, False)]  # fmt: skip
    made += [perf.perf_name("vision", 16, 0), perf.pure_perf_name("vovnet39_bs1", 1)]
    return [name.encode() for name in made]
