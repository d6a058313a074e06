"""The verdicts that a report begins with: accuracy, speed, figures, what they rest on, images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import chain, published, quotable, scoring, work_dir
from pipeline.ascend import rules, table
from pipeline.errors import PipelineError, one_line
from pipeline.record import Json
from pipeline.report import words
from pipeline.report.content import BAD, GOOD, NEUTRAL, WARNING, Run, Verdict
from pipeline.report.origin import Checkpoint, Sources
from pipeline.report.words import Text

MOST_LINES = 6  # of one verdict; the page has more below
REFERENCE = "result_cpu.json"  # a card's run is compared with it, see pipeline.ascend.table

_STATES = {rules.PASS: GOOD, rules.FAIL: BAD, rules.SKIPPED: NEUTRAL}


@dataclass(frozen=True)
class Ground:
    """What verdicts are given on; `runs` and `facts` are the same runs, one by one."""

    work: work_dir.Work
    sources: Sources
    runs: Sequence[work_dir.Run]
    facts: Sequence[Run]
    soc: str | None  # the card's chip
    published: bool  # the user says that the checkpoint is the published one


def all_of(ground: Ground) -> tuple[Verdict, ...]:
    """Return all verdicts, the most asked for first."""
    return (accuracy(ground), speed(ground), figures(ground), rests_on(ground), images(ground))


def accuracy(ground: Ground) -> Verdict:
    """Compare with the published accuracy, where that is of this checkpoint and these images."""
    scored = [
        (run, fact)
        for run, fact in zip(ground.runs, ground.facts, strict=True)
        if run.score and run.score.file.name != REFERENCE
    ] or [pair for pair in zip(ground.runs, ground.facts, strict=True) if pair[0].score]
    if not scored:
        why = words.say("verdict.not_scored")
        return _verdict("accuracy", NEUTRAL, "none", "", words.say("verdict.top1"), [why])
    rulings = [_accuracy_ruling(ground, run, fact) for run, fact in scored]
    lowest = min((fact for _, fact in scored), key=lambda fact: fact.top[0].percent)
    top1 = lowest.top[0]
    caption = words.say(
        "verdict.top1_of",
        images=f"{lowest.images:,}",
        low=f"{top1.low_percent:.2f}",
        high=f"{top1.high_percent:.2f}",
    )
    verdict = _worst([ruling.verdict for ruling, _, _ in rulings])
    word = {rules.PASS: "pass", rules.FAIL: "fail", rules.SKIPPED: "not_compared"}[verdict]
    lines = _once([line for _, line, _ in rulings if line] + [why for _, _, why in rulings if why])
    figure = f"{top1.percent:.2f} %"
    return _verdict("accuracy", _STATES[verdict], word, figure, caption, lines)


def _accuracy_ruling(
    ground: Ground, run: work_dir.Run, fact: Run
) -> tuple[rules.Ruling, Text | None, Text | None]:
    """Return the ruling, what was compared, and why that is not the published accuracy."""
    assert run.score is not None
    found = table.read_accuracy(run.score.file, str(fact.name))
    whys = list(_not_as_published(ground, run))
    batch = run.batch_size or 0
    reference = None if whys else rules.SOURCE
    if whys and fact.on_card and run.score.file.name != REFERENCE:
        rows = [table.Row(batch, run.score.file, found, None, None, 1, 1)]
        with contextlib.suppress(PipelineError, OSError):  # a file that holds no score
            reference, _ = table.reference(rows, None, ground.work.folder / REFERENCE)
    ruling = rules.accuracy(batch, found, reference, "")
    compared = words.joined([fact.name, words.quoted(ruling.numbers)], ": ", "\uff1a")
    why = words.say("verdict.no_published", why=words.joined(whys)) if whys else None
    return ruling, compared if reference else None, why


def _not_as_published(ground: Ground, run: work_dir.Run) -> Iterator[Text]:
    """Yield why the published accuracy is not what this run is to be measured by."""
    assert run.score is not None
    found = run.score.found
    if ground.sources.sample(run):
        yield words.say("verdict.is_sample")
        return
    checkpoint = ground.sources.checkpoint(run)
    if not (ground.published or (checkpoint and checkpoint.published)):
        yield _other_checkpoint(checkpoint)
    full = published.VALIDATION_IMAGES
    if found.images != full:
        yield words.say("verdict.not_all", images=f"{found.images:,}", all=f"{full:,}")
    if found.classes not in (1000, scoring.OUTPUTS_WITH_BACKGROUND):
        yield words.say("verdict.other_classes", classes=found.classes)


def _other_checkpoint(checkpoint: Checkpoint | None) -> Text:
    if checkpoint and checkpoint.published is False:
        return words.say("verdict.other_checkpoint", md5=checkpoint.md5)
    return words.say("verdict.unknown_checkpoint")


def speed(ground: Ground) -> Verdict:
    """Apply the ModelZoo's rules where the runs were on a card."""
    timed = _timed(ground)
    if not timed:
        why = words.say("verdict.not_timed")
        return _verdict("speed", NEUTRAL, "none", "", words.say("verdict.rate"), [why])
    best = max(timed, key=lambda fact: fact.card_images_per_s or 0)
    figure = rate(best.card_images_per_s)
    key = "verdict.rate_of_card" if (best.chips or 1) > 1 else "verdict.rate_of"
    caption = words.say(key, run=best.name, chips=best.chips)
    if ground.soc is None or not best.on_card:
        known = best.on_card is not None
        why = words.say("verdict.no_card" if known else "verdict.unknown_device")
        word = "no_card" if known else "unknown"
        return _verdict("speed", NEUTRAL, word, figure, caption, [why])
    rates = {fact.batch_size or 0: fact.card_images_per_s or 0.0 for fact in timed}
    rulings = rules.speed(ground.soc, rates)
    lines = [
        words.joined(
            [words.plain(one.verdict), words.quoted(one.rule), words.quoted(one.numbers)],
            " \u00b7 ",
            " \u00b7 ",
        )
        for one in rulings
    ]
    verdict = _worst([one.verdict for one in rulings])
    word = {rules.PASS: "pass", rules.FAIL: "fail", rules.SKIPPED: "not_compared"}[verdict]
    return _verdict("speed", _STATES[verdict], word, figure, caption, lines)


