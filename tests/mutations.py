"""Images that nobody vouched for: mutated at random, prepared, and each one accounted for.

    python3 -m tests.mutations --count 2000 --seed 1

makes them in a temporary folder, has the stage prepare them, and prints what became of them.
"""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from cli import door
from pipeline import record
from pipeline.identity import PROJECT
from pipeline.imagenet.decode import FORMATS
from pipeline.imagenet.folder import EXTENSIONS, find_images
from tests.images import bomb, photo, write_odd_pictures

LONGEST = 255  # bytes in a file's name
NAMES = (
    "with spaces",
    "line\nbreak",
    "caf\udce9 \udcff",
    "tab\tand \x1b[31mcolour",
    "名前",
    "'\"$(x)`",
)


@dataclass
class Report:
    """What became of the images of a folder; all but the counts should be empty."""

    given: int = 0
    done: int = 0
    refused: int = 0
    lost: list[str] = field(default_factory=list)  # neither done nor refused, or both
    wrong: list[str] = field(default_factory=list)  # not the bytes that torchvision gives
    outputs_of_refused: list[str] = field(default_factory=list)
    refused_in_error: list[str] = field(default_factory=list)  # Pillow reads them
    crashed: list[str] = field(default_factory=list)  # its process, or never came back
    left_over: list[str] = field(default_factory=list)  # files that are no output
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def good(self) -> bool:
        """Say whether every image is accounted for, and rightly."""
        return self.done + self.refused == self.given > 0 and not self.faults()

    def faults(self) -> dict[str, list[str]]:
        """Return what should not be."""
        kinds = ("lost", "wrong", "outputs_of_refused", "refused_in_error", "crashed", "left_over")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}


def mutate_images(folder: Path, count: int, seed: int) -> int:
    """Write `count` mutated images of all formats to `folder`; return how many there are.

    The same seed gives the same files.
    """
    dice = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        contents = [path.read_bytes() for path in write_odd_pictures(Path(place))]
    contents += more_formats()
    hostile = bombs()
    for number in range(count):
        extension = dice.choice(EXTENSIONS)
        extension = extension.upper() if dice.random() < 0.3 else extension
        path = folder / name_of(number, extension, dice)
        kind = dice.random()
        if kind < 0.03:
            path.write_bytes(b"")
        elif kind < 0.06:
            path.symlink_to(dice.choice(("nowhere", path.name, "/dev/zero", "/dev/null")))
        elif kind < 0.10:
            path.write_bytes(dice.choice(hostile))
        elif kind < 0.15:  # whole, and perhaps with the extension of another format
            path.write_bytes(dice.choice(contents))
        else:
            path.write_bytes(mutated(dice.choice(contents), dice, contents))
    return len(find_images(folder).items)


def name_of(number: int, extension: str, dice: random.Random) -> str:
    """Return the name of the image of that number, now and then an odd one."""
    stem = f"{number:06}"
    if dice.random() < 0.1:
        stem += " " + dice.choice(NAMES)
    if dice.random() < 0.05:
        stem += "x" * (LONGEST - len(os.fsencode(stem + extension)))
    return stem + extension


def mutated(data: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """Return `data` after one to three random changes."""
    values = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        at = dice.randrange(len(values) + 1)
        length = min(dice.choice((1, 4, 16, 256, 4096)), len(values) - at)
        change = dice.randrange(10)
        if change <= 2:  # bits, anywhere
            for _ in range(dice.choice((1, 2, 8, 64))):
                _flip(values, dice, len(values))
        elif change <= 4:  # bits of the header
            for _ in range(dice.choice((1, 2, 4))):
                _flip(values, dice, 128)
        elif change == 5:
            del values[at:]
        elif change == 6:
            del values[at : at + length]
        elif change == 7:
            values[at : at + length] = dice.choice((b"\0", b"\xff")) * length
        elif change == 8:  # a number of a header at its extreme
            extreme = dice.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff", b"\0\0"))
            at = dice.randrange(max(1, min(len(values), 96)))
            values[at : at + len(extreme)] = extreme
        else:  # on with another file
            other = dice.choice(others)
            values[at:] = other[dice.randrange(len(other)) :]
    return bytes(values)


def _flip(values: bytearray, dice: random.Random, end: int) -> None:
    if values:
        values[dice.randrange(min(end, len(values)))] ^= 1 << dice.randrange(8)


def more_formats() -> list[bytes]:
    """Return pictures in the formats and variants that `write_odd_pictures` leaves out."""
    base = photo(300, 270, 9)
    made: list[tuple[str, dict[str, object]]] = [
        ("JPEG2000", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"compression": "packbits"}),
        ("WEBP", {"quality": 60}),
        ("GIF", {"save_all": True, "append_images": [photo(300, 270, 8)]}),
        ("JPEG", {"progressive": True, "quality": 30, "icc_profile": bytes(range(256)) * 9}),
        ("PNG", {"compress_level": 0}),
    ]
    found = []
    for kind, options in made:
        file = io.BytesIO()
        base.save(file, kind, **options)
        found.append(file.getvalue())
    return found


