"""The report's texts, each in English and in Chinese.

What is written here stands in `texts.toml`. What other rooms have said in English, as the reasons
of a verdict in a record, is translated sentence by sentence by the patterns in `sentences.toml`; a
sentence that none of them fits stays as it is.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import one_line

_FOLDER = Path(__file__).parent
_LONGEST = 600  # characters of a text from outside


@dataclass(frozen=True)
class Text:
    """One text in both languages; between backquotes stands what is typed."""

    en: str
    zh: str

    def __str__(self) -> str:
        return self.en

    def __html__(self) -> str:
        """Return it for a page that shows one language at a time, escaped."""
        if self.en == self.zh:
            return _marked_up(self.en)
        english, chinese = _marked_up(self.en), _marked_up(self.zh)
        return f'<span lang="en">{english}</span><span lang="zh-CN">{chinese}</span>'


def say(key: str, **values: object) -> Text:
    """Return the text of a key, `section.name`, with the values filled in."""
    english, chinese = _texts()[key]
    return Text(
        english.format(**{name: _in(value, "en") for name, value in values.items()}),
        chinese.format(**{name: _in(value, "zh") for name, value in values.items()}),
    )


def plain(text: object) -> Text:
    """Return a text from outside, which is the same in both languages, on one line."""
    shown = _cut(one_line(str(text)))
    return Text(shown, shown)


def quoted(sentence: str) -> Text:
    """Return what another room has said in English, in both languages where it is known."""
    shown = _cut(one_line(sentence))
    for pattern, chinese in _sentences():
        if match := pattern.fullmatch(shown):
            named = {name: quoted(value).zh for name, value in match.groupdict().items() if value}
            return Text(shown, chinese.format(*match.groups(), **named))
    return Text(shown, shown)


def joined(texts: Sequence[Text], english: str = "; ", chinese: str = "\uff1b") -> Text:
    """Return several texts as one."""
    return Text(english.join(one.en for one in texts), chinese.join(one.zh for one in texts))


def drawn() -> dict[str, str]:
    """Return the Chinese of each English text that stands in a plot."""
    return {en: zh for key, (en, zh) in _texts().items() if key.startswith("plot.")}


def keys() -> Iterator[str]:
    """Yield the key of every text."""
    return iter(_texts())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _in(value: object, language: str) -> object:
    return getattr(value, language) if isinstance(value, Text) else value


def _marked_up(text: str) -> str:
    from markupsafe import escape

    return re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text)))


@functools.cache
def _texts() -> dict[str, tuple[str, str]]:
    return {
        f"{section}.{name}": (english, chinese)
        for section, entries in _load("texts.toml").items()
        for name, (english, chinese) in entries.items()
    }


@functools.cache
def _sentences() -> list[tuple[re.Pattern[str], str]]:
    entries = _load("sentences.toml")["sentence"]
    return [(re.compile(one["en"]), one["zh"]) for one in entries]


def _load(name: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / name).read_text(encoding="utf-8"))
