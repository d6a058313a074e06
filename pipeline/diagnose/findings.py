"""What a diagnosis finds: one step after the other, each with its verdict, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

SAME, EXPLAINED, DIFFERS, SKIPPED = "same", "explained", "differs", "not examined"
_MOST_ADVICE = 3
_SHOWN = 3
_SUBJECT = "the .bin files "
# The steps of the preprocessing, in their order.
PREPROCESSING = (
    "decoding",
    "channel order",
    "resize",
    "crop",
    "scale",
    "mean and std",
    "layout",
    "dtype",
)
SCHEMA = "vovnet39-diagnosis/1"
# Of the numbers in the report.
UNITS = {
    "levels": "steps of 8-bit pixels, 0 to 255",
    "mean, std": "of pixels divided by 255",
    "absolute": "of logits or activations, as the network has them",
    "relative": "greatest absolute difference, by the greatest magnitude of the reference",
    "sqnr_db": "10 log10( sum r^2 / sum (r - c)^2 )",
    "top1": "fraction of the images",
}


@dataclass(frozen=True)
class Step:
    """One step of the chain.

    `said` is what was found, a sentence without its end, and `advice` what to do about it; both
    are empty where nothing parts. `figures` go to the report, by the units of `UNITS`.
    """

    name: str
    verdict: str
    amount: str = ""
    detail: str = ""
    said: str = ""
    advice: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> bool:
        """Say whether the numbers part here."""
        return self.verdict in (EXPLAINED, DIFFERS)

    def as_json(self) -> dict[str, Any]:
        """Return the step for the report."""
        found = {"step": self.name, "verdict": self.verdict, "amount": self.amount}
        found |= {"detail": self.detail, "found": self.said, "advice": self.advice}
        return found | {"figures": self.figures}


def some(things: Sequence[object]) -> str:
    """Return the first of several things, for a sentence that would be too long with all."""
    return ", ".join(map(str, things[:_SHOWN])) + (", ..." if len(things) > _SHOWN else "")


def skipped(name: str, why: str) -> Step:
    """Return a step that could not be examined; `why` says what to give."""
    return Step(name, SKIPPED, detail=why)


@dataclass(frozen=True)
class Diagnosis:
    """All steps in the order of the chain, and what was looked at."""

    steps: Sequence[Step]
    looked_at: str

    @property
    def parted(self) -> Sequence[Step]:
        """The steps where the numbers part, the first of them first."""
        return [step for step in self.steps if step.parts]

    @property
    def good(self) -> bool:
        """Say whether nothing parts."""
        return not self.parted

    def sentence(self) -> str:
        """Return the one sentence that a person can act on."""
        if self.good:
            seen = self._names(lambda step: step.verdict != SKIPPED)
            without = self._names(lambda step: step.verdict == SKIPPED)
            rest = f"; not examined: {', '.join(without)}" if without else ""
            what = ", ".join(seen) or "nothing"
            return f"nothing parts ({self.looked_at}): {what} the same{rest}"
        first, *others = self.parted
        # One cause may show in several steps, each with something to do about it.
        same = [step.advice for step in self.parted if step.said == first.said]
        advice = "; ".join(dict.fromkeys(filter(None, same[:_MOST_ADVICE])))
        later: dict[str, None] = {}
        for step in others:
            if step.said != first.said:
                told = first.said.removeprefix(_SUBJECT)
                later[f"{step.name}: {step.said.replace(f', and {told}', '')}"] = None
        more = f"; and later, {'; '.join(later)}" if later else ""
        return f"{first.said}: {advice}{more}"

    def _names(self, wanted: Callable[[Step], bool]) -> list[str]:
        """Return the names of some steps, those of the preprocessing as one where all are meant."""
        names = [step.name for step in self.steps if wanted(step)]
        if not set(PREPROCESSING) <= set(names):
            return names
        rest = ["preprocessing" if name in PREPROCESSING else name for name in names]
        return list(dict.fromkeys(rest))

    def as_json(self) -> dict[str, Any]:
        """Return the report."""
        first = self.parted[0].name if self.parted else None
        return {
            "schema": SCHEMA,
            "units": UNITS,
            "looked_at": self.looked_at,
            "good": self.good,
            "first": first,
            "sentence": self.sentence(),
            "steps": [step.as_json() for step in self.steps],
        }
