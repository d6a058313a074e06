"""The ModelZoo's rules on accuracy and speed, each PASS or FAIL with its numbers.

Sources: ACL_PyTorch/contrib/CONTRIBUTING.md of the ModelZoo (a 310 card, four chips, must be faster
than a T4) and the READMEs of its 310P models (the best batch at least 1.2 times the best of a 310
card and 1.6 times the best of a T4); accuracy within 1 point of the source's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline import published

PASS, FAIL, SKIPPED = "PASS", "FAIL", "-"
LEAST_OF_310, LEAST_OF_T4 = 1.2, 1.6


@dataclass(frozen=True)
class Ruling:
    """What a rule says: PASS, FAIL, or `-` where it cannot be applied, and on what grounds."""

    rule: str
    verdict: str
    numbers: str


@dataclass(frozen=True)
class Accuracy:
    """Top1 and Top5 in percent over some images; `of` says whose."""

    top1: float
    top5: float
    images: int
    of: str


SOURCE = Accuracy(
    published.SOURCE_TOP1,
    published.SOURCE_TOP5,
    published.VALIDATION_IMAGES,
    "the source network, as published",
)


def accuracy(batch: int, found: Accuracy | None, reference: Accuracy | None, why: str) -> Ruling:
    """Judge one batch size; without a `reference`, `why` says why there is none."""
    rule = f"accuracy, batch {batch}: within {published.ALLOWED_DROP:g} point"
    if found is None:
        return Ruling(rule, SKIPPED, "not scored")
    figures = f"Top1 {found.top1:.2f} %, Top5 {found.top5:.2f} %"
    if reference is None:
        return Ruling(rule, SKIPPED, f"{figures}; not applicable: {why}")
    gains = found.top1 - reference.top1, found.top5 - reference.top5
    # Both have two digits; what binary fractions add to their difference must not decide.
    good = min(round(gain, 6) for gain in gains) >= -published.ALLOWED_DROP
    return Ruling(
        rule,
        PASS if good else FAIL,
        f"{figures}; {reference.top1:.2f} / {reference.top5:.2f} of {reference.of}: "
        f"{gains[0]:+.2f} / {gains[1]:+.2f} points",
    )


def speed(soc: str, card_rates: Mapping[int, float]) -> list[Ruling]:
    """Judge the card rates (samples/s) by batch size of a card with chips `soc`."""
    if soc == "Ascend310":
        return [_faster_than_t4(batch, rate) for batch, rate in sorted(card_rates.items())]
    if soc.startswith(("Ascend310P", "Ascend710")):
        return _of_the_best(card_rates)
    return [Ruling("speed", SKIPPED, f"the ModelZoo has rules for 310 and 310P, none for {soc}")]


def _faster_than_t4(batch: int, rate: float) -> Ruling:
    rule = f"speed, batch {batch}: four 310 chips above a T4"
    t4 = next((one.card_t4 for one in published.SPEEDS if one.batch_size == batch), None)
    if t4 is None:
        return Ruling(rule, SKIPPED, f"{rate:.6g} images/s; no T4 figure is published for it")
    word = PASS if rate > t4 else FAIL
    return Ruling(rule, word, f"{rate:.6g} / {t4:.6g} (T4, MZ-new) = {rate / t4:.3f}")


def _of_the_best(card_rates: Mapping[int, float]) -> list[Ruling]:
    best_310 = _best([(one.card_310, one.batch_size) for one in published.SPEEDS])
    best_t4 = _best([(one.card_t4, one.batch_size) for one in published.SPEEDS])
    found = []
    for name, least, (other, other_batch) in (
        ("310 card", LEAST_OF_310, best_310),
        ("T4", LEAST_OF_T4, best_t4),
    ):
        rule = f"speed, best batch: at least {least:g} x the best of a {name}"
        if not card_rates:
            found.append(Ruling(rule, SKIPPED, "not measured"))
            continue
        rate, batch = _best([(rate, batch) for batch, rate in card_rates.items()])
        found.append(
            Ruling(
                rule,
                PASS if rate >= least * other else FAIL,
                f"{rate:.6g} (batch {batch}) / {other:.6g} (batch {other_batch}, MZ-new) = "
                f"{rate / other:.3f}",
            )
        )
    return found


def _best(rates: Sequence[tuple[float, int]]) -> tuple[float, int]:
    return max(rates, key=lambda pair: pair[0])
