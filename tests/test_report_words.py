"""The report's two languages: nothing is said in one of them alone."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from itertools import pairwise

import pytest
from markupsafe import escape

from pipeline import chain, quotable
from pipeline.ascend import rules
from pipeline.report import words
from pipeline.report.words import Text
from pipeline.sample import make
from tests.conftest import PROJECT

ROOM = PROJECT / "pipeline" / "report"
SOURCES = [path.read_text() for path in [*ROOM.glob("*.py"), *ROOM.glob("*.j2")]]
# Keys that are put together: their beginnings, and what may follow.
MADE_UP = ("word.", "verdict.", "head.", "time.", "ran.", "speeds.card_", "plot.")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", list(words.keys()))
def test_both_languages_have_the_same_values(key: str) -> None:
    english, chinese = words._texts()[key]
    assert english and chinese
    assert fields(english) == fields(chinese)
    assert english.count("`") == chinese.count("`") and english.count("`") % 2 == 0
    assert english.isascii() or key == "page.language"


def test_each_key_that_is_said_is_there_and_none_is_idle() -> None:
    said = {key for text in SOURCES for key in re.findall(r'"([a-z]+\.[a-z_0-9]+)"', text)}
    keys = set(words.keys())
    sections = {key.split(".")[0] for key in keys}
    files = {path.name for path in ROOM.iterdir()}
    assert not {key for key in said if key.split(".")[0] in sections} - keys - files
    idle = {key for key in keys - said if not key.startswith(MADE_UP)}
    assert not idle


def test_values_are_filled_in_each_language() -> None:
    run = Text("batch 1", "\u6279")
    found = words.say("verdict.rate_of", run=run)
    assert "batch 1" in found.en and "\u6279" in found.zh and "batch" not in found.zh


def test_a_text_is_shown_once_where_it_is_the_same() -> None:
    assert words.plain("<b>").__html__() == "&lt;b&gt;"
    both = Text("a `b` <", "\u4e59")
    assert both.__html__() == (
        '<span lang="en">a <code>b</code> &lt;</span><span lang="zh-CN">\u4e59</span>'
    )
    assert str(escape(both)) == both.__html__()


def timed(calls: int, seconds: float, *, warmup: int = 1, samples: int = 9) -> quotable.Timed:
    step = round(seconds * 1e9 / calls)
    ends = [step * (n + 1) for n in range(calls)]
    return quotable.Timed(
        [b - a for a, b in pairwise([0, *ends])],
        *(0, ends, 1, warmup, samples, 9, "give more samples", "give more samples"),
    )


def reasons() -> Iterator[str]:
    """Yield every reason that a run may be given against its speed, as `quotable` words it."""
    bad = quotable.Conditions(others=0.5, throttled=0.5, heat=2, mhz=(3000.0, 1000.0))
    yield from quotable.judge(timed(3, 1.5, warmup=0, samples=2), bad).reasons
    once = quotable.Conditions(heat=1)
    yield from quotable.judge(timed(1, 0.25), once).reasons
    uneven = timed(100, 20)
    late = [end + (3_000_000_000 if n > 60 else 0) for n, end in enumerate(uneven.ends_ns)]
    changed = quotable.Timed(uneven.calls_ns, 0, late, 1, 1, 9, 9, "a", "b")
    yield from quotable.judge(changed, quotable.Conditions()).reasons
    yield from quotable.of_record({})[1]


def sentences() -> Iterator[str]:
    """Yield what other rooms say and the report quotes."""
    yield from reasons()
    rates = {1: 700.0, 2: 9.0}
    for soc in ("Ascend310", "Ascend310P3", "Ascend910"):
        for ruling in rules.speed(soc, rates):
            yield ruling.rule
            if "images/s" in ruling.numbers or "none for" in ruling.numbers:
                yield ruling.numbers
    own = rules.Accuracy(76.5, 93.0, 50_000, "x")
    yield rules.accuracy(1, own, rules.SOURCE, "").numbers
    yield chain.unknown(PROJECT / "x").doubt
    yield make.MEANING


def test_what_other_rooms_say_is_known_in_chinese() -> None:
    told = list(sentences())
    assert len(told) > 18
    for sentence in told:
        if sentence not in ("speed",):
            found = words.quoted(sentence)
            assert found.en == sentence
            assert re.search("[\u4e00-\u9fff]", found.zh), sentence


def test_what_nobody_knows_stays_as_it_is() -> None:
    assert words.quoted("whatever {0} `x`\n") == Text("whatever {0} `x`\\n", "whatever {0} `x`\\n")
