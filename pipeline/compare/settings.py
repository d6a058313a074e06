"""What runs were made with, from their records, and where that differs between the sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import chain
from pipeline.compare.sides import Side
from pipeline.record import Json
from pipeline.work_dir import Run, Work

_DIGITS = 12  # of a digest; enough for people to tell two apart
# Of a run's settings: what pairs the runs, what says where its files go, and what stands in its
# details as it was in force.
_PASSED_OVER = {"mode", "model_type", "batch_size", "device", "devices"}
_NAMES = {"images": "reads pictures"}  # that a model with a decoder before it does
_IN_FORCE = {"engine": "engine", "precision": "effective_precision", "threads": "threads"}
_DETAILS = ("engine_version", "requests", "soc_version")
_MACHINE = ("processor", "architecture", "usable_cores", "system")
_RECORDED = ("sample", "export", "atc", chain.QUANTIZE, chain.PREPROCESS)
_LAST_STAGE = "model made by"
_FURTHER = ("atc", chain.QUANTIZE)  # what may be done to a model after its export
_ITS_OWN = {
    "words",
    "batch_size",
    "judged",
    "judge_pictures",
    "max_drop_points",
    "engine",
    "threads",
}


@dataclass(frozen=True)
class Fact:
    """One value: JSON to compare by, and how people read it."""

    value: Any
    text: str


@dataclass(frozen=True)
class Setting:
    """One setting that is not the same everywhere; an empty list is a side that does not say.

    A side has several values where its runs do not agree.
    """

    name: str
    values: tuple[tuple[Fact, ...], ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """How each side's values read."""
        return tuple(" / ".join(fact.text for fact in facts) or "-" for facts in self.values)


@dataclass(frozen=True)
class Differences:
    """The settings that differ, how many are the same, and those that some side does not say."""

    differing: tuple[Setting, ...]
    same: int
    unknown: tuple[Setting, ...]


def differences(sides: Sequence[Side]) -> Differences:
    """Compare the settings of all sides; what fewer than two of them say is unknown."""
    found = [_of_side(side) for side in sides]
    names = dict.fromkeys(name for facts in found for name in facts)
    differing: list[Setting] = []
    unknown: list[Setting] = []
    same = 0
    for name in names:
        setting = Setting(name, tuple(tuple(facts.get(name, ())) for facts in found))
        known = [{_key(fact) for fact in facts} for facts in setting.values if facts]
        if any(values != known[0] for values in known):
            differing.append(setting)
        elif len(known) < len(sides):
            # A side whose model was not quantised has no method of it; that is no lack of records.
            is_of_stage = name.startswith(_FURTHER) and all(_LAST_STAGE in f for f in found)
            (differing if is_of_stage else unknown).append(setting)
        else:
            same += 1
    return Differences(tuple(differing), same, tuple(unknown))


def machine_of(run: Run) -> Json:
    """Return what the record of a run says of its machine or card; empty where it does not."""
    details = run.made.get("details")
    found = {key: chain.field(details, dict, "machine") or {} for key in _MACHINE}
    known = {key: there[key] for key, there in found.items() if key in there}
    if soc := chain.field(details, str, "soc_version"):
        known["soc_version"] = soc
    return known


def _of_side(side: Side) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    sizes = [Fact(run.batch_size, str(run.batch_size)) for run in side.runs if run.batch_size]
    if sizes:
        found["batch size"] = sizes
    for run in side.runs:
        for name, fact in _of_run(run, side.work):
            there = found.setdefault(name, [])
            if _key(fact) not in map(_key, there):
                there.append(fact)
    return found


def _of_run(run: Run, work: Work) -> Iterator[tuple[str, Fact]]:
    """Yield all that is known of a run, by name."""
    score, details = run.score, run.made.get("details")
    yield from _of_model(run.link("model"), work)
    used = dict(run.made.get("settings") or run.link("dumps", "settings"))
    in_force = {own: chain.field(details, object, key) for own, key in _IN_FORCE.items()}
    used |= {own: value for own, value in in_force.items() if value is not None}
    for key in _DETAILS:
        if (value := chain.field(details, object, key)) is not None:
            used[key] = value
    used = {_NAMES.get(k, k): v for k, v in used.items() if k not in _PASSED_OVER}
    yield from _plain("", used)
    yield from _plain("preprocessing", run.link("folders", 0, "settings"))
    if score:
        yield from _plain("", {"images": score.found.images, "classes": score.found.classes})
        yield from _file("labels", chain.field(score.made, dict, "inputs", 1) or {})
    links = run.link()
    if doubts := chain.field(links, list, "doubts"):
        yield "inputs", Fact("unverified", chain.say(list(map(chain.shown, doubts))))
    elif chain.field(links, bool, "verified"):
        yield "inputs", Fact("verified", "verified")
    yield from _plain("", machine_of(run))
    yield from _made_by_what(run, work)


def _made_by_what(run: Run, work: Work) -> Iterator[tuple[str, Fact]]:
    """Yield the project's code and the packages of all stages, as their records have them."""
    stages = [made for stage in _RECORDED if (made := work.made_by(stage))]
    for made in (run.made, run.score.made if run.score else {}, *stages):
        if code := chain.field(made, str, "code_sha256"):
            yield "project code", Fact(code, code[:_DIGITS])
        yield from _plain("package", chain.field(made, dict, "versions") or {})


def _of_model(model: Json, work: Work) -> Iterator[tuple[str, Fact]]:
    """Yield what is known of a model, back to its checkpoint."""
    yield from _file("model", model)
    stage = chain.field(model, str, "stage")
    if stage:
        yield _LAST_STAGE, Fact(stage, stage)
    if stage in _FURTHER:
        settings = chain.field(model, dict, "settings") or {}
        yield from _plain(stage, {k: v for k, v in settings.items() if k not in _ITS_OWN})
    exported = {"settings": model.get("settings"), "inputs": model.get("made_of")}
    if stage != "export":
        exported = _exported(model, work)
    yield from _file("checkpoint", chain.field(exported, dict, "inputs", 0) or {})
    yield from _plain("export", chain.field(exported, dict, "settings") or {})


def _exported(model: Json, work: Work) -> Json:
    """Return the record of the export that a model goes back to, empty where there is none."""
    digest = chain.field(model, str, "made_of", 0, "sha256")
    for _, made in work.stages:
        output = chain.field(made, str, "outputs", 0, "sha256")
        if made["stage"] == "export" and digest and output == digest:
            return made
    return {}


def _file(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, Fact]]:
    """Yield a file: two of the same content are the same, whatever they are called."""
    digest, path = entry.get("sha256"), entry.get("path")
    if isinstance(digest, str) and isinstance(path, str):
        yield name, Fact(digest, f"{Path(path).name} ({digest[:_DIGITS]})")


def _plain(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Fact]]:
    for key, value in values.items():
        words = f"{prefix} {key}".strip().replace("_", " ")
        yield words, Fact(chain.plain(value), "none" if value in (None, "") else chain.shown(value))


def _key(fact: Fact) -> str:
    return repr(fact.value)