def _timed(ground: Ground) -> list[Run]:
    """Return the runs with a speed; of a card's folder not that of the processor.

    That one is there to compare the accuracy with.
    """
    timed = [fact for fact in ground.facts if fact.card_images_per_s is not None]
    return [fact for fact in timed if fact.on_card] or timed


def figures(ground: Ground) -> Verdict:
    """Say whether the speeds may be quoted, and what to change where they may not."""
    timed = _timed(ground)
    caption = words.say("verdict.quotable_runs")
    if not timed:
        why = words.say("verdict.not_timed")
        return _verdict("quotable", NEUTRAL, "none", "", caption, [why])
    verdicts = {fact.verdict for fact in timed}
    quotable_runs = sum(fact.verdict == quotable.QUOTABLE for fact in timed)
    lines: dict[Text, list[Text]] = {}
    for fact in timed:
        for reason in fact.because:
            lines.setdefault(reason, []).append(fact.name)
    said = [
        words.joined([words.joined(names, ", ", "\u3001"), reason], ": ", "\uff1a")
        for reason, names in lines.items()
    ]
    if quotable.SMOKE in verdicts:
        state, word = WARNING, "smoke"
    elif verdicts == {quotable.QUOTABLE}:
        state, word, said = GOOD, "quotable", [words.say("verdict.may_be_quoted")]
    else:
        state, word = NEUTRAL, "unknown"
    return _verdict("quotable", state, word, f"{quotable_runs} / {len(timed)}", caption, said)


def rests_on(ground: Ground) -> Verdict:
    """Say whether every file that the figures rest on is vouched for by its record."""
    verified, doubts = 0, []
    for run in ground.runs:
        links = _links(run)
        found = [one_line(str(doubt)) for doubt in chain.field(links, list, "doubts") or []]
        verified += chain.field(links, bool, "verified") is True and not found
        if not links:
            file = run.score.file if run.score else run.speed.file if run.speed else Path()
            found = [f"{one_line(file.name)} has no record"]
        doubts += [words.quoted(doubt) for doubt in found]
    good = verified == len(ground.runs)
    lines = _once(doubts) or [words.say("verdict.all_verified")]
    figure = f"{verified} / {len(ground.runs)}"
    caption = words.say("verdict.verified_runs")
    state = GOOD if good else WARNING
    return _verdict("chain", state, "verified" if good else "unverified", figure, caption, lines)


def _links(run: work_dir.Run) -> Json:
    """Return what a run's records say of all that it rests on."""
    for made in (run.score.made if run.score else {}, run.made):
        if found := chain.field(made, dict, "details", "chain"):
            return found
    return {}


def images(ground: Ground) -> Verdict:
    """Say whether every image came through the preprocessing."""
    caption = words.say("verdict.prepared_images")
    made = ground.work.made_by(chain.PREPROCESS)
    given = chain.count(made["counts"], *chain.GIVEN) if made else None
    if made is None or given is None:
        why = words.say("verdict.no_preprocessing")
        return _verdict("images", NEUTRAL, "unknown", "", caption, [why])
    refused = chain.count(made["counts"], "refused") or 0
    done = chain.count(made["counts"], *chain.DONE) or 0
    figure = f"{done:,} / {given:,}"
    if not refused and done == given:
        lines = [words.say("verdict.all_prepared")]
        return _verdict("images", GOOD, "complete", figure, caption, lines)
    entries = chain.field(made, list, "details", "refused") or []
    lines = [
        words.quoted(chain.field(entry, str, "reason") or str(chain.field(entry, str, "path")))
        for entry in entries
    ]
    lines.insert(0, words.say("verdict.refused", count=f"{given - done:,}"))
    return _verdict("images", WARNING, "incomplete", figure, caption, lines)


def rate(value: float | None) -> str:
    """Return a rate in images/s with four digits, and all of them before the point."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _verdict(
    subject: str, state: str, word: str, figure: str, caption: Text, lines: Sequence[Text]
) -> Verdict:
    shown = list(lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        shown.append(words.say("verdict.more", count=len(lines) - MOST_LINES))
    return Verdict(subject, state, words.say(f"word.{word}"), figure, caption, tuple(shown))


def _worst(verdicts: Sequence[str]) -> str:
    order = (rules.FAIL, rules.PASS, rules.SKIPPED)
    return next((word for word in order if word in verdicts), rules.SKIPPED)


def _once(texts: Sequence[Text]) -> list[Text]:
    return list(dict.fromkeys(texts))
