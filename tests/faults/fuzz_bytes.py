"""Bytes that a parser may meet: valid ones, damaged as files are, and made-up ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

MOST_BYTES = 1 << 16

# What parsers stumble over: numbers at and beyond every limit, odd digits, ends of lines, marks.
WORDS: tuple[bytes, ...] = (
    *(b"0 1 -1 -0 +1 00 007 1. .5 1e5 1E-5 1e400 1e-400 -1e999 1_0 0x10 1,5".split()),
    *(b"nan NaN inf -inf".split()),
    *(b"Infinity true null 2147483647 2147483648 4294967296 9223372036854775807".split()),
    *(b"9223372036854775808 18446744073709551615 18446744073709551616 999999999".split()),
    *(b"0.1 16777217 1.00000005960464477539 7.038531e-26 1.1754943e-38 3.4028236e38 1e-46".split()),
    b"10000000000",
    *(b"\" ' \\ / { } [ ] : , ; % = < > ( ) # ~ .. ./ ../ . \\u0000 \\ud800".split()),
    *(b"\0 \x01 \x0b \x0c \x1c \x1d \x1f \x7f \x80 \xff \xc3\x28 \xed\xa0\x80".split(b" ")),
    *(b" |  |\t|\n|\r\n|\r|\n\n| \n|\n |\v".split(b"|")),
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff",
    *("\u0663 \uff13 \u00b2 \u0d67".encode().split(b" ")),
    *("é ß 猫 \u00a0 \u2003 \u2028 \u0085 \u3000 \ufeff".encode().split(b" ")),
    b"9" * 25, b"9" * 400, b"9" * 5000, b"1" + b"0" * 4400, b"0." + b"0" * 5000 + b"1",
)  # fmt: skip

_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


def mutate(random: Random, samples: Sequence[bytes]) -> bytes:
    """Return one of `samples` after a few changes, of at most `MOST_BYTES` bytes."""
    data = bytearray(random.choice(samples))
    changes = _GENTLE if random.random() < 0.3 else _CHANGES
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        random.choice(changes)(random, data, samples)
        del data[MOST_BYTES:]
    return bytes(data)


def noise(random: Random) -> bytes:
    """Return bytes of nothing: words in a row, or plain noise."""
    count = random.randrange(12)
    if random.random() < 0.2:
        return random.randbytes(count)
    return b"".join(random.choice(WORDS) for _ in range(count))


def _place(random: Random, data: bytearray) -> int:
    return random.randrange(len(data) + 1)


def _span(random: Random, data: bytearray) -> slice:
    start = _place(random, data)
    return slice(start, start + random.choice((1, 1, 2, 8, 64, 1024)))


def _flip(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice((0, 9, 10, 32, 48, 127, 128, 255))


def _insert(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    place = _place(random, data)
    data[place:place] = random.choice(WORDS)


def _delete(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    del data[_span(random, data)]


def _cut(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    del data[_place(random, data) :]


def _repeat(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    span = _span(random, data)
    often = random.choice((2, 2, 3, 10, 10, 100 if random.random() < 0.1 else 4))
    data[span] = data[span] * often


def _splice(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    other = bytearray(random.choice(samples))
    data[_place(random, data) :] = other[_place(random, other) :]


def _number(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    found = list(_NUMBER.finditer(bytes(data[:4096])))
    if found:
        match = random.choice(found)
        data[match.start() : match.end()] = random.choice(WORDS[:60])


def _line(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Drop, double or move a line."""
    lines = bytes(data).splitlines(keepends=True)
    if not lines:
        return
    line = lines.pop(random.randrange(len(lines)))
    for _ in range(random.choice((0, 1, 2))):
        lines.insert(random.randrange(len(lines) + 1), line)
    data[:] = b"".join(lines)


def _ends(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Write the whole file as another system or editor would."""
    data[:] = random.choice(
        (
            lambda: bytes(data).replace(b"\n", b"\r\n"),
            lambda: bytes(data).replace(b"\n", b"\r"),
            lambda: b"\xef\xbb\xbf" + bytes(data),
            lambda: bytes(data).rstrip(b"\n"),
            lambda: bytes(data).replace(b" ", random.choice((b"  ", b"\t", b"\xc2\xa0", b""))),
            lambda: bytes(data).decode("latin-1").encode("utf-16"),
        )
    )()


def _nest(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Put a deep nest somewhere, in place of a value where there is one."""
    depth = random.choice((3, 40, 200, 990, 3000))
    start, end = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"[", b"")))
    place = _place(random, data)
    data[place:place] = start * depth + b"1" + end * depth


def _long(random: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Make one line very long."""
    place = _place(random, data)
    data[place:place] = random.choice((b"a", b"0", b"9", b" ", b"1 ", b"-", b".")) * 10_000


# What leaves the form as it is, so that what is behind it is met.
_GENTLE = (_number, _number, _line)
_CHANGES = (
    *(_flip, _set, _insert, _insert, _delete, _cut, _repeat, _splice, _splice) * 3,
    *(_number, _number, _line, _line, _ends) * 3,
    _nest,
    _long,
)
