"""From a work folder to all that its report says, as plain data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import chain, class_names, quotable, scoring, work_dir
from pipeline.ascend import npu_smi
from pipeline.errors import PipelineError, one_line
from pipeline.record import Json
from pipeline.report import gallery, ran, times, verdicts, words
from pipeline.report.content import PerClass, Picture, Report, Run, Top
from pipeline.report.origin import Sources
from pipeline.report.words import Text


@dataclass(frozen=True)
class Options:
    """What the user says besides the work folder."""

    images: Path | None = None  # where the images are; None: where the records say
    pictures: int = 48  # of wrong images, at most
    published: bool = False  # the checkpoint is the published one, where no record tells
    soc_version: str | None = None  # the card's chip, where no record tells


def gather(work: work_dir.Work, options: Options) -> tuple[Report, list[Picture]]:
    """Return what the report of a work folder says, and the pictures of wrong images.

    PipelineError where the options contradict the records, or the images are not in the folder
    that the user names.
    """
    sources = Sources(work)
    soc = _soc(sources, options)
    runs = work.runs
    facts = tuple(_run(sources, run, _name(sources, run), soc) for run in runs)
    _check_published(sources, runs, options)
    absent: dict[str, Text] = {}
    per_class = _per_class(work, sources, facts, absent)
    remarks = [words.quoted(doubt) for doubt in work.doubts]
    pictures = _pictures(work, per_class, options, absent, remarks)
    ground = verdicts.Ground(work, sources, runs, facts, soc, options.published)
    stages = tuple(times.stages(work))
    timed = [(fact.name, run) for run, fact in zip(runs, facts, strict=True) if run.made]
    busy = [found for name, run in timed if (found := times.busy(name, run.made))]
    found_latencies = [times.latency(name, run.made, run.latencies_ms) for name, run in timed]
    latencies = [latency for latency in found_latencies if latency]
    if not stages:
        absent["stages"] = words.say("absent.stages")
    if not any(stage.peak_process_bytes for stage in stages):
        absent["memory"] = words.say("absent.memory")
    if not latencies:
        absent["latency"] = words.say("absent.latency")
    if not busy:
        absent["busy"] = words.say("absent.busy")
    report = Report(
        name=one_line(work.folder.resolve().name) or "work",
        made_utc=_made_utc(work),
        subtitle=_subtitle(sources, runs, facts, soc),
        verdicts=verdicts.all_of(ground),
        remarks=tuple(remarks),
        runs=facts,
        meaning=_meaning(sources, runs),
        on_card=_any_on_card(facts),
        stages=stages,
        busy=tuple(busy),
        latencies=tuple(latencies),
        per_class=per_class,
        ran=ran.of(sources, runs, facts),
        absent=absent,
    )
    return report, pictures


def _soc(sources: Sources, options: Options) -> str | None:
    """Return the card's chip; PipelineError where the user names another than the records."""
    recorded = sources.soc
    if options.soc_version and recorded and options.soc_version != recorded:
        raise PipelineError(
            f"the model in {sources.work.folder} was converted for {recorded}, "
            f"not for {options.soc_version}",
            "leave --soc-version out",
        )
    return options.soc_version or recorded


def _check_published(sources: Sources, runs: Sequence[work_dir.Run], options: Options) -> None:
    found = [sources.checkpoint(run) for run in runs] if options.published else []
    for checkpoint in found:
        if checkpoint and checkpoint.published is False:
            raise PipelineError(
                f"{checkpoint.path} is not the published checkpoint (md5 {checkpoint.md5})",
                "leave --published out",
            )


def _any_on_card(facts: Sequence[Run]) -> bool | None:
    found = {fact.on_card for fact in facts}
    return True if True in found else None if None in found else False


def _name(sources: Sources, run: work_dir.Run) -> Text:
    """Return what tells a run from the others: its batch size, else the name of its file."""
    size, runs = run.batch_size, sources.work.runs
    if size is not None and [one.batch_size for one in runs].count(size) == 1:
        if sources.soc and sources.is_on_card(run) is False:
            return words.say("runs.batch_on_processor", size=size)
        return words.say("runs.batch", size=size)
    file = run.score.file if run.score else run.speed.file if run.speed else None
    name = words.plain(file.name if file else "")
    if size is None:
        return name
    return words.joined([words.say("runs.batch", size=size), name], ", ", "\uff0c")


def _run(sources: Sources, run: work_dir.Run, name: Text, soc: str | None) -> Run:
    score, speed, made = run.score, run.speed, run.made
    folder, on_card = sources.work.folder, sources.is_on_card(run)
    if on_card is None and soc:
        on_card = True  # as the user says
    chips = speed.chips if speed else None
    if soc and on_card and chips is not None:
        chips = npu_smi.chips_per_card(soc)
    return Run(
        name=name,
        on_card=on_card,
        batch_size=run.batch_size,
        images=score.found.images if score else None,
        classes=score.found.classes if score else None,
        top=_top(score) if score else (),
        engine=_engine(made),
        precision=one_line(chain.field(made, str, "details", "effective_precision") or ""),
        threads=chain.field(made, int, "details", "threads"),
        requests=chain.field(made, int, "details", "requests"),
        chip_images_per_s=speed.chip_rate if speed else None,
        chips=chips,
        card_images_per_s=speed.chip_rate * (chips or 1) if speed else None,
        end_to_end_images_per_s=speed.e2e_rate if speed else None,
        verdict=speed.verdict if speed else "",
        because=_because(speed),
        result_file=_relative(score.file, folder) if score else "",
        speed_file=_relative(speed.file, folder) if speed else "",
        dumps=_relative(score.dumps, folder) if score and score.dumps else "",
    )


