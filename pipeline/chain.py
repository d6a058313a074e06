"""What an input's record says of it: may it be used, and what is known of where it comes from.

Every stage asks here. An input is

- *verified* where its record is that of a complete run, the counts in it add up, and the input
  still is what it was at that run's end;
- *unverified* where it has no record, as what the guide's own scripts and other tools make, or is
  a single file that was edited since; then it is taken as it is, and the stage says so;
- refused, by a PipelineError, where it is a folder that a run has not finished, or that something
  was added to, taken from or changed in since, or one that another stage made.

A record is read like any other input: whatever stands in it, the answer is one of these three.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline import identity, progress, record
from pipeline.errors import PipelineError
from pipeline.record import Json

T = TypeVar("T")

PREPROCESS, LIST, BENCHMARK, QUANTIZE = "preprocess", "get_info", "benchmark", "quantize"
_COMMANDS = {
    "sample": "python3 -m pipeline sample",
    "export": "vovnet39_pth2onnx.py",
    PREPROCESS: "vovnet_torch_preprocess.py",
    LIST: "get_info.py",
    BENCHMARK: "benchmark.py",
    QUANTIZE: "vovnet39_quantize.py",
}
# Each stage has its own word for what it was given and for what it has done.
GIVEN, DONE = ("given", "samples"), ("done", "dumped", "scored")
_NOTHING: Json = {}
_MOST = 1 << 53  # items; what is beyond it is no count
_DEEPEST = 10  # nested objects and lists; those of a record's own are 6
_LONGEST = 60  # characters of a value out of a record that go into a message


@dataclass(frozen=True)
class Standing:
    """How an input stands; `doubt` says why it is unverified and is empty where it is verified."""

    path: Path
    made: Json | None  # its record, also where the file was edited since
    now: Json | None  # its fingerprint, where it was needed
    doubt: str

    @property
    def verified(self) -> bool:
        """Say whether the record vouches for the content."""
        return not self.doubt

    def facts(self) -> Json:
        """Return what the next stage's record keeps of this input."""
        identity = {k: v for k, v in (self.now or {}).items() if k != "path"}
        known: Json = {"path": str(self.path), **identity, "verified": self.verified}
        if self.doubt:
            return known | {"doubt": self.doubt}
        kept = {"stage": "stage", "settings": "settings", "counts": "counts", "inputs": "made_of"}
        return known | {name: plain((self.made or {})[key]) for key, name in kept.items()}


@dataclass(frozen=True)
class Listing:
    """How an info file stands, and the folders of what it lists."""

    info: Standing
    folders: tuple[Standing, ...]

    @property
    def doubts(self) -> list[str]:
        """Say why this is unverified; empty where it is verified."""
        return [one.doubt for one in (self.info, *self.folders) if one.doubt]


def folder(path: Path, stage: str, needs: Json = _NOTHING) -> Standing:
    """Say how a folder stands that `stage` should have filled with the settings `needs`.

    Raises PipelineError as the module says, and where the settings were others.
    """
    made = begin(path, stage, needs)
    return unknown(path) if made is None else end(path, made)


def begin(path: Path, stage: str, needs: Json = _NOTHING) -> Json | None:
    """Return the record of a folder without a look at its content; None where there is none.

    Raises PipelineError where the run was not `stage`, did not end well or had other settings, or
    its counts do not add up. `end` looks at the content.
    """
    made = record.load(_place(path))
    if made is None:
        return None
    again = _again(made)
    if made["status"] != "complete":
        raise PipelineError(
            f"{path} is not whole: its record says {shown(made['status'] or None)}", again
        )
    if made["stage"] not in ("", stage):
        raise PipelineError(
            f"{path} was made by the stage {shown(made['stage'])}, not by {stage}",
            f"give the folder that {_COMMANDS[stage]} filled",
        )
    for key, wanted in needs.items():
        found = made["settings"].get(key)
        if found is not None and found != wanted:
            raise PipelineError(
                f"{path} was made with the {key} {shown(found)}, and the model takes {wanted}",
                f"{again}, or give the model for these tensors",
            )
    if closes(made["counts"]) is False:
        raise PipelineError(f"the counts in {record_of(path)} do not add up", again)
    return made


def end(path: Path, made: Json, now: Json | None = None) -> Standing:
    """Compare a folder with its record `made`; PipelineError where it is not what it was."""
    if not path.is_dir():
        raise PipelineError(f"{path} has a record and is no folder", _again(made))
    now = now or identity.fingerprint(path)
    then = _recorded(path, made)
    if then.get("listing_sha256") != now["listing_sha256"]:
        raise PipelineError(
            f"{path} is not what its record says: {_difference(then, now)}",
            f"{_again(made)}, or remove {record_of(path)} to have the folder taken as it is",
        )
    return Standing(path, made, now, "")


def file(path: Path, now: Json | None = None) -> Standing:
    """Say how a single file stands; `now` is its fingerprint, if known.

    A file is there whole or not at all, and people edit what they were given: a content that its
    record does not know makes it unverified.
    """
    made = record.load(_place(path))
    now = now or identity.fingerprint(path)
    if made is None:
        return unknown(path, now)
    if made["status"] != "complete" or _recorded(path, made).get("sha256") != now["sha256"]:
        return Standing(path, made, now, f"{path} was changed since its record was written")
    return Standing(path, made, now, "")


def unknown(path: Path, now: Json | None = None) -> Standing:
    """Say how an input stands that has no record."""
    return Standing(path, None, now, f"{path} has no record")


