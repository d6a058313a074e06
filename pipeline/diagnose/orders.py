"""Whose results lie under whose names: the rule behind them, where there is one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

Pairs = Sequence[tuple[str, str]]  # (name that a result lies under, image that it is of)
_BATCHES = (2, 4, 8, 16, 32, 64)
_SHOWN = 3
_DIGITS = frozenset("0123456789")
_LEAST = 3  # pairs that make a rule


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names by their value."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.findall(r"\d+|\D+", name)
    ]


_ORDERS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "by name": sorted,
    "by the numbers in the names": lambda names: sorted(names, key=natural),
    "by name, backwards": lambda names: sorted(names, reverse=True),
    "as listed": list,
}


def say(pairs: Pairs, listed: Sequence[str]) -> str:
    """Say in words which results lie under which names; `listed` are all in their order."""
    for rule in (_shifted, _ordered, _within_batches):
        if found := rule(pairs, listed):
            return found
    shown = ", ".join(f"under {name} lies that of {owner}" for name, owner in pairs[:_SHOWN])
    return f"{shown}{', ...' if len(pairs) > _SHOWN else ''}"


def _places(pairs: Pairs, listed: Sequence[str]) -> list[tuple[int, int]]:
    place = {name: number for number, name in enumerate(listed)}
    return [(place[a], place[b]) for a, b in pairs if a in place and b in place]


def _shifted(pairs: Pairs, listed: Sequence[str]) -> str:
    places = _places(pairs, listed)
    if len(places) < _LEAST:
        return ""
    for names in (listed, sorted(listed)):
        count = len(names)
        steps = Counter((b - a + count // 2) % count - count // 2 for a, b in _places(pairs, names))
        step, times = steps.most_common(1)[0]
        if times >= 0.9 * len(places):
            side = "after" if step > 0 else "before"
            return f"each lies under the name of another: it is of the image {abs(step)} {side} it"
    return ""


def _ordered(pairs: Pairs, listed: Sequence[str]) -> str:
    """Tell results that were written in one order and named in another."""
    if len(pairs) < _LEAST:
        return ""
    for one, first in _ORDERS.items():
        for other, second in _ORDERS.items():
            made, named = first(listed), second(listed)
            if made == named:
                continue
            right = dict(zip(named, made, strict=True))
            if sum(right.get(name) == owner for name, owner in pairs) >= 0.9 * len(pairs):
                return f"they were made in the order {one} and named in the order {other}"
    return ""


def _within_batches(pairs: Pairs, listed: Sequence[str]) -> str:
    places = _places(pairs, listed)
    if len(places) < _LEAST:
        return ""
    for size in _BATCHES:
        if all(a // size == b // size for a, b in places):
            return (
                f"they changed places within batches of {size} ({len(places)} of those looked at)"
            )
    return ""
