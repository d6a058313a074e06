"""What ran: model, checkpoint, engine, machine, versions, commands to repeat it, files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import chain, work_dir
from pipeline.errors import one_line
from pipeline.record import Json
from pipeline.report import times, words
from pipeline.report.content import Fact, Ran, Run
from pipeline.report.origin import Sources
from pipeline.report.words import Text

_MACHINE = ("processor", "architecture", "usable_cores", "system")


def of(sources: Sources, runs: Sequence[work_dir.Run], facts: Sequence[Run]) -> Ran:
    """Return what ran in a work folder, as far as its records tell."""
    stages = [made for _, made in times.records(sources.work)]
    versions: dict[str, str] = {}
    for made in stages:
        for name, version in made["versions"].items():
            versions[one_line(str(name))] = one_line(str(version))
    folders = list(dict.fromkeys(made["folder"] for made in stages if made["command"]))
    return Ran(
        facts=tuple(
            dict.fromkeys([*_models(sources, runs), *_machines(sources, runs), *_settings(facts)])
        ),
        versions=dict(sorted(versions.items())),
        folder=one_line(folders[0]) if len(folders) == 1 else "",
        commands=tuple(_commands(stages, folders)),
        files=tuple(_files(sources.work, facts)),
    )


def _models(sources: Sources, runs: Sequence[work_dir.Run]) -> Iterator[Fact]:
    seen = set()
    for run in runs:
        model, checkpoint = run.link("model"), sources.checkpoint(run)
        digest = chain.field(model, str, "sha256")
        if digest is None or digest in seen:
            continue
        seen.add(digest)
        yield Fact(words.say("ran.model"), one_line(str(model.get("path"))))
        yield Fact(words.say("ran.model_sha256"), one_line(digest))
        if checkpoint:
            known = {True: "published", False: "not_published", None: "unknown"}
            note = words.say(f"ran.{known[checkpoint.published]}")
            yield Fact(words.say("ran.checkpoint"), checkpoint.path, note)
            yield Fact(words.say("ran.checkpoint_sha256"), checkpoint.sha256)
            if checkpoint.md5:
                yield Fact(words.say("ran.checkpoint_md5"), checkpoint.md5)


def _machines(sources: Sources, runs: Sequence[work_dir.Run]) -> Iterator[Fact]:
    if sources.soc:
        yield Fact(words.say("ran.chip"), one_line(sources.soc))
    seen = set()
    for run in runs:
        machine = chain.field(run.made, dict, "details", "machine") or {}
        told = [one_line(str(machine[key])) for key in _MACHINE if key in machine]
        if told and tuple(told) not in seen:
            seen.add(tuple(told))
            for key, value in zip([k for k in _MACHINE if k in machine], told, strict=True):
                yield Fact(words.say(f"ran.{key}"), value)


def _settings(facts: Sequence[Run]) -> Iterator[Fact]:
    for name in ("engine", "precision", "threads", "requests"):
        values = list(dict.fromkeys(getattr(fact, name) for fact in facts))
        told = [str(value) for value in values if value not in (None, "")]
        if told:
            yield Fact(words.say(f"ran.{name}"), ", ".join(told))


def _commands(stages: Sequence[Json], folders: Sequence[str]) -> Iterator[str]:
    """Yield what to type to run the stages again; where folders differ, each with its own."""
    if len(folders) == 1:
        yield f"cd {_quoted(folders[0])}"
    for made in stages:
        if not made["command"]:
            continue
        script, *rest = made["command"]
        place = Path(script)
        start = [script]
        if place.name == "__main__.py":
            start = ["python3", "-m", place.parent.name]
        elif place.suffix == ".py":
            start = ["python3", script]
        line = " ".join(map(_quoted, [*start, *rest]))
        if place.name == "__main__.py":
            line = f"PYTHONPATH={_quoted(str(place.parent.parent))} {line}"
        yield f"cd {_quoted(made['folder'])} && {line}" if len(folders) > 1 else line


def _quoted(word: str) -> str:
    """Return a word as one types it in bash; what cannot be shown is in its form $'...'."""
    if one_line(word) == word:
        return shlex.quote(word)
    try:
        data = word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return one_line(shlex.quote(word))  # no name of a file, so nobody can type it
    plain = (c for c in range(0x20, 0x7F) if c not in b"'\\")
    known = {c: chr(c) for c in plain}
    return "$'" + "".join(known.get(byte, f"\\x{byte:02x}") for byte in data) + "'"


def _files(work: work_dir.Work, facts: Sequence[Run]) -> Iterator[Fact]:
    """Yield what there is and was, by stage, then what no stage has left a record of."""
    told = set()
    for output, made in times.records(work):
        told.add(one_line(output))
        yield Fact(times.title(made), one_line(output), _kept(work, output))
    for kind in ("result_file", "speed_file", "dumps"):
        for fact in facts:
            value = getattr(fact, kind)
            if value and value not in told:
                told.add(value)
                yield Fact(words.say(f"ran.{kind}"), value)


def _kept(work: work_dir.Work, output: str) -> Text | None:
    """Say where an output is gone, or only its record is left."""
    place = work.folder / output
    return None if place.exists() else words.say("ran.gone")
