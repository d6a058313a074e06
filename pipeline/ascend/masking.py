"""Text made fit to be sent away: who it came from, and from which machine, is masked.

Masked are names of users and of this host, home folders, folders that are given, passwords and
their like, mail addresses, and the names of single pictures and tensors.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

USER, HOST, HOME, NAME, SECRET, MAIL = "<user>", "<host>", "~", "<name>", "<secret>", "<mail>"

# Everybody has these; they tell nothing, and their words stand in ordinary text.
_COMMON = frozenset(("root", "localhost", "HwHiAiUser", "user", "home"))
_NO_MORE = r"(?![\w-])"  # the name goes on: another one

# Every run of characters has an end, so that no text of a log takes long.
_CREDENTIAL = re.compile(
    r"""(?ix) ( (?: password | passwd | passphrase | secret | token | api[_-]?key
        | access[_-]?key | private[_-]?key | credential ) \w{0,20} ["']? \s* [:=] \s* ["']? )
        [^\s"',;&]+""",
)
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w+/.~=-]{8,}")
_IN_ADDRESS = re.compile(r"(://)[^\s/@]{1,200}@")
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+")
_ANY_HOME = re.compile(r"(/home/)[^/\s:\"',;]+")
_SUFFIXES = "|".join(("bin", "npy", "jpe?g", "png", "bmp", "gif", "webp", "tiff?", "p[pgn]m"))
_FILE = re.compile(
    rf"(?i)(?<![\w.-])(?!atc\.bin\b)[^\s/\"'=:,;|<>()\[\]*]{{1,255}}(?=\.(?:{_SUFFIXES})\b)"
)


class Mask:
    """What to put in the place of what; the same for all text of one report."""

    def __init__(
        self, folders: Mapping[Path, str], users: Iterable[str], hosts: Iterable[str]
    ) -> None:
        named = {str(path): label for path, label in folders.items() if len(path.parts) > 1}
        self._folders = [
            (re.compile(re.escape(path) + _NO_MORE), label)
            for path, label in sorted(named.items(), key=lambda entry: -len(entry[0]))
        ]
        self._words = [*_words(users, USER, 0), *_words(hosts, HOST, re.IGNORECASE)]

    def text(self, text: str) -> str:
        """Return `text` masked."""
        for pattern, label in self._folders:
            text = pattern.sub(label, text)
        text = _ANY_HOME.sub(rf"\1{USER}", text)
        text = _CREDENTIAL.sub(rf"\1{SECRET}", text)
        text = _BEARER.sub(rf"\1{SECRET}", text)
        text = _IN_ADDRESS.sub(rf"\1{SECRET}@", text)
        text = _MAIL.sub(MAIL, text)
        text = _FILE.sub(NAME, text)
        for pattern, label in self._words:
            text = pattern.sub(label, text)
        return text


def of_this_machine(folders: Mapping[Path, str]) -> Mask:
    """Return the mask for this user and host, and for `folders`, each with its label."""
    named = dict(folders)
    for home in _homes():
        named.setdefault(home, HOME)
    named |= {path.resolve(): label for path, label in named.items()}
    return Mask(named, _users(), _hosts())


def _homes() -> list[Path]:
    entry = _password_entry()
    given = [os.environ.get("HOME", ""), entry.pw_dir if entry else ""]
    return [Path(home) for home in given if home.startswith("/")]


def _users() -> list[str]:
    names = [os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")]
    if entry := _password_entry():
        names += [entry.pw_name, entry.pw_gecos.split(",")[0]]
    return names


def _hosts() -> list[str]:
    names = [socket.gethostname(), os.uname().nodename, os.environ.get("HOSTNAME", "")]
    return [*names, *(name.partition(".")[0] for name in names)]


def _password_entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:  # a number alone, as in a container
        return None


def _words(names: Iterable[str], label: str, flags: int) -> list[tuple[re.Pattern[str], str]]:
    wanted = {name.strip() for name in names} - _COMMON - {""}
    return [
        (re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", flags), label)
        for name in sorted(wanted, key=len, reverse=True)
    ]