def listing(info: Path, folders: Sequence[Path], needs: Json | None) -> Listing:
    """Say how an info file stands together with the `folders` of what it lists.

    `needs` are the settings that tensors must have been made with; None means pictures, which come
    from outside and have no record. Raises PipelineError where a folder is refused, or is not the
    one any more that the info file was made of.
    """
    listed = file(info)
    found = () if needs is None else tuple(folder(place, PREPROCESS, needs) for place in folders)
    if listed.verified and len(folders) == 1 and not _changes(folders[0], info):
        then = field(listed.made, dict, "inputs", 0) or {}
        now = (found[0].now if found else None) or identity.fingerprint(folders[0])
        if then.get("listing_sha256") != now["listing_sha256"]:
            raise PipelineError(
                f"{folders[0]} is not what it was when {info} was made: {_difference(then, now)}",
                "run get_info.py again",
            )
    return Listing(listed, found)


def facts(model: Standing, listed: Listing, held_out: Listing | None = None) -> Json:
    """Return what the record of a run keeps of all that the run rests on.

    `held_out` is what a reduced precision was judged on.
    """
    doubts = [*listed.doubts, *([model.doubt] if model.doubt else _doubts(model))]
    links: Json = {"model": model.facts(), "info": listed.info.facts()}
    links["folders"] = [one.facts() for one in listed.folders]
    if held_out:
        doubts += [doubt for doubt in held_out.doubts if doubt not in doubts]
        links["held_out"] = held_out.info.facts()
    progress.detail(f"what the inputs are made of: {say(doubts) or 'verified by their records'}")
    return {"verified": not doubts, "doubts": doubts, **links}


def after_run(dumps: Standing) -> Json:
    """Return what the record of a score keeps: the dumps, and what their own record rests on."""
    kept: Json = (field(dumps.made, dict, "details", "chain") if dumps.verified else None) or {}
    doubts = [dumps.doubt] if dumps.doubt else _doubts(dumps)
    if dumps.verified and kept.get("verified") is not True and not doubts:
        doubts.append(f"{record_of(dumps.path)} does not say what the run rests on")
    links: Json = {key: plain(kept[key]) for key in ("model", "info", "folders") if key in kept}
    return {"verified": not doubts, "doubts": doubts, "dumps": dumps.facts(), **links}


def _doubts(one: Standing) -> list[str]:
    """Return why what a verified output was made of is unverified."""
    return list(map(shown, field(one.made, list, "details", "chain", "doubts") or []))


def refused(links: Json) -> int:
    """Return how many images were refused before those that a verified score rests on."""
    folders = field(links, list, "folders") or []
    counts = (field(one, dict, "counts") or {} for one in folders)
    return sum(count(each, "refused") or 0 for each in counts) if links["verified"] else 0


def say(doubts: Sequence[str]) -> str:
    """Return `unverified (why)`, or nothing where there is no doubt."""
    if not doubts:
        return ""
    more = f", and {len(doubts) - 1} more" if len(doubts) > 1 else ""
    return f"unverified ({doubts[0]}{more})"


def closes(counts: Json) -> bool | None:
    """Say whether given = done + refused + not done; None where nothing was counted."""
    given, done = count(counts, *GIVEN), count(counts, *DONE)
    if given is None or done is None:
        return None
    return given == done + (count(counts, "refused") or 0) + (count(counts, "not_done") or 0)


def count(counts: Json, *names: str) -> int | None:
    """Return the first of these counts that is there and is one."""
    found = (field(counts, int, name) for name in names)
    return next((one for one in found if one is not None and 0 <= one <= _MOST), None)


def field(content: object, kind: type[T], *keys: str | int) -> T | None:
    """Return what stands in nested JSON under `keys`, or None where that is not of the kind."""
    found: Any = content
    for key in keys:
        if isinstance(key, str):
            found = found.get(key) if isinstance(found, dict) else None
        else:
            found = found[key] if isinstance(found, list) and key < len(found) else None
    fits = isinstance(found, kind) and not (kind is int and isinstance(found, bool))
    return found if fits else None


def shown(value: object) -> str:
    """Return a value out of a record as a message has it, cut to a length that can be read."""
    text = json.dumps(plain(value)) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def plain(value: object, depth: int = _DEEPEST) -> Any:
    """Return JSON without what is nested too deeply to be written again."""
    if isinstance(value, dict):
        return {k: plain(v, depth - 1) for k, v in value.items()} if depth else None
    if isinstance(value, list):
        return [plain(v, depth - 1) for v in value] if depth else None
    return value


def _changes(path: Path, info: Path) -> bool:
    """Say whether the info file, or what a stage writes from here, lies in this very folder."""
    place = path.resolve()
    return not place.is_dir() or any(one.resolve().is_relative_to(place) for one in (info, Path()))


def _place(path: Path) -> Path:
    """Return the name whose record is meant: that of a link, or what it leads to."""
    if path.is_symlink() and not record.path_of(path).exists():
        return path.resolve()
    return path


def _recorded(path: Path, made: Json) -> Json:
    """Return the fingerprint that a record has of `path`; it may have been renamed since."""
    outputs: list[Json] = made["outputs"]
    name = record_of(path).name.removesuffix(record.SUFFIX)
    named = [entry for entry in outputs if Path(entry["path"]).name == name]
    return next(iter(named or outputs), {})


def record_of(path: Path) -> Path:
    """Return where the record of an input lies; a link may have none but what it leads to."""
    return record.path_of(_place(path))


def _difference(then: Json, now: Json) -> str:
    files = field(then, int, "files")
    if files is None:
        return "there is nothing to compare it with"
    if files != now["files"]:
        return f"it holds {now['files']} files, and held {shown(files)}"
    return f"of its {files} files some were changed since"


def _again(made: Json) -> str:
    command = _COMMANDS.get(made["stage"])
    return f"run {command} again" if command else "make it again"