def bombs() -> list[bytes]:
    """Return small files that claim 60,000 x 60,000 pixels, or unpack to far more than they are."""
    size = 60_000
    packed = _packed_zeros(256 << 20)
    picture = io.BytesIO()
    photo(40, 30).save(picture, "PNG")
    head, rest = picture.getvalue()[:33], picture.getvalue()[33:]
    tiff = struct.pack("<2sHIH", b"II", 42, 8, 8)
    fields = ((256, 4, size), (257, 4, size), (258, 3, 8), (259, 3, 1), (262, 3, 1))
    for tag, kind, value in (*fields, (273, 4, 8), (278, 4, size), (279, 4, 100)):
        tiff += struct.pack("<HHII", tag, kind, 1, value)
    jpeg = io.BytesIO()
    photo(40, 30).save(jpeg, "JPEG")
    frame = jpeg.getvalue().index(b"\xff\xc0") + 5
    claimed = struct.pack(">HH", size, size)
    webp = struct.pack("<4sI4s4sIB3x", b"RIFF", 22, b"WEBP", b"VP8X", 10, 0)
    return [
        bomb(size, size),
        head + _chunk(b"iCCP", b"icc\0\0" + packed) + rest,
        head + _chunk(b"zTXt", b"text\0\0" + packed) + rest,
        head + _chunk(b"iTXt", b"text\0\1\0\0\0" + packed) + rest,
        head + _chunk(b"IDAT", packed) + rest,
        b"GIF89a" + struct.pack("<HHBBB", size, size, 0, 0, 0) + b",\0\0\0\0" + bytes(9),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, size, size, 1, 24, *[0] * 6),
        f"P6 {size} {size} 255\n".encode() + bytes(100),
        tiff + bytes(104),
        jpeg.getvalue()[:frame] + claimed + jpeg.getvalue()[frame + 4 :],
        webp + (size - 1).to_bytes(3, "little") * 2,
    ]


def _packed_zeros(size: int) -> bytes:
    import zlib

    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    import zlib

    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def check(folder: Path, prep: Path) -> Report:
    """Hold the float32 outputs in `prep` against the images of the flat `folder` and the record."""
    content = record.load(prep)
    assert content is not None
    reasons = {entry["path"]: entry["reason"] for entry in content["details"]["refused"]}
    report = Report(given=content["counts"]["given"])
    names = {entry.name for entry in os.scandir(prep)}
    items = find_images(folder).items
    if len(items) != report.given:
        report.lost.append(f"the record counts {report.given} images, there are {len(items)}")
    by_name = {Path(path).name: reason for path, reason in reasons.items()}
    for item in items:
        output = f"{item.stem}.bin"
        there = output in names
        names.discard(output)
        reason = by_name.get(item.path.name)
        if reason is None and there:
            report.done += 1
            if not _is_reference(item.path, prep / output):
                report.wrong.append(item.path.name)
        elif reason is None:
            report.lost.append(item.path.name)
        else:
            report.refused += 1
            report.reasons[reason.split(":")[0]] += 1
            if there:
                report.outputs_of_refused.append(output)
            if reason.startswith("cannot be decoded ("):
                report.crashed.append(f"{item.path.name}: {reason}")
            elif _reads(item.path):
                report.refused_in_error.append(f"{item.path.name}: {reason}")
    counts = content["counts"]
    if (counts["done"], counts["refused"], counts["not_done"]) != (report.done, report.refused, 0):
        report.lost.append(f"the record counts {counts}")
    report.left_over += sorted(names)
    return report


def _is_reference(image: Path, output: Path) -> bool:
    from tests import preprocessing  # loads torch

    with warnings.catch_warnings(), Image.open(image) as picture:
        warnings.simplefilter("ignore")
        expected = preprocessing.REFERENCE(picture.convert("RGB")).numpy()
    return bool(np.array_equal(expected.ravel(), np.fromfile(output, np.float32)))


def _reads(image: Path) -> bool:
    """Say whether Pillow decodes the image, in the formats that are let in."""
    if not image.is_file():
        return False
    try:
        with warnings.catch_warnings(), Image.open(image, formats=FORMATS) as picture:
            warnings.simplefilter("ignore")
            picture.convert("RGB")
    except Exception:  # whatever it raises, it does not read it
        return False
    return True


def prepare(folder: Path, prep: Path, limit_s: float) -> subprocess.CompletedProcess[bytes]:
    """Have the stage prepare the images; subprocess.TimeoutExpired where it hangs."""
    return subprocess.run(
        [
            sys.executable,
            str(PROJECT / "vovnet_torch_preprocess.py"),
            str(folder),
            str(prep),
            "--quiet",
        ],
        capture_output=True,
        timeout=limit_s,
        check=False,
    )


def main() -> int:
    """Mutate, prepare and check as many as are asked for."""
    parser = door.Parser(__doc__ or "", "python3 -m tests.mutations --count 2000 --seed 1")
    parser.prog = "python3 -m tests.mutations"
    parser.add_argument(
        "--count", type=door.whole_number(1), default=2000, metavar="N", help="images to mutate"
    )
    parser.add_argument(
        "--seed",
        type=door.whole_number(0),
        metavar="S",
        help="what is drawn from (default: chance)",
    )
    args = parser.parse()
    seed = random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed
    with tempfile.TemporaryDirectory() as place:
        folder, prep = Path(place, "images"), Path(place, "prep")
        given = mutate_images(folder, args.count, seed)
        print(f"seed {seed}: {given} images", flush=True)
        started = time.monotonic()
        done = prepare(folder, prep, 60 + given)
        seconds = time.monotonic() - started
        report = check(folder, prep)
    print(done.stdout.decode(errors="replace").splitlines()[-1:], f"exit {done.returncode}")
    for reason, number in report.reasons.most_common(12):
        print(f"  {number:5} {reason}")
    print(
        f"{report.given} given, {report.done} done, {report.refused} refused, in {seconds:.1f} s; "
        f"faults: {report.faults() or 'none'}"
    )
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
