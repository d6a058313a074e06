"""Reduced precisions from the request to the verdict: make int8, judge it, judge bf16.

An int8 model appears only after it was judged, or where the user leaves the judging out, or where
the network was never trained and there is nothing to judge. Pictures that the ranges came from are
never judged on: one with the same content is left out, and that is said.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import (
    atomic,
    chain,
    engines,
    identity,
    judge,
    machine,
    prepared,
    progress,
    quantize,
    record,
    untrained,
)
from pipeline.engines import AUTO, INT8, Settings, model_file
from pipeline.errors import PipelineError
from pipeline.formats.info import InfoLine, read_info
from pipeline.judge import Judgement
from pipeline.prepared import Layout, Selection
from pipeline.quantize import FloatModel, Quantized, Recipe

PACKAGES = ("onnx", "onnxruntime", "openvino", "numpy")
BATCH_SIZE = 8
_CANNOT_TELL = "list more pictures with --judge, or leave the judging out with --no-judge"


@dataclass(frozen=True)
class Gate:
    """How to judge: on up to `pictures` of `info`, in `engine`.

    Without `info` those of the calibration's info file are taken that it was not calibrated on.
    """

    info: Path | None = None
    pictures: int = 1000
    labels: Path | None = None
    max_drop: float = judge.MOST_DROP
    engine: str = AUTO
    threads: int | None = None


@dataclass(frozen=True)
class Verdict:
    """How it ended, in one line."""

    good: bool
    text: str


class _Refused(Exception):
    """The int8 model was judged and is not to be trusted."""


@progress.steps("choose the pictures", "calibrate and quantise", "judge it beside fp32")
def make_int8(
    source: Path,
    calibration: Path,
    target: Path,
    pictures: int,
    recipe: Recipe,
    gate: Gate | None,
) -> Verdict:
    """Quantise `source` with ranges from up to `pictures` of an info file; write `target`.

    With a gate the model is judged first, and where it is not to be trusted, or there are too few
    pictures to say, nothing is written and the verdict is bad. The record beside `target` has the
    calibration set and the figures. Raises PipelineError where the input does not do.
    """
    started = time.perf_counter()
    _check_paths(source, target)
    model = quantize.inspect(source)
    lines = read_info(calibration)
    held_lines = read_info(gate.info) if gate and gate.info else lines
    listed = prepared.standing(calibration, lines, model.layout)
    held_listed = (
        prepared.standing(gate.info, held_lines, model.layout) if gate and gate.info else None
    )
    chosen = _calibration_set(lines, model.layout, pictures, calibration)
    trained = not untrained.is_untrained(source)
    held: Selection | None = None
    if gate:
        held = _held_out(gate, calibration, held_lines, model.layout, chosen)
        if trained and len(held.pictures) < judge.LEAST_PICTURES:
            said = f"{judge.too_few(len(held.pictures))}; {_CANNOT_TELL}"
            return Verdict(False, f"{said}; nothing was written; {_took(started)}")
    inputs = [source, calibration, *_folders(chosen, held)]
    inputs += [path for path in (gate.info, gate.labels) if path] if gate else []
    run = record.Run(
        "quantize", inputs, [target], quantize.as_settings(recipe) | _settings(gate), PACKAGES
    )
    progress.next_step()
    try:
        with record.keeping(run), tempfile.TemporaryDirectory(prefix="quantise.") as folder:
            made = Path(folder) / "int8.onnx"
            written = quantize.quantize(model, chosen.pictures, recipe, made)
            run.timings_s["calibrate_and_write"] = round(time.perf_counter() - started, 3)
            run.counts = {"calibration": chosen.counts(), "layers": written.layers}
            run.counts |= {"layers_int8": written.layers_int8, "bytes": written.size}
            standing = chain.file(source, run.identified()["inputs"][0])
            links = chain.facts(standing, listed, held_listed)
            run.details = {"calibration": _set_details(chosen), "network_trained": trained}
            run.details["chain"] = links
            said = "not judged, as asked for"
            if gate and held:
                progress.next_step()
                judgement = _judge_int8(model, made, gate, held, trained)
                said = _said(judgement, held)
                run.counts["held_out"] = held.counts()
                run.details["judgement"] = judgement.as_json() if judgement else "nothing to judge"
                if judgement and judgement.outcome == "refused":
                    raise _Refused(said)
            atomic.write_bytes(target, made.read_bytes())
            run.verdict = _summary(source, written, chosen, links["doubts"], said, started)
    except _Refused as refusal:
        return Verdict(False, f"{refusal}; nothing was written; {_took(started)}")
    return Verdict(True, f"{run.verdict} -> {target}")


@progress.steps("load both models", "choose the pictures", "judge")
def judge_precision(
    source: Path, candidate: Path | None, precision: str, gate: Gate, report: Path | None
) -> Verdict:
    """Judge `source` in a reduced precision, or `candidate`, beside `source` in fp32.

    `report` gets the figures as JSON. The verdict is good where the candidate is to be trusted.
    Raises PipelineError where the processor or the engine lacks the precision.
    """
    started = time.perf_counter()
    if gate.info is None:
        raise ValueError("a gate needs an info file here")
    batch_size = _batch_of(source)
    reference = engines.load(gate.engine, source, _settings_for("fp32", batch_size, gate))
    judged = candidate or source
    wanted = INT8 if candidate else precision
    reduced = engines.load(gate.engine, judged, _settings_for(wanted, batch_size, gate))
    progress.next_step()
    layout = prepared.layout_of(reference.inputs[0])
    lines = read_info(gate.info)
    links = chain.facts(chain.file(judged), prepared.standing(gate.info, lines, layout))
    held = prepared.select(
        lines, layout, gate.pictures, prepared.calibrated_on(source, candidate), "held-out pictures"
    )
    prepared.refuse_noise(held, gate.info)
    trained = not _is_untrained(source)
    if not held.pictures:
        return Verdict(False, f"{judge.too_few(0)}; {_took(started)}")
    progress.next_step()
    judgement = judge.judge(
        reference,
        reduced,
        batch_size,
        held.pictures,
        gate.labels,
        reduced.precision,
        gate.max_drop,
        trained,
    )
    where = f"{reduced.engine} {reduced.version}, {_took(started)}"
    text = "; ".join(filter(None, (_said(judgement, held), chain.say(links["doubts"]), where)))
    if report:
        content = {
            "model": identity.fingerprint(source),
            "judged": identity.fingerprint(judged),
            "engine": f"{reduced.engine} {reduced.version}",
            "threads": reduced.threads,
            "machine": machine.describe(),
            "held_out": _set_details(held),
            "counts": held.counts(),
            "chain": links,
            "judgement": judgement.as_json(),
        }
        atomic.write_text(report, json.dumps(content, indent=1) + "\n")
        text += f" -> {report}"
    return Verdict(judgement.trusted, text)


def _check_paths(source: Path, target: Path) -> None:
    """Raise PipelineError before the work where its result could not be written."""
    if target.is_dir():
        raise PipelineError(f"{target} is a folder", "give the name of the int8 file")
    if not target.parent.is_dir():
        raise PipelineError(f"{target.parent}: no such folder", "make it first")
    if target.exists() and source.exists() and target.samefile(source):
        raise PipelineError(f"{target} is the fp32 model itself", "give the int8 another name")


def _calibration_set(
    lines: Sequence[InfoLine], layout: Layout, pictures: int, info: Path
) -> Selection:
    chosen = prepared.select(lines, layout, pictures, title="calibration pictures")
    if len(chosen.pictures) < quantize.LEAST_PICTURES:
        left_out = chosen.left_out()
        raise PipelineError(
            f"{info}: too few to calibrate: {len(chosen.pictures)} of {quantize.LEAST_PICTURES} "
            f"different pictures{f' ({left_out})' if left_out else ''}",
            "list more pictures",
        )
    prepared.refuse_noise(chosen, info)
    if chosen.left_out():
        progress.note(f"left out of the calibration set: {chosen.left_out()}")
    return chosen


def _held_out(
    gate: Gate,
    calibration: Path,
    lines: Sequence[InfoLine],
    layout: Layout,
    chosen: Selection,
) -> Selection:
    if gate.info is None:
        taken = {picture.path for picture in chosen.pictures}
        lines = [line for line in lines if Path(line.path) not in taken]
    held = prepared.select(lines, layout, gate.pictures, chosen.pictures, "held-out pictures")
    prepared.refuse_noise(held, gate.info or calibration)
    if held.left_out():
        progress.note(f"left out of the held-out set: {held.left_out()}")
    return held


def _judge_int8(
    model: FloatModel, made: Path, gate: Gate, held: Selection, trained: bool
) -> Judgement | None:
    """Return the judgement, or None where an untrained network left no picture to look at."""
    if not held.pictures:
        return None
    batch_size = model.batch or BATCH_SIZE
    reference = engines.load(gate.engine, model.path, _settings_for("fp32", batch_size, gate))
    candidate = engines.load(gate.engine, made, _settings_for(INT8, batch_size, gate))
    return judge.judge(
        reference,
        candidate,
        batch_size,
        held.pictures,
        gate.labels,
        "int8",
        gate.max_drop,
        trained,
    )


def _settings_for(precision: str, batch_size: int, gate: Gate) -> Settings:
    return Settings(batch_size, gate.threads, precision, requests=1)


def _batch_of(model: Path) -> int:
    """Return the batch that an ONNX model is fixed to, or the usual one."""
    if model_file.identify(model).kind != model_file.ONNX:
        return BATCH_SIZE
    return quantize.inspect(model).batch or BATCH_SIZE


def _is_untrained(model: Path) -> bool:
    return model_file.identify(model).kind == model_file.ONNX and untrained.is_untrained(model)


def _folders(*sets: Selection | None) -> list[Path]:
    """Return the folders that the pictures lie in."""
    return sorted({picture.path.parent for found in sets if found for picture in found.pictures})


def _set_details(chosen: Selection) -> dict[str, Any]:
    return {
        "set_sha256": chosen.digest,
        "pictures": [{"name": p.name, "sha256": p.sha256} for p in chosen.pictures],
    }


def _settings(gate: Gate | None) -> dict[str, Any]:
    if gate is None:
        return {"judged": False}
    return {
        "judged": True,
        "judge_pictures": gate.pictures,
        "max_drop_points": gate.max_drop,
        "engine": gate.engine,
        "threads": gate.threads,
    }


def _said(judgement: Judgement | None, held: Selection) -> str:
    if judgement is None:
        return f"int8 is not judged, {untrained.SAYING}"
    left_out = held.left_out()
    return f"{judgement}{f'; left out: {left_out}' if left_out else ''}"


def _summary(
    source: Path,
    written: Quantized,
    chosen: Selection,
    doubts: Sequence[str],
    said: str,
    started: float,
) -> str:
    unverified = f", {chain.say(doubts)}" if doubts else ""
    return (
        f"{written.layers_int8} of {written.layers} layers in int8, {written.size / 1e6:.1f} MB "
        f"(fp32 {source.stat().st_size / 1e6:.1f} MB), calibrated on {len(chosen.pictures)} "
        f"pictures{unverified}; {said}; {_took(started)}"
    )


def _took(started: float) -> str:
    return f"{time.perf_counter() - started:.1f} s"