def _because(speed: work_dir.Speed | None) -> tuple[Text, ...]:
    if speed is None or speed.verdict == quotable.QUOTABLE:
        return ()
    return tuple(words.quoted(reason) for reason in speed.because)


def _engine(made: Json) -> str:
    found = [chain.field(made, str, "details", key) for key in ("engine", "engine_version")]
    return one_line(" ".join(filter(None, found)))


def _top(score: work_dir.Score) -> tuple[Top, ...]:
    """Return Top1, Top2, ... with their intervals; the record has more digits than the file."""
    images = score.found.images
    percentages = score.found.percentages
    shares = chain.field(score.made, list, "details", "top") or []
    exact = len(shares) == len(percentages) and all(
        isinstance(one, float) and 0 <= one <= 1 for one in shares
    )
    found = []
    for places, percent in enumerate(percentages, 1):
        share = shares[places - 1] if exact else percent / 100
        low, high = scoring.wilson_interval(min(images, round(share * images)), images)
        found.append(Top(places, percent, round(100 * low, 4), round(100 * high, 4)))
    return tuple(found)


def _relative(path: Path, folder: Path) -> str:
    try:
        return one_line(str(path.relative_to(folder)))
    except ValueError:
        return one_line(str(path))


def _per_class(
    work: work_dir.Work, sources: Sources, facts: Sequence[Run], absent: dict[str, Text]
) -> PerClass | None:
    run = work.best_scored
    if run is None or run.score is None or run.score.dumps is None or run.score.labels is None:
        scored = [one.score for one in work.runs if one.score]
        if not scored:
            absent["per_class"] = words.say("absent.not_scored")
        elif not any(score.made for score in scored):
            absent["per_class"] = words.say("absent.no_score_record")
        elif not any(score.dumps for score in scored):
            absent["per_class"] = words.say("absent.dumps")
        else:
            absent["per_class"] = words.say("absent.labels")
        return None
    from pipeline import answers
    from pipeline.report import accuracy

    try:
        found = answers.read(run.score.dumps, run.score.labels)
    except (PipelineError, OSError) as error:
        absent["per_class"] = words.plain(error)
        return None
    names, names_from = _class_names(work, sources.sample(run), found.classes)
    return accuracy.per_class(facts[work.runs.index(run)].name, found, names, names_from)


def _class_names(
    work: work_dir.Work, sample: Json | None, outputs: int
) -> tuple[dict[int, str], Text]:
    names, whose = class_names.of_run(sample, work.made_by(chain.PREPROCESS), outputs)
    if whose == class_names.NOBODY:
        return names, words.say("classes.no_names", classes=outputs)
    if whose == class_names.IMAGENET and not names:
        return names, words.say("classes.no_torchvision")
    said = {
        class_names.SAMPLE: "classes.names_of_sample",
        class_names.FOLDERS: "classes.names_of_folders",
        class_names.IMAGENET: "classes.names_of_imagenet",
    }
    return names, words.say(said[whose])


def _pictures(
    work: work_dir.Work,
    per_class: PerClass | None,
    options: Options,
    absent: dict[str, Text],
    remarks: list[Text],
) -> list[Picture]:
    run = work.best_scored
    if per_class is None or run is None:
        absent["gallery"] = absent["per_class"]
        return []
    if not per_class.wrong:
        absent["gallery"] = words.say("absent.nothing_wrong")
        return []
    found = gallery.find(work, run, options.images)
    if found.why:
        absent["pictures"] = found.why
    if found.doubt:
        remarks.append(found.doubt)
    return gallery.pictures(per_class.wrong[: options.pictures], found.files, found.why)


def _meaning(sources: Sources, runs: Sequence[work_dir.Run]) -> Text | None:
    for run in runs:
        if run.score and (made := sources.sample(run)):
            return words.quoted(chain.field(made, str, "details", "meaning") or "")
    return None


def _subtitle(
    sources: Sources, runs: Sequence[work_dir.Run], facts: Sequence[Run], soc: str | None
) -> Text:
    """Return in a few words what was run on what."""
    parts = []
    first = next((fact for fact in facts if fact.images), None)
    if any(run.score and sources.sample(run) for run in runs):
        parts.append(words.say("subtitle.sample"))
    if first:
        parts.append(words.say("subtitle.images", images=f"{first.images or 0:,}"))
    engines = list(dict.fromkeys(f"{fact.engine} {fact.precision}".strip() for fact in facts))
    parts += [words.plain(engine) for engine in engines if engine]
    machines = [chain.field(run.made, str, "details", "machine", "processor") for run in runs]
    on = soc or next((name for name in machines if name), None)
    if on:
        parts.append(words.plain(on))
    return words.joined(parts, " \u00b7 ", " \u00b7 ")


def _made_utc(work: work_dir.Work) -> str:
    """Return when the last stage began, as the records have it."""
    found = [times.seconds(made, "started_unix_s") for _, made in work.stages]
    starts = [start for start in found if start]
    if not starts:
        return ""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(starts)))
